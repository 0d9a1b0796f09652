// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See fake_service.h. ARCHIPELAGO_XML_DIR is where the committed XML lies.
#include "tests/cli/fake_service.h"

#include <algorithm>
#include <csignal>

#include <sys/prctl.h>

#include <QDir>
#include <QFile>
#include <QXmlStreamReader>

namespace archipelago::test {

namespace {

using namespace archipelago::dbus;

constexpr quint64 kCreated = 1'795'000'000'000'000; // 2026-11-18T11:06:40Z

QString iface(const char *name) { return QLatin1String(name); }

QDBusMessage errorReply(const QDBusMessage &message, const ErrorPair &error)
{
	return message.createErrorReply(error.name, error.message);
}

} // namespace

PrivateBus::PrivateBus()
{
	QFile config(m_dir.filePath("bus.conf"));
	if (!config.open(QIODevice::WriteOnly)) return;
	config.write(QStringLiteral("<busconfig><type>session</type><listen>%1</listen><auth>EXTERNAL</auth>"
	                            "<policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow "
	                            "eavesdrop=\"true\"/><allow own=\"*\"/>"
	                            "</policy></busconfig>")
	                 .arg(address())
	                 .toUtf8());
	config.close();
	// A test that aborts leaves no bus behind.
	m_daemon.setChildProcessModifier([] { ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
	m_daemon.setProcessChannelMode(QProcess::ForwardedErrorChannel);
	m_daemon.start("dbus-daemon",
	               {"--nofork", "--nopidfile", "--print-address=1", "--config-file=" + config.fileName()});
	// It prints its address when it listens.
	m_daemon.waitForReadyRead(10'000);
}

PrivateBus::~PrivateBus()
{
	m_daemon.kill();
	m_daemon.waitForFinished();
}

FakeService::FakeService(const QString &address) : m_bus(QDBusConnection::connectToBus(address, "fake-service"))
{
	registerBusTypes();
	qRegisterMetaType<QDBusObjectPath>();
	loadXml();
	m_bus.registerVirtualObject(kRootPath, this, QDBusConnection::SubPath);
	m_bus.registerService(kBusName);
}

FakeService::~FakeService()
{
	m_bus.unregisterService(kBusName);
	m_bus.unregisterObject(kRootPath, QDBusConnection::UnregisterTree);
	QDBusConnection::disconnectFromBus("fake-service");
}

void FakeService::loadXml()
{
	for (const QString &file : QDir(ARCHIPELAGO_XML_DIR).entryList({"*.xml"})) {
		QFile xml(QDir(ARCHIPELAGO_XML_DIR).filePath(file));
		if (!xml.open(QIODevice::ReadOnly)) continue;
		QString interface, method;
		for (QXmlStreamReader reader(&xml); !reader.atEnd(); reader.readNext()) {
			if (!reader.isStartElement()) continue;
			const auto name = reader.attributes().value("name").toString();
			if (reader.name() == u"interface") interface = name;
			if (reader.name() == u"signal" || reader.name() == u"property") method.clear();
			if (reader.name() == u"method") {
				method = interface + "." + name;
				m_signatures.insert(method, {});
			}
			if (reader.name() == u"arg" && !method.isEmpty() && reader.attributes().value("direction") == u"in")
				m_signatures[method] += reader.attributes().value("type");
		}
	}
}

bool FakeService::fits(const QDBusMessage &message)
{
	if (!message.interface().startsWith("org.archipelago.")) return true;
	const QString key = message.interface() + "." + message.member();
	if (!m_signatures.contains(key))
		violations += key + " is not in the XML";
	else if (m_signatures.value(key) != message.signature())
		violations += key + " has (" + m_signatures.value(key) + "), called with (" + message.signature() + ")";
	else
		return true;
	return false;
}

bool FakeService::handleMessage(const QDBusMessage &message, const QDBusConnection &)
{
	if (message.interface() == QLatin1String("org.freedesktop.DBus.Introspectable")) return false;
	const bool property = message.interface() == QLatin1String(kPropertiesInterface);
	const QString method = (property ? message.arguments().value(0).toString() : message.interface()).section('.', -1) +
	                       "." + message.member();
	calls.append({message.path(), method, message.arguments()});
	QDBusMessage reply;
	if (!fits(message))
		reply = message.createErrorReply(QDBusError::InvalidSignature, violations.last());
	else if (refuse.contains(method))
		reply = errorReply(message, refuse.value(method));
	else if (!silent.contains(method))
		reply = answer(message);
	message.setDelayedReply(true);
	if (reply.type() != QDBusMessage::InvalidMessage) m_bus.send(reply);
	emit called(method);
	return true;
}

QDBusMessage FakeService::answer(const QDBusMessage &message)
{
	const QString interface = message.interface();
	if (interface == iface(kObjectManagerInterface)) return message.createReply(QVariant::fromValue(managedObjects()));
	if (interface == iface(kPropertiesInterface)) {
		const QVariantMap map = propertiesOf(message.path(), message.arguments().value(0).toString());
		if (map.isEmpty())
			return message.createErrorReply(QDBusError::UnknownObject, "No such object path '" + message.path() + "'");
		return message.createReply(QVariant(map));
	}
	if (interface == iface(kManagerInterface)) return managerAnswer(message);
	if (interface == iface(kVolumeInterface)) return volumeAnswer(message);
	if (interface == iface(kJobInterface)) {
		endJob({QLatin1String(kErrorPrefix) + QLatin1String("Cancelled"), "Cancelled on request."});
		return message.createReply();
	}
	return message.createErrorReply(QDBusError::UnknownInterface, interface);
}

QDBusMessage FakeService::managerAnswer(const QDBusMessage &message)
{
	if (message.member() == QLatin1String("ListVolumes")) return listVolumes(message);
	if (message.member() == QLatin1String("GetStats")) return stats(message, {});
	if (message.member() != QLatin1String("CreateVolume")) return makeJob(message);
	const FakeVolume volume{.name = message.arguments().value(0).toString(),
	                        .size = message.arguments().value(1).toULongLong()};
	if (nextJob.error.name.isEmpty() && !nextJob.hangs) volumes.append(volume);
	return makeJob(message,
	               {{"path", QVariant::fromValue(QDBusObjectPath(volumePath(volume.name)))}, {"id", QString(32, '7')}});
}

QDBusMessage FakeService::listVolumes(const QDBusMessage &message)
{
	const auto options = qdbus_cast<QVariantMap>(message.arguments().value(0));
	const auto limit = options.value("limit").toULongLong();
	VariantMapList rows;
	QList<FakeVolume> sorted = volumes;
	std::ranges::sort(sorted, {}, [](const FakeVolume &v) { return v.name.toUtf8(); });
	for (const FakeVolume &volume : sorted) {
		if (limit != 0 && static_cast<quint64>(rows.size()) == limit) break;
		if (volume.name.toUtf8() > options.value("after").toString().toUtf8()) rows.append(volumeMap(volume));
	}
	return message.createReply(QVariant::fromValue(rows));
}

QDBusMessage FakeService::stats(const QDBusMessage &message, const QString &volume)
{
	if (onStats) onStats();
	m_statsTimeUs += 1'000'000;
	VariantMapList rows;
	for (const FakeCounts &one : counts) {
		if (!volume.isEmpty() && (one.kind != "volume" || one.name != volume)) continue;
		rows.append({{"Port", one.port},
		             {"Generation", one.generation},
		             {"Kind", one.kind},
		             {"Name", one.name},
		             {"Id", one.kind == "volume" ? one.id : QString()},
		             {"Bound", one.bound},
		             {"Since", kCreated},
		             {"Ops", QVariant::fromValue(one.ops)}});
	}
	return message.createReply({m_statsTimeUs, QVariant::fromValue(rows)});
}

QDBusMessage FakeService::volumeAnswer(const QDBusMessage &message)
{
	for (qsizetype i = 0; i < volumes.size(); i++) {
		FakeVolume &volume = volumes[i];
		if (volumePath(volume.name) != message.path()) continue;
		const QString member = message.member();
		if (member == QLatin1String("GetInfo")) {
			if (!volume.error.name.isEmpty()) return errorReply(message, volume.error);
			return message.createReply(QVariant(volumeMap(volume)));
		}
		if (member == QLatin1String("GetStats")) return stats(message, volume.name);
		if (member == QLatin1String("Remove")) {
			if (nextJob.error.name.isEmpty()) volumes.removeAt(i);
			return makeJob(message);
		}
		volume.opened = member == QLatin1String("Open");
		return message.createReply();
	}
	return message.createErrorReply(QDBusError::UnknownObject, "No such object path '" + message.path() + "'");
}

QDBusMessage FakeService::makeJob(const QDBusMessage &message, const QVariantMap &result)
{
	m_jobs.append({nextJob, message.member().toLower(), "running", result});
	if (onJob) onJob(message.member());
	const FakeJob job = nextJob;
	if (!job.hangs) endJob(job.error);
	return message.createReply(
		QVariant::fromValue(QDBusObjectPath(QLatin1String(kJobsPath) + "/" + QString::number(m_jobs.size()))));
}

void FakeService::endJob(const ErrorPair &error)
{
	RunningJob &job = m_jobs.last();
	if (job.state != QLatin1String("running")) return;
	job.job.error = error;
	job.state = error.name.isEmpty() ? "succeeded" : error.name.endsWith("Cancelled") ? "cancelled" : "failed";
	jobChanged({{"State", job.state}});
}

void FakeService::jobSays(const QString &message)
{
	m_jobs.last().job.message = message;
	jobChanged({{"Message", message}});
}

void FakeService::jobChanged(const QVariantMap &properties)
{
	const QString path = QLatin1String(kJobsPath) + "/" + QString::number(m_jobs.size());
	QDBusMessage signal = QDBusMessage::createSignal(path, kPropertiesInterface, "PropertiesChanged");
	signal << QString(kJobInterface) << properties << QStringList{};
	m_bus.send(signal);
}

void FakeService::peerBecomes(const QString &name, const QString &state, const QString &reason)
{
	for (FakePeer &peer : peers) {
		if (peer.name != name) continue;
		QDBusMessage signal = QDBusMessage::createSignal(peerPath(name), kPeerInterface, "StateChanged");
		signal << peer.state << state << reason;
		peer.state = state;
		m_bus.send(signal);
	}
}

int FakeService::count(const QString &method) const
{
	return static_cast<int>(std::ranges::count(calls, method, &Call::method));
}

const FakeService::Call *FakeService::last(const QString &method) const
{
	for (auto it = calls.rbegin(); it != calls.rend(); ++it)
		if (it->method == method) return &*it;
	return nullptr;
}

QVariantMap FakeService::propertiesOf(const QString &path, const QString &interface) const
{
	if (interface == iface(kManagerInterface)) return managerMap();
	if (interface == iface(kJobInterface)) {
		const auto number = path.section('/', -1).toLongLong();
		if (number >= 1 && number <= m_jobs.size()) return jobMap(m_jobs.at(number - 1));
	}
	return {};
}

ManagedObjects FakeService::managedObjects() const
{
	ManagedObjects out;
	for (const FakePeer &peer : peers) out[QDBusObjectPath(peerPath(peer.name))][iface(kPeerInterface)] = peerMap(peer);
	for (const FakeVolume &volume : volumes)
		out[QDBusObjectPath(volumePath(volume.name))][iface(kVolumeInterface)] = volumeMap(volume);
	return out;
}

QVariantMap FakeService::managerMap() const
{
	return {{"Version", "0.1.0"}, {"Capabilities", QStringList{}}, {"State", managerState},
	        {"Verdict", verdict}, {"ConfigPath", configPath},      {"NbdSocket", nbdSocket}};
}

QVariantMap FakeService::peerMap(const FakePeer &peer) const
{
	const bool runs = peer.state != QLatin1String("stopped") && peer.state != QLatin1String("failed");
	return {{"Name", peer.name},
	        {"Role", peer.name},
	        {"Host", peer.host},
	        {"Ports", peer.ports},
	        {"State", peer.state},
	        {"Pid", runs ? 4711u : 0u},
	        {"Since", runs ? kCreated : quint64(0)},
	        {"RequestsInFlight", 3u},
	        {"LastError", QVariant::fromValue(peer.error)}};
}

QVariantMap FakeService::volumeMap(const FakeVolume &volume) const
{
	if (!volume.error.name.isEmpty()) return {{"Name", volume.name}, {"Error", QVariant::fromValue(volume.error)}};
	return {{"Name", volume.name},
	        {"Id", QString(32, '7')},
	        {"Kind", "volume"},
	        {"Size", volume.size},
	        {"AllocatedSize", volume.allocated},
	        {"Created", kCreated},
	        {"Opened", volume.opened},
	        {"Clients", volume.clients},
	        {"NbdUri", nbdSocket.isEmpty() ? QString() : nbdUriOf(volume.name)},
	        {"Stopped", QVariant::fromValue(volume.stopped)}};
}

QVariantMap FakeService::jobMap(const RunningJob &job) const
{
	return {{"Operation", job.operation},   {"State", job.state},
	        {"Progress", job.job.progress}, {"ProgressValid", job.job.progressValid},
	        {"Message", job.job.message},   {"StartTime", kCreated},
	        {"StartedByUID", 0u},           {"Cancelable", job.job.cancelable},
	        {"Result", job.result},         {"Error", QVariant::fromValue(job.job.error)}};
}

} // namespace archipelago::test
