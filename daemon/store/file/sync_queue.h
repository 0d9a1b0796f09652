// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// SyncQueue: what has to be synced, and the syncs. One runs at a time; whoever asks meanwhile shares the next, so a flush
// costs the same for one volume or for fifty.
//
// Bookkeeping. An object is dirty from the completion of a write until a sync that began after it has ended. A directory
// has a counter of changes (create, replace, remove) and the value up to which it is durable. A write completed before a
// sync was asked for is thus in its set; one in flight makes the object dirty again and stays for the next.
//
// What a sync does, and why that is enough. Data reaches the device by direct I/O before its write completes, and then
// needs two things: the metadata that points at it (extents, sizes, names) in the filesystem's journal on the medium, and
// the device's volatile cache flushed.
//   few (at most kSyncEachAtMost files and directories)
//       fdatasync of each object, fsync of each changed directory, at once: each commits its metadata and flushes the
//       device behind it. No order among them is needed: nothing is promised before all have ended.
//   more
//       syncfs, THEN fdatasync of one file. syncfs writes all metadata (and, in a buffered store, all data), but is no
//       device flush: XFS with a clean log issues none (measured: 35 of 40). The fdatasync after it always flushes, and
//       that flush covers whatever the device had acknowledged before, hence all writes that had completed. Directories
//       are metadata: covered. It must not be a write with RWF_DSYNC, which may flush nothing but itself.
// The switch lies where measurements put it: two fdatasyncs cost what the pair costs. That overwrites of allocated blocks
// would need the device flush alone is not used: nothing here knows which blocks of an object are allocated.
//
// A syncfs fails for other people's files too. If it does, the objects are synced one by one, and only their failure counts.
//
// What a predecessor wrote before it was killed is in no list. Until a sync of everything has succeeded once after open,
// every sync of any kind is therefore one of everything.
//
// A failed sync. The kernel tells of it once per descriptor, marks the pages clean that it could not write, and reports
// success the next time; a device that fails to empty its cache does not say whose data that was. So it is remembered here:
//   whose    The volume of the file that failed. With EIO (or when it was the whole filesystem) also every other volume that
//            has something un-synced or being written at this moment: the device's cache held it. While a predecessor's
//            writes are un-synced, every volume there is.
//   told     Each of them hears E-IO at its next ObjSyncVolume or ObjSync, whatever that finds to do, and once: they come from
//            the owner of the volume, who stops it. A durable write hears it too, but does not use it up: a client can
//            send one, and the owner would not learn of it.
//   then     What the failed sync covered is in no list any more, as after a predecessor's death: the next sync is again one
//            of everything.
// Reactor thread only. With several shards each has a queue of its own, and hears of the others' failures by sync_share.h.
#pragma once

#include "daemon/store/file/fd_cache.h"
#include "daemon/store/file/store_dir.h"
#include "daemon/store/file/sync_share.h"

#include <array>
#include <bitset>
#include <unordered_map>
#include <vector>

namespace archipelago::store {

/// The dirty objects and changed directories of one volume (kind Name: of the volume its operations name, or zero).
struct DirtyVolume {
	OpenObject *first = nullptr;
	std::bitset<kHashDirectories> directories;
	bool beingSynced = false;   ///< something of it is in the sync that runs
	bool failed = false;        ///< has lost something, perhaps; its owner has not heard yet
	uint64_t toldOfAll = 0;     ///< of so many failures that concerned every volume it has heard
};

/// What syncs have cost since the store was opened.
struct SyncCounts {
	uint64_t files = 0;       ///< fdatasync or fsync of one file or directory
	uint64_t filesystems = 0; ///< syncfs with its fdatasync
};

class SyncQueue {
public:
	SyncQueue(runtime::Reactor &reactor, FdCache &cache, const StoreDir &dir) : m_reactor(reactor), m_cache(cache), m_dir(dir) {}

	void start(spdlog::logger &log);
	/// Other shards write to the same filesystem (sync_share.h). Before start().
	void shareWith(SyncShare &share, uint32_t shard)
	{
		m_share = &share;
		m_shard = shard;
	}

	/// Called once for each object before it is written or its name changes.
	DirtyVolume &volume(const VolumeId &id) { return m_volumes[id]; }
	/// A write has completed (or failed half way).
	void wrote(OpenObject &object);
	/// The object is gone or replaced: nothing of it needs to last.
	static void forget(OpenObject &object);
	/// A name of the volume has come, changed or gone. Returns the change, for directorySynced() and OpenObject::entryChange.
	uint64_t nameChanged(DirtyVolume &volume, uint8_t directory);
	/// The newest change of the directory.
	uint64_t lastChange(uint8_t directory) const { return m_changes[directory]; }
	/// The directory was synced by somebody who began after change `upTo`.
	void directorySynced(uint8_t directory, uint64_t upTo);
	/// Would a durable write leave nothing to sync? (The name may not be durable yet.)
	bool nameDurable(const OpenObject &object) const;

	/// ObjSyncAll, ObjSyncVolume; any other operation means its object. Ends with op.fn(&op, 0 or -EIO), perhaps inside.
	void request(StoreOp &op);

	const SyncCounts &counts() const { return m_counts; }
	/// A sync of something of `volume` (null: of the filesystem) has failed: remembered as said above.
	void failed(std::string_view what, int errnum, DirtyVolume *volume);

private:
	/// What one run syncs. The counters are those of its beginning.
	struct Plan {
		struct Part {
			OpenObject *object; ///< pinned
			bool inUse;         ///< its file is held open for us
		};
		bool everything = false;  ///< syncfs
		bool withoutFile = false; ///< not all are in use
		std::vector<Part> objects;
		std::bitset<kHashDirectories> directories;
		std::array<uint64_t, kHashDirectories> changes;
	};
	struct VolumeHash {
		size_t operator()(const VolumeId &id) const;
	};

	runtime::Task<void> run();
	runtime::Task<void> carryOutBesideOthers(Plan &plan);
	void remember(int errnum, DirtyVolume *volume);
	void hearOfOthers();
	bool othersFailed() const { return m_share && m_share->failures() - m_shared != m_heard; }
	Plan plan(OpQueue &batch);
	void collect(Plan &plan, DirtyVolume &volume);
	void collect(Plan &plan, OpenObject &object);
	runtime::Task<void> carryOut(Plan &plan);
	runtime::Task<void> syncEach(Plan &plan);
	runtime::Task<int> syncFilesystem(int *failedCall);
	void settle(Plan &plan);
	void answer(OpQueue &batch, bool synced);
	DirtyVolume *volumeOf(const StoreOp &op);
	bool unsynced(const DirtyVolume &volume) const;

	runtime::Reactor &m_reactor;
	FdCache &m_cache;
	const StoreDir &m_dir;
	spdlog::logger *m_log = nullptr;
	SyncShare *m_share = nullptr;
	uint32_t m_shard = 0;
	uint64_t m_shared = 0, m_heard = 0; ///< failures that we told the others of, and that we have heard of from them
	std::unordered_map<VolumeId, DirtyVolume, VolumeHash> m_volumes;
	std::array<uint64_t, kHashDirectories> m_changes{}, m_durable{};
	OpQueue m_waiting;
	SyncCounts m_counts;
	bool m_running = false;
	bool m_inherited = true;      ///< writes that are in no list may not be durable
	uint64_t m_failures = 0;      ///< so far
	uint64_t m_failuresOfAll = 0; ///< of those, which concerned every volume
};

} // namespace archipelago::store
