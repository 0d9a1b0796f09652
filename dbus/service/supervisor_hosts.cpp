// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerSupervisor, the segment and the host processes: made, watched and stopped, as an order wants it.
//
// When the last host is gone the segment goes: nothing can be in flight in it, and the next start makes a new one. While others
// run, what a host that did not end in order left behind is recovered before that host starts again.
#include "dbus/service/peer_supervisor.h"

#include "dbus/service/peer_probe.h"
#include "dbus/service/worker.h"

#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>

namespace archipelago::service {

namespace {

std::optional<PeerState> stateFromHost(const QString &text)
{
	if (text == QLatin1String("starting")) return PeerState::Starting;
	if (text == QLatin1String("up")) return PeerState::Up;
	if (text == QLatin1String("stopping")) return PeerState::Stopping;
	if (text == QLatin1String("stopped")) return PeerState::Stopped;
	return std::nullopt;
}

} // namespace

void PeerSupervisor::withSegment(std::function<void(Result<void>)> next)
{
	if (m_link) return next({});
	const auto reactors = static_cast<uint32_t>(m_facts.layout.hosts.size()) * m_file.config.reactors();
	runAside(this, [config = m_file.config, reactors] { return SegmentParts::create(config, reactors); },
	         [this, next = std::move(next)](Result<SegmentParts> parts) {
		         if (!parts) return next(tl::unexpected<Error>(parts.error()));
		         ARCHIPELAGO_ASSERT(!m_link); // one order at a time
		         auto link = SegmentLink::create(std::move(*parts), m_file.config);
		         if (!link) return next(tl::unexpected<Error>(link.error()));
		         m_link = std::move(*link);
		         next({});
	         });
}

void PeerSupervisor::releaseSegment()
{
	ARCHIPELAGO_ASSERT(m_hosts.empty());
	m_probe->stop();
	// Whoever waits for a recovery goes on: there is nothing left that could be recovered.
	for (auto &[host, recovery] : std::exchange(m_recoveries, {})) emit recovery->done();
	m_link.reset();
	m_facts.problems.clear();
	tellCatalog();
}

SpawnRequest PeerSupervisor::spawnRequest(const QString &host, bool createDirs, std::vector<xseg::UniqueFd> fds) const
{
	const QJsonObject start{
		{QStringLiteral("type"), QStringLiteral("start")},
		{QStringLiteral("host"), host},
		// Waiter 0 is ours; a host has one for each of its reactors.
		{QStringLiteral("waiter"), static_cast<int>(m_facts.layout.hosts.indexOf(host)) * static_cast<int>(m_file.config.reactors()) + 1},
		{QStringLiteral("config"), QString::fromUtf8(m_file.text)},
		{QStringLiteral("configFile"), m_paths.configFile},
		{QStringLiteral("trial"), m_paths.trial},
		{QStringLiteral("runDir"), m_paths.runDir},
		{QStringLiteral("stateDir"), m_paths.stateDir},
		{QStringLiteral("createDirs"), createDirs},
		{QStringLiteral("without"), QJsonArray::fromStringList(m_keptStopped)},
	};
	SpawnRequest request;
	request.program = m_paths.hostProgram.toStdString();
	request.logFile = logFileOf(host).toStdString();
	request.startMessage = QJsonDocument(start).toJson(QJsonDocument::Compact);
	request.fds = std::move(fds);
	return request;
}

void PeerSupervisor::startHost(const QString &host, bool createDirs, std::function<void(Result<void>)> done)
{
	ARCHIPELAGO_ASSERT(!m_hosts.contains(host));
	auto start = [this, host, createDirs, done = std::move(done)] {
		withSegment([this, host, createDirs, done](Result<void> made) {
			if (!made) return done(std::move(made));
			spawn(host, createDirs, done);
		});
	};
	const auto recovery = m_recoveries.find(host);
	if (recovery == m_recoveries.end()) return start();
	// From the event loop: whoever is done with recovering is in the middle of it.
	recovery->second->whenDone([this, start] { QMetaObject::invokeMethod(this, start, Qt::QueuedConnection); });
}

void PeerSupervisor::spawn(const QString &host, bool createDirs, std::function<void(Result<void>)> done)
{
	auto fds = m_link->descriptors();
	if (!fds) {
		hostSpawned(host, tl::unexpected<Error>(fds.error()), std::move(done));
		return;
	}
	// Behind a pointer: what a helper thread carries has to be copyable.
	auto request = std::make_shared<SpawnRequest>(spawnRequest(host, createDirs, std::move(*fds)));
	m_spawning++;
	runAside(this, [request] { return spawnHost(std::move(*request)); },
	         [this, host, done = std::move(done)](Result<HostProcess> spawned) mutable {
		         m_spawning--;
		         hostSpawned(host, std::move(spawned), std::move(done));
	         });
}

void PeerSupervisor::hostSpawned(const QString &host, Result<HostProcess> spawned, std::function<void(Result<void>)> done)
{
	if (!spawned) {
		const Error error = spawned.error().within("Cannot start host " + host.toStdString());
		for (PeerRole &role : m_facts.layout.roles)
			if (role.host == host) setRole(role, PeerState::Failed, QString::fromStdString(error.message), error);
		if (m_hosts.empty() && m_spawning == 0) releaseSegment();
		return done(tl::unexpected<Error>(error));
	}
	watch(host, std::move(*spawned))->waitReady([this, host, done = std::move(done)](Result<void> result) {
		if (result) hostUp(host);
		done(std::move(result));
	});
}

HostRun *PeerSupervisor::watch(const QString &host, HostProcess process)
{
	auto *run = new HostRun(host, std::move(process), logFileOf(host), m_timeouts, this);
	m_hosts.emplace(host, run);
	connect(run, &HostRun::roleState, this, [this, host](const QString &role, const QString &state) { hostSaid(host, role, state); });
	connect(run, &HostRun::inflight, this, [this](const QString &name, uint count) {
		if (PeerRole *role = m_facts.layout.find(name); role && role->inflight != count) {
			role->inflight = count;
			emit roleChanged(name, QLatin1String(peerStateName(role->state)), {});
		}
	});
	connect(run, &HostRun::gone, this, [this, host](const HostRun::End &end) { hostGone(host, end); });
	m_probe->start();
	return run;
}

void PeerSupervisor::stopHost(const QString &host, std::function<void(Result<void>)> done)
{
	const auto found = m_hosts.find(host);
	if (found == m_hosts.end()) return done({}); // died meanwhile: hostGone() has dealt with it
	found->second->stop(std::move(done));
}

void PeerSupervisor::changeRole(const QString &name, bool start, std::function<void(Result<void>)> done)
{
	const PeerRole *entry = role(name);
	const auto host = entry ? m_hosts.find(entry->host) : m_hosts.end();
	if (host == m_hosts.end()) return done(failure(ErrorCode::Peer, "The host of " + name.toStdString() + " has ended."));
	host->second->changeRole(name, start, std::move(done));
}

void PeerSupervisor::hostSaid(const QString &host, const QString &name, const QString &text)
{
	PeerRole *role = m_facts.layout.find(name);
	const auto state = stateFromHost(text);
	if (!role || role->host != host || !state || (role->state == PeerState::Stuck && *state == PeerState::Up)) return;
	setRole(*role, *state);
}

void PeerSupervisor::hostUp(const QString &host)
{
	m_facts.crashed.remove(host);
	m_facts.restarting.remove(host);
	m_restarts.up(host);
	for (PeerRole &role : m_facts.layout.roles)
		if (role.host == host && !isRunning(role.state)) setRole(role, PeerState::Stopped); // as it was before the host died
	emit stateChanged();
}

} // namespace archipelago::service
