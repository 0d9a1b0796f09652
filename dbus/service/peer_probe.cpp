// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Only silence counts. Whoever answers lives, also with an error; whoever is dead is noticed by pidfd, much sooner.
#include "dbus/service/peer_probe.h"

#include "daemon/base/text.h"
#include "dbus/service/peer_supervisor.h"

namespace archipelago::service {

namespace {

/// What an operator has to know of a store; empty when it is well.
QString storeProblem(const QString &role, const std::string &dir, const client::ControlReply &reply)
{
	const auto now = reply.argsAs<CapacityReply>();
	if (now.full == 0) return {};
	const QString room = QStringLiteral("%1: the store %2 is full (%3 MiB are free for data, %4 MiB are kept for metadata)")
	                         .arg(role, QString::fromStdString(dir)).arg(reply.serviced >> 20).arg(now.reserveBytes >> 20);
	if (now.waitingWrites == 0) return room + QStringLiteral("; writes that need room fail. Free space there or enlarge it.");
	return room + QStringLiteral("; %1 writes wait. Free space there or enlarge it: they go on by themselves.").arg(now.waitingWrites);
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
		const auto out = m_out.find(role.name);
		if (role.state != PeerState::Up && role.state != PeerState::Stuck) {
			if (out != m_out.end()) m_out.erase(out);
		} else if (out == m_out.end()) {
			ping(role.name, role.portStart);
			askCapacity(role);
			askHealth(role);
		} else if (out->second.hasExpired(m_timeouts.stuckMs)) {
			m_supervisor.setStuck(role.name, true);
		}
	}
}

void PeerProbe::ping(const QString &role, uint port)
{
	if (!m_supervisor.m_link) return;
	m_out[role].start();
	client::ping(m_supervisor.m_link->client(), static_cast<xseg::PortNo>(port), 0, [this, role, round = m_round](Result<void>) {
		if (round != m_round) return;
		m_out.erase(role);
		m_supervisor.setStuck(role, false);
	});
	m_supervisor.requestSent();
}

void PeerProbe::askHealth(const PeerRole &role)
{
	const RoleConfig *config = m_supervisor.m_file.config.role(role.name.toStdString());
	if (!m_supervisor.m_link || !config || config->type != RoleType::Mapperd || m_asked.contains(role.name)) return;
	m_asked.insert(role.name);
	client::CatalogClient mapper(m_supervisor.m_link->client(), static_cast<xseg::PortNo>(role.portStart));
	mapper.health([this, name = role.name, round = m_round](Result<std::vector<client::StoppedVolume>> stopped) {
		if (round != m_round) return;
		m_asked.erase(name);
		if (stopped) m_supervisor.setHealth(name, volumesProblem(*stopped));
	});
	m_supervisor.requestSent();
}

void PeerProbe::askCapacity(const PeerRole &role)
{
	const RoleConfig *config = m_supervisor.m_file.config.role(role.name.toStdString());
	if (!m_supervisor.m_link || !config || config->type != RoleType::FileBlocker || m_asked.contains(role.name)) return;
	m_asked.insert(role.name);
	client::ControlRequest request;
	request.op = Op::ObjCapacity;
	request.to = static_cast<xseg::PortNo>(role.portStart);
	request.timeoutMs = 0;
	const auto answered = [this, name = role.name, dir = config->archipDir, round = m_round](Result<client::ControlReply> reply) {
		if (round != m_round) return;
		m_asked.erase(name);
		if (reply) m_supervisor.setHealth(name, storeProblem(name, dir, *reply));
	};
	m_supervisor.m_link->client().request(std::move(request), answered);
	m_supervisor.requestSent();
}

} // namespace archipelago::service
