// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeMap: one open volume. Which object holds which block, and in which order what becomes durable (MAP_FORMAT.md).
//
//   open    = recovery, always: header of the newest generation + its journal -> a header of the next generation
//   serve     read(), place(), record(), flush()
//   close   = flush, changed chunks, header without a journal
//
// A block's first write:
//
//   place() ── Create, block locked ──> object created with its data ──> record() ── ENTRY written ──> entry, unlock
//                    │                                                     └ not stored: unlock, new epoch
//                    └ other writes of the block wait (blockFree); its reads see no entry: zeros
//
// After an error of the journal or of a sync the volume is stopped: every call fails with E-IO until it is opened again,
// because what the store holds is no longer known here. Recovery finds out. One thread.
#pragma once

#include "daemon/base/log.h"
#include "daemon/mapper/chunk_cache.h"
#include "daemon/mapper/journal.h"

#include <memory>
#include <unordered_map>

namespace archipelago::mapper {

/// What all volumes of a mapper share; it outlives them.
struct VolumeContext {
	ObjectClient &blockerb;
	ObjectClient &blockerm;
	BootId bootId;
	spdlog::logger &log;
	uint64_t epochsPerHeader = 1u << 20; ///< how many one header write reserves
};

/// A volume as the catalog finds it.
struct FoundVolume {
	Header header;                     ///< of the newest generation
	std::vector<uint64_t> generations; ///< all that have a header
};

class VolumeMap {
public:
	/// Recovers the volume and takes it over as the next generation. When it fails nothing was changed, except that a new
	/// header may be there, which the next open then starts from. Errors: E-CORRUPT, E-MISSING, E-UNSUPPORTED, E-LIMIT, E-IO.
	static runtime::Task<Result<std::unique_ptr<VolumeMap>>> open(const VolumeContext &context, FoundVolume found);
	/// Only after close(), or when stopped(); and when nobody waits in it.
	~VolumeMap() = default;
	VolumeMap(const VolumeMap &) = delete;
	VolumeMap &operator=(const VolumeMap &) = delete;

	const Header &header() const { return m_header; }
	uint64_t allocatedBytes() const { return m_allocatedBytes; }
	/// Why the volume serves nothing any more.
	const std::optional<Error> &stopped() const { return m_stopped; }

	// ---- looking up; the block is below header().blockCount()
	bool ready(uint32_t block) const { return m_chunks.ready(block); }
	runtime::Task<Result<void>> load(uint32_t block) { return m_chunks.load(block); }
	/// Where to read a ready block.
	MapReply read(uint32_t block) const;

	enum class Placing : uint8_t {
		Done,        ///< `reply` says where to write
		BlockLocked, ///< a Create is under way: blockFree(), then again
		NoEpoch,     ///< reserveEpochs(), then again
		Full,        ///< E-LIMIT: the header has no room for another chunk
		Shared,      ///< E-UNSUPPORTED: the block's object belongs to a snapshot too
	};
	/// Where to write a ready block. A Create locks the block in the name of `handle`.
	Placing place(uint32_t block, uint32_t handle, MapReply &reply);
	runtime::Task<void> blockFree(uint32_t block);
	runtime::Task<Result<void>> reserveEpochs();
	/// Ends a Create; comes back when its record is written. E-INVALID: there is no such Create.
	runtime::Task<Result<void>> record(RecordArgs args);
	/// Ends every Create of a handle that will never send its records.
	void abandon(uint32_t handle);
	/// Everything acknowledged before the call is durable after it. Calls during a flush share the next one.
	runtime::Task<Result<void>> flush();

	/// Nothing else is under way and nothing comes any more. On failure the volume stays as it was (and can be closed again),
	/// unless it is stopped.
	runtime::Task<Result<void>> close();

private:
	struct BlockLock {
		uint32_t token = 0;
		uint32_t handle = 0;
		uint64_t epoch = 0;
		bool recording = false;
		runtime::WaitList free;
	};

	VolumeMap(const VolumeContext &context, Header header)
	    : m_context(context), m_header(std::move(header)), m_chunks(context.blockerm, m_header)
	{
	}

	// recovery (volume_recovery.cpp)
	runtime::Task<Result<void>> recover(std::vector<uint64_t> generations);
	runtime::Task<Result<void>> apply(const std::vector<EntryRecord> &records);
	runtime::Task<Result<void>> takeOver();
	runtime::Task<void> removeAll(std::vector<ObjectName> objects);
	runtime::Task<void> removeOne(ObjectName object);
	std::vector<ObjectName> replacedChunks(const std::vector<ChunkRef> &before, uint64_t base) const;

	MapReply inPlace(uint32_t block, const MapEntry &entry) const;
	void unlock(uint32_t block);
	bool advanceEpoch();
	runtime::Task<Result<void>> writeHeader(Header next);
	runtime::Task<Result<void>> flushOnce();
	void stop(const Error &error);

	VolumeContext m_context;
	Header m_header; ///< as last made durable
	ChunkCache m_chunks;
	std::optional<Journal> m_journal;
	uint64_t m_epoch = 0;        ///< of objects created now
	bool m_epochSpent = false;   ///< some object of this epoch may exist without an entry: take the next one
	uint64_t m_allocatedBytes = 0;
	uint64_t m_newestRecord = 0; ///< highest sequence of an ENTRY in memory
	uint32_t m_nextToken = 1;
	std::unordered_map<uint32_t, BlockLock> m_locks; ///< by block
	runtime::Gate m_reserving;
	uint64_t m_flushesStarted = 0, m_flushesDone = 0;
	bool m_flushing = false;
	runtime::WaitList m_flushed;
	std::optional<Error> m_stopped;
};

} // namespace archipelago::mapper
