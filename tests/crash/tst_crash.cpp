// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The crash checker over recorded runs, and the negative controls that show that it sees. Ten runs; with ARCHIPELAGO_SOAK=1
// two hundred. ARCHIPELAGO_SEED=N begins with run N: each problem names the seed of its run.
#include "tests/crash/checker.h"

#include "daemon/base/log.h"

#include <QtTest>

#include <cstdlib>

using namespace archipelago;
using namespace archipelago::testing;
using store::Fault;
using store::FaultStore;

class TestCrash : public QObject {
	Q_OBJECT

private slots:
	/// Each kill makes the mapper complain, rightly.
	void initTestCase()
	{
		for (const char *role : {"blockerb", "blockerm", "mapperd", "vlmcd"}) roleLogger(role)->set_level(spdlog::level::off);
	}

	void everyRunSurvivesEveryCut()
	{
		const char *named = std::getenv("ARCHIPELAGO_SEED");
		const uint64_t first = named ? std::strtoull(named, nullptr, 10) : 1;
		const uint64_t runs = std::getenv("ARCHIPELAGO_SOAK") ? 200 : 10;
		for (uint64_t seed = first; seed < first + runs; ++seed) {
			std::string counts;
			const auto problems = playAndCheck(seed, nullptr, &counts);
			qInfo("%s", counts.c_str());
			for (const std::string &problem : problems) qWarning("seed %llu: %s", static_cast<unsigned long long>(seed), problem.c_str());
			QVERIFY(problems.empty());
		}
	}

	/// Rules that can be broken between mapper and stores, each with a lie of a store or one moment that is wrong.
	void brokenRulesAreSeen_data()
	{
		QTest::addColumn<Tamper>("tamper");
		const auto row = [](Tamper tamper) { QTest::newRow(tamper.rule.c_str()) << tamper; };
		using W = Fault::What;

		Tamper t;
		t.rule = "journal-before-data: the COMMIT is written, the data was not synced";
		t.always = [](FaultStore &blocks, FaultStore &) { blocks.add(fault(W::Lie, Op::ObjSyncVolume)); };
		row(t);
		t.rule = "a flush without a durable COMMIT";
		t.always = [](FaultStore &, FaultStore &maps) { maps.add(fault(W::Lie, Op::ObjSync, ObjectKind::Journal)); };
		row(t);
		t.rule = "ack-before-record: a first write is acknowledged, its record is not written";
		t.always = [](FaultStore &, FaultStore &maps) {
			maps.add(fault(W::AnswerEarly, Op::ObjWrite, ObjectKind::Journal));
			maps.add(fault(W::AnswerEarly, Op::ObjCreate, ObjectKind::Journal));
		};
		row(t);
		t.rule = "recovery-no-sync: what is shown was not synced";
		t.always = [](FaultStore &blocks, FaultStore &) { blocks.add(fault(W::Lie, Op::ObjSyncAll)); };
		row(t);
		t = Tamper();
		t.rule = "trim-before-header: the journal goes before the header that replaces it is there";
		t.beforeClose = [](FaultStore &, FaultStore &maps) { maps.add(fault(W::AnswerEarly, Op::ObjWriteFull, ObjectKind::Header)); };
		row(t);
		t = Tamper();
		t.rule = "trust-uncommitted: records behind the last COMMIT count after a power cut";
		t.sameBoot = true;
		row(t);
	}
	/// A block is written, flushed, discarded, flushed; its object is removed. Whatever a power cut leaves then, it reads
	/// zeros. Broken: the second flush was answered without its COMMIT [discard-removes-early]; the map may name what is gone.
	void discardedBlocksDoNotGoMissing()
	{
		for (const bool broken : {false, true}) {
			Rig rig;
			NodeClient client(rig);
			store::Recording recording;
			NodeOptions options;
			options.recording = &recording;
			options.mapper = Run::mapperOptions();
			{
				Disks disks;
				Node node(rig, disks, options);
				QCOMPARE(client.create("volume", Run::kVolumeBytes), 0);
				const auto session = static_cast<xseg::PortNo>(client.attach("volume"));
				QCOMPARE(client.call(client.io(Op::VolWrite, 0, 4096), session)->status, 0);
				QCOMPARE(client.call(client.io(Op::VolFlush, 0, 0), session)->status, 0);
				if (broken) {
					node.maps().add(fault(Fault::What::AnswerEarly, Op::ObjWrite, ObjectKind::Journal));
					node.maps().add(fault(Fault::What::Lie, Op::ObjSync, ObjectKind::Journal));
				}
				QCOMPARE(client.call(client.io(Op::VolTrim, 0, kBlockBytes), session)->status, 0);
				QCOMPARE(client.call(client.io(Op::VolFlush, 0, 0), session)->status, 0);
				settle(rig);
			}
			QVERIFY(std::ranges::any_of(recording, [](const store::Step &s) {
				return s.op == Op::ObjRemove && s.id.kind == ObjectKind::Data;
			}));
			Medium medium;
			for (const store::Step &step : recording) medium[step.store].apply(step);
			std::mt19937_64 random(4);
			int missing = 0;
			for (int i = 0; i < 20; ++i) {
				Disks disks(rig, cutPower(medium, random));
				options.recording = nullptr;
				(*options.mapper.bootId)[15] = static_cast<uint8_t>(i + 1);
				Node node(rig, disks, options);
				const auto session = static_cast<xseg::PortNo>(client.attach("volume"));
				const auto reply = client.call(client.io(Op::VolRead, 0, 4096), session);
				missing += reply->status != 0;
				if (!broken) QCOMPARE(versionOf(reply.data().first(kSectorBytes)), std::optional<uint64_t>(0));
			}
			QCOMPARE(missing > 0, broken);
		}
	}

	void brokenRulesAreSeen()
	{
		QFETCH(Tamper, tamper);
		std::string shown;
		QVERIFY2(seedThatShows(tamper, 30, shown), shown.c_str());
		qInfo("%s", shown.c_str());
	}
};

QTEST_APPLESS_MAIN(TestCrash)
#include "tst_crash.moc"
