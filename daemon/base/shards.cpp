// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See shards.h.
#include "daemon/base/shards.h"

#include <algorithm>

namespace archipelago {

namespace {

constexpr uint32_t kLeastFiles = 64;
constexpr uint64_t kLeastMapCache = 1u << 20;

} // namespace

uint32_t shardOf(const VolumeId &volume, uint32_t shards)
{
	uint64_t number = 0; // little endian, whatever the machine
	for (size_t i = 8; i-- > 0;) number = number << 8 | volume.bytes[i];
	return static_cast<uint32_t>(number % shards);
}

PortSpan portsOfShard(uint32_t start, uint32_t end, Shard shard)
{
	const uint32_t each = (end - start + 1) / shard.count;
	const uint32_t first = start + each * shard.index;
	return {first, first + each - 1};
}

RoleConfig roleOfShard(RoleConfig role, Shard shard)
{
	if (shard.count == 1) return role;
	switch (role.type) {
	case RoleType::FileBlocker:
	case RoleType::Mapperd:
		role.portnoStart += shard.index;
		role.portnoEnd = role.portnoStart;
		role.fdcache = std::max(role.fdcache / shard.count, kLeastFiles);
		role.mapCacheBytes = std::max(role.mapCacheBytes / shard.count, kLeastMapCache);
		break;
	case RoleType::Vlmcd: {
		const PortSpan ports = portsOfShard(role.portnoStart, role.portnoEnd, shard);
		role.portnoStart = ports.first;
		role.portnoEnd = ports.last;
		role.blockerPort += shard.index;
		break;
	}
	case RoleType::Nbd: break; // nbdOfShard()
	}
	return role;
}

NbdConfig nbdOfShard(NbdConfig nbd, Shard shard)
{
	const PortSpan ports = portsOfShard(nbd.portnoStart, nbd.portnoEnd, shard);
	nbd.portnoStart = ports.first;
	nbd.portnoEnd = ports.last;
	return nbd;
}

} // namespace archipelago
