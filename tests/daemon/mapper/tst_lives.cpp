// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// 500 lives of random work (writes, trims, flushes; checkpoints and evictions by themselves) on a few volumes: each ends at a
// random step by a kill or a power cut, some again in their recovery, some see an error before. After each the volume opens
// without help and keeps what was promised (crash_runs.h).
//
// ARCHIPELAGO_TEST_SEED and ARCHIPELAGO_TEST_ROUNDS make other ones, and more.
#include "tests/daemon/mapper/crash_runs.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

class TestLives : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void random_lives()
	{
		constexpr int kLivesOfAVolume = 10;
		const unsigned seed = qEnvironmentVariableIntValue("ARCHIPELAGO_TEST_SEED");
		const int wanted = qEnvironmentVariableIntValue("ARCHIPELAGO_TEST_ROUNDS"), rounds = wanted ? wanted : 500;
		int stopped = 0;
		for (int round = 0; round < rounds;) {
			CrashRun run(m_rig, seed + static_cast<unsigned>(round), true);
			for (int life = 0; life < kLivesOfAVolume && round < rounds; ++life, ++round) {
				std::mt19937 &random = run.random();
				if (random() % 4 == 0) {
					run.world.failStep = run.world.steps + random() % 100;
					run.world.failure = World::Failure(random() % 2);
					run.world.failCode = random() % 2 ? ErrorCode::Io : ErrorCode::NoSpace;
				}
				stopped += run.crashAtRandom(1 + random() % 200, 60);
				run.world.failStep = ~0ull;
				run.cut(random() % 2 ? Cut::Power : Cut::Kill);
				for (unsigned crashes = random() % 4 ? 0 : 3; crashes; --crashes) {
					run.crashInRecovery(random() % 16);
					run.cut(random() % 2 ? Cut::Power : Cut::Kill);
				}
				const QString wrong = QString::fromStdString(run.recover());
				QVERIFY2(wrong.isEmpty(), qPrintable(QString("round %1, seed %2: %3").arg(round).arg(seed).arg(wrong)));
			}
		}
		QVERIFY(stopped > rounds / 3); // the others came to their end before their step
		qInfo("%d lives, %d of them cut short", rounds, stopped);
	}
};

QTEST_GUILESS_MAIN(TestLives)
#include "tst_lives.moc"
