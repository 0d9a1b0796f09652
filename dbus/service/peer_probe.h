// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerProbe: asks every role that is up for a sign of life (Ping on the first port of each of its shards), every host for its counts, and those who
// can tell how they are: blockers whether their store is full, mappers which volumes have stopped. A role has at most one question of a kind out, for as long as
// it takes: one that hangs costs one request, and its late answer is what says that it is well again. Main thread.
#pragma once

#include "daemon/client/segment_client.h"
#include "dbus/service/host_layout.h"
#include "dbus/service/host_run.h"

#include <map>
#include <set>

#include <QElapsedTimer>
#include <QObject>
#include <QTimer>

namespace archipelago::service {

class PeerSupervisor;

class PeerProbe : public QObject {
	Q_OBJECT

public:
	PeerProbe(PeerSupervisor &supervisor, const SupervisorTimeouts &timeouts);
	void start();
	void stop(); ///< what is still out is forgotten

private:
	void tick();
	void ping(const QString &role, uint port);
	void askCapacity(const PeerRole &role, uint port);
	void askHealth(const PeerRole &role);
	bool overdue(const QString &role) const;

	using RolePort = std::pair<QString, uint>; ///< a role, and where one of its shards answers
	PeerSupervisor &m_supervisor;
	SupervisorTimeouts m_timeouts;
	QTimer m_timer;
	std::map<RolePort, QElapsedTimer> m_out; ///< since when it owes an answer
	std::set<RolePort> m_asked;              ///< who owes an answer about its health
	std::map<QString, std::map<uint, client::ControlReply>> m_capacity; ///< what the shards of a blocker said last
	unsigned m_round = 0;                   ///< rises with each stop(): answers of before do not count
};

} // namespace archipelago::service
