// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ObjectTree, ExportedObject and Jobs on a bus, in this process: what a client is told when something changes, and the life of
// a job from its making to its disappearance.
#include "dbus/client/proxies.h"
#include "dbus/service/jobs.h"
#include "tests/dbus/private_bus.h"
#include "tests/dbus/verify.h"

#include <unistd.h>

using namespace archipelago;
using namespace archipelago::service;
using archipelago::testing::PrivateBus;

namespace {

QVariantMap volumeProperties(const QString &name)
{
	return {{QStringLiteral("Name"), name},          {QStringLiteral("Id"), QString()},           {QStringLiteral("Kind"), QStringLiteral("volume")},
	        {QStringLiteral("Size"), quint64(4096)}, {QStringLiteral("AllocatedSize"), quint64(0)}, {QStringLiteral("Created"), quint64(0)},
	        {QStringLiteral("Opened"), false},       {QStringLiteral("Clients"), 0u},             {QStringLiteral("NbdUri"), QString()},
	        {QStringLiteral("Stopped"), QVariant::fromValue(dbus::ErrorPair())}};
}

class TestVolume : public ExportedObject {
public:
	TestVolume(ObjectTree &tree, const QString &name) : ExportedObject(tree, dbus::volumePath(name), dbus::kVolumeInterface, volumeProperties(name)) {}
	void called(const MethodCall &call) override
	{
		// Remove forgets to answer.
		if (call.method() == QLatin1String("GetInfo")) call.reply({properties()});
	}
};

/// Signals below the root, as "path member arguments".
class SignalLog : public QObject {
	Q_OBJECT

public:
	explicit SignalLog(QDBusConnection bus)
	{
		const std::pair<const char *, const char *> all[] = {{dbus::kPropertiesInterface, "PropertiesChanged"}, {dbus::kObjectManagerInterface, "InterfacesAdded"},
		                                                     {dbus::kObjectManagerInterface, "InterfacesRemoved"}, {dbus::kJobInterface, "Completed"}};
		for (const auto &[interface, member] : all)
			bus.connect({}, {}, QLatin1String(interface), QLatin1String(member), this, SLOT(seen(QDBusMessage)));
	}
	QStringList lines;
	QList<QVariantMap> changes;

private slots:
	void seen(const QDBusMessage &message)
	{
		QString line = message.path().mid(qsizetype(strlen(dbus::kRootPath))) + QLatin1Char(' ') + message.member();
		if (message.member() == QLatin1String("PropertiesChanged")) {
			changes.append(qdbus_cast<QVariantMap>(message.arguments().at(1)));
			line += QLatin1Char(' ') + QStringList(changes.last().keys()).join(QLatin1Char(','));
		}
		if (message.member().startsWith(QLatin1String("Interfaces"))) line += QLatin1Char(' ') + qdbus_cast<QDBusObjectPath>(message.arguments().at(0)).path().section(QLatin1Char('/'), -2);
		lines.append(line);
	}
};

} // namespace

class TestObjectTree : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<PrivateBus> m_bus;
	std::unique_ptr<ObjectTree> m_tree;
	std::unique_ptr<Authority> m_authority;
	std::unique_ptr<dbus::Bus> m_client;

	Result<QVariantList> call(const QString &path, const char *interface, const char *method, const QVariantList &arguments)
	{
		return dbus::wait<QVariantList>([&](auto done) { m_client->call(path, QLatin1String(interface), QLatin1String(method), arguments, done); });
	}

private slots:
	void initTestCase() { m_bus = std::make_unique<PrivateBus>(); }
	void init()
	{
		dbus::registerBusTypes();
		QDBusConnection bus = QDBusConnection::connectToBus(m_bus->address(), QStringLiteral("service"));
		QVERIFY(bus.isConnected());
		m_tree = std::make_unique<ObjectTree>(bus);
		m_authority = std::make_unique<Authority>(bus, Authority::BusKind::Private);
		QVERIFY(m_tree->publish());
		QVERIFY(bus.registerService(QLatin1String(dbus::kBusName)));
		auto client = dbus::Bus::connect(m_bus->address());
		VERIFY_OK(client);
		m_client = std::move(*client);
	}
	void cleanup()
	{
		m_client.reset();
		m_authority.reset();
		m_tree.reset();
		QDBusConnection::disconnectFromBus(QStringLiteral("service"));
	}

	void objectsAreAnnouncedChangedAndWithdrawn()
	{
		SignalLog log(m_client->connection());
		VERIFY_OK(dbus::wait<dbus::VolumeInfo>([&](auto done) { // something to be sure that the subscription is there
			dbus::Done<dbus::VolumeInfo> ignored = done;
			m_client->call(QLatin1String(dbus::kRootPath), QLatin1String(dbus::kObjectManagerInterface), QStringLiteral("GetManagedObjects"), {},
			               [ignored](Result<QVariantList>) { ignored(dbus::VolumeInfo()); });
		}));
		{
			TestVolume volume(*m_tree, QStringLiteral("a"));
			volume.update({{QStringLiteral("Opened"), true}, {QStringLiteral("Size"), quint64(4096)}}); // the size is what it was
			volume.update({{QStringLiteral("Opened"), true}});                                          // nothing new
			const auto info = dbus::wait<dbus::VolumeInfo>([&](auto done) { dbus::VolumeProxy(*m_client, QStringLiteral("a")).info(done); });
			VERIFY_OK(info);
			QVERIFY(info->opened);
		}
		QVERIFY(QTest::qWaitFor([&] { return log.lines.size() == 3; }));
		QCOMPARE(log.lines, (QStringList{QStringLiteral(" InterfacesAdded volumes/a"), QStringLiteral("/volumes/a PropertiesChanged Opened"),
		                                 QStringLiteral(" InterfacesRemoved volumes/a")}));
		QCOMPARE(log.changes.first().value(QStringLiteral("Opened")), QVariant(true));
	}

	void everyReaderSeesTheSame()
	{
		TestVolume volume(*m_tree, QStringLiteral("a b"));
		volume.update({{QStringLiteral("Clients"), 3u}});
		const auto all = call(volume.path(), dbus::kPropertiesInterface, "GetAll", {QLatin1String(dbus::kVolumeInterface)});
		VERIFY_OK(all);
		QCOMPARE(qdbus_cast<QVariantMap>(all->first()).value(QStringLiteral("Clients")).toUInt(), 3u);
		const auto one = call(volume.path(), dbus::kPropertiesInterface, "Get", {QLatin1String(dbus::kVolumeInterface), QStringLiteral("Clients")});
		VERIFY_OK(one);
		QCOMPARE(qdbus_cast<QDBusVariant>(one->first()).variant().toUInt(), 3u);
		const auto tree = call(QLatin1String(dbus::kRootPath), dbus::kObjectManagerInterface, "GetManagedObjects", {});
		VERIFY_OK(tree);
		const auto objects = qdbus_cast<dbus::ManagedObjects>(tree->first());
		QCOMPARE(objects.size(), 1);
		QCOMPARE(objects.first().value(QLatin1String(dbus::kVolumeInterface)).value(QStringLiteral("Clients")).toUInt(), 3u);
		QVERIFY(!call(volume.path(), dbus::kPropertiesInterface, "Get", {QLatin1String(dbus::kVolumeInterface), QStringLiteral("Nothing")}).has_value());
		QVERIFY(!call(volume.path(), dbus::kPropertiesInterface, "GetAll", {QStringLiteral("org.example.X")}).has_value());
		QVERIFY(call(volume.path(), dbus::kPropertiesInterface, "GetAll", {QString()}).has_value());
	}

	void introspectionShowsTheChildren()
	{
		TestVolume a(*m_tree, QStringLiteral("a")), b(*m_tree, QStringLiteral("b"));
		const auto root = call(QLatin1String(dbus::kRootPath), "org.freedesktop.DBus.Introspectable", "Introspect", {});
		VERIFY_OK(root);
		QVERIFY(root->first().toString().contains(QStringLiteral("<node name=\"volumes\"/>")));
		const auto volumes = call(QLatin1String(dbus::kVolumesPath), "org.freedesktop.DBus.Introspectable", "Introspect", {});
		VERIFY_OK(volumes);
		QVERIFY(volumes->first().toString().contains(QStringLiteral("<node name=\"a\"/>")));
		QVERIFY(volumes->first().toString().contains(QStringLiteral("<node name=\"b\"/>")));
	}

	void aForgottenCallIsAnsweredAllTheSame()
	{
		TestVolume volume(*m_tree, QStringLiteral("a"));
		const auto answer = call(volume.path(), dbus::kVolumeInterface, "Remove", {QVariantMap()});
		VERIFY_ERROR(answer, ErrorCode::Failed);
	}

	void aJobsLife()
	{
		Jobs jobs(*m_tree, *m_authority, 300);
		SignalLog log(m_client->connection());
		const QPointer<Job> job(jobs.create(QStringLiteral("start"), 7));
		QCOMPARE(job->path(), QStringLiteral("/org/archipelago/Archipelago1/jobs/1"));
		QStringList messages;
		std::optional<Result<dbus::JobInfo>> end;
		dbus::JobEvents events;
		events.progress = [&](const dbus::JobInfo &info) { messages.append(info.message); };
		events.done = [&](Result<dbus::JobInfo> r) { end = std::move(r); };
		dbus::followJob(*m_client, job->path(), std::move(events));
		QVERIFY(QTest::qWaitFor([&] { return !messages.isEmpty(); })); // first seen
		for (const char *message : {"one", "two", "three"}) job->setMessage(QLatin1String(message));
		job->setProgress(0.5);
		job->succeed({{QStringLiteral("id"), QStringLiteral("x")}});
		job->fail(Error{ErrorCode::Failed, "too late"}); // ended once
		QVERIFY(QTest::qWaitFor([&] { return end.has_value(); }));
		VERIFY_OK(*end);
		QCOMPARE((*end)->result.value(QStringLiteral("id")).toString(), QStringLiteral("x"));
		QCOMPARE((*end)->startedByUid, 7u);
		messages.removeDuplicates();
		QCOMPARE(messages, (QStringList{QString(), QStringLiteral("one"), QStringLiteral("two"), QStringLiteral("three")}));
		// State first, then Completed; later the object goes.
		QVERIFY(QTest::qWaitFor([&] { return log.lines.last() == QLatin1String(" InterfacesRemoved jobs/1"); }));
		QCOMPARE(log.lines.at(log.lines.size() - 2), QStringLiteral("/jobs/1 Completed"));
		QVERIFY(job.isNull());
		QCOMPARE(jobs.create(QStringLiteral("stop"), 7)->number(), 2u);
	}

	void aFailedJobCarriesItsError()
	{
		Jobs jobs(*m_tree, *m_authority);
		Job *job = jobs.create(QStringLiteral("create"), geteuid());
		job->fail(Error{ErrorCode::NoSpace, "The store is full."});
		const auto end = dbus::wait<dbus::JobInfo>([&](auto done) { dbus::followJob(*m_client, job->path(), {.progress = {}, .done = done, .timeoutMs = 0}); });
		VERIFY_ERROR(end, ErrorCode::NoSpace);
		QCOMPARE(end.error().message, std::string("The store is full."));
	}

	void cancelling()
	{
		Jobs jobs(*m_tree, *m_authority);
		Job *job = jobs.create(QStringLiteral("start"), geteuid());
		const auto cancel = [&] { return dbus::wait<void>([&](auto done) { dbus::cancelJob(*m_client, job->path(), done); }); };
		VERIFY_ERROR(cancel(), ErrorCode::Unsupported);
		job->setCancelable(true);
		QVERIFY(!job->cancelWanted());
		VERIFY_OK(cancel());
		QVERIFY(job->cancelWanted());
		job->fail(Error{ErrorCode::Cancelled, "as you wished"});
		const auto end = dbus::wait<dbus::JobInfo>([&](auto done) { dbus::followJob(*m_client, job->path(), {.progress = {}, .done = done, .timeoutMs = 0}); });
		VERIFY_ERROR(end, ErrorCode::Cancelled);
		VERIFY_ERROR(cancel(), ErrorCode::Invalid);
	}
};

QTEST_GUILESS_MAIN(TestObjectTree)
#include "tst_object_tree.moc"
