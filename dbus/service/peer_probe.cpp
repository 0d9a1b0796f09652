// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Only silence counts. Whoever answers lives, also with an error; whoever is dead is noticed by pidfd, much sooner.
#include "dbus/service/peer_probe.h"

#include "daemon/base/shards.h"
#include "daemon/base/text.h"
#include "dbus/service/peer_supervisor.h"

#include <algorithm>

namespace archipelago::service {

namespace {

/// What an operator has to know of a store, from what its shards say; empty when it is well.
QString storeProblem(const QString &role, const std::string &dir, const std::map<uint, client::ControlReply> &shards)
{
	bool full = false;
	uint64_t freeBytes = UINT64_MAX, reserveBytes = 0, waitingWrites = 0;
	for (const auto &[port, reply] : shards) {
		const auto now = reply.argsAs<CapacityReply>();
		full |= now.full != 0;
		freeBytes = std::min(freeBytes, reply.serviced);
		reserveBytes = now.reserveBytes;
		waitingWrites += now.waitingWrites;
	}
	if (!full) return {};
	const QString room = QStringLiteral("%1: the store %2 is full (%3 MiB are free for data, %4 MiB are kept for metadata)")
	                         .arg(role, QString::fromStdString(dir)).arg(freeBytes >> 20).arg(reserveBytes >> 20);
	if (waitingWrites == 0) return room + QStringLiteral("; writes that need room fail. Free space there or enlarge it.");
	return room + QStringLiteral("; %1 writes wait. Free space there or enlarge it: they go on by themselves.").arg(waitingWrites);
}

/// Where each shard of a role answers (daemon/base/shards.h).
std::vector<uint> controlPorts(const Config &config, const PeerRole &role)
{
	std::vector<uint> out;
	const RoleConfig *known = config.role(role.name.toStdString());
	for (Shard shard{0, config.reactors()}; shard.index < shard.count; ++shard.index)
		out.push_back(shard.count == 1 ? role.portStart
		              : known          ? roleOfShard(*known, shard).portnoStart
		                               : nbdOfShard(config.nbd, shard).portnoStart);
	return out;
}

QString volumesProblem(const std::vector<client::StoppedVolume> &stopped)
{
	if (stopped.empty()) return {};
	QString text = QStringLiteral("volume %1 has stopped: %2").arg(QString::fromStdString(printable(stopped.front().name)), QString::fromStdString(stopped.front().message));
	if (stopped.size() > 1) text += QStringLiteral(" (and %1 more: vlmc list)").arg(stopped.size() - 1);
	return text;
}

} // namespace

PeerProbe::PeerProbe(PeerSupervisor &supervisor, const SupervisorTimeouts &timeouts) : m_supervisor(supervisor), m_timeouts(timeouts)
{
	m_timer.setInterval(m_timeouts.probeMs);
	connect(&m_timer, &QTimer::timeout, this, &PeerProbe::tick);
}

void PeerProbe::start()
{
	if (!m_timer.isActive()) m_timer.start();
}

void PeerProbe::stop()
{
	m_timer.stop();
	m_out.clear();
	m_asked.clear();
	m_capacity.clear();
	m_round++;
}

void PeerProbe::tick()
{
	m_supervisor.tellRecoveries();
	for (const auto &[host, run] : m_supervisor.m_hosts)
		if (run->phase() == HostRun::Phase::Up) run->askStatus();
	// A copy: what a role's state change sets off may change the table.
	const QList<PeerRole> roles = m_supervisor.layout().roles;
	for (const PeerRole &role : roles) {
		const bool runs = role.state == PeerState::Up || role.state == PeerState::Stuck;
		if (!runs) m_capacity.erase(role.name);
		for (const uint port : controlPorts(m_supervisor.m_file.config, role)) {
			const auto out = m_out.find({role.name, port});
			if (!runs) {
				if (out != m_out.end()) m_out.erase(out);
			} else if (out == m_out.end()) {
				ping(role.name, port);
				askCapacity(role, port);
				if (port == role.portStart) askHealth(role); // its first shard speaks for all
			} else if (out->second.hasExpired(m_timeouts.stuckMs)) {
				m_supervisor.setStuck(role.name, true);
			}
		}
	}
}

/// A role is stuck while one of its shards is.
bool PeerProbe::overdue(const QString &role) const
{
	return std::ranges::any_of(m_out, [&](const auto &entry) { return entry.first.first == role && entry.second.hasExpired(m_timeouts.stuckMs); });
}

void PeerProbe::ping(const QString &role, uint port)
{
	if (!m_supervisor.m_link) return;
	m_out[{role, port}].start();
	client::ping(m_supervisor.m_link->client(), static_cast<xseg::PortNo>(port), 0, [this, role, port, round = m_round](Result<void>) {
		if (round != m_round) return;
		m_out.erase({role, port});
		if (!overdue(role)) m_supervisor.setStuck(role, false);
	});
	m_supervisor.requestSent();
}

void PeerProbe::askHealth(const PeerRole &role)
{
	const RoleConfig *config = m_supervisor.m_file.config.role(role.name.toStdString());
	if (!m_supervisor.m_link || !config || config->type != RoleType::Mapperd || m_asked.contains({role.name, role.portStart})) return;
	m_asked.insert({role.name, role.portStart});
	client::CatalogClient mapper(m_supervisor.m_link->client(), static_cast<xseg::PortNo>(role.portStart));
	mapper.health([this, name = role.name, port = role.portStart, round = m_round](Result<std::vector<client::StoppedVolume>> stopped) {
		if (round != m_round) return;
		m_asked.erase({name, port});
		if (stopped) m_supervisor.setHealth(name, volumesProblem(*stopped));
	});
	m_supervisor.requestSent();
}

void PeerProbe::askCapacity(const PeerRole &role, uint port)
{
	const RoleConfig *config = m_supervisor.m_file.config.role(role.name.toStdString());
	if (!m_supervisor.m_link || !config || config->type != RoleType::FileBlocker || m_asked.contains({role.name, port})) return;
	m_asked.insert({role.name, port});
	client::ControlRequest request;
	request.op = Op::ObjCapacity;
	request.to = static_cast<xseg::PortNo>(port);
	request.timeoutMs = 0;
	const auto answered = [this, name = role.name, port, dir = config->archipDir, round = m_round](Result<client::ControlReply> reply) {
		if (round != m_round) return;
		m_asked.erase({name, port});
		if (!reply) return;
		m_capacity[name][port] = std::move(*reply);
		m_supervisor.setHealth(name, storeProblem(name, dir, m_capacity[name]));
	};
	m_supervisor.m_link->client().request(std::move(request), answered);
	m_supervisor.requestSent();
}

} // namespace archipelago::service
