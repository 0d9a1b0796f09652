// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ChunkCache: the map of one open volume in memory, chunk by chunk. A chunk is read when it is first needed and kept whole,
// until the budget of all volumes wants its memory back; one that the header's table does not name is all zeros and takes no
// memory until something is mapped in it.
//
//   ready(block)  ── no ──> load()          then, without waiting and without allocation:
//        └── yes ─────────> entry(), sequence(), set()
//
// A chunk with changes stays. So does one with a pin: between looking at a block and setting it, while its record is being
// written, the chunk is pinned.
//
// Changed chunks are written under new names (chunks are immutable) by writeChanged(), *as of a journal sequence*: entries
// that were set later are written as they were before. For that the old value of each entry is kept until its record is
// committed, or longer while somebody writes [checkpoint-memory]. The header that then names the chunks is the owner's
// business; settle() forgets the changes once it is durable. One thread.
#pragma once

#include "daemon/mapper/chunk_budget.h"
#include "daemon/mapper/map_format.h"
#include "daemon/mapper/object_client.h"

#include <memory>
#include <unordered_map>

namespace archipelago::mapper {

class ChunkCache final : private ChunkBudget::Keeper {
public:
	/// `header`: the volume's, as last made durable; it outlives the cache and its table says where chunks are.
	ChunkCache(ObjectClient &blockerm, ChunkBudget &budget, const Header &header)
		: m_blockerm(blockerm),
		  m_budget(budget),
		  m_header(header)
	{}
	~ChunkCache();
	ChunkCache(const ChunkCache &) = delete;
	ChunkCache &operator=(const ChunkCache &) = delete;

	/// The block's entry can be looked at.
	bool ready(uint32_t block) const;
	/// Makes it so. E-MISSING, E-CORRUPT, E-UNSUPPORTED, and what the blocker says.
	runtime::Task<Result<void>> load(uint32_t block);
	/// Nothing is mapped in the block's chunk, and nothing has to be read to know it.
	bool blank(uint32_t block) const { return ready(block) && !find(block); }

	/// A ready block's entry.
	MapEntry entry(uint32_t block) const;
	/// How many blocks from `first` on are alike, mapped or not: below `end` and in the chunk of `first`, which is ready.
	BlockRun run(uint32_t first, uint32_t end) const;
	/// Of the journal record that set it; 0 = none did since a header named it.
	uint64_t sequence(uint32_t block) const;
	/// False: the header has no room for this block's chunk, if `coming` others are still to come (a header's 4 MiB name the
	/// chunks of 4 PiB - 256 GiB).
	bool roomFor(uint32_t block, size_t coming) const;
	/// The block stays ready until as many unpin().
	void pin(uint32_t block);
	void unpin(uint32_t block);
	/// Changes a ready block's entry. Sequences of one block rise.
	void set(uint32_t block, const MapEntry &entry, uint64_t sequence);

	bool changed() const;
	/// Blocks mapped now, less those mapped as of `upto`.
	int64_t mappedSince(uint64_t upto) const;
	/// Writes every chunk that changed up to `upto` as c.VID.epoch.INDEX, as of then, and returns the table that has them (a
	/// chunk without entries is in none). Others go on using the cache meanwhile, but for forget() and settle().
	runtime::Task<Result<std::vector<ChunkRef>>> writeChanged(uint64_t epoch, uint64_t upto);
	/// Nobody will write the map as of anything before `upto`. Until settle() was called for the first time nothing is kept
	/// anyway: a recovery writes the map as it is.
	void forget(uint64_t upto);
	/// What the cache has as of `upto` is what the header's table names.
	void settle(uint64_t upto);

private:
	/// An entry as it was before record `sequence`.
	struct Before {
		uint64_t sequence;
		uint32_t place;
		MapEntry entry;
	};
	struct Chunk {
		std::vector<MapEntry> entries;
		std::vector<uint64_t> sequences; ///< empty: clean
		uint64_t first = 0, last = 0;    ///< of its changes, at least and at most
		std::vector<Before> before;      ///< by sequence
		ChunkBudget::Position position;  ///< while it is clean

		bool clean() const { return sequences.empty(); }
	};
	/// A read that is under way, shared by all who wait for it.
	struct Loading {
		runtime::WaitList done;
		std::optional<Error> error;
	};

	const Chunk *find(uint32_t block) const;
	const ChunkRef *stored(uint32_t index) const;
	bool evict(uint32_t index) override;
	static std::vector<MapEntry> entriesAsOf(const Chunk &chunk, uint64_t upto);
	runtime::Task<Result<std::vector<MapEntry>>> read(ChunkRef ref);
	struct Writing {
		uint64_t epoch = 0, upto = 0;
		std::vector<ChunkRef> written;
		std::vector<uint32_t> blank; ///< nothing is mapped in these any more
		std::optional<Error> error;
	};
	runtime::Task<void> write(uint32_t index, Writing &writing);

	ObjectClient &m_blockerm;
	ChunkBudget &m_budget;
	const Header &m_header;
	std::unordered_map<uint32_t, Chunk> m_chunks;
	std::unordered_map<uint32_t, std::shared_ptr<Loading>> m_loading;
	std::unordered_map<uint32_t, uint32_t> m_pins; ///< by chunk
	uint32_t m_unstored = 0;                       ///< chunks in memory that the table does not name
	std::vector<uint32_t> m_remembering;           ///< chunks that keep values of before, perhaps
	uint64_t m_forgotten = ~0ull;                  ///< values before records up to here are not kept
};

} // namespace archipelago::mapper
