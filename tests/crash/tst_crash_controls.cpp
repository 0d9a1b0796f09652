// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Negative controls of the crash checker for the rules that are decisions of the mapper itself: the mapper here is the one whose
// rules can be broken (daemon/mapper/rule.h). With each of them broken the checker must see what the rule prevents; with none
// of them broken the very run that showed it is clean.
#include "tests/crash/checker.h"

#include "daemon/base/log.h"
#include "daemon/mapper/rule.h"

#include <QtTest>

using namespace archipelago;
using namespace archipelago::testing;
using mapper::Rule;

namespace {

constexpr uint64_t kRuns = 30; ///< in which a broken rule must show

struct Control {
	Rule rule;
	Tamper tamper; ///< its name, what it shows, and what else has to be so
};

} // namespace

class TestCrashControls : public QObject {
	Q_OBJECT

private slots:
	void initTestCase()
	{
		for (const char *role : {"blockerb", "blockerm", "mapperd", "vlmcd"}) roleLogger(role)->set_level(spdlog::level::off);
	}
	void cleanup() { mapper::brokenRule.reset(); }

	void brokenRulesAreSeen_data()
	{
		QTest::addColumn<Control>("control");
		Work discards; // blocks are discarded and written again, many times in one open
		discards.trims = 30;
		discards.creates = discards.removes = discards.restarts = discards.kills = discards.powerCuts = 1;
		Work reopens = discards; // and in the next
		reopens.restarts = reopens.kills = 8;
		const Tamper::Faults slowSyncs = [](store::FaultStore &blocks, store::FaultStore &) { // work goes on during a flush
			store::Fault slow = fault(store::Fault::What::HoldAnswer, Op::ObjSyncVolume);
			slow.delayMs = 1;
			blocks.add(slow);
		};
		const Tamper::Faults createsOver = [](store::FaultStore &blocks, store::FaultStore &) {
			blocks.add(fault(store::Fault::What::CreateOver, Op::ObjCreate, ObjectKind::Data));
		};
		const Tamper::Faults removalsLost = [createsOver](store::FaultStore &blocks, store::FaultStore &maps) {
			createsOver(blocks, maps);
			blocks.add(fault(store::Fault::What::Lie, Op::ObjRemove, ObjectKind::Data));
		};
		const auto row = [](const char *name, Rule rule, const char *shows, const Work &work, const Tamper::Faults &always) {
			Control control;
			control.rule = rule;
			control.tamper.rule = name;
			control.tamper.shows = shows;
			control.tamper.work = work;
			control.tamper.always = always;
			QTest::newRow(name) << control;
		};
		// What is durable names what is not: E-MISSING (19).
		row("commit-covers-all", Rule::CommitCoversAll, "(status -19)", discards, slowSyncs);
		row("checkpoint-memory", Rule::CheckpointMemory, "(status -19)", discards, slowSyncs);
		// The journal is not its header's: E-CORRUPT (18). So is a first write whose object is there already.
		row("recovery-same-journal", Rule::RecoverySameJournal, "cannot be opened: -18", Work(), {});
		row("open-keeps-epoch", Rule::OpenKeepsEpoch, "-18", reopens, {});
		row("discard-keeps-epoch", Rule::DiscardKeepsEpoch, "I/O fails with -18", discards, {});
		// Stores that would make objects anew show why names are used once: it is removed, or holds what was there before.
		row("discard-keeps-epoch, not refused", Rule::DiscardKeepsEpoch, "I/O fails with -19", discards, createsOver);
		row("reuse-no-truncate", Rule::DiscardKeepsEpoch, "(status 0)", discards, removalsLost);
	}
	void brokenRulesAreSeen()
	{
		QFETCH(Control, control);
		mapper::brokenRule = control.rule;
		std::string shown;
		const uint64_t seed = seedThatShows(control.tamper, kRuns, shown);
		QVERIFY2(seed, shown.c_str());
		qInfo("%s", shown.c_str());
		// It was the rule, and not what else is so in this run.
		mapper::brokenRule.reset();
		const auto problems = playAndCheck(seed, &control.tamper, nullptr);
		QVERIFY2(problems.empty(), problems.empty() ? "" : problems.front().c_str());
	}
};

QTEST_APPLESS_MAIN(TestCrashControls)
#include "tst_crash_controls.moc"
