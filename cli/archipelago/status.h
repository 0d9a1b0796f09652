// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The state of the instance as `status` shows it and as start, stop and restart end with: what the service says of its
// peers, judged. The verdict never says "ok" on the service's word alone: each peer that is shown must be up.
//
//   level      exit  when
//   Ok         0     every role is up
//   Degraded   1     something runs, but not everything, or the service says so
//   Stopped    3     nothing runs
#pragma once

#include "cli/session.h"

#include <QJsonObject>

namespace archipelago::cli {

struct Verdict {
	enum class Level { Ok, Degraded, Stopped } level = Level::Ok;
	std::string text; ///< "degraded: mapperd does not answer. Try: archipelago restart mapperd"
	int exitCode() const { return level == Level::Ok ? 0 : level == Level::Degraded ? 1 : 3; }
};

struct Status {
	dbus::ManagerInfo manager;
	QList<dbus::PeerInfo> peers; ///< those asked for, grouped by host
	Verdict verdict;
};

/// Of all peers, or of the one role. E-NOTFOUND with the nearest name: no such role.
Result<Status> readStatus(Session &session, const std::string &what,
                          const std::optional<std::string> &role = std::nullopt);
/// "blockerb up, mapperd failed (E-LOCKED)"
std::string statesInALine(const QList<dbus::PeerInfo> &peers);
/// The document archipelago.status/1, or the table with the verdict as its last line.
void printStatus(Console &console, const Status &status);

} // namespace archipelago::cli
