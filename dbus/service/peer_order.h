// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerOrder: one start, stop or restart, carried out step by step.
//
//   start     [fresh: read configuration, look for orphans]; hosts that do not run, in order, then roles that are stopped in
//             hosts that do; a failure stops again, in reverse, what this order started, and is never success
//   stop      [clients are asked for] roles are drained, hosts stopped, in reverse; the last one out releases the segment
//   restart   the same: stop, then start
//
// A role that is named comes and goes alone while the others of its host go on; when it does not drain in time, its whole host
// is restarted, and the order's message says so first. Orders are checked before they change anything: a configuration that
// cannot be used stops nothing.
#pragma once

#include "dbus/service/config_file.h"

#include <functional>
#include <optional>

#include <QObject>
#include <QString>
#include <QStringList>

namespace archipelago::service {

class PeerSupervisor;

struct PeerOrder {
	enum class Verb { Start, Stop, Restart } verb = Verb::Start;
	QStringList roles; ///< empty = all
	bool force = false;      ///< stop, restart: also while clients use volumes
	bool createDirs = false; ///< start: make missing directories of stores
	bool runningIsFine = false; ///< start: a named role that runs already is no error
	bool ours = false;          ///< the supervisor's own: starts `hosts` again
	QStringList hosts = {};
};

/// How an order reports. done() comes exactly once, never from inside submit().
struct PeerOrderHooks {
	std::function<void(const QString &)> message;
	std::function<void(double)> progress;
	std::function<bool()> cancelWanted;
	std::function<void(Result<void>)> done;
};

class PeerOrderRun : public QObject {
	Q_OBJECT

public:
	PeerOrderRun(PeerSupervisor &supervisor, const PeerOrder &order, PeerOrderHooks hooks);
	void run();

private:
	bool starting() const { return m_order.verb != PeerOrder::Verb::Stop; }
	bool stopping() const { return m_order.verb != PeerOrder::Verb::Start; }
	bool named(const QString &role) const { return m_order.roles.isEmpty() || m_order.roles.contains(role); }

	// The order's course: each ends in the next, or in finish().
	void checkNames();
	void askForClients();
	void stopOrphans();
	void planStops();
	void prepare();
	void stopNext();
	void drain(const QString &role);
	void stopWholeHost(const QString &role);
	void planStarts();
	void startNext();
	void startHost(const QString &host);
	void startRole(const QString &role);
	void rollBack(const Error &why);
	void finish(Result<void> result);

	void say(const QString &message) const;
	bool disturbsClients() const;

	PeerSupervisor &m_supervisor;
	PeerOrder m_order;
	PeerOrderHooks m_hooks;
	QStringList m_stops, m_starts;         ///< hosts still to do, in order
	QStringList m_drains, m_attaches;      ///< roles still to do, in order
	QStringList m_started, m_attached;     ///< by this order
	ConfigFile m_config;                   ///< fresh start: what it is to be
	bool m_fresh = false, m_finished = false;
	std::optional<Error> m_stopTrouble; ///< the first host that had to be killed
};

} // namespace archipelago::service
