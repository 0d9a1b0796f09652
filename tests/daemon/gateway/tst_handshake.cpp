// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The negotiation, byte for byte.
#include "tests/daemon/gateway/nbd_rig.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint32_t kUnsupported = 0x80000001, kPolicy = 0x80000002, kInvalid = 0x80000003, kUnknown = 0x80000006,
                   kShuttingDown = 0x80000007, kTooBig = 0x80000009;
constexpr uint16_t kFlags = 1 | 4 | 8 | 32 | 64 | 256 | 2048; // has flags, flush, FUA, trim, write zeroes, multi-conn, fast zero
constexpr uint16_t kReadOnlyFlags = 1 | 2 | 4 | 8 | 256;

std::string exportInfo(uint32_t option, uint64_t size, uint16_t flags)
{
	return Wire::optionReply(option, 3, Wire().u16(0).u64(size).u16(flags).bytes()).bytes() +
	       Wire::optionReply(option, 3, Wire().u16(3).u32(512).u32(4096).u32(32u << 20).bytes()).bytes();
}

/// An error reply to `option`: its type, and that its text says something.
bool refused(NbdClient &client, uint32_t option, uint32_t type, std::string *text = nullptr)
{
	const std::string header = client.receive(nbd::kOptionReplyBytes);
	if (header.size() != nbd::kOptionReplyBytes) return false;
	const auto *at = reinterpret_cast<const std::byte *>(header.data());
	const std::string said = client.receive(nbd::read32(at + 16));
	if (text) *text = said;
	return nbd::read64(at) == nbd::kOptionReplyMagic && nbd::read32(at + 8) == option && nbd::read32(at + 12) == type && !said.empty();
}

} // namespace

class HandshakeTest : public QObject {
	Q_OBJECT

private slots:
	void goIsAnsweredByteForByte()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QCOMPARE(client.receive(18), kGreeting);
		QVERIFY(client.send(Wire().u32(3)));
		QVERIFY(client.quiet());
		QVERIFY(client.send(Wire::go("blank")));
		const std::string expected = exportInfo(7, 16u << 20, kFlags) + Wire::optionReply(7, 1, "").bytes();
		QCOMPARE(client.receive(expected.size()), expected);
		QVERIFY(client.send(Wire::command(0, 0x1122334455667788, 0, 512)));
		QCOMPARE(client.receive(16 + 512), Wire::reply(0, 0x1122334455667788).bytes() + std::string(512, '\0'));
	}

	void infoTellsTheSameAndGoesOn()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		const Wire data = Wire().u32(2).text("ro").u16(4).u16(1).u16(2).u16(3).u16(77); // name, description, block size, unknown
		QVERIFY(client.send(Wire::option(6, data.bytes())));
		const std::string expected = exportInfo(6, 16u << 20, kReadOnlyFlags) +
		                             Wire::optionReply(6, 3, Wire().u16(1).text("ro").bytes()).bytes() +
		                             Wire::optionReply(6, 3, Wire().u16(2).text("Archipelago volume, 16 MiB, read-only").bytes()).bytes() +
		                             Wire::optionReply(6, 1, "").bytes();
		QCOMPARE(client.receive(expected.size()), expected);
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; })); // asking opens nothing for long
		QVERIFY(client.send(Wire::go("blank")));
		const std::string went = exportInfo(7, 16u << 20, kFlags) + Wire::optionReply(7, 1, "").bytes();
		QCOMPARE(client.receive(went.size()), went);
	}

	void exportNameOfOldClients_data()
	{
		QTest::addColumn<uint>("flags");
		QTest::addColumn<int>("padding");
		QTest::newRow("with zeroes") << 1u << 124;
		QTest::newRow("without") << 3u << 0;
		QTest::newRow("not even fixed") << 0u << 124;
	}
	void exportNameOfOldClients()
	{
		QFETCH(uint, flags);
		QFETCH(int, padding);
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(flags)));
		QVERIFY(client.send(Wire::option(1, "blank")));
		const std::string expected = Wire().u64(16u << 20).u16(kFlags).zeros(static_cast<size_t>(padding));
		QCOMPARE(client.receive(expected.size()), expected);
		QVERIFY(client.send(Wire::command(0, 9, 512, 512)));
		QCOMPARE(client.receive(16 + 512), Wire::reply(0, 9).bytes() + std::string(512, '\0'));
	}
	void exportNameFailsByClosing_data()
	{
		QTest::addColumn<QByteArray>("name");
		QTest::newRow("unknown") << QByteArray("nothere");
		QTest::newRow("none") << QByteArray();
		QTest::newRow("illegal") << QByteArray("a/b");
		QTest::newRow("too long") << QByteArray(9000, 'x');
	}
	void exportNameFailsByClosing()
	{
		QFETCH(QByteArray, name);
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		client.send(Wire::option(1, name.toStdString()));
		QVERIFY(client.atEnd());
	}

	void listNamesTheExports()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		QVERIFY(client.send(Wire::option(3, "")));
		const std::string expected = Wire::optionReply(3, 2, Wire().u32(5).text("blank").bytes()).bytes() +
		                             Wire::optionReply(3, 2, Wire().u32(2).text("ro").bytes()).bytes() +
		                             Wire::optionReply(3, 1, "").bytes();
		QCOMPARE(client.receive(expected.size()), expected);
		QVERIFY(client.send(Wire::option(3, "x")));
		QVERIFY(refused(client, 3, kInvalid));
		rig.composer->failListWith = wireStatus(ErrorCode::Io);
		QVERIFY(client.send(Wire::option(3, "")));
		QVERIFY(refused(client, 3, kUnknown));
	}

	void onlyOpenedVolumesAreExports()
	{
		NbdRig rig(192u << 20, NbdExports::Opened);
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		QVERIFY(client.send(Wire::option(3, "")));
		const std::string expected =
		    Wire::optionReply(3, 2, Wire().u32(5).text("blank").bytes()).bytes() + Wire::optionReply(3, 1, "").bytes();
		QCOMPARE(client.receive(expected.size()), expected);
		QVERIFY(client.send(Wire::go("ro")));
		std::string text;
		QVERIFY(refused(client, 7, kPolicy, &text));
		QCOMPARE(text, std::string("ro is not open."));
		QCOMPARE(rig.composer->lastAttach.onlyIfOpened, uint8_t{1});
		QCOMPARE(rig.composer->lastAttach.holder, Holder::Nbd);
		QVERIFY(client.send(Wire::go("blank")));
		QVERIFY(client.receive(20 + 12).size() == 32);
	}

	void failuresOfGoAreErrorRepliesAndTheClientMayGoOn()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		std::string text;
		QVERIFY(client.send(Wire::go("nothere")));
		QVERIFY(refused(client, 7, kUnknown, &text));
		QCOMPARE(text, std::string("There is no volume nothere."));
		QVERIFY(client.send(Wire::go("")));
		QVERIFY(refused(client, 7, kUnknown));
		for (const char *illegal : {"a/b", "archip_x", "..", "\x01"}) {
			QVERIFY(client.send(Wire::go(illegal)));
			QVERIFY(refused(client, 7, kUnknown));
		}
		QVERIFY(client.send(Wire::go(std::string(83, 'n'))));
		QVERIFY(refused(client, 7, kUnknown));
		QCOMPARE(rig.composer->attaches, 1u); // the others were refused at the door
		rig.composer->failAttachWith = wireStatus(ErrorCode::Peer);
		QVERIFY(client.send(Wire::go("blank")));
		QVERIFY(refused(client, 7, kShuttingDown));
		rig.composer->failAttachWith = 0;
		QVERIFY(client.send(Wire::go("blank")));
		const std::string went = exportInfo(7, 16u << 20, kFlags) + Wire::optionReply(7, 1, "").bytes();
		QCOMPARE(client.receive(went.size()), went);
	}

	void otherOptionsAreUnsupported()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		for (const uint32_t option : {4u, 5u, 11u, 0u, 4711u, 0xffffffffu}) {
			QVERIFY(client.send(Wire::option(option, std::string(option % 300, 'x'))));
			QVERIFY(refused(client, option, kUnsupported));
		}
		std::string text;
		QVERIFY(client.send(Wire::option(5, "")));
		QVERIFY(refused(client, 5, kUnsupported, &text));
		QVERIFY(text.find("TLS") != std::string::npos);
	}

	void lengthsThatDoNotAgreeAreInvalid()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		const std::vector<std::string> bad{
		    "",
		    "12345",
		    Wire().u32(5).text("blank"),                 // no number of requests
		    Wire().u32(6).text("blank").u16(0),          // name over the end
		    Wire().u32(0xffffffff).text("blank").u16(0), // far over the end
		    Wire().u32(5).text("blank").u16(2).u16(3),   // fewer requests than announced
		    Wire().u32(5).text("blank").u16(0).u16(3),   // more
		};
		for (const std::string &data : bad) {
			for (const uint32_t option : {6u, 7u}) {
				QVERIFY(client.send(Wire::option(option, data)));
				QVERIFY(refused(client, option, kInvalid));
			}
		}
		QVERIFY(client.send(Wire::option(7, std::string(8193, 'x'))));
		QVERIFY(refused(client, 7, kTooBig));
		QVERIFY(client.send(Wire::option(7, std::string(1u << 20, 'x'))));
		QVERIFY(refused(client, 7, kTooBig));
		QVERIFY(client.send(Wire::go("blank")));
		QCOMPARE(client.receive(20).size(), size_t{20});
	}

	void abortIsAcknowledged()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3)));
		QVERIFY(client.send(Wire::option(2, "")));
		QCOMPARE(client.receive(20), Wire::optionReply(2, 1, "").bytes());
		QVERIFY(client.atEnd());
	}

	void strangersAreDisconnected_data()
	{
		QTest::addColumn<QByteArray>("bytes");
		const auto row = [](const char *name, const std::string &bytes) {
			QTest::newRow(name) << QByteArray(bytes.data(), static_cast<qsizetype>(bytes.size()));
		};
		row("unknown handshake flags", Wire().u32(4));
		row("all handshake flags", Wire().u32(0xffffffff));
		row("HTTP", "GET / HTTP/1.1\r\n\r\n.................");
		row("no option magic", Wire().u32(3).u64(nbd::kOptionMagic + 1).u32(7).u32(0));
		row("an absurd option", Wire().u32(3).u64(nbd::kOptionMagic).u32(7).u32((1u << 20) + 1));
		row("the most absurd option", Wire().u32(3).u64(nbd::kOptionMagic).u32(99).u32(0xffffffff));
		row("GO without fixed newstyle", Wire().u32(2).bytes() + Wire::go("blank").bytes());
	}
	void strangersAreDisconnected()
	{
		QFETCH(QByteArray, bytes);
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		client.send(bytes.toStdString());
		QVERIFY(client.atEnd());
		QCOMPARE(rig.composer->attaches, 0u);
	}

	void everyByteAloneIsTheSame()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		const std::string bytes = Wire().u32(3).bytes() + Wire::option(3, "").bytes() + Wire::go("blank").bytes();
		for (const char c : bytes) {
			QVERIFY(client.send(std::string(1, c)));
			settle(rig);
		}
		const std::string expected = Wire::optionReply(3, 2, Wire().u32(5).text("blank").bytes()).bytes() +
		                             Wire::optionReply(3, 2, Wire().u32(2).text("ro").bytes()).bytes() +
		                             Wire::optionReply(3, 1, "").bytes() + exportInfo(7, 16u << 20, kFlags) +
		                             Wire::optionReply(7, 1, "").bytes();
		QCOMPARE(client.receive(expected.size()), expected);
	}

	void theEndAfterEveryByteLeavesNothingBehind()
	{
		NbdRig rig;
		const std::string bytes = Wire().u32(3).bytes() + Wire::option(3, "").bytes() + Wire::go("blank").bytes();
		for (size_t length = 0; length <= bytes.size(); ++length) {
			NbdClient client = rig.connect();
			QVERIFY(client.send(bytes.substr(0, length)));
			if (length % 2) client.halfClose();
			client.close();
		}
		NbdClient last = rig.connect();
		QVERIFY(last.go("blank"));
		last.close();
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}

	void transmissionMayBeginInTheSamePacket()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3).bytes() + Wire::option(1, "blank").bytes() + Wire::command(0, 5, 0, 512).bytes()));
		const std::string expected = Wire().u64(16u << 20).u16(kFlags).bytes() + Wire::reply(0, 5).bytes() + std::string(512, '\0');
		QCOMPARE(client.receive(expected.size()), expected);
	}
};

QTEST_APPLESS_MAIN(HandshakeTest)
#include "tst_handshake.moc"
