// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The client library when there is little to talk to: no bus, no service, a service that is silent or dies. And the pieces
// that need none: labels, values, error names.
#include "dbus/client/proxies.h"
#include "tests/dbus/private_bus.h"
#include "tests/dbus/verify.h"

#include <QDBusVirtualObject>

using namespace archipelago;
using namespace archipelago::dbus;
using archipelago::testing::PrivateBus;

namespace {

/// Owns the service's name and answers with one job that never ends; everything else it holds until it is told to answer.
class HalfService : public QDBusVirtualObject {
public:
	explicit HalfService(const PrivateBus &bus) : m_connection(QDBusConnection::connectToBus(bus.address(), QStringLiteral("half-service")))
	{
		m_connection.registerVirtualObject(QLatin1String(kRootPath), this, QDBusConnection::SubPath);
		m_connection.registerService(QLatin1String(kBusName));
	}
	~HalfService() override { QDBusConnection::disconnectFromBus(QStringLiteral("half-service")); }
	QString introspect(const QString &) const override { return {}; }
	bool handleMessage(const QDBusMessage &message, const QDBusConnection &) override
	{
		calls++;
		if (message.member() == QLatin1String("Start"))
			m_connection.send(message.createReply(QVariant::fromValue(QDBusObjectPath(QLatin1String(kJobsPath) + QStringLiteral("/1")))));
		else if (message.member() == QLatin1String("GetAll"))
			m_connection.send(message.createReply(QVariantMap{{QStringLiteral("State"), QStringLiteral("running")}}));
		else
			hold(message);
		return true;
	}
	/// Answers what was held, and from now on at once.
	void release()
	{
		m_holding = false;
		for (const QDBusMessage &message : std::exchange(m_held, {})) hold(message);
	}
	int calls = 0;

private:
	void hold(const QDBusMessage &message)
	{
		message.setDelayedReply(true);
		if (m_holding)
			m_held.append(message);
		else
			m_connection.send(message.createReply(QVariant::fromValue(VariantMapList())));
	}

	QDBusConnection m_connection;
	QList<QDBusMessage> m_held;
	bool m_holding = true;
};

} // namespace

/// One port that has read `ops` times.
static PortStats reads(uint port, quint64 generation, const char *name, quint64 ops, bool bound = true)
{
	PortStats out;
	out.port = port;
	out.generation = generation;
	out.kind = QStringLiteral("volume");
	out.name = out.id = QLatin1String(name);
	out.bound = bound;
	out.sinceUs = 1000 + port;
	out.ops[0].ops = out.ops[0].latency[9] = ops;
	out.ops[0].inFlight = 2;
	return out;
}

class TestClient : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<PrivateBus> m_bus;
	std::unique_ptr<Bus> m_client;

private slots:
	void init()
	{
		m_bus = std::make_unique<PrivateBus>();
		auto client = Bus::connect(m_bus->address());
		VERIFY_OK(client);
		m_client = std::move(*client);
	}
	void cleanup()
	{
		m_client.reset();
		m_bus.reset();
	}

	void differencesOfCounters()
	{
		const StatsSnapshot before{.timeUs = 1'000'000, .ports = {reads(1, 2, "db", 10), reads(2, 2, "web", 100), reads(3, 2, "old", 5)}};
		const StatsSnapshot now{.timeUs = 3'000'000,
		                        .ports = {reads(1, 2, "db", 14), reads(2, 4, "web", 3), reads(3, 2, "old", 4), reads(4, 2, "new", 6)}};
		const StatsSnapshot between = difference(now, before);
		QCOMPARE(between.timeUs, now.timeUs);
		QCOMPARE(between.ports[0].ops[0].ops, quint64(4));
		QCOMPARE(between.ports[0].ops[0].latency[9], uint64_t(4));
		QCOMPARE(between.ports[0].ops[0].inFlight, quint64(2)); // as it is now
		QCOMPARE(between.ports[1].ops[0].ops, quint64(3));      // began anew meanwhile
		QCOMPARE(between.ports[2].ops[0].ops, quint64(0));      // nonsense
		QCOMPARE(between.ports[3].ops[0].ops, quint64(6));
	}

	void portsOfASubjectAddUp()
	{
		const StatsSnapshot all{.timeUs = 1, .ports = {reads(7, 2, "web", 1), reads(5, 2, "db", 10), reads(6, 4, "db", 5, false)}};
		const QList<SubjectStats> sums = bySubject(all);
		QCOMPARE(sums.size(), 2);
		QCOMPARE(sums[0].name, QStringLiteral("db"));
		QCOMPARE(sums[0].ports, 1u);
		QCOMPARE(sums[0].sinceUs, quint64(1005));
		QCOMPARE(sums[0].of(OpClass::Read).ops, quint64(15));
		QCOMPARE(sums[0].total().latency[9], uint64_t(15));
		QCOMPARE(sums[0].total().percentileNs(0.5), latencyRange(9).beginNs + (latencyRange(9).endNs - latencyRange(9).beginNs) / 2);
		QCOMPARE(sums[1].name, QStringLiteral("web"));
	}

	/// Each shard of a role has ports of its own: a percentile is that of what all of them did, not of one, nor their mean.
	void histogramsOfShardsAddUp()
	{
		PortStats fast = reads(500, 2, "vlmcd", 90), slow = reads(501, 2, "vlmcd", 10);
		slow.ops[0].latency[9] = 0;
		slow.ops[0].latency[40] = 10;
		fast.ops[0].ns = 1000;
		slow.ops[0].ns = 9000;
		slow.ops[size_t(OpClass::Extents)].ops = slow.ops[size_t(OpClass::Extents)].latency[60] = 1;
		for (PortStats *port : {&fast, &slow}) {
			port->kind = QStringLiteral("role");
			port->id.clear();
		}
		const QList<SubjectStats> sums = bySubject({.timeUs = 1, .ports = {fast, slow}});
		QCOMPARE(sums.size(), 1);
		QCOMPARE(sums[0].ports, 2u);
		const auto middle = [](size_t bucket) { return (latencyRange(bucket).beginNs + latencyRange(bucket).endNs) / 2; };
		const OpStats &read = sums[0].of(OpClass::Read);
		QCOMPARE(read.ops, quint64(100));
		QCOMPARE(read.inFlight, quint64(4));
		QCOMPARE(read.meanNs(), quint64(100));
		QCOMPARE(read.percentileNs(0.9), middle(9));
		QCOMPARE(read.percentileNs(0.91), middle(40));
		QCOMPARE(sums[0].of(OpClass::Extents).percentileNs(0.5), middle(60));
		QCOMPARE(sums[0].total().ops, quint64(101));
		QCOMPARE(sums[0].total().maxNs(), latencyRange(60).endNs);
	}

	void labelsAreReversible_data()
	{
		QTest::addColumn<QByteArray>("name");
		QTest::addColumn<QByteArray>("label");
		QTest::newRow("plain") << QByteArray("web") << QByteArray("web");
		QTest::newRow("dash") << QByteArray("web-01") << QByteArray("web_2d01");
		QTest::newRow("leading digit") << QByteArray("1a") << QByteArray("_31a");
		QTest::newRow("underscore") << QByteArray("a_b") << QByteArray("a_5fb");
		QTest::newRow("empty") << QByteArray("") << QByteArray("_");
		QTest::newRow("utf-8") << QByteArray("ü") << QByteArray("_c3_bc");
		QTest::newRow("looks escaped") << QByteArray("_2d") << QByteArray("_5f2d");
	}
	void labelsAreReversible()
	{
		QFETCH(const QByteArray, name);
		QFETCH(const QByteArray, label);
		QCOMPARE(pathLabel(name.toStdString()), label.toStdString());
		QCOMPARE(nameFromLabel(label.toStdString()), std::optional(name.toStdString()));
	}
	void labelsNobodyMakesAreRefused()
	{
		for (const char *label : {"", "1a", "a_", "a_2", "a_2D", "a_zz", "a_61", "a-b", "__"})
			QVERIFY2(!nameFromLabel(label), label);
	}

	void errorNamesBecomeOurErrors_data()
	{
		QTest::addColumn<QString>("name");
		QTest::addColumn<int>("code");
		for (const ErrorInfo &info : allErrors()) {
			if (info.dbusName.empty()) continue;
			const QString name = QLatin1String(kErrorPrefix) + QString::fromUtf8(info.dbusName.data(), qsizetype(info.dbusName.size()));
			QTest::newRow(qPrintable(name)) << name << int(info.code);
		}
		QTest::newRow("of a newer service") << QLatin1String(kErrorPrefix) + QStringLiteral("FromTheFuture") << int(ErrorCode::Failed);
		QTest::newRow("denied") << QString::fromLatin1(kAccessDenied) << int(ErrorCode::Denied);
		QTest::newRow("password") << QStringLiteral("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired") << int(ErrorCode::Denied);
		QTest::newRow("silence") << QStringLiteral("org.freedesktop.DBus.Error.NoReply") << int(ErrorCode::Timeout);
		QTest::newRow("no object") << QStringLiteral("org.freedesktop.DBus.Error.UnknownObject") << int(ErrorCode::NotFound);
		QTest::newRow("no method") << QStringLiteral("org.freedesktop.DBus.Error.UnknownMethod") << int(ErrorCode::Unsupported);
		QTest::newRow("whatever") << QStringLiteral("com.example.Oops") << int(ErrorCode::Failed);
	}
	void errorNamesBecomeOurErrors()
	{
		QFETCH(const QString, name);
		QFETCH(const int, code);
		const Error error = errorFromBus(name, QStringLiteral("text"));
		QCOMPARE(int(error.code), code);
		QVERIFY(error.message.starts_with("text"));
	}

	void nonsenseIsNoBus()
	{
		VERIFY_ERROR(Bus::connect(QStringLiteral("sistem")), ErrorCode::Invalid);
		const auto nobody = Bus::connect(QStringLiteral("unix:path=/nonexistent/bus"));
		VERIFY_ERROR(nobody, ErrorCode::Peer);
		VERIFY_SAYS(nobody, "/nonexistent/bus");
	}

	void anAbsentServiceIsTold()
	{
		const auto info = wait<ManagerInfo>([this](auto done) { ManagerProxy(*m_client).info(done); });
		VERIFY_ERROR(info, ErrorCode::Peer);
		VERIFY_SAYS(info, "Archipelago service is not running.");
		const auto job = wait<JobInfo>([this](auto done) { ManagerProxy(*m_client).start({}, {}, {.progress = {}, .done = done, .timeoutMs = 0}); });
		VERIFY_ERROR(job, ErrorCode::Peer);
	}

	void silenceEndsWithTheDeadline()
	{
		HalfService service(*m_bus);
		m_client->setTimeoutMs(100);
		const auto list = wait<QList<VolumeInfo>>([this](auto done) { ManagerProxy(*m_client).listVolumes({}, done); });
		VERIFY_ERROR(list, ErrorCode::Timeout);
	}

	void aJobThatDoesNotEndIsLeftToItself()
	{
		HalfService service(*m_bus);
		const auto job = wait<JobInfo>([this](auto done) { ManagerProxy(*m_client).start({}, {}, {.progress = {}, .done = done, .timeoutMs = 200}); });
		VERIFY_ERROR(job, ErrorCode::Timeout);
		VERIFY_SAYS(job, "job 1");
	}

	void aServiceThatDiesEndsTheWaiting()
	{
		auto service = std::make_unique<HalfService>(*m_bus);
		std::optional<Result<JobInfo>> end;
		bool seen = false;
		JobEvents events;
		events.progress = [&](const JobInfo &) { seen = true; };
		events.done = [&](Result<JobInfo> r) { end = std::move(r); };
		ManagerProxy(*m_client).start({}, {}, std::move(events));
		QVERIFY(QTest::qWaitFor([&] { return seen; }));
		service.reset();
		QVERIFY(QTest::qWaitFor([&] { return end.has_value(); }));
		VERIFY_ERROR(*end, ErrorCode::Peer);
	}

	void aBusThatEndsEndsTheWaiting()
	{
		HalfService service(*m_bus);
		std::optional<Result<JobInfo>> end;
		bool seen = false;
		JobEvents events;
		events.progress = [&](const JobInfo &) { seen = true; };
		events.done = [&](Result<JobInfo> r) { end = std::move(r); };
		ManagerProxy(*m_client).start({}, {}, std::move(events));
		QVERIFY(QTest::qWaitFor([&] { return seen; }));
		m_bus->stop();
		QVERIFY(QTest::qWaitFor([&] { return end.has_value(); }));
		VERIFY_ERROR(*end, ErrorCode::Peer);
		VERIFY_ERROR(wait<ManagerInfo>([this](auto done) { ManagerProxy(*m_client).info(done); }), ErrorCode::Peer);
	}

	void manyCallsQueueHere()
	{
		HalfService service(*m_bus);
		int listed = 0;
		for (int i = 0; i < 200; i++) ManagerProxy(*m_client).listVolumes({}, [&](Result<QList<VolumeInfo>> list) { listed += list.has_value(); });
		QVERIFY(QTest::qWaitFor([&] { return service.calls == 64; }, 20'000));
		// Another client's call has come and gone, and still no more than the window is on its way: the bus's limit of
		// unanswered calls (128) is never met.
		auto other = Bus::connect(m_bus->address());
		VERIFY_OK(other);
		VERIFY_OK(wait<QVariantMap>([&](auto done) { (*other)->properties(QLatin1String(kRootPath), QLatin1String(kManagerInterface), done); }));
		QCOMPARE(service.calls, 64 + 1);
		service.release();
		QVERIFY(QTest::qWaitFor([&] { return listed == 200; }, 20'000));
		QCOMPARE(service.calls, 200 + 1);
	}
};

QTEST_GUILESS_MAIN(TestClient)
#include "tst_client.moc"
