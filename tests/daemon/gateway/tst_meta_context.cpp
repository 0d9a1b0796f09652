// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// STRUCTURED_REPLY and meta contexts: what is agreed on, for which export, and what forgets it. Whether block status may be asked
// for afterwards is asked.
#include "tests/daemon/gateway/nbd_rig.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint32_t kPolicy = 0x80000002, kInvalid = 0x80000003, kUnknown = 0x80000006;
constexpr uint16_t kBlockStatus = 7;
const std::string kAcked = Wire::optionReply(10, 1, "").bytes();
const std::string kChosen = Wire::optionReply(10, 4, Wire().u32(1).text("base:allocation").bytes()).bytes() + kAcked;

/// A client that has greeted, with structured replies.
NbdClient greeted(NbdRig &rig, bool structured = true)
{
	NbdClient client = rig.connect();
	client.receive(kGreeting.size());
	client.send(Wire().u32(3));
	if (!structured) return client;
	client.send(Wire::option(8, ""));
	if (client.receive(20) != Wire::optionReply(8, 1, "").bytes()) qFatal("structured replies are refused");
	return client;
}

bool answers(NbdClient &client, const std::string &option, const std::string &expected)
{
	return client.send(option) && client.receive(expected.size()) == expected && client.quiet();
}

bool refuses(NbdClient &client, const std::string &option, uint32_t type)
{
	if (!client.send(option)) return false;
	const std::string header = client.receive(nbd::kOptionReplyBytes);
	if (header.size() != nbd::kOptionReplyBytes) return false;
	const auto *at = reinterpret_cast<const std::byte *>(header.data());
	return nbd::read32(at + 12) == type && !client.receive(nbd::read32(at + 16)).empty() && client.quiet();
}

/// In the transmission: can it be asked?
bool tellsBlockStatus(NbdClient &client)
{
	client.send(Wire::command(kBlockStatus, 5, 0, 512));
	const std::string header = client.receive(20);
	if (header.size() != 20) return false;
	const auto *at = reinterpret_cast<const std::byte *>(header.data());
	client.receive(nbd::read32(at + 16));
	return nbd::read16(at + 6) == 5;
}

} // namespace

class MetaContextTest : public QObject {
	Q_OBJECT

private slots:
	void structuredRepliesAreToldByTheirFlag()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(client.send(Wire::go("ro", 6)));
		const std::string info = client.receive(20 + 12);
		QCOMPARE(info.size(), size_t{32});
		QCOMPARE(nbd::read16(reinterpret_cast<const std::byte *>(info.data()) + 30), uint16_t(1 | 2 | 4 | 8 | 128 | 256));
	}
	void structuredReplyTakesNoData()
	{
		NbdRig rig;
		NbdClient client = greeted(rig, false);
		QVERIFY(refuses(client, Wire::option(8, "x"), kInvalid));
		QVERIFY(refuses(client, Wire::metaContext("blank", {}), kInvalid)); // so it was not agreed on
		QVERIFY(answers(client, Wire::option(8, ""), Wire::optionReply(8, 1, "")));
		QVERIFY(answers(client, Wire::option(8, ""), Wire::optionReply(8, 1, ""))); // twice is once
	}

	void listsFindByName_data()
	{
		QTest::addColumn<QByteArrayList>("queries");
		QTest::addColumn<bool>("found");
		QTest::newRow("no query") << QByteArrayList() << true;
		QTest::newRow("the namespace") << QByteArrayList{"base:"} << true;
		QTest::newRow("itself") << QByteArrayList{"base:allocation"} << true;
		QTest::newRow("among others") << QByteArrayList{"qemu:dirty-bitmap:x", "", "base:", "base:allocation"} << true;
		QTest::newRow("unknown") << QByteArrayList{"qemu:allocation-depth"} << false;
		QTest::newRow("part of it") << QByteArrayList{"base:alloc", "base", "allocation", "base:allocation2"} << false;
		QTest::newRow("an empty one") << QByteArrayList{""} << false;
	}
	void listsFindByName()
	{
		QFETCH(QByteArrayList, queries);
		QFETCH(bool, found);
		NbdRig rig;
		NbdClient client = greeted(rig);
		Wire data;
		data.u32(5).text("blank").u32(static_cast<uint32_t>(queries.size()));
		for (const QByteArray &query : queries) data.u32(static_cast<uint32_t>(query.size())).text(query.toStdString());
		const std::string one = Wire::optionReply(9, 4, Wire().u32(0).text("base:allocation").bytes()).bytes();
		QVERIFY(answers(client, Wire::option(9, data.bytes()), (found ? one : "") + Wire::optionReply(9, 1, "").bytes()));
		// A list chooses nothing.
		QVERIFY(client.goNow("blank"));
		QVERIFY(!tellsBlockStatus(client));
	}

	void whatIsChosenMayBeAsked()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"x:y", "base:allocation", "base:allocation"}), kChosen));
		QVERIFY(client.goNow("blank"));
		QVERIFY(tellsBlockStatus(client));
	}
	void byOldClientsToo()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:allocation"}), kChosen));
		QVERIFY(client.send(Wire::option(1, "blank")));
		QCOMPARE(client.receive(10).size(), size_t{10});
		QVERIFY(tellsBlockStatus(client));
	}
	void aNamespaceChoosesNothing()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:"}), kAcked));
		QVERIFY(client.goNow("blank"));
		QVERIFY(!tellsBlockStatus(client));
	}

	/// Each time it is set, what was chosen before is forgotten: whatever comes of it.
	void settingForgets_data()
	{
		QTest::addColumn<QByteArray>("then");
		const auto row = [](const char *name, const std::string &bytes) {
			QTest::newRow(name) << QByteArray(bytes.data(), static_cast<qsizetype>(bytes.size()));
		};
		row("nothing", Wire::metaContext("blank", {}));
		row("something unknown", Wire::metaContext("blank", {"x:y"}));
		row("another export", Wire::metaContext("ro", {"base:allocation"}));
		row("an export that is not there", Wire::metaContext("nothere", {"base:allocation"}));
		row("nonsense", Wire::option(10, "nonsense"));
	}
	void settingForgets()
	{
		QFETCH(QByteArray, then);
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:allocation"}), kChosen));
		QVERIFY(client.send(then.toStdString()));
		settle(rig);
		QVERIFY(client.goNow("blank") || client.goNow("blank")); // behind a refusal
		QVERIFY(!tellsBlockStatus(client));
	}
	/// What lies in between does not.
	void othersDoNotForget()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:allocation"}), kChosen));
		QVERIFY(client.send(Wire::go("ro", 6)));
		QCOMPARE(client.receive(32 + 34 + 20).size(), size_t{86});
		QVERIFY(refuses(client, Wire::go("nothere"), kUnknown));
		QVERIFY(refuses(client, Wire::option(5, ""), 0x80000001));
		QVERIFY(client.goNow("blank"));
		QVERIFY(tellsBlockStatus(client));
	}
	void itIsForOneExport()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:allocation"}), kChosen));
		QVERIFY(client.goNow("ro"));
		QVERIFY(!tellsBlockStatus(client));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 1; })); // the other is let go
	}

	void whatCannotBe()
	{
		NbdRig rig;
		NbdClient plain = greeted(rig, false);
		for (const uint32_t option : {9u, 10u}) QVERIFY(refuses(plain, Wire::metaContext("blank", {"base:"}, option), kInvalid));
		NbdClient client = greeted(rig);
		const std::vector<std::string> bad{
		    "",
		    "1234567",
		    Wire().u32(5).text("blank"),                                // no number of queries
		    Wire().u32(6).text("blank").u32(0),                         // the name over the end
		    Wire().u32(0xffffffff).text("blank").u32(0),                // far over the end
		    Wire().u32(5).text("blank").u32(1),                         // fewer queries than announced
		    Wire().u32(5).text("blank").u32(0xffffffff).u32(1).text("x"),
		    Wire().u32(5).text("blank").u32(1).u32(6).text("base:"),    // a query over the end
		    Wire().u32(5).text("blank").u32(1).u32(0xffffffff).text("base:"),
		    Wire().u32(5).text("blank").u32(0).text("x"),               // more
		};
		for (const uint32_t option : {9u, 10u}) {
			for (const std::string &data : bad) QVERIFY(refuses(client, Wire::option(option, data), kInvalid));
			QVERIFY(refuses(client, Wire::metaContext("nothere", {"base:allocation"}, option), kUnknown));
			QVERIFY(refuses(client, Wire::metaContext("", {"base:allocation"}, option), kUnknown));
			QVERIFY(refuses(client, Wire::metaContext("a/b", {}, option), kUnknown));
		}
		QVERIFY(client.goNow("blank"));
	}
	void thePolicyHoldsHereToo()
	{
		NbdRig rig(192u << 20, NbdExports::Opened);
		NbdClient client = greeted(rig);
		for (const uint32_t option : {9u, 10u}) QVERIFY(refuses(client, Wire::metaContext("ro", {}, option), kPolicy));
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:allocation"}), kChosen));
	}

	void whoLeavesInBetweenHoldsNothing()
	{
		NbdRig rig;
		NbdClient client = greeted(rig);
		QVERIFY(answers(client, Wire::metaContext("blank", {"base:allocation"}), kChosen));
		QCOMPARE(rig.composer->sessionCount(), size_t{1}); // open for the GO that follows
		client.close();
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}
};

QTEST_APPLESS_MAIN(MetaContextTest)
#include "tst_meta_context.moc"
