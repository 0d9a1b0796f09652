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

QStringList reversed(QStringList list)
{
	std::ranges::reverse(list);
	return list;
}

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

void PeerOrderRun::announceSharedHosts(const QStringList &hosts) const
{
	// Only when roles were named: "all" is all.
	if (m_order.roles.isEmpty()) return;
	for (const QString &host : hosts) {
		const QStringList roles = m_supervisor.layout().rolesOf(host);
		QStringList others;
		for (const QString &role : roles)
			if (!m_order.roles.contains(role)) others.append(role);
		if (others.isEmpty()) continue;
		const char *verb = m_order.verb == PeerOrder::Verb::Start ? "start" : m_order.verb == PeerOrder::Verb::Stop ? "stop" : "restart";
		say(QStringLiteral("host %1 runs %2 as well: they %3 together").arg(host, others.join(QLatin1String(", ")), QLatin1String(verb)));
	}
}

void PeerOrderRun::run()
{
	const QStringList running = m_supervisor.runningHosts();
	if (running.isEmpty()) {
		if (!starting()) return stopOrphans();
		return planStops();
	}
	const auto named = m_supervisor.layout().hostsOf(m_order.roles);
	if (!named) return finish(tl::unexpected<Error>(named.error()));
	if (m_order.verb == PeerOrder::Verb::Start) {
		for (const QString &name : m_order.roles) {
			const PeerRole *role = m_supervisor.role(name);
			if (m_order.runningIsFine || !running.contains(role->host)) continue;
			return finish(failure(ErrorCode::Busy, name.toStdString() + " runs already (pid " + std::to_string(role->pid) + "). To start it anew: archipelago restart "
			                                           + name.toStdString()));
		}
		return planStops();
	}
	const bool affected = m_order.roles.isEmpty() || std::ranges::any_of(*named, [&](const QString &host) { return running.contains(host); });
	if (affected && !m_order.force) return askForClients();
	planStops();
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

/// Which hosts go: before anything is changed.
void PeerOrderRun::planStops()
{
	const QStringList running = m_supervisor.runningHosts();
	if (starting() && m_supervisor.segmentTainted()) {
		m_startAll = true;
		m_stops = reversed(running);
		if (!running.isEmpty())
			say(QStringLiteral("a host died in the segment: everything is stopped and started anew, in a fresh one"));
	} else if (stopping()) {
		const auto named = m_supervisor.layout().hostsOf(m_order.roles);
		m_stops.clear();
		for (const QString &host : running)
			if (m_order.roles.isEmpty() || (named && named->contains(host))) m_stops.prepend(host);
		announceSharedHosts(m_stops);
	}
	m_fresh = starting() && m_stops.size() == running.size();
	if (m_fresh) return prepare();
	stopNext();
}

/// A fresh start needs a configuration and a free run directory: found out while everything still is as it was.
void PeerOrderRun::prepare()
{
	m_supervisor.setActivity(m_stops.isEmpty() ? Activity::Starting : Activity::Stopping);
	m_supervisor.readFresh([this](Result<ConfigFile> config) {
		if (!config) return finish(tl::unexpected<Error>(config.error()));
		if (const auto named = HostLayout::of(config->config).hostsOf(m_order.roles); !named)
			return finish(tl::unexpected<Error>(named.error()));
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
	if (!m_stops.isEmpty()) {
		m_supervisor.setActivity(Activity::Stopping);
		const QString host = m_stops.takeFirst();
		say(QStringLiteral("stopping host ") + host);
		m_supervisor.stopHost(host, [this](Result<void> result) {
			if (!result && !m_stopTrouble) m_stopTrouble = result.error();
			stopNext();
		});
		return;
	}
	if (!starting()) {
		if (m_supervisor.runningHosts().isEmpty()) m_supervisor.forgetFailures();
		if (m_stopTrouble) return finish(tl::unexpected<Error>(*m_stopTrouble));
		return finish({});
	}
	if (m_stopTrouble) say(QString::fromStdString(m_stopTrouble->message));
	// A host that had to be killed just now tainted the segment for those that were to stay: then they go as well.
	if (m_supervisor.segmentTainted() && !m_supervisor.runningHosts().isEmpty()) return planStops();
	planStarts();
}

void PeerOrderRun::planStarts()
{
	m_supervisor.setActivity(Activity::Starting);
	if (!m_fresh) {
		// Those that were to stay may have died while others were stopped.
		if (!m_supervisor.hasSegment()) return finish(failure(ErrorCode::Failed, "The other hosts ended meanwhile. Look: archipelago status; then: archipelago start"));
		chooseStarts();
		return startNext();
	}
	m_supervisor.adopt(std::move(m_config));
	say(QStringLiteral("making the segment"));
	m_supervisor.makeSegment([this](Result<void> made) {
		if (!made) return rollBack(made.error());
		chooseStarts();
		startNext();
	});
}

void PeerOrderRun::chooseStarts()
{
	const HostLayout &layout = m_supervisor.layout();
	const QStringList running = m_supervisor.runningHosts();
	// prepare() or run() found the names to be good.
	const QStringList named = m_startAll || m_order.roles.isEmpty() ? layout.hosts : layout.hostsOf(m_order.roles).value_or(layout.hosts);
	for (const QString &host : named) {
		if (!running.contains(host)) m_starts.append(host);
	}
	if (m_order.verb == PeerOrder::Verb::Start) announceSharedHosts(m_starts);
}

void PeerOrderRun::startNext()
{
	if (m_hooks.cancelWanted && m_hooks.cancelWanted())
		return rollBack(Error{ErrorCode::Cancelled, "The start was cancelled; what it had started was stopped again."});
	if (m_hooks.progress) {
		const auto total = m_started.size() + m_starts.size();
		m_hooks.progress(total ? double(m_started.size()) / double(total) : 1.0);
	}
	if (m_starts.isEmpty()) {
		const QStringList running = m_supervisor.runningHosts();
		for (const QString &host : std::as_const(m_started)) {
			if (running.contains(host)) continue;
			return rollBack(Error{ErrorCode::Failed, "Host " + host.toStdString() + " ended while others were being started; its log: "
			                                             + m_supervisor.paths().logDir.toStdString() + "/" + host.toStdString() + ".log"});
		}
		m_supervisor.setStartError({});
		return finish({});
	}
	const QString host = m_starts.takeFirst();
	say(QStringLiteral("starting host ") + host);
	m_supervisor.startHost(host, m_order.createDirs, [this, host](Result<void> result) {
		if (!result) return rollBack(result.error());
		m_started.append(host);
		startNext();
	});
}

/// Takes back what this order started, last first; the reason for it is the order's result.
void PeerOrderRun::rollBack(const Error &why)
{
	if (!m_started.isEmpty()) {
		const QString host = m_started.takeLast();
		say(QStringLiteral("stopping host %1 again").arg(host));
		m_supervisor.stopHost(host, [this, why](Result<void>) { rollBack(why); });
		return;
	}
	if (m_supervisor.hasSegment() && m_supervisor.runningHosts().isEmpty()) m_supervisor.releaseSegment();
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
