// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What Manager.State and Manager.Verdict say: functions of the facts, in one place, so that they cannot disagree.
#pragma once

#include "dbus/service/host_layout.h"
#include "dbus/service/orphans.h"

#include <QMap>

namespace archipelago::service {

enum class Activity { None, Starting, Stopping };

struct InstanceFacts {
	HostLayout layout;
	Activity activity = Activity::None;
	QMap<QString, QString> crashed; ///< host -> how it ended, until the next order deals with it
	QMap<QString, QString> restarting; ///< of those: what is being done about it
	QMap<QString, QString> problems;   ///< role -> what is wrong although it runs, and the next step: a full store, a stopped volume
	std::vector<Orphan> orphans;
	QString startError;             ///< why the last start failed; empty after one that did not
	QString configError;            ///< why the configuration could not be read; empty when it could
};

/// stopped, starting, running, degraded, stopping.
QString instanceState(const InstanceFacts &facts);
/// One line for the operator: what is wrong and what to do; empty when there is nothing to say.
QString instanceVerdict(const InstanceFacts &facts);
/// "host data (pid 41)" or, when only its last writes are left, "host data (dead, last writes pending)"
QString describeOrphans(const std::vector<Orphan> &orphans);

} // namespace archipelago::service
