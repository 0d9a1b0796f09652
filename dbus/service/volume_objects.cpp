// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Every mutation: permission first, then arguments, then the mapper, which has the last word. The service checks names and
// sizes for their messages and to spare a round trip; the mapper checks them because it trusts nobody.
#include "dbus/service/volume_objects.h"

#include "daemon/base/log.h"
#include "daemon/base/names.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"
#include "dbus/service/io_stats.h"

#include <algorithm>

#include <QPointer>
#include <QUrl>

namespace archipelago::service {

/// The bus's view of one volume; calls go to its owner.
class VolumeObject : public ExportedObject {
public:
	VolumeObject(ObjectTree &tree, VolumeObjects &owner, const QString &path, const QVariantMap &properties) :
	    ExportedObject(tree, path, dbus::kVolumeInterface, properties), m_owner(owner)
	{}
	void called(const MethodCall &call) override { m_owner.called(call); }

private:
	VolumeObjects &m_owner;
};

namespace {

constexpr uint16_t kStateLive = 1; // protocol.h, VolumeInfo::state

QString textOf(std::string_view bytes)
{
	return QString::fromUtf8(bytes.data(), static_cast<qsizetype>(bytes.size()));
}

quint64 microseconds(int64_t ns)
{
	return ns > 0 ? static_cast<quint64>(ns) / 1000 : 0;
}

/// A row that could be read, of a volume that is not in the trash.
bool isShown(const VolumeInfo &info)
{
	return (info.error == 0 || info.stopped != 0) && info.state == kStateLive;
}

/// "Cannot remove db: ..." in front of what the mapper or the segment says.
Error about(const char *verb, const std::string &name, const Error &error)
{
	// What the mapper says about a volume is a sentence already; what the segment says speaks of ports.
	if (error.code != ErrorCode::Timeout && error.code != ErrorCode::Peer && error.code != ErrorCode::Limit) return error;
	Error out = error.within(std::string("Cannot ") + verb + " " + printable(name));
	out.message += " Look: archipelago status";
	return out;
}

Result<void> checkSize(quint64 sizeBytes)
{
	const auto checked = parseVolumeSize(std::to_string(sizeBytes) + "B", BareNumber::Refused);
	if (!checked) return tl::unexpected<Error>(checked.error());
	return {};
}

/// For volumes that may exist: names that an older rule allowed stay reachable, only impossible ones are refused here.
Result<void> checkLength(const std::string &name)
{
	if (name.empty() || name.size() > kMaxNameBytes) return checkName(name);
	return {};
}

/// Why the I/O of a volume has stopped.
dbus::ErrorPair stoppedPair(const VolumeInfo &info)
{
	const auto code = errorFromWire(info.error);
	if (info.stopped == 0 || !code) return {};
	return {textOf(errorInfo(*code).symbol),
	        textOf(errorInfo(*code).text) + QStringLiteral(" Every I/O fails until nobody uses it any more and it is opened again.")};
}

QVariantMap errorRow(const VolumeInfo &info)
{
	const ErrorCode code = errorFromWire(info.error).value_or(ErrorCode::Failed);
	const dbus::ErrorPair pair{busErrorName(code), textOf(errorInfo(code).text)};
	return {{QStringLiteral("Name"), textOf(client::nameOf(info))}, {QStringLiteral("Error"), QVariant::fromValue(pair)}};
}

} // namespace

VolumeObjects::VolumeObjects(ObjectTree &tree, Authority &authority, Jobs &jobs, PeerSupervisor &supervisor) :
    m_tree(tree), m_authority(authority), m_jobs(jobs), m_supervisor(supervisor)
{
	m_tree.setVolumeFallback([this](const MethodCall &call) { called(call); });
	// Queued: the segment must not be asked from inside what it is telling.
	connect(&m_supervisor, &PeerSupervisor::catalogChanged, this, [this](bool available) {
		if (available) {
			reopen();
			refreshAll();
		} else {
			remember();
			m_objects.clear();
		}
	}, Qt::QueuedConnection);
}

VolumeObjects::~VolumeObjects() = default;

// ---- explicit opens over a death of the mapper

/// An explicit open is sticky, but only the mapper holds it: those of a mapper that died, or that is restarted alone, are made
/// again. What was stopped on purpose starts closed.
void VolumeObjects::remember()
{
	if (!m_supervisor.wantsAny()) return m_reopen.clear();
	for (const auto &[name, object] : m_objects)
		if (object->value("Opened").toBool()) m_reopen.insert(name);
}

void VolumeObjects::reopen()
{
	auto catalog = m_supervisor.catalog();
	if (!catalog) return;
	for (const std::string &name : std::exchange(m_reopen, {})) {
		catalog->open(name, [self = QPointer<VolumeObjects>(this), name](Result<void> result) {
			if (!result) roleLogger("service")->error("{} was open before its mapper died and cannot be opened again: {}", printable(name), result.error().message);
			if (self && result) self->refresh(name, [](Result<VolumeInfo>) {});
		});
	}
	m_supervisor.requestSent();
}

// ---- snapshots

QVariantMap VolumeObjects::propertiesOf(const VolumeInfo &info) const
{
	const QString name = textOf(client::nameOf(info)), socket = m_supervisor.nbdSocket();
	QString uri;
	if (!socket.isEmpty()) {
		uri = QStringLiteral("nbd+unix:///%1?socket=%2").arg(QString::fromLatin1(QUrl::toPercentEncoding(name)),
		                                                     QString::fromLatin1(QUrl::toPercentEncoding(socket, "/")));
	}
	return {
		{QStringLiteral("Name"), name},
		{QStringLiteral("Id"), QString::fromStdString(client::formatVolumeId(info.volume))},
		{QStringLiteral("Kind"), info.snapshot ? QStringLiteral("snapshot") : QStringLiteral("volume")},
		{QStringLiteral("Size"), quint64(info.sizeBytes)},
		{QStringLiteral("AllocatedSize"), quint64(info.allocatedBytes)},
		{QStringLiteral("Created"), microseconds(info.createdNs)},
		{QStringLiteral("Opened"), info.openedExplicitly != 0},
		{QStringLiteral("Clients"), uint(info.clients)},
		{QStringLiteral("NbdUri"), uri},
		{QStringLiteral("Stopped"), QVariant::fromValue(stoppedPair(info))},
	};
}

void VolumeObjects::put(const VolumeInfo &info)
{
	const std::string name(client::nameOf(info));
	const auto found = m_objects.find(name);
	if (found != m_objects.end()) return found->second->update(propertiesOf(info));
	const QString path = QLatin1String(dbus::kVolumesPath) + QLatin1Char('/') + QString::fromStdString(dbus::pathLabel(name));
	m_objects.emplace(name, std::make_unique<VolumeObject>(m_tree, *this, path, propertiesOf(info)));
}

void VolumeObjects::takeList(const std::vector<VolumeInfo> &volumes)
{
	std::map<std::string, const VolumeInfo *> now;
	for (const VolumeInfo &info : volumes)
		if (isShown(info)) now.emplace(client::nameOf(info), &info);
	std::erase_if(m_objects, [&](const auto &entry) { return !now.contains(entry.first); });
	for (const auto &[name, info] : now) put(*info);
}

void VolumeObjects::refreshAll()
{
	auto catalog = m_supervisor.catalog();
	if (!catalog) return;
	catalog->listAll([self = QPointer<VolumeObjects>(this)](Result<std::vector<VolumeInfo>> volumes) {
		// What cannot be listed now is listed with the next ListVolumes, whose caller hears why not.
		if (self && volumes && self->m_supervisor.catalogAvailable()) self->takeList(*volumes);
	});
	m_supervisor.requestSent();
}

void VolumeObjects::refresh(const std::string &name, Done<VolumeInfo> done)
{
	auto catalog = m_supervisor.catalog();
	if (!catalog) return done(tl::unexpected<Error>(catalog.error()));
	catalog->info(name, [self = QPointer<VolumeObjects>(this), name, done = std::move(done)](Result<VolumeInfo> info) {
		if (self && info && isShown(*info)) self->put(*info);
		if (self && !info && info.error().code == ErrorCode::NotFound) self->m_objects.erase(name);
		if (!info) return done(tl::unexpected<Error>(about("read", name, info.error())));
		done(std::move(info));
	});
	m_supervisor.requestSent();
}

// ---- methods of the Manager

void VolumeObjects::create(const MethodCall &call)
{
	m_authority.require(Action::VolumeCreate, call, [this, call](uint uid) {
		const std::string name = call.argument<QString>(0).toStdString();
		const quint64 size = call.argument<quint64>(1);
		if (const auto options = checkOptions(call.argument<QVariantMap>(2), {}); !options) return call.fail(options.error());
		if (const auto legal = checkName(name); !legal) return call.fail(legal.error());
		if (const auto legal = checkSize(size); !legal) return call.fail(legal.error());
		if (const auto catalog = m_supervisor.catalog(); !catalog) return call.fail(catalog.error());
		Job *job = m_jobs.create(QStringLiteral("create"), uid);
		call.reply({QVariant::fromValue(QDBusObjectPath(job->path()))});
		runCreate(*job, name, size);
	});
}

void VolumeObjects::runCreate(Job &job, const std::string &name, uint64_t sizeBytes)
{
	const QPointer<Job> made(&job);
	job.setMessage(QStringLiteral("creating ") + textOf(name));
	auto catalog = m_supervisor.catalog();
	if (!catalog) return job.fail(catalog.error());
	catalog->create(name, sizeBytes, [this, made, name](Result<VolumeId> id) {
		if (!id) {
			if (made) made->fail(about("create", name, id.error()));
			return;
		}
		const QString path = QLatin1String(dbus::kVolumesPath) + QLatin1Char('/') + QString::fromStdString(dbus::pathLabel(name));
		const QVariantMap result{{QStringLiteral("path"), QVariant::fromValue(QDBusObjectPath(path))},
		                         {QStringLiteral("id"), QString::fromStdString(client::formatVolumeId(*id))}};
		// Its object is there before the job ends. That it cannot be read back does not undo the creation.
		refresh(name, [made, result](Result<VolumeInfo>) {
			if (made) made->succeed(result);
		});
	});
	m_supervisor.requestSent();
}

void VolumeObjects::list(const MethodCall &call)
{
	const auto options = checkOptions(call.argument<QVariantMap>(0), {{"after", "s"}, {"limit", "t"}});
	if (!options) return call.fail(options.error());
	auto catalog = m_supervisor.catalog();
	if (!catalog) return call.fail(catalog.error());
	const std::string after = options->value(QStringLiteral("after")).toString().toStdString();
	const quint64 limit = options->value(QStringLiteral("limit")).toULongLong();
	catalog->listAll([this, call, after, limit](Result<std::vector<VolumeInfo>> volumes) {
		if (!volumes) return call.fail(volumes.error().within("Cannot list volumes"));
		std::ranges::sort(*volumes, {}, [](const VolumeInfo &info) { return client::nameOf(info); });
		takeList(*volumes);
		dbus::VariantMapList rows;
		for (const VolumeInfo &info : *volumes) {
			if (limit != 0 && quint64(rows.size()) >= limit) break;
			if (client::nameOf(info) <= after && !after.empty()) continue;
			if (info.error != 0 && info.stopped == 0)
				rows.append(errorRow(info));
			else if (isShown(info))
				rows.append(propertiesOf(info));
		}
		call.reply({QVariant::fromValue(rows)});
	});
	m_supervisor.requestSent();
}

void VolumeObjects::resolve(const MethodCall &call)
{
	const std::string name = call.argument<QString>(0).toStdString();
	if (const auto possible = checkLength(name); !possible) return call.fail(possible.error());
	refresh(name, [call, name](Result<VolumeInfo> info) {
		if (!info) return call.fail(info.error());
		call.reply({QVariant::fromValue(QDBusObjectPath(dbus::volumePath(textOf(name))))});
	});
}

// ---- methods of Volume

void VolumeObjects::called(const MethodCall &call)
{
	const QString label = call.path().section(QLatin1Char('/'), -1);
	const auto name = dbus::nameFromLabel(label.toStdString());
	if (!name) return call.fail(Error{ErrorCode::NotFound, "There is no volume at " + call.path().toStdString() + "."});
	if (const auto possible = checkLength(*name); !possible) return call.fail(possible.error());
	if (const auto options = checkOptions(call.argument<QVariantMap>(0), {}); !options) return call.fail(options.error());
	const QString method = call.method();
	if (method == QLatin1String("GetInfo")) return getInfo(call, *name);
	if (method == QLatin1String("GetStats")) return getStats(call, *name);
	if (method == QLatin1String("Open")) return openOrClose(call, *name, true);
	if (method == QLatin1String("Close")) return openOrClose(call, *name, false);
	ARCHIPELAGO_ASSERT(method == QLatin1String("Remove"));
	remove(call, *name);
}

void VolumeObjects::getInfo(const MethodCall &call, const std::string &name)
{
	refresh(name, [this, call](Result<VolumeInfo> info) {
		if (!info) return call.fail(info.error());
		call.reply({propertiesOf(*info)});
	});
}

void VolumeObjects::getStats(const MethodCall &call, const std::string &name)
{
	// Only the mapper knows which volume bears the name now.
	refresh(name, [this, call](Result<VolumeInfo> info) {
		if (!info) return call.fail(info.error());
		call.reply(statsReply(m_supervisor.segment(), info->volume));
	});
}

void VolumeObjects::openOrClose(const MethodCall &call, const std::string &name, bool open)
{
	m_authority.require(Action::VolumeMap, call, [this, call, name, open](uint) {
		auto catalog = m_supervisor.catalog();
		if (!catalog) return call.fail(catalog.error());
		auto done = [this, call, name, open](Result<void> result) {
			if (!result)
				return withClients(about(open ? "open" : "close", name, result.error()), name, [call](const Error &e) { call.fail(e); });
			// The reply comes after the change of properties that it causes.
			refresh(name, [call](Result<VolumeInfo>) { call.reply(); });
		};
		if (open)
			catalog->open(name, std::move(done));
		else
			catalog->close(name, std::move(done));
		m_supervisor.requestSent();
	});
}

/// E-BUSY says who, as far as the gateway knows.
void VolumeObjects::withClients(Error error, const std::string &name, std::function<void(const Error &)> done)
{
	if (error.code != ErrorCode::Busy) return done(error);
	m_supervisor.nbdClients(name, [error = std::move(error), done = std::move(done)](const std::string &who) mutable {
		if (!who.empty()) error.message += " Connected by NBD: " + who + ".";
		done(error);
	});
}

void VolumeObjects::remove(const MethodCall &call, const std::string &name)
{
	m_authority.require(Action::VolumeRemove, call, [this, call, name](uint uid) {
		if (const auto catalog = m_supervisor.catalog(); !catalog) return call.fail(catalog.error());
		Job *job = m_jobs.create(QStringLiteral("remove"), uid);
		call.reply({QVariant::fromValue(QDBusObjectPath(job->path()))});
		runRemove(*job, name);
	});
}

void VolumeObjects::runRemove(Job &job, const std::string &name)
{
	const QPointer<Job> made(&job);
	job.setMessage(QStringLiteral("removing ") + textOf(name));
	auto catalog = m_supervisor.catalog();
	if (!catalog) return job.fail(catalog.error());
	catalog->remove(name, [this, made, name](Result<void> result) {
		if (!result) {
			withClients(about("remove", name, result.error()), name, [made](const Error &e) {
				if (made) made->fail(e);
			});
			return;
		}
		m_objects.erase(name);
		if (made) made->succeed();
	});
	m_supervisor.requestSent();
}

} // namespace archipelago::service
