// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The service with the real archip-host: what both sides of the host protocol, the segment and the mapper make of each other.
#include "tests/dbus/service_rig.h"
#include "tests/dbus/verify.h"

using namespace archipelago;
using archipelago::testing::kTwoHosts;
using archipelago::testing::ServiceRig;
using archipelago::testing::StateRecorder;

class TestRealHosts : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<ServiceRig> m_rig;

	QStringList names()
	{
		QStringList out;
		const auto list = dbus::wait<QList<dbus::VolumeInfo>>([this](auto done) { m_rig->manager().listVolumes({}, done); });
		if (!list) return {QString::fromStdString(list.error().message)};
		for (const dbus::VolumeInfo &volume : *list) out.append(volume.name);
		return out;
	}

private slots:
	void init()
	{
		m_rig = std::make_unique<ServiceRig>(kTwoHosts);
		QVERIFY(m_rig->launch());
	}
	void cleanup()
	{
		if (QTest::currentTestFailed()) {
			if (m_rig->service) m_rig->service->terminate();
			if (m_rig->service) m_rig->service->waitForFinished();
			if (m_rig->service) qInfo("%s", m_rig->service->readAll().constData());
			for (const char *log : {"log/store.log", "log/front.log"})
				qInfo("%s:\n%s", log, archipelago::testing::readFile(m_rig->bus.path(log)).constData());
		}
		m_rig.reset();
	}

	void startsInOrderAndStopsInReverse()
	{
		StateRecorder recorder(m_rig->client->connection());
		VERIFY_OK(m_rig->start());
		QVERIFY(QTest::qWaitFor([&] { return recorder.only(QStringLiteral("running")).size() == 1; }, 20'000));
		const QStringList order{QStringLiteral("blockerb"), QStringLiteral("blockerm"), QStringLiteral("mapperd"), QStringLiteral("vlmcd"), QStringLiteral("nbd")};
		QCOMPARE(recorder.only(QStringLiteral("up")), order);
		VERIFY_OK(m_rig->stop());
		QVERIFY(QTest::qWaitFor([&] { return recorder.only(QStringLiteral("stopped")).size() == 6; }, 20'000));
		QStringList reverse = order;
		std::reverse(reverse.begin(), reverse.end());
		QCOMPARE(recorder.only(QStringLiteral("stopping")).mid(1), reverse);
		QCOMPARE(m_rig->hostsWithPid(), QStringList());
	}

	void aMissingDirectoryIsNamedAndNothingRuns()
	{
		const auto failed = m_rig->start({}, {});
		QVERIFY(!failed.has_value());
		VERIFY_SAYS(failed, "blockerb");
		VERIFY_SAYS(failed, "/blocks");
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->hostsWithPid(), QStringList());
		VERIFY_OK(m_rig->start());
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
	}

	void volumesOutliveRestarts()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 10 << 20));
		VERIFY_ERROR(m_rig->create("web", 10 << 20), ErrorCode::Exists);
		VERIFY_OK(m_rig->create("db", quint64(1) << 46));
		QCOMPARE(names(), (QStringList{QStringLiteral("db"), QStringLiteral("web")}));
		auto web = m_rig->volume("web");
		VERIFY_OK(dbus::wait<void>([&](auto done) { web.open(done); }));
		QVERIFY(dbus::wait<dbus::VolumeInfo>([&](auto done) { web.info(done); })->opened);
		VERIFY_ERROR(m_rig->run([&](auto events) { web.remove(events); }), ErrorCode::Busy);

		VERIFY_OK(m_rig->restart());
		QCOMPARE(names(), (QStringList{QStringLiteral("db"), QStringLiteral("web")}));
		const auto info = dbus::wait<dbus::VolumeInfo>([&](auto done) { web.info(done); });
		VERIFY_OK(info);
		QCOMPARE(info->sizeBytes, quint64(10 << 20));
		QCOMPARE(info->id.size(), 32);
		// An explicit open is made again, in its own time.
		QVERIFY(QTest::qWaitFor([&] { return dbus::wait<dbus::VolumeInfo>([&](auto done) { web.info(done); })->opened; }, 10'000));
		VERIFY_OK(dbus::wait<void>([&](auto done) { web.close(done); }));
		VERIFY_ERROR(dbus::wait<void>([&](auto done) { web.close(done); }), ErrorCode::NotOpen);
		VERIFY_OK(m_rig->run([&](auto events) { web.remove(events); }));
		QCOMPARE(names(), QStringList{QStringLiteral("db")});
		VERIFY_ERROR(dbus::wait<dbus::VolumeInfo>([&](auto done) { web.info(done); }), ErrorCode::NotFound);
	}

	void aKilledHostComesBackByItself_data()
	{
		QTest::addColumn<QString>("host");
		QTest::newRow("store") << QStringLiteral("store");
		QTest::newRow("front") << QStringLiteral("front");
	}
	void aKilledHostComesBackByItself()
	{
		QFETCH(const QString, host);
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 4096));
		auto web = m_rig->volume("web");
		VERIFY_OK(dbus::wait<void>([&](auto done) { web.open(done); }));
		const int before = m_rig->hostPid(host), other = m_rig->hostPid(host == QLatin1String("store") ? QStringLiteral("front") : QStringLiteral("store"));
		m_rig->killHost(host);
		QVERIFY(QTest::qWaitFor([&] { return m_rig->hostPid(host) != before && m_rig->info().state == QLatin1String("running"); }, 20'000));
		QCOMPARE(m_rig->info().verdict, QString());
		QCOMPARE(m_rig->hostPid(host == QLatin1String("store") ? QStringLiteral("front") : QStringLiteral("store")), other);
		QCOMPARE(names(), QStringList{QStringLiteral("web")});
		// An explicit open outlives the mapper that held it.
		QVERIFY(QTest::qWaitFor([&] { return dbus::wait<dbus::VolumeInfo>([&](auto done) { web.info(done); }).value_or(dbus::VolumeInfo()).opened; }, 20'000));
	}

	void hostsOfADeadServiceAreTakenOver()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 4096));
		const int store = m_rig->hostPid(QStringLiteral("store")), front = m_rig->hostPid(QStringLiteral("front"));
		for (int round = 0; round < 3; round++) {
			m_rig->kill();
			QVERIFY(m_rig->launch());
			QCOMPARE(m_rig->info().state, QStringLiteral("running"));
			QCOMPARE(m_rig->info().verdict, QString());
			QCOMPARE(names(), QStringList{QStringLiteral("web")});
			QCOMPARE(m_rig->peer("mapperd").pid, uint(front));
			QCOMPARE(m_rig->peer("blockerb").pid, uint(store));
		}
		// In full charge: death is noticed, orders are obeyed.
		m_rig->killHost(QStringLiteral("store"));
		QVERIFY(QTest::qWaitFor([&] { return m_rig->hostPid(QStringLiteral("store")) != store && m_rig->info().state == QLatin1String("running"); }, 20'000));
		VERIFY_OK(m_rig->create("db", 4096));
		VERIFY_OK(m_rig->restart({QStringLiteral("vlmcd")}));
		QCOMPARE(m_rig->hostPid(QStringLiteral("front")), front);
		VERIFY_OK(m_rig->stop());
		QCOMPARE(m_rig->hostsWithPid(), QStringList());
		VERIFY_OK(m_rig->start());
		QCOMPARE(names(), (QStringList{QStringLiteral("db"), QStringLiteral("web")}));
	}

	void aRoleStoppedBeforeATakeOverStaysSo()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->stop({QStringLiteral("vlmcd")}));
		m_rig->kill();
		QVERIFY(m_rig->launch());
		QCOMPARE(m_rig->peer("vlmcd").state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->peer("mapperd").state, QStringLiteral("up"));
		VERIFY_OK(m_rig->start());
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
	}

	void everyRoleDrainsAndComesBack()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 4096));
		const int store = m_rig->hostPid(QStringLiteral("store")), front = m_rig->hostPid(QStringLiteral("front"));
		for (int round = 0; round < 3; round++) {
			for (const char *role : {"blockerb", "blockerm", "mapperd", "vlmcd", "nbd"}) {
				VERIFY_OK(m_rig->restart({QString::fromLatin1(role)}));
				QCOMPARE(m_rig->info().state, QStringLiteral("running"));
				QCOMPARE(names(), QStringList{QStringLiteral("web")});
			}
		}
		QCOMPARE(m_rig->hostPid(QStringLiteral("store")), store);
		QCOMPARE(m_rig->hostPid(QStringLiteral("front")), front);
	}
};

QTEST_GUILESS_MAIN(TestRealHosts)
#include "tst_real_hosts.moc"
