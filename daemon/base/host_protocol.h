// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the supervisor (archipelagod) and a host process (archip-host) say to each other: one JSON object per message of a
// SOCK_SEQPACKET socket, at most 1 MiB (xseg/fd_channel.h). A host is started as `archip-host --control-fd N`; later a new
// supervisor, or a tool, connects to hosts/NAME.sock (root, or the host's own uid).
//
//   supervisor -> host
//     {"type":"start", "host":"data", "waiter":1, "config":TEXT, "configFile":PATH, "trial":bool, "runDir":PATH,
//      "stateDir":PATH, "createDirs":bool, "without":[ROLE]}   with file descriptors: segment, then the bell of every waiter
//                                            in order. The roles in "without" stay stopped. First message over the socket
//                                            pair, exactly once. "waiter": of its first reactor; the others have the next
//                                            ones ([hosts.NAME] reactors of the configuration).
//     {"type":"adopt"}                       over hosts/NAME.sock: from now on this connection is the supervisor's
//     {"type":"stop"}                        drains and ends; SIGTERM does the same
//     {"type":"stopRole", "role":NAME}       drains one role; the others go on
//     {"type":"startRole", "role":NAME}
//     {"type":"status"}
//   host -> supervisor
//     {"type":"hello", "host":NAME, "pid":N, "startTime":N, "version":TEXT, "waiter":N, "config":TEXT, "configFile":PATH,
//      "up":bool, "roles":[as below]}        first message over hosts/NAME.sock, with the same descriptors as "start"
//     {"type":"role", "role":NAME, "state":"starting"|"up"|"stopping"|"stopped"}
//     {"type":"ready"}                       all roles are up
//     {"type":"failed", "role":NAME or "", "code":"E-LOCKED", "message":TEXT}   nothing runs any more; the process exits 1
//     {"type":"stopped"}                     everything is closed; the process exits 0
//     {"type":"roleDone", "role":NAME, "code":"" or "E-...", "message":TEXT}    a stopRole or startRole has ended
//     {"type":"status", "roles":[{"name":NAME, "state":STATE, "inflight":N}]}
//
// A closed socket does not stop a host: the data path goes on without its supervisor.
// While it runs a host keeps hosts/NAME.pid (pid and start time), hosts/NAME.alive (locked, held by its ring) and
// hosts/NAME.sock.
#pragma once

#include <cstddef>

namespace archipelago {

inline constexpr size_t kHostMessageMax = 1u << 20;

} // namespace archipelago
