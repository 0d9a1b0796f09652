// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// When a host that ended is to be started again.
#include "dbus/service/restarts.h"

#include <QtTest>

using namespace archipelago::service;

namespace {

const QString kData = QStringLiteral("data"), kFront = QStringLiteral("front");

} // namespace

class TestRestarts : public QObject {
	Q_OBJECT

private slots:
	void theFirstThreeAreAtOnceAndTheNextOnesWait()
	{
		int due = 0;
		Restarts restarts([&due] { due++; });
		QList<int> waits;
		for (int i = 0; i < 12; i++) waits.append(restarts.ended(kData));
		QCOMPARE(waits, (QList<int>{0, 0, 0, 100, 200, 500, 1'000, 2'000, 5'000, 10'000, 30'000, 30'000}));
		QCOMPARE(restarts.tries(kData), 11);
		QCOMPARE(restarts.secondsLeft(kData), 30);
		QCOMPARE(due, 0);
		QCOMPARE(restarts.take(), QString());
	}

	void whatIsDueIsTakenOnce()
	{
		int due = 0;
		Restarts restarts([&due] { due++; });
		restarts.ended(kData);
		restarts.ended(kFront);
		QVERIFY(QTest::qWaitFor([&due] { return due == 2; }, 10'000));
		QCOMPARE(restarts.take(), kData);
		QCOMPARE(restarts.take(), kFront);
		QCOMPARE(restarts.take(), QString());
	}

	void oneThatStayedUpIsAsGoodAsNew()
	{
		Restarts restarts([] {});
		for (int i = 0; i < 3; i++) restarts.ended(kData);
		restarts.up(kData);
		QCOMPARE(restarts.ended(kData), 100); // at once again: it was up for no time
		restarts.up(kData);
		QElapsedTimer time;
		time.start();
		QVERIFY(QTest::qWaitFor([&time] { return time.elapsed() > 300; }, 10'000)); // what is tested is that time passes
		QCOMPARE(restarts.ended(kData), 0);
	}

	void whatWasStoppedIsForgotten()
	{
		int due = 0;
		Restarts restarts([&due] { due++; });
		restarts.ended(kData);
		restarts.forget(kData);
		restarts.ended(kFront);
		QVERIFY(QTest::qWaitFor([&due] { return due == 1; }, 10'000));
		QCOMPARE(restarts.take(), kFront);
		QVERIFY(!restarts.knows(kData));
		QCOMPARE(restarts.ended(kData), 0);
	}
};

QTEST_GUILESS_MAIN(TestRestarts)
#include "tst_restarts.moc"
