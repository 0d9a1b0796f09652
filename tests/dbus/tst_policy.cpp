// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The service on a bus of the system's type, with the policy file that is installed: only root is the service, everybody may
// look, nobody but root may touch. Runs as root; the other user is this program as nobody.
#include "tests/dbus/other_user.h"
#include "tests/dbus/private_bus.h"
#include "tests/dbus/verify.h"

#include <unistd.h>

using namespace archipelago;
using archipelago::testing::PrivateBus;
using archipelago::testing::writeFile;

class TestPolicy : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<PrivateBus> m_place; ///< for its directory
	QProcess m_daemon, m_service;
	QString m_address, m_program;

	QByteArray asNobody(const QString &path, const char *interface, const char *method) const
	{
		return archipelago::testing::callAsNobody(m_program, {m_address, path, QLatin1String(interface), QLatin1String(method)});
	}

private slots:
	void initTestCase()
	{
		if (geteuid() != 0) QSKIP("needs root, to own the name and to become somebody else");
		m_place = std::make_unique<PrivateBus>();
		m_address = QStringLiteral("unix:path=") + m_place->path("system-bus");
		// The stock policy of a system bus: nothing is allowed that is not allowed.
		writeFile(m_place->path("system.conf"),
		          QStringLiteral("<busconfig><type>system</type><listen>%1</listen><auth>EXTERNAL</auth><policy context=\"default\">"
		                         "<allow user=\"*\"/><deny own=\"*\"/><deny send_type=\"method_call\"/><allow send_type=\"signal\"/>"
		                         "<allow send_requested_reply=\"true\" send_type=\"method_return\"/><allow send_requested_reply=\"true\" send_type=\"error\"/>"
		                         "<allow receive_type=\"method_call\"/><allow receive_type=\"method_return\"/><allow receive_type=\"error\"/><allow receive_type=\"signal\"/>"
		                         "<allow send_destination=\"org.freedesktop.DBus\"/></policy><include>%2</include></busconfig>")
		              .arg(m_address, QStringLiteral(POLICY_FILE)).toUtf8());
		m_daemon.start(QStringLiteral("dbus-daemon"), {QStringLiteral("--config-file=") + m_place->path("system.conf"), QStringLiteral("--nofork"),
		                                               QStringLiteral("--nopidfile"), QStringLiteral("--nosyslog"), QStringLiteral("--print-address=1")});
		QVERIFY(m_daemon.waitForReadyRead(20'000));
		m_program = archipelago::testing::copyForNobody(m_place->dir());
		writeFile(m_place->path("archipelago.conf"), "");
		QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
		environment.insert(QStringLiteral("DBUS_SYSTEM_BUS_ADDRESS"), m_address);
		m_service.setProcessEnvironment(environment);
		m_service.setProcessChannelMode(QProcess::MergedChannels);
		m_service.start(QStringLiteral(ARCHIPELAGOD), {QStringLiteral("--trial"), QStringLiteral("--dir"), m_place->dir(), QStringLiteral("--bus"),
		                                               QStringLiteral("system"), QStringLiteral("--ready-fd"), QStringLiteral("1")});
		// 1 is refused: the descriptor must not be one of the standard ones.
		QVERIFY(m_service.waitForFinished(20'000));
		QCOMPARE(m_service.exitCode(), 2);
		m_service.start(QStringLiteral(ARCHIPELAGOD), {QStringLiteral("--trial"), QStringLiteral("--dir"), m_place->dir(), QStringLiteral("--bus"), QStringLiteral("system")});
		QVERIFY(m_service.waitForReadyRead(20'000)); // it logs that it serves, right before it is ready
	}
	void cleanupTestCase()
	{
		m_service.kill();
		m_service.waitForFinished();
		m_daemon.kill();
		m_daemon.waitForFinished();
	}

	void everybodyMayLook()
	{
		const QString root = QLatin1String(dbus::kRootPath);
		QCOMPARE(asNobody(root, dbus::kObjectManagerInterface, "GetManagedObjects"), QByteArray("ok"));
		QCOMPARE(asNobody(root, dbus::kPropertiesInterface, "GetAll"), QByteArray("ok"));
		QCOMPARE(asNobody(root, "org.freedesktop.DBus.Introspectable", "Introspect"), QByteArray("ok"));
		QCOMPARE(asNobody(root, dbus::kManagerInterface, "CheckConfig"), QByteArray("ok"));
	}

	void onlyRootMayTouch()
	{
		const QByteArray refused = asNobody(QLatin1String(dbus::kRootPath), dbus::kManagerInterface, "Start");
		QVERIFY2(refused.startsWith("E-DENIED"), refused.constData());
		const auto bus = dbus::Bus::connect(m_address);
		VERIFY_OK(bus);
		// As root it gets as far as the peers: there is no directory for them here.
		const auto start = dbus::wait<QVariantList>([&](auto done) {
			(*bus)->call(QLatin1String(dbus::kRootPath), QLatin1String(dbus::kManagerInterface), QStringLiteral("Start"), {QStringList(), QVariantMap()}, done);
		});
		VERIFY_OK(start);
	}

	void nobodySetsProperties()
	{
		const QByteArray refused = asNobody(QLatin1String(dbus::kRootPath), dbus::kPropertiesInterface, "Set");
		QVERIFY2(refused.startsWith("E-DENIED"), refused.constData()); // by the bus
	}

	void nobodyElseIsTheService()
	{
		QCOMPARE(asNobody(QString(), "own", "org.archipelago.Archipelago1"), QByteArray("refused"));
	}
};

int main(int argc, char **argv)
{
	QCoreApplication app(argc, argv);
	if (const auto status = archipelago::testing::actAsNobody(QCoreApplication::arguments())) return *status;
	TestPolicy test;
	return QTest::qExec(&test, argc, argv);
}

#include "tst_policy.moc"
