// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Making a host process: socket pair, log file, archip-host, pidfd, and the start message with the segment and the bells.
// The child gets descriptors 0 to 3 (null, log, log, control) and nothing else, a session of its own (a Ctrl-C in the
// service's terminal does not end the data path), and default signals. Blocks for the exec: runs aside.
#pragma once

#include "daemon/base/errors.h"
#include "xseg/fd_channel.h"

#include <sys/types.h>

#include <string>
#include <vector>

#include <QByteArray>

namespace archipelago::service {

struct SpawnRequest {
	std::string program;           ///< path of archip-host
	std::string logFile;
	QByteArray startMessage;       ///< JSON (daemon/base/host_protocol.h)
	std::vector<xseg::UniqueFd> fds; ///< go along with it: segment, bells
};

/// A host process that runs: started by us, or taken over from an earlier service (host_adoption.h).
struct HostProcess {
	pid_t pid = 0;
	unsigned long long startTime = 0; ///< clock ticks since boot (/proc/PID/stat, field 22)
	bool ours = true;                 ///< our child: how it ends can be told
	xseg::UniqueFd pidfd;
	xseg::FdChannel channel;
};

/// Errors: E-FAILED (the program), E-NOTFOUND, E-DENIED (log file), E-LIMIT (descriptors), E-CONFIG (the message is too long).
Result<HostProcess> spawnHost(SpawnRequest request);

/// The program to run: beside our own binary, else in the system's libexec directory.
std::string hostProgramPath(const std::string &ourDirectory);

} // namespace archipelago::service
