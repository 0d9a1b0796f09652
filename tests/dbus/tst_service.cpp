// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelagod as a process, from outside: through the client library on a private bus, with a host program that can be told
// to misbehave (fake_host.cpp). What an operator may do wrong gets its error and changes nothing; what dies is noticed.
#include "tests/dbus/other_user.h"
#include "tests/dbus/service_rig.h"
#include "tests/dbus/verify.h"

#include <QDateTime>
#include <QXmlStreamReader>

#include <sys/file.h>

using namespace archipelago;
using archipelago::testing::kTwoHosts;
using archipelago::testing::ServiceRig;
using archipelago::testing::StateRecorder;
using archipelago::testing::readFile;
using archipelago::testing::writeFile;

namespace {

/// Elements and attributes of an interface, without comments and blanks.
QStringList shapeOf(const QString &xml, const QString &interface)
{
	QStringList out;
	QXmlStreamReader reader(xml);
	bool inside = false;
	while (!reader.atEnd()) {
		reader.readNext();
		if (reader.isStartElement()) {
			if (reader.name() == QLatin1String("interface")) inside = reader.attributes().value(QLatin1String("name")) == interface;
			if (!inside) continue;
			QStringList attributes;
			for (const auto &a : reader.attributes()) attributes.append(a.name().toString() + QLatin1Char('=') + a.value().toString());
			attributes.sort();
			out.append(reader.name().toString() + QLatin1Char(' ') + attributes.join(QLatin1Char(' ')));
		}
		if (reader.isEndElement() && reader.name() == QLatin1String("interface")) inside = false;
	}
	return out;
}

Result<void> waitVoid(const std::function<void(dbus::Done<void>)> &start)
{
	return dbus::wait<void>(start);
}

} // namespace

class TestService : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<ServiceRig> m_rig;

	/// Runs an event loop until `what` holds, looking again at each signal of the service.
	bool becomes(const std::function<bool()> &what)
	{
		return QTest::qWaitFor(what, 20'000);
	}
	Result<dbus::StatsSnapshot> stats()
	{
		return dbus::wait<dbus::StatsSnapshot>([this](auto done) { m_rig->manager().stats(done); });
	}
	Result<dbus::StatsSnapshot> statsOf(const char *volume)
	{
		return dbus::wait<dbus::StatsSnapshot>([&](auto done) { m_rig->volume(volume).stats(done); });
	}

private slots:
	void init()
	{
		m_rig = std::make_unique<ServiceRig>(kTwoHosts, QStringLiteral(FAKE_HOST));
		QVERIFY(m_rig->launch());
	}
	void cleanup()
	{
		if (QTest::currentTestFailed() && m_rig->service) {
			m_rig->service->terminate();
			m_rig->service->waitForFinished();
			qInfo("%s", m_rig->service->readAll().constData());
		}
		m_rig.reset();
	}

	// ---- the bus

	void introspectionIsTheCommittedXml_data()
	{
		QTest::addColumn<QString>("path");
		QTest::newRow("Manager") << QString::fromLatin1(dbus::kRootPath);
		QTest::newRow("Peer") << dbus::peerPath(QStringLiteral("mapperd"));
		QTest::newRow("Volume") << dbus::volumePath(QStringLiteral("web"));
		QTest::newRow("Job") << QString::fromLatin1(dbus::kJobsPath) + QStringLiteral("/1");
	}
	void introspectionIsTheCommittedXml()
	{
		QFETCH(const QString, path);
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 1 << 20));
		const QString interface = QStringLiteral("org.archipelago.Archipelago1.") + QString::fromLatin1(QTest::currentDataTag());
		const auto answer = m_rig->callRaw(qPrintable(path), "org.freedesktop.DBus.Introspectable", "Introspect", {});
		VERIFY_OK(answer);
		const QString committed = QString::fromUtf8(readFile(QStringLiteral(INTERFACES_DIR "/") + interface + QStringLiteral(".xml")));
		QVERIFY(shapeOf(committed, interface).size() > 3);
		QCOMPARE(shapeOf(answer->first().toString(), interface), shapeOf(committed, interface));
	}

	void everyPropertyIsThereAndNoneCanBeSet()
	{
		const auto all = dbus::wait<QVariantMap>([this](auto done) { m_rig->client->properties(QLatin1String(dbus::kRootPath), QLatin1String(dbus::kManagerInterface), done); });
		VERIFY_OK(all);
		QCOMPARE(all->keys(), (QStringList{QStringLiteral("Capabilities"), QStringLiteral("ConfigPath"), QStringLiteral("NbdSocket"),
		                                   QStringLiteral("State"), QStringLiteral("Verdict"), QStringLiteral("Version")}));
		const auto set = m_rig->callRaw(dbus::kRootPath, dbus::kPropertiesInterface, "Set",
		                                {QLatin1String(dbus::kManagerInterface), QStringLiteral("State"), QVariant::fromValue(QDBusVariant(QStringLiteral("running")))});
		QVERIFY(!set.has_value());
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
	}

	// ---- counters

	void countersAreThereWhileThePeersRun()
	{
		const auto before = stats();
		VERIFY_OK(before);
		QVERIFY(before->timeUs > 0 && before->ports.isEmpty());
		VERIFY_ERROR(statsOf("web"), ErrorCode::Peer);

		m_rig->behave(R"({"counted": "web"})");
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 1 << 20));
		VERIFY_OK(m_rig->create("other", 1 << 20));
		const auto all = stats();
		VERIFY_OK(all);
		QVERIFY(all->timeUs >= before->timeUs);
		QStringList names;
		for (const dbus::SubjectStats &subject : dbus::bySubject(*all)) names.append(subject.kind + QLatin1Char(' ') + subject.name);
		QCOMPARE(names, (QStringList{QStringLiteral("role blockerb"), QStringLiteral("role blockerm"), QStringLiteral("role mapperd"),
		                             QStringLiteral("role vlmcd"), QStringLiteral("volume web")}));
		const auto isMapper = [](const dbus::PortStats &port) { return port.name == QLatin1String("mapperd"); };
		const auto mapper = std::ranges::find_if(all->ports, isMapper);
		QCOMPARE(mapper->port, 1001u);
		QVERIFY(mapper->bound && mapper->generation > 0);
		QCOMPARE(mapper->ops[0].ops, quint64(1));
		QCOMPARE(mapper->ops[0].inFlight, quint64(2));
		const auto now = static_cast<quint64>(QDateTime::currentMSecsSinceEpoch()) * 1000;
		QVERIFY(mapper->sinceUs <= now && mapper->sinceUs > now - 600'000'000);

		const auto web = statsOf("web");
		VERIFY_OK(web);
		QCOMPARE(web->ports.size(), 1);
		const dbus::PortStats &port = web->ports.first();
		QCOMPARE(port.id, QStringLiteral("01").repeated(16));
		QVERIFY(!port.bound);
		QCOMPARE(port.ops[0].ops, quint64(7));
		QCOMPARE(port.ops[0].bytes, quint64(7 * 4096));
		QCOMPARE(port.ops[0].meanNs(), quint64(100'000));
		QCOMPARE(port.ops[0].latency[28], uint64_t(7));
		QCOMPARE(port.ops[0].inFlight, quint64(0)); // nobody has the port
		QCOMPARE(port.ops[1].ops, quint64(0));

		const auto other = statsOf("other");
		VERIFY_OK(other);
		QVERIFY(other->ports.isEmpty());
		VERIFY_ERROR(statsOf("nobody"), ErrorCode::NotFound);
		VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, dbus::kManagerInterface, "GetStats", {QVariantMap{{QStringLiteral("x"), 1}}}), ErrorCode::Invalid);
		VERIFY_OK(m_rig->stop());
		const auto after = stats();
		VERIFY_OK(after);
		QVERIFY(after->ports.isEmpty());
	}

	/// A host that writes anything to the counters: the service passes on what has the form of counters, and goes on.
	void countersMayBeAnyBytes()
	{
		for (int seed = 1; seed <= 3; seed++) {
			m_rig->behave("{\"scribble\": " + QByteArray::number(seed) + "}");
			VERIFY_OK(m_rig->start());
			VERIFY_OK(m_rig->create("web", 1 << 20));
			const auto all = stats();
			VERIFY_OK(all);
			QVERIFY(all->ports.size() > 100); // else it had nothing to look at
			for (const dbus::PortStats &port : all->ports) {
				QVERIFY(port.port < 2048 && port.generation % 2 == 0);
				QVERIFY(port.kind == QLatin1String("volume") || port.kind == QLatin1String("role"));
			}
			dbus::bySubject(dbus::difference(*all, *stats()));
			VERIFY_OK(statsOf("web"));
			QCOMPARE(m_rig->info().state, QStringLiteral("running"));
			VERIFY_OK(m_rig->stop());
		}
	}

	void nonsenseIsRefused()
	{
		VERIFY_ERROR(m_rig->callRaw("/org/archipelago/Archipelago1/peers/nobody", dbus::kPeerInterface, "X", {}), ErrorCode::NotFound);
		VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, dbus::kManagerInterface, "Explode", {}), ErrorCode::Unsupported);
		VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, "org.example.Other", "Start", {}), ErrorCode::Unsupported);
		VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, dbus::kManagerInterface, "Start", {42}), ErrorCode::Invalid);
		VERIFY_ERROR(m_rig->callRaw("/org/archipelago/Archipelago1/volumes/a_b", dbus::kVolumeInterface, "GetInfo", {QVariantMap()}), ErrorCode::NotFound);
		VERIFY_ERROR(m_rig->callRaw("/org/archipelago/Archipelago1/volumes/a/b", dbus::kVolumeInterface, "GetInfo", {QVariantMap()}), ErrorCode::NotFound);
	}

	void unknownOptionsAreInvalid()
	{
		const QVariantMap wrong{{QStringLiteral("froce"), true}}, mistyped{{QStringLiteral("force"), QStringLiteral("yes")}};
		VERIFY_OK(m_rig->start());
		for (const QVariantMap &options : {wrong, mistyped})
			VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, dbus::kManagerInterface, "Stop", {QStringList(), options}), ErrorCode::Invalid);
		VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, dbus::kManagerInterface, "CreateVolume", {QStringLiteral("x"), quint64(4096), wrong}), ErrorCode::Invalid);
		VERIFY_ERROR(m_rig->callRaw(dbus::kRootPath, dbus::kManagerInterface, "ListVolumes", {wrong}), ErrorCode::Invalid);
		VERIFY_ERROR(m_rig->callRaw(qPrintable(dbus::volumePath(QStringLiteral("x"))), dbus::kVolumeInterface, "Open", {wrong}), ErrorCode::Invalid);
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
	}

	void anotherUserMayLookButNotTouch()
	{
		if (geteuid() != 0) QSKIP("needs root, to become somebody else");
		const QString program = archipelago::testing::copyForNobody(m_rig->bus.dir());
		const auto asNobody = [&](const QString &path, const QString &interface, const QString &method) {
			return archipelago::testing::callAsNobody(program, {m_rig->bus.address(), path, interface, method});
		};
		const QString manager = QLatin1String(dbus::kManagerInterface), root = QLatin1String(dbus::kRootPath);
		QCOMPARE(asNobody(root, QLatin1String(dbus::kObjectManagerInterface), QStringLiteral("GetManagedObjects")), QByteArray("ok"));
		const QByteArray touch = asNobody(root, manager, QStringLiteral("Start"));
		QVERIFY2(touch.startsWith("E-DENIED") && touch.contains("65534"), touch.constData());
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 4096));
		const QString volume = dbus::volumePath(QStringLiteral("web")), interface = QLatin1String(dbus::kVolumeInterface);
		for (const char *method : {"Remove", "Open", "Close"})
			QVERIFY(asNobody(volume, interface, QLatin1String(method)).startsWith("E-DENIED"));
		QVERIFY(asNobody(root, manager, QStringLiteral("Stop")).startsWith("E-DENIED"));
		QCOMPARE(asNobody(volume, interface, QStringLiteral("GetInfo")), QByteArray("ok"));
		VERIFY_OK(dbus::wait<dbus::VolumeInfo>([this](auto done) { m_rig->volume("web").info(done); }));
	}

	// ---- start and stop

	void startsInOrderAndStopsInReverse()
	{
		StateRecorder recorder(m_rig->client->connection());
		VERIFY_OK(m_rig->start());
		const QStringList order{QStringLiteral("blockerb"), QStringLiteral("blockerm"), QStringLiteral("mapperd"), QStringLiteral("vlmcd"), QStringLiteral("nbd")};
		QVERIFY(becomes([&] { return recorder.only(QStringLiteral("running")).size() == 1; }));
		QCOMPARE(recorder.only(QStringLiteral("up")), order);
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
		QCOMPARE(m_rig->info().verdict, QString());
		const dbus::PeerInfo peer = m_rig->peer("mapperd");
		QCOMPARE(peer.state, QStringLiteral("up"));
		QCOMPARE(int(peer.pid), m_rig->hostPid(QStringLiteral("front")));
		QVERIFY(peer.sinceUs > 0);

		VERIFY_OK(m_rig->stop());
		QVERIFY(becomes([&] { return recorder.only(QStringLiteral("stopped")).size() == 6; }));
		QStringList reverse = order;
		std::reverse(reverse.begin(), reverse.end());
		QCOMPARE(recorder.only(QStringLiteral("stopping")), QStringList{QStringLiteral("manager")} + reverse);
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->hostsWithPid(), QStringList());
		QCOMPARE(m_rig->peer("mapperd").pid, 0u);
	}

	void aFailedStartNamesRoleAndReasonAndLeavesNothing()
	{
		m_rig->behave(R"({"fail": {"mapperd": ["E-LOCKED", "the maps belong to another instance."]}})");
		const auto failed = m_rig->start();
		VERIFY_ERROR(failed, ErrorCode::Locked);
		VERIFY_SAYS(failed, "mapperd");
		VERIFY_SAYS(failed, "the maps belong to another instance.");
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
		QVERIFY(m_rig->info().verdict.contains(QStringLiteral("mapperd")));
		QCOMPARE(m_rig->peer("mapperd").state, QStringLiteral("failed"));
		QCOMPARE(m_rig->peer("mapperd").lastErrorSymbol, QStringLiteral("E-LOCKED"));
		QCOMPARE(m_rig->peer("blockerb").state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->hostsWithPid(), QStringList());

		m_rig->behave("{}");
		VERIFY_OK(m_rig->start());
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
		QCOMPARE(m_rig->peer("mapperd").lastErrorSymbol, QString());
	}

	void aHostThatDiesWhileStartingIsNoSuccess()
	{
		m_rig->behave(R"({"die": "vlmcd"})");
		const auto failed = m_rig->start();
		VERIFY_ERROR(failed, ErrorCode::Failed);
		VERIFY_SAYS(failed, "vlmcd");
		VERIFY_SAYS(failed, "SIGKILL");
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->peer("blockerb").state, QStringLiteral("stopped"));
		m_rig->behave("{}");
		VERIFY_OK(m_rig->start());
	}

	void aBadConfigurationIsToldWithAllItsMistakes()
	{
		m_rig->setConfig("SEGMENT_SIZE = 1\nrolez = []\n");
		const auto failed = m_rig->start();
		VERIFY_ERROR(failed, ErrorCode::Config);
		VERIFY_SAYS(failed, "archipelago.conf:1:");
		VERIFY_SAYS(failed, "archipelago.conf:2:");
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));

		const auto problems = dbus::wait<QList<dbus::ConfigProblem>>([this](auto done) { m_rig->manager().checkConfig({}, done); });
		VERIFY_OK(problems);
		QVERIFY(problems->size() >= 2);
		QVERIFY(problems->at(0).isError);
		QCOMPARE(problems->at(0).line, 1u);
		const auto fine = dbus::wait<QList<dbus::ConfigProblem>>([this](auto done) { m_rig->manager().checkConfig(QString(), done); });
		VERIFY_OK(fine);
		QCOMPARE(fine->size(), 0);

		// Read anew at each start.
		m_rig->setConfig(kTwoHosts);
		VERIFY_OK(m_rig->start());
		// And a restart that would fail for it stops nothing.
		m_rig->setConfig("nonsense");
		VERIFY_ERROR(m_rig->restart(), ErrorCode::Config);
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
	}

	void theServiceStartsWithoutAConfigurationItCanUse()
	{
		m_rig->kill();
		m_rig->setConfig("this is not TOML");
		QVERIFY(m_rig->launch());
		QVERIFY(m_rig->info().verdict.contains(QStringLiteral("check-config")));
		VERIFY_ERROR(m_rig->start(), ErrorCode::Config);
		m_rig->kill();
		QFile::remove(m_rig->bus.path("archipelago.conf"));
		QVERIFY(m_rig->launch());
		const auto failed = m_rig->start();
		VERIFY_ERROR(failed, ErrorCode::Config);
		VERIFY_SAYS(failed, "archipelago.conf");
	}

	void aNewLayoutIsAdoptedAtAFreshStart()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->stop());
		m_rig->setConfig("SEGMENT_SIZE = 64\n[blockerb]\narchip_dir = \"@DIR@/blocks\"\n[blockerm]\narchip_dir = \"@DIR@/maps\"\n"
		                 "[hosts.one]\nroles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\", \"nbd\"]\n");
		VERIFY_OK(m_rig->start());
		QCOMPARE(m_rig->peer("mapperd").host, QStringLiteral("one"));
		QCOMPARE(m_rig->peer("blockerb").pid, m_rig->peer("nbd").pid);
	}

	void startingWhatRunsAlready()
	{
		VERIFY_OK(m_rig->start());
		const uint pid = m_rig->peer("mapperd").pid;
		VERIFY_OK(m_rig->start()); // all: those that run are left alone
		VERIFY_ERROR(m_rig->start({QStringLiteral("mapperd")}), ErrorCode::Busy);
		VERIFY_OK(m_rig->start({QStringLiteral("mapperd")}, {.createDirs = false, .userOnly = false, .ok = true}));
		QCOMPARE(m_rig->peer("mapperd").pid, pid);
		const auto unknown = m_rig->start({QStringLiteral("maperd")});
		VERIFY_ERROR(unknown, ErrorCode::NotFound);
		VERIFY_SAYS(unknown, "mapperd");
	}

	void oneRoleComesAndGoesAlone()
	{
		VERIFY_OK(m_rig->start());
		const uint store = m_rig->peer("blockerb").pid, front = m_rig->peer("nbd").pid;
		VERIFY_OK(m_rig->stop({QStringLiteral("vlmcd")}));
		QCOMPARE(m_rig->peer("vlmcd").state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->peer("mapperd").state, QStringLiteral("up"));
		QCOMPARE(m_rig->info().state, QStringLiteral("degraded"));
		QVERIFY(m_rig->info().verdict.contains(QStringLiteral("archipelago start")));
		VERIFY_OK(m_rig->start({QStringLiteral("vlmcd")}));
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
		VERIFY_OK(m_rig->restart({QStringLiteral("mapperd")}));
		QCOMPARE(m_rig->peer("mapperd").state, QStringLiteral("up"));
		QCOMPARE(m_rig->peer("nbd").pid, front);
		QCOMPARE(m_rig->peer("blockerb").pid, store);

		// The last one out takes its host along, which comes back with what is asked for.
		VERIFY_OK(m_rig->stop({QStringLiteral("nbd"), QStringLiteral("vlmcd"), QStringLiteral("mapperd")}));
		QVERIFY(!m_rig->hostsWithPid().contains(QStringLiteral("front")));
		VERIFY_OK(m_rig->start({QStringLiteral("mapperd")}));
		QCOMPARE(m_rig->peer("mapperd").state, QStringLiteral("up"));
		QCOMPARE(m_rig->peer("vlmcd").state, QStringLiteral("stopped"));
		VERIFY_OK(m_rig->start());
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
		QCOMPARE(m_rig->peer("blockerb").pid, store);

		VERIFY_OK(m_rig->restart());
		QVERIFY(m_rig->peer("blockerb").pid != store);
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
	}

	void stoppingUnderClientsNeedsForce()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 4096));
		m_rig->behave(R"({"clients": {"web": 2}})");
		const auto refused = m_rig->stop();
		VERIFY_ERROR(refused, ErrorCode::Busy);
		VERIFY_SAYS(refused, "web (2 clients)");
		VERIFY_ERROR(m_rig->stop({QStringLiteral("vlmcd")}), ErrorCode::Busy);
		VERIFY_ERROR(m_rig->restart({QStringLiteral("nbd")}), ErrorCode::Busy);
		VERIFY_OK(m_rig->restart({QStringLiteral("vlmcd")})); // a pause for its clients, no more
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
		VERIFY_OK(m_rig->stop({}, true));
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
	}

	void stoppingWhatIsStoppedIsFine()
	{
		VERIFY_OK(m_rig->stop());
		VERIFY_OK(m_rig->stop({QStringLiteral("vlmcd")}));
		VERIFY_ERROR(m_rig->stop({QStringLiteral("nobody")}), ErrorCode::NotFound);
	}

	void oneOrderAtATime()
	{
		m_rig->behave(R"({"hang": "vlmcd"})");
		m_rig->manager().start({}, {}, {}); // goes on until the rig is torn down
		QVERIFY(becomes([this] { return m_rig->peer("vlmcd").state == QLatin1String("starting"); }));
		QCOMPARE(m_rig->info().state, QStringLiteral("starting"));
		VERIFY_ERROR(m_rig->start(), ErrorCode::Busy);
		VERIFY_ERROR(m_rig->stop(), ErrorCode::Busy);
	}

	// ---- death

	void aKilledHostIsNoticedAndStartMendsIt()
	{
		VERIFY_OK(m_rig->start());
		VERIFY_OK(m_rig->create("web", 4096));
		const int store = m_rig->hostPid(QStringLiteral("store"));
		m_rig->behave(R"({"fail": {"mapperd": ["E-LOCKED", "held by somebody"]}})"); // or it would be back before we look
		m_rig->killHost(QStringLiteral("front"));
		QVERIFY(becomes([this] { return m_rig->info().verdict.contains(QLatin1String("tries failed")); }));
		QCOMPARE(m_rig->info().state, QStringLiteral("degraded"));
		const QString verdict = m_rig->info().verdict;
		QVERIFY2(verdict.contains(QStringLiteral("host front ended by SIGKILL")) && verdict.contains(QStringLiteral("archipelago start")), qPrintable(verdict));
		QCOMPARE(m_rig->peer("mapperd").state, QStringLiteral("failed"));
		QCOMPARE(m_rig->peer("mapperd").pid, 0u);
		QVERIFY(m_rig->peer("mapperd").lastErrorMessage.contains(QStringLiteral("held by somebody")));
		QCOMPARE(m_rig->peer("blockerb").state, QStringLiteral("up"));
		// Volumes cannot be reached, and nothing pretends otherwise.
		QCOMPARE(m_rig->overview().volumes.size(), 0);
		VERIFY_ERROR(m_rig->create("other", 4096), ErrorCode::Peer);

		m_rig->behave("{}");
		VERIFY_OK(m_rig->start()); // does not wait for the next try
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
		QCOMPARE(m_rig->hostPid(QStringLiteral("store")), store);
	}

	void stopAfterACrashLeavesACleanState()
	{
		VERIFY_OK(m_rig->start());
		m_rig->behave(R"({"fail": {"blockerb": ["E-LOCKED", "held by somebody"]}})");
		m_rig->killHost(QStringLiteral("store"));
		QVERIFY(becomes([this] { return m_rig->info().state == QLatin1String("degraded"); }));
		VERIFY_OK(m_rig->stop());
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
		QCOMPARE(m_rig->info().verdict, QString());
		QCOMPARE(m_rig->peer("blockerb").state, QStringLiteral("stopped"));
	}

	void hostsOfADeadServiceAreFoundAndEnded()
	{
		VERIFY_OK(m_rig->start());
		const int pid = m_rig->hostPid(QStringLiteral("front"));
		m_rig->kill();
		QCOMPARE(::kill(pid, 0), 0); // the data path goes on
		QVERIFY(m_rig->launch());
		QCOMPARE(m_rig->info().state, QStringLiteral("degraded"));
		QVERIFY2(m_rig->info().verdict.contains(QString::number(pid)), qPrintable(m_rig->info().verdict));
		const auto refused = m_rig->start();
		VERIFY_ERROR(refused, ErrorCode::Busy);
		VERIFY_SAYS(refused, std::to_string(pid));
		VERIFY_SAYS(refused, "archipelago stop");
		VERIFY_OK(m_rig->stop());
		QCOMPARE(m_rig->hostsWithPid(), QStringList());
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
		VERIFY_OK(m_rig->start());
		QCOMPARE(m_rig->info().state, QStringLiteral("running"));
	}

	void stalePidFilesAreIgnored()
	{
		// Init lives, but did not start then; the other was never a process.
		writeFile(m_rig->bus.path("run/hosts/front.pid"), "2 123456789\n");
		writeFile(m_rig->bus.path("run/hosts/other.pid"), "garbage");
		writeFile(m_rig->bus.path("run/hosts/other.alive"), "");
		m_rig->kill();
		QVERIFY(m_rig->launch());
		QCOMPARE(m_rig->info().verdict, QString());
		QCOMPARE(m_rig->hostsWithPid(), QStringList());
		VERIFY_OK(m_rig->start());
	}

	void theServiceEndsWithItsBus()
	{
		m_rig->bus.stop();
		QVERIFY(m_rig->service->waitForFinished(20'000));
		QCOMPARE(m_rig->service->exitCode(), 3);
	}

	// ---- volumes

	void aVolumesLife()
	{
		VERIFY_ERROR(m_rig->create("web", 4096), ErrorCode::Peer);
		VERIFY_OK(m_rig->start());
		const auto made = m_rig->create("web-01 ü", 10 << 20);
		VERIFY_OK(made);
		QCOMPARE(qdbus_cast<QDBusObjectPath>(made->result.value(QStringLiteral("path"))).path(), dbus::volumePath(QStringLiteral("web-01 ü")));
		QCOMPARE(made->result.value(QStringLiteral("id")).toString(), QStringLiteral("01010101010101010101010101010101"));
		VERIFY_ERROR(m_rig->create("web-01 ü", 4096), ErrorCode::Exists);

		auto volume = m_rig->volume("web-01 ü");
		const auto info = dbus::wait<dbus::VolumeInfo>([&](auto done) { volume.info(done); });
		VERIFY_OK(info);
		QCOMPARE(info->name, QStringLiteral("web-01 ü"));
		QCOMPARE(info->sizeBytes, quint64(10 << 20));
		QCOMPARE(info->kind, QStringLiteral("volume"));
		QCOMPARE(info->createdUs, 1'700'000'000'000'000u);
		QVERIFY(info->nbdUri.startsWith(QStringLiteral("nbd+unix:///web-01%20%C3%BC?socket=/")));
		QVERIFY(!info->opened);

		VERIFY_OK(waitVoid([&](auto done) { volume.open(done); }));
		VERIFY_OK(waitVoid([&](auto done) { volume.open(done); })); // sticky
		QVERIFY(m_rig->overview().volumes.at(0).opened);
		const auto busy = m_rig->run([&](auto events) { volume.remove(events); });
		VERIFY_ERROR(busy, ErrorCode::Busy);
		VERIFY_SAYS(busy, "vlmc close");
		VERIFY_OK(waitVoid([&](auto done) { volume.close(done); }));
		VERIFY_ERROR(waitVoid([&](auto done) { volume.close(done); }), ErrorCode::NotOpen);
		VERIFY_OK(m_rig->run([&](auto events) { volume.remove(events); }));
		VERIFY_ERROR(dbus::wait<dbus::VolumeInfo>([&](auto done) { volume.info(done); }), ErrorCode::NotFound);
		VERIFY_ERROR(m_rig->run([&](auto events) { volume.remove(events); }), ErrorCode::NotFound);
		QCOMPARE(m_rig->overview().volumes.size(), 0);
	}

	void volumesAppearAndGoAsObjects()
	{
		VERIFY_OK(m_rig->start());
		QStringList seen;
		// Compared as paths of the tree: what GetManagedObjects says after each step.
		VERIFY_OK(m_rig->create("a", 4096));
		VERIFY_OK(m_rig->create("b", 4096));
		for (const dbus::VolumeInfo &volume : m_rig->overview().volumes) seen.append(volume.name);
		QCOMPARE(seen, (QStringList{QStringLiteral("a"), QStringLiteral("b")}));
		auto a = m_rig->volume("a");
		VERIFY_OK(m_rig->run([&](auto events) { a.remove(events); }));
		QCOMPARE(m_rig->overview().volumes.size(), 1);
		VERIFY_OK(m_rig->stop());
		QCOMPARE(m_rig->overview().volumes.size(), 0);
	}

	void listsAreSortedAndCut()
	{
		VERIFY_OK(m_rig->start());
		for (const char *name : {"delta", "Alpha", "charlie", "echo", "bravo"}) VERIFY_OK(m_rig->create(name, 4096));
		const auto names = [this](const dbus::ListOptions &options) {
			QStringList out;
			const auto list = dbus::wait<QList<dbus::VolumeInfo>>([&](auto done) { m_rig->manager().listVolumes(options, done); });
			for (const dbus::VolumeInfo &volume : list.value_or(QList<dbus::VolumeInfo>())) out.append(volume.name);
			return out.join(QLatin1Char(' '));
		};
		QCOMPARE(names({}), QStringLiteral("Alpha bravo charlie delta echo"));
		QCOMPARE(names({.after = QStringLiteral("bravo"), .limit = 2}), QStringLiteral("charlie delta"));
		QCOMPARE(names({.after = QStringLiteral("zulu"), .limit = 0}), QString());
	}

	void impossibleVolumesAreRefused_data()
	{
		QTest::addColumn<QString>("name");
		QTest::addColumn<quint64>("size");
		QTest::newRow("no name") << QString() << quint64(4096);
		QTest::newRow("slash") << QStringLiteral("a/b") << quint64(4096);
		QTest::newRow("dot") << QStringLiteral("..") << quint64(4096);
		QTest::newRow("reserved") << QStringLiteral("archip_x") << quint64(4096);
		QTest::newRow("too long") << QString(83, QLatin1Char('x')) << quint64(4096);
		QTest::newRow("control character") << QStringLiteral("a\nb") << quint64(4096);
		QTest::newRow("no size") << QStringLiteral("ok") << quint64(0);
		QTest::newRow("odd size") << QStringLiteral("ok") << quint64(1000);
		QTest::newRow("too large") << QStringLiteral("ok") << (quint64(1) << 53);
		QTest::newRow("largest number") << QStringLiteral("ok") << ~quint64(0);
	}
	void impossibleVolumesAreRefused()
	{
		QFETCH(const QString, name);
		QFETCH(const quint64, size);
		VERIFY_OK(m_rig->start());
		VERIFY_ERROR(m_rig->create(name.toUtf8().constData(), size), ErrorCode::Invalid);
		QCOMPARE(m_rig->overview().volumes.size(), 0);
	}

	// ---- jobs

	void jobsTellTheirCourse()
	{
		VERIFY_OK(m_rig->start());
		const auto made = m_rig->create("web", 4096);
		VERIFY_OK(made);
		QCOMPARE(made->operation, QStringLiteral("create"));
		QCOMPARE(made->state, QStringLiteral("succeeded"));
		QCOMPARE(made->startedByUid, uint(geteuid()));
		QVERIFY(made->startTimeUs > 0);
		QCOMPARE(m_rig->overview().jobs.size(), 2); // kept for a while
		const auto cancelled = waitVoid([&](auto done) { dbus::cancelJob(*m_rig->client, made->path, done); });
		VERIFY_ERROR(cancelled, ErrorCode::Invalid); // ended already
		const auto again = m_rig->run([&](auto events) { dbus::followJob(*m_rig->client, made->path, events); });
		VERIFY_OK(again);
		const auto none = m_rig->run([&](auto events) { dbus::followJob(*m_rig->client, QLatin1String(dbus::kJobsPath) + QStringLiteral("/999"), events); });
		VERIFY_ERROR(none, ErrorCode::NotFound);
	}

	// ---- a second one, and other ways to begin badly

	void aSecondServiceIsRefused()
	{
		QByteArray said;
		const QStringList trial{QStringLiteral("--trial"), QStringLiteral("--dir"), m_rig->bus.dir(), QStringLiteral("--bus"), m_rig->bus.address()};
		QCOMPARE(m_rig->runOnce(trial, &said), 5);
		QVERIFY2(said.contains("E-BUSY") && said.contains(QByteArray::number(m_rig->service->processId())), said.constData());
		// Another directory, but the same bus.
		const QString other = m_rig->bus.path("other");
		QDir().mkdir(other);
		QCOMPARE(m_rig->runOnce({QStringLiteral("--trial"), QStringLiteral("--dir"), other, QStringLiteral("--bus"), m_rig->bus.address()}, &said), 5);
		QVERIFY2(said.contains("E-BUSY") && said.contains(QByteArray::number(m_rig->service->processId())), said.constData());
		QCOMPARE(m_rig->info().state, QStringLiteral("stopped"));
	}

	void badBeginningsHaveTheirExitCodes()
	{
		m_rig->kill();
		QByteArray said;
		const QString dir = m_rig->bus.dir();
		QCOMPARE(m_rig->runOnce({QStringLiteral("--frobnicate")}, &said), 2);
		QCOMPARE(m_rig->runOnce({QStringLiteral("--trial")}, &said), 2);
		QCOMPARE(m_rig->runOnce({QStringLiteral("--version")}, &said), 0);
		QVERIFY(said.startsWith("archipelagod "));
		QCOMPARE(m_rig->runOnce({QStringLiteral("--help")}, &said), 0);
		QCOMPARE(m_rig->runOnce({QStringLiteral("--trial"), QStringLiteral("--dir"), dir, QStringLiteral("--bus"), QStringLiteral("unix:path=/nonexistent/bus")}, &said), 3);
		QVERIFY2(said.contains("/nonexistent/bus") && said.contains("E-PEER"), said.constData());
		QCOMPARE(m_rig->runOnce({QStringLiteral("--trial"), QStringLiteral("--dir"), dir + QStringLiteral("/no/such"), QStringLiteral("--bus"), m_rig->bus.address()}, &said), 4);
		QVERIFY2(said.contains("/no/such"), said.constData());
		writeFile(dir + QStringLiteral("/plainfile"), "x");
		QCOMPARE(m_rig->runOnce({QStringLiteral("--trial"), QStringLiteral("--dir"), dir, QStringLiteral("--run-dir"), dir + QStringLiteral("/plainfile/run"), QStringLiteral("--bus"), m_rig->bus.address()}, &said), 2);
	}
};

int main(int argc, char **argv)
{
	QCoreApplication app(argc, argv);
	if (const auto status = archipelago::testing::actAsNobody(QCoreApplication::arguments())) return *status;
	TestService test;
	return QTest::qExec(&test, argc, argv);
}

#include "tst_service.moc"
