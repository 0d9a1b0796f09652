// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerOrder: one start, stop or restart, carried out step by step.
//
//   start     [survivors of a crash are stopped] [fresh: read configuration, look for orphans, make the segment]
//             start host by host; a failure stops again, in reverse, what this order started, and is never success
//   stop      [clients are asked for] stop host by host, in reverse; the last one out releases the segment
//   restart   the same hosts: stop, then start
//
// A role comes and goes with its whole host, and the order's message says so first. When something died in the segment, its
// state there cannot be trusted, so whatever starts next starts with everybody else in a fresh segment.
// Orders are checked before they change anything: a configuration that cannot be used stops nothing.
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

	// The order's course: each ends in the next, or in finish().
	void askForClients();
	void stopOrphans();
	void prepare();
	void planStops();
	void stopNext();
	void planStarts();
	void chooseStarts();
	void startNext();
	void rollBack(const Error &why);
	void finish(Result<void> result);

	void say(const QString &message) const;
	void announceSharedHosts(const QStringList &hosts) const;

	PeerSupervisor &m_supervisor;
	PeerOrder m_order;
	PeerOrderHooks m_hooks;
	QStringList m_stops, m_starts; ///< hosts still to do, in order
	QStringList m_started;         ///< by this order
	ConfigFile m_config;           ///< fresh start: what it is to be
	bool m_fresh = false, m_startAll = false, m_finished = false;
	std::optional<Error> m_stopTrouble; ///< the first host that had to be killed
};

} // namespace archipelago::service
