// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// StoreGroup: what the file stores of one directory in one process share: one for a role, with a store for each of its shards
// (daemon/base/shards.h). The directory, its descriptors and its lock belong to all of them: the first store that opens takes the
// lock and tidies up, the last one that closes gives it up, and in between the directory is only read. Each object is touched by
// one store alone. The first store has opened before another begins to (ShardedPeer); closing may happen at once.
#pragma once

#include "daemon/store/file/store_dir.h"
#include "daemon/store/file/sync_share.h"

#include <atomic>

namespace archipelago::store {

struct StoreGroup {
	StoreGroup(std::string path, std::string role, Purpose purpose, Owner owner)
	    : dir(std::move(path), std::move(role), purpose, std::move(owner))
	{
	}
	StoreDir dir;
	SyncShare syncs;
	std::atomic<uint32_t> users = 0; ///< stores that are open
};

} // namespace archipelago::store
