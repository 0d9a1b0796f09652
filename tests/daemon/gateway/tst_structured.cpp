// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Structured replies byte for byte: data, holes, errors with their text; and block status.
#include "tests/daemon/gateway/nbd_rig.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint16_t kRead = 0, kWrite = 1, kFlush = 3, kTrim = 4, kBlockStatus = 7;
constexpr uint16_t kDf = 4, kReqOne = 8;
constexpr uint32_t kEperm = 1, kEio = 5, kEinval = 22, kEnospc = 28;
constexpr uint32_t kMiB = 1u << 20, kBlock = kBlockBytes;

std::string status(uint64_t cookie, std::initializer_list<std::pair<uint32_t, bool>> extents)
{
	Wire data;
	data.u32(1);
	for (const auto &[length, hole] : extents) data.u32(length).u32(hole ? 3 : 0);
	return Wire::chunk(true, 5, cookie, data.bytes());
}

} // namespace

class StructuredTest : public QObject {
	Q_OBJECT

private slots:
	void aReadOfOneBlockIsOneChunk()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const std::string data = pattern(4096, 1);
		QVERIFY(client.send(Wire::command(kWrite, 1, 8192, 4096).bytes() + data));
		QCOMPARE(client.receive(16), Wire::reply(0, 1).bytes()); // the shorter form where there is nothing to say
		QVERIFY(client.send(Wire::command(kRead, 2, 8192, 4096)));
		QVERIFY(client.receive(28 + 4096) == Wire::data(true, 2, 8192, data).bytes());
		QVERIFY(client.quiet());
	}

	void eachBlockIsAChunk()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const std::string data = pattern(16 * kMiB, 2);
		std::memcpy(rig.blank().data(), data.data(), data.size());
		QVERIFY(client.send(Wire::command(kRead, 2, kBlock - 512, 2 * kBlock)));
		const std::string expected = Wire::data(false, 2, kBlock - 512, data.substr(kBlock - 512, 512)).bytes() +
		                             Wire::data(false, 2, kBlock, data.substr(kBlock, kBlock)).bytes() +
		                             Wire::data(true, 2, 2 * kBlock, data.substr(2 * kBlock, kBlock - 512)).bytes();
		QVERIFY(client.receive(expected.size()) == expected);
		QVERIFY(client.quiet());
	}

	/// What is a hole is not read from the buffer, which has anything: here it would be the pattern.
	void holesAreTold()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const std::string data = pattern(kBlock, 3);
		std::memcpy(rig.blank().data() + kBlock, data.data(), kBlock);
		rig.composer->volumes.at("blank").holes = {0, 2, 3};
		QVERIFY(client.send(Wire::command(kRead, 7, 4096, 4096)));
		QCOMPARE(client.receive(32), Wire::hole(true, 7, 4096, 4096).bytes());
		QVERIFY(client.send(Wire::command(kRead, 8, 0, 3 * kBlock)));
		const std::string expected = Wire::hole(false, 8, 0, kBlock).bytes() + Wire::data(false, 8, kBlock, data).bytes() +
		                             Wire::hole(true, 8, 2 * kBlock, kBlock).bytes();
		QVERIFY(client.receive(expected.size()) == expected);
		QVERIFY(client.quiet());
	}

	void dontFragmentIsOneChunkOfData()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const std::string data = pattern(2 * kBlock, 4);
		std::memcpy(rig.blank().data() + kBlock, data.data(), kBlock);
		rig.composer->volumes.at("blank").holes = {0};
		QVERIFY(client.send(Wire::command(kRead, 8, 0, 2 * kBlock, kDf)));
		const std::string expected = Wire::data(true, 8, 0, std::string(kBlock, '\0') + data.substr(0, kBlock)).bytes();
		QVERIFY(client.receive(expected.size()) == expected);
		QVERIFY(client.quiet());
	}
	/// Who did not ask for structured replies is sent its zeros.
	void simpleRepliesHaveNoHoles()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		rig.composer->volumes.at("blank").holes = {0};
		QVERIFY(client.send(Wire::command(kRead, 8, 0, 1024)));
		QVERIFY(client.receive(16 + 1024) == Wire::reply(0, 8).bytes() + std::string(1024, '\0'));
	}

	void aReadOfNothing()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		QVERIFY(client.send(Wire::command(kRead, 1, 512, 0).bytes() + Wire::command(kRead, 2, 512, 0, kDf).bytes()));
		QCOMPARE(client.receive(40), Wire::chunk(true, 0, 1, "").bytes() + Wire::chunk(true, 0, 2, "").bytes());
	}

	/// More chunks than one sendmsg takes, and more bytes than the socket.
	void manyRepliesAtOnce()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const std::string data = pattern(16 * kMiB, 5);
		std::memcpy(rig.blank().data(), data.data(), data.size());
		rig.composer->volumes.at("blank").holes = {1};
		std::string commands;
		for (unsigned i = 0; i < 200; ++i) commands += Wire::command(kRead, i, kBlock - 4096, 8192);
		QVERIFY(client.send(commands));
		size_t left = 200;
		for (; left; --left) {
			const std::string head = client.receive(20);
			QCOMPARE(head.size(), size_t{20});
			const uint64_t cookie = nbd::read64(reinterpret_cast<const std::byte *>(head.data()) + 8);
			const std::string expected = Wire::data(false, cookie, kBlock - 4096, data.substr(kBlock - 4096, 4096)).bytes() +
			                             Wire::hole(true, cookie, kBlock, 4096).bytes();
			QVERIFY(head + client.receive(expected.size() - 20) == expected);
		}
		QVERIFY(client.quiet());
	}

	// ---- errors

	void errorsHaveATextAndTheStreamGoesOn()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const auto text = [&](const Wire &command, uint32_t error, const std::string &payload = {}) {
			client.send(command.bytes() + payload);
			return QString::fromStdString(client.errorChunk(1, error));
		};
		QCOMPARE(text(Wire::command(kRead, 1, 1, 512), kEinval), "Offset and length must be multiples of 512 bytes.");
		QCOMPARE(text(Wire::command(kRead, 1, 16 * kMiB, 512), kEinval), "The range ends behind the end of the volume.");
		QCOMPARE(text(Wire::command(kRead, 1, 0, 32 * kMiB + 512), kEinval), "The request is longer than the maximum of this export.");
		QCOMPARE(text(Wire::command(kWrite, 1, 16 * kMiB, 512), kEnospc, pattern(512, 1)), "The range ends behind the end of the volume.");
		QCOMPARE(text(Wire::command(kTrim, 1, 0, 512, kDf), kEinval), "The command has a flag that is not for it.");
		QCOMPARE(text(Wire::command(5, 1, 0, 512), kEinval), "The command is not known.");
		QCOMPARE(text(Wire::command(kFlush, 1, 0, 512), kEinval), "A flush covers everything and has neither offset nor length.");
		rig.composer->failIoWith = wireStatus(ErrorCode::Missing);
		const QString missing = text(Wire::command(kRead, 1, 0, 2 * kBlock), kEio);
		QVERIFY2(missing.contains("E-MISSING: archipelago explain E-MISSING"), qPrintable(missing));
		rig.composer->failIoWith = wireStatus(ErrorCode::NoSpace);
		QVERIFY(text(Wire::command(kFlush, 1, 0, 0), kEnospc).contains("E-NOSPACE"));
		rig.composer->failIoWith = 0;
		QVERIFY(client.send(Wire::command(kRead, 2, 0, 512)));
		QVERIFY(client.receive(28 + 512) == Wire::data(true, 2, 0, std::string(512, '\0')).bytes());
	}
	void aReadOnlyVolume()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("ro"));
		QVERIFY(client.send(Wire::command(kWrite, 1, 0, 4096).bytes() + pattern(4096, 1)));
		QCOMPARE(client.errorChunk(1, kEperm), std::string("The volume is read-only."));
	}
	void lateReadsAreErrors()
	{
		NbdRig rig(192u << 20, NbdExports::All, 50);
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(kRead, 1, 0, 512).bytes() + Wire::command(kBlockStatus, 2, 0, 512).bytes()));
		QVERIFY(client.errorChunk(1, kEio).find("E-TIMEOUT") != std::string::npos);
		QVERIFY(client.errorChunk(2, kEio).find("E-TIMEOUT") != std::string::npos);
		rig.composer->release();
		QVERIFY(client.quiet());
	}

	// ---- block status

	void blockStatus_data()
	{
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<uint>("length");
		QTest::addColumn<uint>("flags");
		QTest::addColumn<QByteArray>("expected");
		const auto row = [](const char *name, uint64_t offset, uint32_t length, unsigned flags, const std::string &bytes) {
			QTest::newRow(name) << quint64(offset) << length << flags << QByteArray(bytes.data(), static_cast<qsizetype>(bytes.size()));
		};
		// Blocks 1 and 2 of 4 are stored.
		row("a sector of a hole", 512, 512, 0, status(1, {{512, true}}));
		row("a sector that is stored", kBlock, 512, 0, status(1, {{512, false}}));
		row("everything", 0, 4 * kBlock, 0, status(1, {{kBlock, true}, {2 * kBlock, false}, {kBlock, true}}));
		row("over a border", kBlock - 512, 1024, 0, status(1, {{512, true}, {512, false}}));
		row("from within to within", kBlock / 2, 2 * kBlock + kBlock / 2 + 512, 0, status(1, {{kBlock / 2, true}, {2 * kBlock, false}, {512, true}}));
		row("one only", 512, 4 * kBlock - 512, kReqOne, status(1, {{kBlock - 512, true}}));
		row("one, of all that is alike", kBlock, 3 * kBlock, kReqOne, status(1, {{2 * kBlock, false}}));
		row("the last sector", 4 * kBlock - 512, 512, kReqOne | 1, status(1, {{512, true}}));
	}
	void blockStatus()
	{
		QFETCH(quint64, offset);
		QFETCH(uint, length);
		QFETCH(uint, flags);
		QFETCH(QByteArray, expected);
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		rig.composer->volumes.at("blank").holes = {0, 3};
		QVERIFY(client.send(Wire::command(kBlockStatus, 1, offset, length, static_cast<uint16_t>(flags))));
		QCOMPARE(client.receive(static_cast<size_t>(expected.size())), expected.toStdString());
		QVERIFY(client.quiet());
	}

	/// The longest range there is, with more extents than one answer has room for: it stops short.
	void ofFourGibibytes()
	{
		NbdRig rig;
		auto &volume = rig.composer->volumes.at("blank");
		volume.statedBytes = uint64_t{1} << 40;
		for (uint32_t block = 0; block < 2000; block += 2) volume.holes.insert(block);
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		QVERIFY(client.send(Wire::command(kBlockStatus, 1, 512, ~511u)));
		Wire data;
		data.u32(1).u32(kBlock - 512).u32(3);
		for (unsigned n = 1; n < 512; ++n) data.u32(kBlock).u32(n % 2 ? 0 : 3);
		const std::string expected = Wire::chunk(true, 5, 1, data.bytes());
		QVERIFY(client.receive(expected.size()) == expected);
		QVERIFY(client.send(Wire::command(kBlockStatus, 2, uint64_t{1} << 39, ~511u)));
		QCOMPARE(client.receive(32), status(2, {{~511u, false}}));
		QVERIFY(client.quiet());
	}

	void whatCannotBeAsked()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const auto fails = [&](uint64_t offset, uint32_t length, uint16_t flags = 0) {
			client.send(Wire::command(kBlockStatus, 1, offset, length, flags));
			return !client.errorChunk(1, kEinval).empty();
		};
		QVERIFY(fails(0, 0));
		QVERIFY(fails(1, 512));
		QVERIFY(fails(0, 513));
		QVERIFY(fails(16 * kMiB, 512));
		QVERIFY(fails(16 * kMiB - 512, 1024));
		QVERIFY(fails(~uint64_t{511}, 1024));
		QVERIFY(fails(0, 512, kDf));
		QVERIFY(fails(0, 512, 16));
		QVERIFY(rig.composer->served.empty());
		NbdClient other = rig.connect();
		QVERIFY(other.go("blank"));
		QVERIFY(other.send(Wire::command(kBlockStatus, 1, 0, 512))); // never negotiated
		QCOMPARE(other.receive(16), Wire::reply(kEinval, 1).bytes());
	}

	/// Nothing of an answer is believed: what makes no sense is an error, what goes too far is cut off.
	void whatTheMapMayNotSay()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		const auto ask = [&](std::vector<BlockRun> told) {
			rig.composer->told = std::move(told);
			client.send(Wire::command(kBlockStatus, 1, 512, kBlock));
		};
		for (const auto &bad : std::vector<std::vector<BlockRun>>{{}, {{0, 1}}, {{1, 2}}, {{1, 0}, {0, 0}}, {{1, 0}, {1, ~0u}}}) {
			ask(bad);
			QVERIFY(!client.errorChunk(1, kEio).empty());
		}
		ask({{~0u, 1}, {~0u, 0}});
		QCOMPARE(client.receive(32), status(1, {{kBlock, false}}));
		ask({{1, 1}});
		QCOMPARE(client.receive(32), status(1, {{kBlock - 512, false}})); // short
		ask(std::vector<BlockRun>(600, BlockRun{.blocks = 1, .mapped = 0}));
		QCOMPARE(client.receive(40), status(1, {{kBlock - 512, true}, {512, true}}));
		QVERIFY(client.quiet());
	}
	void whatTheVolumeSays()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		rig.composer->failIoWith = wireStatus(ErrorCode::Io);
		QVERIFY(client.send(Wire::command(kBlockStatus, 1, 0, 512)));
		QVERIFY(client.errorChunk(1, kEio).find("E-IO") != std::string::npos);
	}

	/// As any I/O it is asked again when a composer or its mapper have died.
	void itIsAskedAgainAfterADeath()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.goStructured("blank"));
		rig.composer->volumes.at("blank").holes = {0, 1, 2};
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(kBlockStatus, 1, 0, 4 * kBlock).bytes() + Wire::command(kRead, 2, 4096, 512).bytes()));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 2; }));
		rig.composer->die();
		rig.composer->live();
		const std::string expected = status(1, {{3 * kBlock, true}, {kBlock, false}}) + Wire::hole(true, 2, 4096, 512).bytes();
		QCOMPARE(client.receive(expected.size()), expected);
	}
};

QTEST_APPLESS_MAIN(StructuredTest)
#include "tst_structured.moc"
