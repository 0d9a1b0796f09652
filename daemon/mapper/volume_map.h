// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeMap: one open volume. Which object holds which block, and in which order what becomes durable (MAP_FORMAT.md).
//
//   open        recovery, always: header of the newest generation + its journal -> a header of the next generation
//   serve       read(), place(), record(), punch(), trim(), flush()                     volume_map.cpp, volume_trim.cpp
//   checkpoint  by itself, while it serves: changed chunks, a header that names them, a shorter journal
//                                                                                       volume_checkpoint.cpp
//   close       flush, changed chunks, header without a journal
//
// A block's first write:
//
//   place() ── Create, block locked ──> object created with its data ──> record() ── ENTRY written ──> entry, unlock
//                    │                                                     └ not stored: unlock, new epoch
//                    └ other writes of the block wait (blockFree); its reads see no entry: zeros
//
// A volume *stops* when what the store holds is no longer known here: after a failed sync, a failed write of the journal, a
// failed header of a close. Every call fails from then on until it is opened again, and recovery finds out. A volume goes on
// after a failure that leaves nothing in doubt: no room for the journal to grow, a chunk or a checkpoint's header that was not
// written. One thread.
#pragma once

#include "daemon/base/log.h"
#include "daemon/mapper/chunk_cache.h"
#include "daemon/mapper/journal.h"

#include <memory>
#include <unordered_map>

namespace archipelago::mapper {

/// Sizes and times at which a volume does something by itself. Tests use smaller ones.
struct VolumeLimits {
	uint64_t epochsPerHeader = 1u << 20;       ///< how many one header write reserves
	uint32_t segmentBytes = kSegmentBytes;     ///< of the journal
	uint64_t checkpointBytes = 8u << 20;       ///< a journal as long as this is to be shortened
	uint64_t journalBytes = 16u << 20;         ///< at this length appends wait for it; at least four segments
	uint64_t checkpointMs = 5 * 60 * 1000;     ///< so long after its first record it is written to the chunks anyway
	size_t droppedObjects = 64u << 10;         ///< so many objects may wait for their DROP's commit
};

/// What all volumes of a mapper share; it outlives them.
struct VolumeContext {
	runtime::Reactor &reactor;
	ObjectClient &blockerb;
	ObjectClient &blockerm;
	ChunkBudget &budget;
	BootId bootId;
	spdlog::logger &log;
	VolumeLimits limits;
	Shard shard = {}; ///< whose volumes these are
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
	/// Only after close(), or when stopped() and idle(); and when nobody waits in it.
	~VolumeMap() = default;
	VolumeMap(const VolumeMap &) = delete;
	VolumeMap &operator=(const VolumeMap &) = delete;

	const Header &header() const { return m_header; }
	uint64_t allocatedBytes() const { return m_allocatedBytes; }
	/// Why the volume serves nothing any more: E-IO, or E-NOSPACE when it was that.
	const std::optional<Error> &stopped() const { return m_stopped; }

	// ---- looking up; the block is below header().blockCount()
	bool ready(uint32_t block) const { return m_chunks.ready(block); }
	runtime::Task<Result<void>> load(uint32_t block) { return m_chunks.load(block); }
	/// Where to read a ready block.
	MapReply read(uint32_t block) const;

	/// Which blocks are mapped: see ChunkCache::run().
	BlockRun run(uint32_t first, uint32_t end) const { return m_chunks.run(first, end); }

	enum class Placing : uint8_t {
		Done,        ///< `reply` says where to write
		BlockLocked, ///< a Create or a trim is under way: blockFree(), then again
		NoEpoch,     ///< reserveEpochs(), then again
		Full,        ///< E-LIMIT: the header has no room for another chunk
		Shared,      ///< E-UNSUPPORTED: the block's object belongs to a snapshot too
	};
	/// Where to write a ready block. A Create locks the block in the name of `handle`.
	Placing place(uint32_t block, uint32_t handle, MapReply &reply);
	/// Where to punch a ready block. Done, BlockLocked or Shared.
	Placing punch(uint32_t block, MapReply &reply) const;
	/// Comes back when the block's lock was taken away, or the volume has stopped.
	runtime::Task<void> blockFree(uint32_t block);
	runtime::Task<Result<void>> reserveEpochs();
	/// Ends a Create; comes back when its record is written. E-INVALID: there is no such Create. E-NOSPACE: the journal could
	/// not grow; the block is as it was.
	runtime::Task<Result<void>> record(RecordArgs args);
	/// Ends every Create of a handle that will never send its records.
	void abandon(uint32_t handle);
	/// These blocks read zeros; comes back when that is recorded. `count` blocks from `first`, all inside of the volume. When
	/// it fails some of them may read zeros and some not.
	runtime::Task<Result<void>> trim(uint32_t first, uint32_t count);
	/// Everything acknowledged before the call is durable after it. Calls during a flush share the next one. E-NOSPACE: the
	/// COMMIT had no room; nothing is lost. Any other failure stops the volume.
	runtime::Task<Result<void>> flush();
	/// Writes what is committed to the chunks and shortens the journal. When one is under way it is waited for instead. A
	/// failure leaves all as it was.
	runtime::Task<Result<void>> checkpoint();

	/// Nothing else is under way and nothing comes any more. On failure the volume stays as it was (and can be closed again),
	/// unless it is stopped.
	runtime::Task<Result<void>> close();

private:
	struct BlockLock {
		uint32_t token = 0;  ///< 0: a trim's
		uint32_t handle = 0;
		uint64_t epoch = 0;
		bool recording = false;
		runtime::WaitList free;
	};
	/// A private object that a DROP has taken out of the map.
	struct Dropped {
		uint64_t sequence; ///< of the DROP
		ObjectName object;
	};
	/// A trim that is under way in one chunk.
	struct Trim {
		std::vector<uint32_t> locked; ///< ascending
		std::optional<Error> error;
	};

	VolumeMap(const VolumeContext &context, Header header);

	// recovery (volume_recovery.cpp)
	runtime::Task<Result<void>> recover(std::vector<uint64_t> generations);
	runtime::Task<Result<void>> apply(const std::vector<MapChange> &changes, std::vector<ObjectName> &dropped);
	runtime::Task<Result<void>> takeOver();
	runtime::Task<void> removeAll(std::vector<ObjectName> objects);
	runtime::Task<void> removeOne(ObjectName object);
	std::vector<ObjectName> replacedChunks(const std::vector<ChunkRef> &before, uint64_t base) const;

	// trim (volume_trim.cpp)
	runtime::Task<Result<void>> trimInChunk(uint32_t first, uint32_t end);
	bool anyLocked(uint32_t first, uint32_t end) const;
	runtime::Task<Result<void>> lockMapped(uint32_t first, uint32_t end, Trim &trim);
	runtime::Task<void> dropRun(MapChange run, Trim &trim);
	void drop(const MapChange &run, uint64_t sequence);
	void removeDropped();
	runtime::Task<void> removeInBackground(std::vector<ObjectName> objects);

	// checkpoint (volume_checkpoint.cpp)
	runtime::Task<Result<void>> checkpointOnce();
	runtime::Task<Result<void>> newChunksEpoch(uint64_t &epoch);
	runtime::Task<void> checkpointInBackground();
	runtime::Task<Result<void>> roomInJournal();
	void recorded(uint64_t sequence);
	void startTimer();

	bool isPrivate(const MapEntry &entry) const
	{
		return entry.owner == m_header.volume && entry.epoch >= m_header.base;
	}
	MapReply inPlace(uint32_t block, const MapEntry &entry) const;
	BlockLock &lock(uint32_t block);
	void unlock(uint32_t block);
	bool advanceEpoch();
	runtime::Task<Result<void>> writeHeader(Header next);
	runtime::Task<Result<void>> flushOnce();
	runtime::Task<void> quiet();
	void stop(const Error &error);
	void stopWithJournal();

	VolumeContext m_context;
	Header m_header; ///< as last made durable
	ChunkCache m_chunks;
	std::optional<Journal> m_journal;
	uint64_t m_epoch = 0;        ///< of objects created now
	bool m_epochSpent = false;   ///< some object of this epoch may exist without an entry: take the next one
	uint64_t m_allocatedBytes = 0;
	uint64_t m_newestRecord = 0; ///< highest sequence of an ENTRY or DROP in memory
	uint32_t m_nextToken = 1;
	std::unordered_map<uint32_t, BlockLock> m_locks; ///< by block
	size_t m_creating = 0;       ///< Creates among them
	std::vector<Dropped> m_dropped;
	runtime::Gate m_headerGate;  ///< whoever changes the header: it is copied, changed and written as a whole
	uint64_t m_flushesStarted = 0, m_flushesDone = 0;
	bool m_flushing = false;
	runtime::WaitList m_flushed;

	bool m_checkpointing = false;
	uint64_t m_checkpointed = 0;   ///< journal sequence that the chunks being written have; only while m_checkpointing
	uint64_t m_checkpointAt;       ///< the journal's length that starts the next one
	runtime::WaitList m_checkpointDone;
	std::optional<Error> m_checkpointError; ///< of the last one
	runtime::Timer m_timer;
	unsigned m_background = 0;     ///< checkpoints and removals that nobody waits for
	runtime::WaitList m_backgroundEnded;

	std::optional<Error> m_stopped;
};

} // namespace archipelago::mapper
