// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Which host processes a configuration asks for, in which order they start, and what state each of their roles is in.
// Hosts start in the order in which `roles` first names one of theirs; a host of gateways alone comes last. Within a host
// archip-host keeps the order of `roles`, gateways last. Stopping is the reverse. Plain data, main thread.
#pragma once

#include "daemon/base/config.h"

#include <QList>
#include <QString>
#include <QStringList>

namespace archipelago::service {

enum class PeerState { Stopped, Starting, Up, Stuck, Stopping, Failed };
/// "stopped", "starting", ... as in Peer.xml.
const char *peerStateName(PeerState state);
/// Has a process, whatever it does there.
inline bool isRunning(PeerState state) { return state != PeerState::Stopped && state != PeerState::Failed; }

struct PeerRole {
	QString name, type, host;
	uint portStart = 0, portEnd = 0;
	bool gateway = false;
	PeerState state = PeerState::Stopped;
	uint pid = 0;                  ///< 0 = does not run
	quint64 sinceUs = 0;
	uint inflight = 0;
	QString errorSymbol, errorMessage; ///< why it is not up

	QString ports() const; ///< "1000" or "500-999"
};

struct HostLayout {
	QStringList hosts;      ///< in start order
	QList<PeerRole> roles;  ///< in start order

	static HostLayout of(const Config &config);
	PeerRole *find(const QString &role);
	QStringList rolesOf(const QString &host) const;
	/// Hosts of these roles in start order. E-NOTFOUND with the nearest name.
	Result<QStringList> hostsOf(const QStringList &names) const;
};

} // namespace archipelago::service
