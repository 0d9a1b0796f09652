// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerSupervisor, the first moments of a service that finds hosts running: after it was killed, or replaced by a newer one.
// The hosts have what is needed (segment, bells, configuration), so nothing has to be remembered on disk; I/O goes on all
// the time. Whoever died while no service looked is recovered and started again. Main thread, before the service shows itself.
#include "dbus/service/peer_supervisor.h"

#include "daemon/base/log.h"
#include "dbus/service/pidfd.h"

#include <algorithm>

namespace archipelago::service {

/// False: nobody of before can be taken over; `living` are strangers then.
bool PeerSupervisor::takeOver(const std::vector<Orphan> &living)
{
	std::vector<FoundHost> found;
	std::vector<Orphan> strangers;
	for (const Orphan &orphan : living) {
		if (orphan.pid == 0) continue; // dead; its successor waits for its last writes
		auto host = contactHost(m_paths.runDir, orphan);
		if (!host) roleLogger("service")->warn("{}", host.error().message);
		if (!host || (!found.empty() && !sameFile(host->fds.front().get(), found.front().fds.front().get())))
			strangers.push_back(orphan);
		else
			found.push_back(std::move(*host));
	}
	if (found.empty() || !takeOverSegment(found)) return false;
	for (FoundHost &host : found) takeOverHost(std::move(host));
	setOrphans(std::move(strangers));
	recoverDeadOwners();
	tellCatalog();
	return true;
}

/// Hosts that were killed while no service ran, beside those that left something in a segment: nobody stopped them, so they
/// are to run.
void PeerSupervisor::startKilled(const std::vector<Orphan> &orphans)
{
	for (const Orphan &orphan : orphans) {
		if (!orphan.killed || !m_facts.layout.hosts.contains(orphan.host) || m_hosts.contains(orphan.host) || m_wanted.contains(orphan.host)) continue;
		roleLogger("service")->warn("host {} was killed while no service ran", orphan.host.toStdString());
		m_facts.crashed.insert(orphan.host, QStringLiteral("an unknown cause, while no service ran"));
		m_wanted.append(orphan.host);
		startAgain(orphan.host);
	}
}

/// Configuration and segment, from the first host; they are the same in all of them.
bool PeerSupervisor::takeOverSegment(std::vector<FoundHost> &found)
{
	ParsedConfig parsed = parseConfig({found.front().config.constData(), static_cast<size_t>(found.front().config.size())}, m_paths.configDefaults());
	if (!parsed.ok()) {
		roleLogger("service")->error("the running hosts use a configuration that this version does not accept; to go on: archipelago stop, then start");
		return false;
	}
	adopt(ConfigFile{found.front().config, std::move(parsed.config), {}});
	auto parts = SegmentParts::attach(std::move(found.front().fds));
	if (!parts) {
		roleLogger("service")->error("{}", parts.error().message);
		return false;
	}
	auto link = SegmentLink::create(std::move(*parts), m_file.config);
	if (!link) {
		roleLogger("service")->error("{}", link.error().message);
		return false;
	}
	m_link = std::move(*link);
	return true;
}

void PeerSupervisor::takeOverHost(FoundHost host)
{
	if (!m_facts.layout.hosts.contains(host.name)) return;
	roleLogger("service")->info("taking over host {} (pid {})", host.name.toStdString(), host.process.pid);
	HostRun *run = watch(host.name, std::move(host.process));
	want(host.name, true);
	for (const QString &name : m_facts.layout.rolesOf(host.name)) {
		const QString state = host.roles.value(name);
		hostSaid(host.name, name, state);
		if (host.up && state == QLatin1String("stopped")) keepStopped(name, true);
	}
	run->takeOver(host.up);
}

/// The layout's host whose ports `owner` has; empty: none.
QString PeerSupervisor::hostOfOwner(const xseg::ProcessId &owner) const
{
	for (const PeerRole &role : m_facts.layout.roles) {
		for (uint port = role.portStart; port <= role.portEnd && port < m_link->segment().geometry().ports; port++) {
			const xs_port &shared = m_link->segment().port(static_cast<xseg::PortNo>(port));
			if (shared.owner == (uint64_t(owner.pid) << 32 | uint32_t(owner.startTime))) return role.host;
		}
	}
	return {};
}

void PeerSupervisor::recoverDeadOwners()
{
	xseg::Recovery recovery(m_link->segment(), m_link->bells(), recoveryRules());
	for (const xseg::ProcessId &owner : recovery.owners()) {
		if (xseg::isRunning(owner)) continue;
		const QString host = hostOfOwner(owner);
		if (m_hosts.contains(host)) continue;
		if (host.isEmpty()) {
			// An earlier service, or a tool: nobody's I/O, and nobody to start again.
			recover(QStringLiteral("archipelagod-%1").arg(owner.pid), owner);
			continue;
		}
		roleLogger("service")->warn("host {} (pid {}) died while no service ran", host.toStdString(), owner.pid);
		m_facts.crashed.insert(host, QStringLiteral("an unknown cause, while no service ran"));
		m_wanted.append(host);
		recover(host, owner);
		startAgain(host);
	}
}

} // namespace archipelago::service
