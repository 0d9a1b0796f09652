// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Shards: `[hosts.NAME] reactors = N` runs every role N times in its process, once on each reactor thread, and deals the
// volumes between them by their ids. All that belongs to a volume (client's socket, session, map, objects) is touched by its
// shard alone. This is the one place that says which shard that is, and which ports a shard has; as all hosts of a node have the
// same N (config_checks), all of them find the same.
//
//   one port for each shard       blockers, mapperd     portno_start + shard
//   a range for each shard        vlmcd, nbd            portno_start..portno_end in N equal parts; the first port of each is
//                                                       its control port
//   shard 0                       what is asked by name: the catalog, the NBD listener, names of volumes in blockerm
//
// With N = 1 everything here gives back what it is given.
#pragma once

#include "daemon/base/config.h"
#include "daemon/base/protocol.h"

#include <cstdint>

namespace archipelago {

inline constexpr uint32_t kMaxShards = 16;

struct Shard {
	uint32_t index = 0, count = 1;
};

/// Where a volume lives: 0 <= result < shards. Ids are random, so shards get about the same number of volumes.
uint32_t shardOf(const VolumeId &volume, uint32_t shards);

struct PortSpan {
	uint32_t first, last;
};
/// A shard's part of a range of client ports.
PortSpan portsOfShard(uint32_t start, uint32_t end, Shard shard);

/// A role as one of its shards has it: its own ports, its share of caches. vlmcd: the blocker's port of the same shard.
RoleConfig roleOfShard(RoleConfig role, Shard shard);
NbdConfig nbdOfShard(NbdConfig nbd, Shard shard);

} // namespace archipelago
