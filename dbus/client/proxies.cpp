// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Arguments in, values out. Options that have their default are not sent: an older service refuses keys it does not know.
#include "dbus/client/proxies.h"

#include <algorithm>
#include <memory>

namespace archipelago::dbus {

namespace {

const QString kRoot = QLatin1String(kRootPath);
const QString kManager = QLatin1String(kManagerInterface);
const QString kVolume = QLatin1String(kVolumeInterface);

QVariantMap optionsOf(const StopOptions &options)
{
	QVariantMap map;
	if (options.force) map.insert(QStringLiteral("force"), true);
	if (options.userOnly) map.insert(QStringLiteral("user_only"), true);
	return map;
}

/// A reply without values.
Done<QVariantList> ignoringValues(Done<void> done)
{
	return [done = std::move(done)](Result<QVariantList> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done({});
	};
}

/// A reply of GetStats.
Done<QVariantList> asSnapshot(Done<StatsSnapshot> done)
{
	return [done = std::move(done)](Result<QVariantList> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		StatsSnapshot out;
		if (reply->size() == 2) {
			out.timeUs = reply->at(0).toULongLong();
			const auto rows = qdbus_cast<VariantMapList>(reply->at(1));
			for (const QVariantMap &row : rows) out.ports.append(PortStats::fromMap(row));
		}
		done(std::move(out));
	};
}

void fillObjects(Overview &out, const ManagedObjects &objects)
{
	for (auto object = objects.begin(); object != objects.end(); ++object) {
		for (auto interface = object->begin(); interface != object->end(); ++interface) {
			if (interface.key() == QLatin1String(kPeerInterface)) out.peers.append(PeerInfo::fromMap(*interface));
			if (interface.key() == kVolume) out.volumes.append(VolumeInfo::fromMap(*interface));
			if (interface.key() == QLatin1String(kJobInterface)) out.jobs.append(JobInfo::fromMap(object.key().path(), *interface));
		}
	}
	std::ranges::sort(out.peers, [](const PeerInfo &a, const PeerInfo &b) { return std::tie(a.host, a.name) < std::tie(b.host, b.name); });
	std::ranges::sort(out.volumes, {}, [](const VolumeInfo &v) { return v.name.toUtf8(); });
	std::ranges::sort(out.jobs, {}, &JobInfo::number);
}

} // namespace

void ManagerProxy::info(Done<ManagerInfo> done)
{
	m_bus.properties(kRoot, kManager, [done = std::move(done)](Result<QVariantMap> map) {
		if (!map) return done(tl::unexpected<Error>(std::move(map.error())));
		done(ManagerInfo::fromMap(*map));
	});
}

void ManagerProxy::overview(Done<Overview> done)
{
	m_bus.call(kRoot, QLatin1String(kObjectManagerInterface), QStringLiteral("GetManagedObjects"), {},
	           [proxy = *this, done = std::move(done)](Result<QVariantList> reply) mutable {
		           if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		           auto out = std::make_shared<Overview>();
		           if (!reply->isEmpty()) fillObjects(*out, qdbus_cast<ManagedObjects>(reply->first()));
		           proxy.info([out, done = std::move(done)](Result<ManagerInfo> info) {
			           if (!info) return done(tl::unexpected<Error>(std::move(info.error())));
			           out->manager = std::move(*info);
			           done(std::move(*out));
		           });
	           });
}

void ManagerProxy::start(const QStringList &roles, const StartOptions &options, JobEvents events)
{
	QVariantMap map;
	if (options.createDirs) map.insert(QStringLiteral("create_dirs"), true);
	if (options.userOnly) map.insert(QStringLiteral("user_only"), true);
	if (options.ok) map.insert(QStringLiteral("ok"), true);
	runJob(m_bus, kRoot, kManager, QStringLiteral("Start"), {roles, map}, std::move(events));
}

void ManagerProxy::stop(const QStringList &roles, const StopOptions &options, JobEvents events)
{
	runJob(m_bus, kRoot, kManager, QStringLiteral("Stop"), {roles, optionsOf(options)}, std::move(events));
}

void ManagerProxy::restart(const QStringList &roles, const StopOptions &options, JobEvents events)
{
	runJob(m_bus, kRoot, kManager, QStringLiteral("Restart"), {roles, optionsOf(options)}, std::move(events));
}

void ManagerProxy::createVolume(const QString &name, quint64 sizeBytes, JobEvents events)
{
	runJob(m_bus, kRoot, kManager, QStringLiteral("CreateVolume"), {name, sizeBytes, QVariantMap()}, std::move(events));
}

void ManagerProxy::listVolumes(const ListOptions &options, Done<QList<VolumeInfo>> done)
{
	QVariantMap map;
	if (!options.after.isEmpty()) map.insert(QStringLiteral("after"), options.after);
	if (options.limit != 0) map.insert(QStringLiteral("limit"), options.limit);
	m_bus.call(kRoot, kManager, QStringLiteral("ListVolumes"), {map}, [done = std::move(done)](Result<QVariantList> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		QList<VolumeInfo> volumes;
		if (!reply->isEmpty()) {
			const auto rows = qdbus_cast<VariantMapList>(reply->first());
			for (const QVariantMap &row : rows) volumes.append(VolumeInfo::fromMap(row));
		}
		done(std::move(volumes));
	});
}

void ManagerProxy::stats(Done<StatsSnapshot> done)
{
	m_bus.call(kRoot, kManager, QStringLiteral("GetStats"), {QVariantMap()}, asSnapshot(std::move(done)));
}

void ManagerProxy::checkConfig(const std::optional<QString> &text, Done<QList<ConfigProblem>> done)
{
	QVariantMap map;
	if (text) map.insert(QStringLiteral("text"), *text);
	m_bus.call(kRoot, kManager, QStringLiteral("CheckConfig"), {map}, [done = std::move(done)](Result<QVariantList> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		QList<ConfigProblem> problems;
		if (!reply->isEmpty()) {
			const auto rows = qdbus_cast<ProblemList>(reply->first());
			for (const ProblemRow &row : rows)
				problems.append({row.level == QLatin1String("error"), row.line, row.column, row.message});
		}
		done(std::move(problems));
	});
}

void VolumeProxy::info(Done<VolumeInfo> done)
{
	m_bus.call(m_path, kVolume, QStringLiteral("GetInfo"), {QVariantMap()}, [done = std::move(done)](Result<QVariantList> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done(VolumeInfo::fromMap(reply->isEmpty() ? QVariantMap() : qdbus_cast<QVariantMap>(reply->first())));
	});
}

void VolumeProxy::stats(Done<StatsSnapshot> done)
{
	m_bus.call(m_path, kVolume, QStringLiteral("GetStats"), {QVariantMap()}, asSnapshot(std::move(done)));
}

void VolumeProxy::remove(JobEvents events)
{
	runJob(m_bus, m_path, kVolume, QStringLiteral("Remove"), {QVariantMap()}, std::move(events));
}

void VolumeProxy::open(Done<void> done)
{
	m_bus.call(m_path, kVolume, QStringLiteral("Open"), {QVariantMap()}, ignoringValues(std::move(done)));
}

void VolumeProxy::close(Done<void> done)
{
	m_bus.call(m_path, kVolume, QStringLiteral("Close"), {QVariantMap()}, ignoringValues(std::move(done)));
}

} // namespace archipelago::dbus
