// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Negative controls of the crash tests: with a rule of MAP_FORMAT.md broken (tampering.h), the sweeps of tst_recovery must see
// it, and say what the model in tests/models says of that rule. With none broken they see nothing.
#include "tests/daemon/mapper/crash_runs.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

class TestControls : public QObject {
	Q_OBJECT
	Rig m_rig;

	/// What the first crash with a wrong outcome shows; empty when none does.
	QString found(BrokenRule rule, Cut how)
	{
		for (uint64_t step = 0;; ++step) {
			CrashRun run(m_rig, static_cast<unsigned>(step), true);
			run.world.tampering.rule = rule;
			const bool crashed = run.crash(step);
			run.cut(how);
			std::string wrong = run.recover();
			if (wrong.empty()) {
				run.cut(Cut::Power);
				wrong = run.recover();
				if (!wrong.empty()) wrong += " (shown before)";
			}
			if (!wrong.empty()) return QString("step %1: %2").arg(step).arg(QString::fromStdString(wrong));
			if (!crashed) return {};
		}
	}

private slots:
	void rule_data()
	{
		QTest::addColumn<int>("rule");
		QTest::addColumn<bool>("power");
		QTest::addRow("nothing is broken, kill") << int(BrokenRule::None) << false;
		QTest::addRow("nothing is broken, power") << int(BrokenRule::None) << true;
		QTest::addRow("ack-before-record") << int(BrokenRule::AckBeforeRecord) << false;
		QTest::addRow("journal-before-data") << int(BrokenRule::JournalBeforeData) << true;
		QTest::addRow("commit-covers-all") << int(BrokenRule::CommitCoversAll) << true;
		QTest::addRow("discard-removes-early") << int(BrokenRule::DiscardRemovesEarly) << true;
		QTest::addRow("trim-before-header") << int(BrokenRule::TrimBeforeHeader) << false;
		QTest::addRow("recovery-no-sync") << int(BrokenRule::RecoveryNoSync) << false;
		QTest::addRow("trust-uncommitted") << int(BrokenRule::TrustUncommitted) << true;
	}
	void rule()
	{
		QFETCH(int, rule);
		QFETCH(bool, power);
		const QString bug = found(BrokenRule(rule), power ? Cut::Power : Cut::Kill);
		if (BrokenRule(rule) == BrokenRule::None)
			QVERIFY2(bug.isEmpty(), qPrintable(bug));
		else
			QVERIFY2(!bug.isEmpty(), "nobody noticed");
		qInfo("%s", qPrintable(bug.isEmpty() ? "all is well" : "caught, " + bug));
	}
};

QTEST_GUILESS_MAIN(TestControls)
#include "tst_controls.moc"
