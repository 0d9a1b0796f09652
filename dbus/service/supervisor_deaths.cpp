// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerSupervisor, what happens by itself: a host that dies is shown, recovered in the segment in which others go on, and started
// again when it is wanted. A start of our own is an order like another: it waits for those of people, and they for it.
#include "dbus/service/peer_supervisor.h"

#include "daemon/base/log.h"

namespace archipelago::service {

void PeerSupervisor::hostGone(const QString &host, const HostRun::End &end)
{
	const auto found = m_hosts.find(host);
	ARCHIPELAGO_ASSERT(found != m_hosts.end());
	found->second->deleteLater();
	m_hosts.erase(found);
	if (end.error) roleLogger("service")->error("{} [{}]", end.error->message, errorInfo(end.error->code).symbol);
	markGone(host, end);
	if (m_hosts.empty() && m_spawning == 0)
		releaseSegment();
	else
		recover(host, end.process); // also after an orderly end: when it left nothing, that is one look at its ports
	if (end.during == HostRun::Phase::Up && end.error && m_wanted.contains(host)) startAgain(host);
	emit stateChanged();
}

/// The table after a host's end.
void PeerSupervisor::markGone(const QString &host, const HostRun::End &end)
{
	const bool byItself = end.during == HostRun::Phase::Up;
	if (byItself && end.error) m_facts.crashed.insert(host, end.exit.text());
	const QStringList names = m_facts.layout.rolesOf(host);
	const QString culprit = end.failedRole.isEmpty() ? names.value(0) : end.failedRole;
	for (const QString &name : names) {
		PeerRole &role = *m_facts.layout.find(name);
		m_facts.problems.remove(name);
		if (end.error && (byItself || (end.during == HostRun::Phase::Starting && name == culprit)))
			setRole(role, PeerState::Failed, QString::fromStdString(end.error->message), end.error);
		else if (byItself)
			setRole(role, PeerState::Stopped, QStringLiteral("host %1 was ended from outside").arg(host),
			        Error{ErrorCode::Cancelled, "Host " + host.toStdString() + " was ended from outside."});
		else
			setRole(role, PeerState::Stopped);
	}
}

void PeerSupervisor::recover(const QString &host, const xseg::ProcessId &dead)
{
	auto recovery = std::make_unique<HostRecovery>(m_link->segment(), m_link->bells(), m_paths.runDir, host, dead, nullptr);
	connect(recovery.get(), &HostRecovery::done, this, [this, host] {
		// Not from within its own signal.
		const auto over = m_recoveries.find(host);
		if (over == m_recoveries.end()) return;
		over->second.release()->deleteLater();
		m_recoveries.erase(over);
		m_link->sent(); // answers may have come back to us
	});
	m_recoveries[host] = std::move(recovery);
}

/// A recovery that does not come to its end says what it waits for.
void PeerSupervisor::tellRecoveries()
{
	for (const auto &[host, recovery] : m_recoveries) {
		const QString trouble = recovery->trouble();
		if (trouble.isEmpty() || !m_facts.crashed.contains(host) || m_facts.restarting.value(host) == trouble) continue;
		m_facts.restarting.insert(host, trouble);
		roleLogger("service")->warn("{}", trouble.toStdString());
		emit stateChanged();
	}
}

void PeerSupervisor::startAgain(const QString &host)
{
	const int ms = m_restarts.ended(host);
	const int tries = m_restarts.tries(host);
	QString text = QStringLiteral("It is being started again");
	if (ms > 0) text += QStringLiteral(" (%1 failed; next in %2 s, or: archipelago start)").arg(tries == 1 ? QStringLiteral("1 try") : QStringLiteral("%1 tries").arg(tries)).arg((ms + 999) / 1000);
	m_facts.restarting.insert(host, text);
	roleLogger("service")->warn("host {}: {}", host.toStdString(), text.toStdString());
	emit stateChanged();
}

void PeerSupervisor::restartDue()
{
	if (m_orderRuns) return; // nextOrder() comes when it is over
	const QString host = m_restarts.take();
	if (host.isEmpty()) return;
	if (m_hosts.contains(host) || !m_wanted.contains(host)) return restartDue();
	PeerOrder order;
	order.ours = true;
	order.hosts = {host};
	PeerOrderHooks hooks;
	hooks.done = [this, host](Result<void> result) {
		if (result || !m_wanted.contains(host) || m_hosts.contains(host)) return;
		roleLogger("service")->error("host {}: {} [{}]", host.toStdString(), result.error().message, errorInfo(result.error().code).symbol);
		startAgain(host);
	};
	submit(order, std::move(hooks));
}

} // namespace archipelago::service
