// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the supervisor (archipelagod) and a host process (archip-host) say to each other: one JSON object per message of a
// SOCK_SEQPACKET socket pair, at most 1 MiB. The host is started as `archip-host --control-fd N`.
//
//   supervisor -> host
//     {"type":"start", "host":"data", "waiter":1, "config":TEXT, "configFile":PATH, "trial":bool, "runDir":PATH,
//      "stateDir":PATH, "createDirs":bool}   with file descriptors: segment, then the bell of every waiter in order.
//                                            First message, exactly once.
//     {"type":"stop"}                        drains and ends; SIGTERM does the same
//     {"type":"status"}
//   host -> supervisor
//     {"type":"role", "role":NAME, "state":"starting"|"up"|"stopping"|"stopped"}
//     {"type":"ready"}                       all roles are up
//     {"type":"failed", "role":NAME or "", "code":"E-LOCKED", "message":TEXT}   nothing runs any more; the process exits 1
//     {"type":"stopped"}                     everything is closed; the process exits 0
//     {"type":"status", "roles":[{"name":NAME, "state":STATE, "inflight":N}]}
//
// A closed socket does not stop a host: the data path goes on without its supervisor.
// While it runs a host keeps hosts/NAME.pid (pid and start time) and hosts/NAME.alive (locked, held by its ring).
#pragma once

#include <cstddef>

namespace archipelago {

inline constexpr size_t kHostMessageMax = 1u << 20;

} // namespace archipelago
