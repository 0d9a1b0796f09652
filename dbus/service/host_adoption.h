// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Taking over what an earlier service left running: each living host listens on runDir/hosts/NAME.sock and hands out the
// segment, the bells and what it was started with (daemon/base/host_protocol.h). Blocks for at most two seconds a host: before
// the service shows itself.
#pragma once

#include "dbus/service/host_spawn.h"
#include "dbus/service/orphans.h"

#include <map>
#include <vector>

#include <QByteArray>
#include <QMap>
#include <QString>

namespace archipelago::service {

struct FoundHost {
	QString name;
	HostProcess process;
	QByteArray config;             ///< the text it runs with
	bool up = false;               ///< it had all its roles up once
	QMap<QString, QString> roles;  ///< role -> state, as in host_protocol.h
	std::vector<xseg::UniqueFd> fds; ///< segment, then the bells
};

/// Errors: E-PEER (it does not answer, or is not the process that the pid file names), E-CORRUPT (what it says makes no sense).
Result<FoundHost> contactHost(const QString &runDir, const Orphan &orphan);
/// Both descriptors are the same file.
bool sameFile(int a, int b);

} // namespace archipelago::service
