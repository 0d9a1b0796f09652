// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The course of an order, as steps that call the next one. A host may die between any two of them: the supervisor's table is
// read anew at each step, never remembered.
#include "dbus/service/peer_order.h"

#include "daemon/base/text.h"
#include "dbus/service/peer_supervisor.h"
#include "dbus/service/worker.h"

#include <algorithm>

#include <QPointer>

namespace archipelago::service {

namespace {

/// "web (1 client), db (3 clients)", at most five.
std::string describeUsers(const std::vector<VolumeInfo> &volumes)
{
	std::string out;
	size_t count = 0;
	for (const VolumeInfo &volume : volumes) {
		if (volume.clients == 0 || ++count > 5) continue;
		out += (out.empty() ? "" : ", ") + printable(client::nameOf(volume)) + " (" + std::to_string(volume.clients)
		       + (volume.clients == 1 ? " client)" : " clients)");
	}
	if (count > 5) out += " and " + std::to_string(count - 5) + " more";
	return out;
}

} // namespace

PeerOrderRun::PeerOrderRun(PeerSupervisor &supervisor, const PeerOrder &order, PeerOrderHooks hooks) :
    QObject(&supervisor), m_supervisor(supervisor), m_order(order), m_hooks(std::move(hooks))
{
	connect(&m_supervisor, &PeerSupervisor::roleChanged, this, [this](const QString &name, const QString &old, const QString &) {
		const PeerRole *role = m_supervisor.role(name);
		if (!role || QLatin1String(peerStateName(role->state)) == old) return;
		if (role->state == PeerState::Starting) say(QStringLiteral("starting ") + name);
		if (role->state == PeerState::Stopping) say(QStringLiteral("stopping ") + name);
	});
}

void PeerOrderRun::say(const QString &message) const
{
	if (m_hooks.message) m_hooks.message(message);
}

void PeerOrderRun::run()
{
	if (m_order.ours) {
		m_starts = m_order.hosts;
		return startNext();
	}
	const bool anyRuns = !m_supervisor.runningHosts().isEmpty();
	if (!anyRuns && !starting()) return stopOrphans();
	if (!anyRuns) return planStops();
	checkNames();
}

void PeerOrderRun::checkNames()
{
	const auto hosts = m_supervisor.layout().hostsOf(m_order.roles);
	if (!hosts) return finish(tl::unexpected<Error>(hosts.error()));
	if (m_order.verb == PeerOrder::Verb::Start && !m_order.runningIsFine) {
		for (const QString &name : m_order.roles) {
			if (!m_supervisor.runs(name)) continue;
			return finish(failure(ErrorCode::Busy, name.toStdString() + " runs already (pid " + std::to_string(m_supervisor.role(name)->pid)
			                                           + "). To start it anew: archipelago restart " + name.toStdString()));
		}
	}
	if (disturbsClients() && !m_order.force) return askForClients();
	planStops();
}

/// A client notices when its gateway goes, and when what it needs stays away; a role that is merely restarted is a pause to it.
bool PeerOrderRun::disturbsClients() const
{
	if (!stopping()) return false;
	return std::ranges::any_of(m_supervisor.layout().roles, [this](const PeerRole &role) {
		return named(role.name) && m_supervisor.runs(role.name) && (role.gateway || !starting());
	});
}

/// Stopping under a client breaks its connection: not without being told to.
void PeerOrderRun::askForClients()
{
	auto catalog = m_supervisor.catalog();
	const auto stuck = std::ranges::any_of(m_supervisor.layout().roles, [](const PeerRole &role) { return role.state == PeerState::Stuck; });
	if (!catalog || stuck) {
		// Without a mapper no volume works, so there is nobody left to protect.
		say(QStringLiteral("whether clients use volumes cannot be asked now: the mapper does not answer"));
		return planStops();
	}
	// The answer comes out of the client that a stop takes down: go on from the event loop.
	catalog->listAll([self = QPointer<PeerOrderRun>(this)](Result<std::vector<VolumeInfo>> volumes) {
		if (!self) return;
		QMetaObject::invokeMethod(self.data(), [self, volumes = std::move(volumes)] {
			const std::string verb = self->m_order.verb == PeerOrder::Verb::Stop ? "stop" : "restart";
			if (!volumes) {
				return self->finish(failure(ErrorCode::Busy, "Cannot " + verb + ": whether clients use volumes is not known ("
				                                                 + volumes.error().message + "). To do it anyway: archipelago stop -f"));
			}
			if (const std::string users = describeUsers(*volumes); !users.empty()) {
				return self->finish(failure(ErrorCode::Busy, "Cannot " + verb + ": volumes are in use: " + users
				                                                 + ". Nothing was changed. Disconnect the clients, or: archipelago stop -f"));
			}
			self->planStops();
		}, Qt::QueuedConnection);
	});
	m_supervisor.requestSent();
}

/// Stop while nothing of ours runs: ends what an earlier service left.
void PeerOrderRun::stopOrphans()
{
	runAside(this, [runDir = m_supervisor.paths().runDir] { return findOrphans(runDir); }, [this](std::vector<Orphan> orphans) {
		m_supervisor.setOrphans(orphans);
		std::erase_if(orphans, [this](const Orphan &orphan) {
			const auto named = m_supervisor.layout().hostsOf(m_order.roles);
			return !m_order.roles.isEmpty() && !(named && named->contains(orphan.host));
		});
		if (orphans.empty()) {
			const auto named = m_supervisor.layout().hostsOf(m_order.roles);
			if (!named) return finish(tl::unexpected<Error>(named.error()));
			m_supervisor.forgetFailures();
			if (m_stopTrouble) return finish(tl::unexpected<Error>(*m_stopTrouble));
			return finish({});
		}
		m_supervisor.setActivity(Activity::Stopping);
		const Orphan orphan = orphans.front();
		say(QStringLiteral("ending %1 of an earlier service").arg(describeOrphans({orphan})));
		auto *stopper = new OrphanStopper(m_supervisor.paths().runDir, orphan, m_supervisor.stopTimeoutMs(), [this](Result<void> result) {
			// Timeout: it had to be killed, but it is gone; on with the next.
			if (!result && result.error().code != ErrorCode::Timeout) return finish(std::move(result));
			if (!result && !m_stopTrouble) m_stopTrouble = result.error();
			stopOrphans();
		}, this);
		stopper->run();
	});
}

/// Which hosts and roles go: before anything is changed.
void PeerOrderRun::planStops()
{
	const QStringList running = m_supervisor.runningHosts();
	for (const QString &host : running) {
		if (!stopping()) break;
		QStringList going;
		bool all = true;
		for (const QString &role : m_supervisor.layout().rolesOf(host)) {
			if (!m_supervisor.runs(role)) continue;
			if (named(role))
				going.prepend(role);
			else
				all = false;
		}
		if (m_order.roles.isEmpty() || (all && !going.isEmpty()))
			m_stops.prepend(host);
		else
			m_drains = going + m_drains;
	}
	m_fresh = starting() && m_drains.isEmpty() && m_stops.size() == running.size();
	if (m_fresh) return prepare();
	stopNext();
}

/// A fresh start needs a configuration and a free run directory: found out while everything still is as it was.
void PeerOrderRun::prepare()
{
	m_supervisor.setActivity(m_stops.isEmpty() ? Activity::Starting : Activity::Stopping);
	m_supervisor.readFresh([this](Result<ConfigFile> config) {
		if (!config) return finish(tl::unexpected<Error>(config.error()));
		if (const auto hosts = HostLayout::of(config->config).hostsOf(m_order.roles); !hosts)
			return finish(tl::unexpected<Error>(hosts.error()));
		if (!m_supervisor.orphans().empty()) {
			return finish(failure(ErrorCode::Busy, "Cannot start: " + describeOrphans(m_supervisor.orphans()).toStdString()
			                                           + " of an earlier service still runs. To end it: archipelago stop, then start again."));
		}
		m_config = std::move(*config);
		stopNext();
	});
}

void PeerOrderRun::stopNext()
{
	if (!m_drains.isEmpty()) return drain(m_drains.takeFirst());
	if (!m_stops.isEmpty()) {
		m_supervisor.setActivity(Activity::Stopping);
		const QString host = m_stops.takeFirst();
		// One that dies on the way down is not started again; one that is to come back is started by us.
		m_supervisor.want(host, false);
		say(QStringLiteral("stopping host ") + host);
		m_supervisor.stopHost(host, [this](Result<void> result) {
			if (!result && !m_stopTrouble) m_stopTrouble = result.error();
			stopNext();
		});
		return;
	}
	if (starting() || !m_starts.isEmpty()) {
		if (m_stopTrouble) say(QString::fromStdString(m_stopTrouble->message));
		return planStarts();
	}
	if (m_order.roles.isEmpty()) {
		for (const QString &host : m_supervisor.layout().hosts) m_supervisor.want(host, false);
	}
	if (m_supervisor.runningHosts().isEmpty()) m_supervisor.forgetFailures();
	if (m_stopTrouble) return finish(tl::unexpected<Error>(*m_stopTrouble));
	finish({});
}

void PeerOrderRun::drain(const QString &role)
{
	if (!starting()) m_supervisor.keepStopped(role, true);
	m_supervisor.changeRole(role, false, [this, role](Result<void> result) {
		if (result || result.error().code == ErrorCode::Peer) { // it is stopped, or its host died and is dealt with
			if (starting()) m_attaches.prepend(role);
			return stopNext();
		}
		if (result.error().code != ErrorCode::Timeout) return finish(std::move(result));
		stopWholeHost(role);
	});
}

/// A role that does not let go: only the end of its process makes it.
void PeerOrderRun::stopWholeHost(const QString &role)
{
	const QString host = m_supervisor.role(role)->host;
	QStringList others = m_supervisor.layout().rolesOf(host);
	others.removeAll(role);
	say(QStringLiteral("%1 has not drained in time: its whole host %2 is restarted, with %3").arg(role, host, others.join(QLatin1String(", "))));
	if (!m_stops.contains(host)) m_stops.prepend(host);
	if (!m_starts.contains(host)) m_starts.append(host);
	for (const QString &other : m_supervisor.layout().rolesOf(host)) {
		if (m_drains.removeAll(other) > 0 && !starting()) m_supervisor.keepStopped(other, true);
		m_attaches.removeAll(other);
	}
	stopNext();
}

void PeerOrderRun::planStarts()
{
	m_supervisor.setActivity(Activity::Starting);
	if (m_fresh) m_supervisor.adopt(std::move(m_config));
	const HostLayout &layout = m_supervisor.layout();
	const QStringList running = m_supervisor.runningHosts();
	QStringList hosts;
	for (const QString &host : layout.hosts) {
		if (running.contains(host)) continue;
		// prepare() or checkNames() found the names to be good.
		const bool wanted = starting() && std::ranges::any_of(layout.rolesOf(host), [this](const QString &role) { return named(role); });
		if (!wanted && !m_starts.contains(host)) continue;
		hosts.append(host);
		// A host that was stopped comes up with what is asked for; one that died, as it was.
		if (m_supervisor.wants(host) || m_starts.contains(host)) continue;
		for (const QString &role : layout.rolesOf(host)) m_supervisor.keepStopped(role, !named(role));
	}
	m_starts = hosts;
	for (const PeerRole &role : layout.roles) {
		if (!starting() || !named(role.name)) continue;
		m_supervisor.keepStopped(role.name, false);
		if (running.contains(role.host) && !isRunning(role.state) && !m_attaches.contains(role.name)) m_attaches.append(role.name);
	}
	startNext();
}

void PeerOrderRun::startNext()
{
	if (m_hooks.cancelWanted && m_hooks.cancelWanted())
		return rollBack(Error{ErrorCode::Cancelled, "The start was cancelled; what it had started was stopped again."});
	if (m_hooks.progress) {
		const auto done = m_started.size() + m_attached.size(), total = done + m_starts.size() + m_attaches.size();
		m_hooks.progress(total ? double(done) / double(total) : 1.0);
	}
	if (!m_starts.isEmpty()) return startHost(m_starts.takeFirst());
	if (!m_attaches.isEmpty()) return startRole(m_attaches.takeFirst());
	const QStringList running = m_supervisor.runningHosts();
	for (const QString &host : std::as_const(m_started)) {
		if (running.contains(host) || m_order.ours) continue;
		return rollBack(Error{ErrorCode::Failed, "Host " + host.toStdString() + " ended while others were being started; its log: "
		                                             + m_supervisor.paths().logDir.toStdString() + "/" + host.toStdString() + ".log"});
	}
	m_supervisor.setStartError({});
	finish({});
}

void PeerOrderRun::startHost(const QString &host)
{
	say(QStringLiteral("starting host ") + host);
	m_supervisor.startHost(host, m_order.createDirs, [this, host](Result<void> result) {
		if (!result) return rollBack(result.error());
		m_supervisor.want(host, true);
		m_started.append(host);
		startNext();
	});
}

void PeerOrderRun::startRole(const QString &role)
{
	if (m_supervisor.runs(role)) return startNext(); // came up with its whole host
	m_supervisor.changeRole(role, true, [this, role](Result<void> result) {
		// Its host died: it comes back with it.
		if (!result && result.error().code != ErrorCode::Peer) return rollBack(result.error().within("Cannot start " + role.toStdString()));
		m_attached.append(role);
		startNext();
	});
}

/// Takes back what this order started, last first; the reason for it is the order's result.
void PeerOrderRun::rollBack(const Error &why)
{
	if (m_order.ours) return finish(tl::unexpected<Error>(why));
	if (!m_attached.isEmpty()) {
		const QString role = m_attached.takeLast();
		m_supervisor.changeRole(role, false, [this, why](Result<void>) { rollBack(why); });
		return;
	}
	if (!m_started.isEmpty()) {
		const QString host = m_started.takeLast();
		m_supervisor.want(host, false);
		say(QStringLiteral("stopping host %1 again").arg(host));
		m_supervisor.stopHost(host, [this, why](Result<void>) { rollBack(why); });
		return;
	}
	if (why.code != ErrorCode::Cancelled) m_supervisor.setStartError(QString::fromStdString(why.message));
	finish(tl::unexpected<Error>(why));
}

void PeerOrderRun::finish(Result<void> result)
{
	ARCHIPELAGO_ASSERT(!m_finished);
	m_finished = true;
	m_supervisor.setActivity(Activity::None);
	deleteLater();
	m_hooks.done(std::move(result));
}

} // namespace archipelago::service
