// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The files a host keeps under runDir/hosts/: NAME.alive, locked for as long as any I/O of this process may still land
// (the lock is held by every ring: it outlives the process until the last request of the last of them is done), NAME.pid,
// who we are (pid, start time, boot), and NAME.sock
// (host_socket.h).
#pragma once

#include "daemon/runtime/reactor.h"

#include <string>
#include <vector>

namespace archipelago::host {

/// Makes runDir/hosts, takes the alive lock (waits up to 30 s for a dead predecessor's I/O to end) and writes the pid file.
/// E-BUSY: another host process of that name is alive (names its pid).
/// `reactors`: all of this process, the caller's first; each of their rings holds the lock, before any of them does I/O.
runtime::Task<Result<void>> claimHostFiles(std::vector<runtime::Reactor *> reactors, const std::string &runDir, const std::string &host);
std::string hostFile(const std::string &runDir, const std::string &host, const char *suffix);
/// Removes the pid file; the alive file stays (removing a lock file races with its next taker).
void releaseHostFiles(const std::string &runDir, const std::string &host);
/// Start time of a process in clock ticks since boot (/proc/PID/stat field 22), 0 when it does not exist.
unsigned long long processStartTime(int pid);

} // namespace archipelago::host
