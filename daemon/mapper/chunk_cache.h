// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ChunkCache: the map of one open volume in memory, chunk by chunk. A chunk is read when it is first needed and kept whole;
// one that the header's table does not name is all zeros and takes no memory until something is mapped in it.
//
//   ready(block)  ── no ──> load()          then, without waiting and without allocation:
//        └── yes ─────────> entry(), sequence(), set()
//
// Changed chunks are written under new names (chunks are immutable) by writeChanged(); the header that then names them is the
// owner's business, and settle() forgets the changes once it is durable. One thread.
#pragma once

#include "daemon/mapper/map_format.h"
#include "daemon/mapper/object_client.h"

#include <memory>
#include <unordered_map>

namespace archipelago::mapper {

class ChunkCache {
public:
	/// `header`: the volume's, as last made durable; it outlives the cache and its table says where chunks are.
	ChunkCache(ObjectClient &blockerm, const Header &header) : m_blockerm(blockerm), m_header(header) {}

	/// The block's entry can be looked at.
	bool ready(uint32_t block) const;
	/// Makes it so. E-MISSING, E-CORRUPT, E-UNSUPPORTED, and what the blocker says.
	runtime::Task<Result<void>> load(uint32_t block);

	/// A ready block's entry.
	MapEntry entry(uint32_t block) const;
	/// Of the journal record that set it since the last settle(), 0 = none did.
	uint64_t sequence(uint32_t block) const;
	/// False: the header has no room for this block's chunk, if `coming` others are still to come (a header's 4 MiB name the
	/// chunks of 4 PiB - 256 GiB).
	bool roomFor(uint32_t block, size_t coming) const;
	/// Changes a ready block's entry.
	void set(uint32_t block, const MapEntry &entry, uint64_t sequence);

	bool changed() const;
	/// Writes every changed chunk as c.VID.epoch.INDEX and returns the table that has them. Nothing else uses the cache
	/// meanwhile.
	runtime::Task<Result<std::vector<ChunkRef>>> writeChanged(uint64_t epoch);
	/// What is in memory is what the header's table names.
	void settle();

private:
	struct Chunk {
		std::vector<MapEntry> entries;
		std::vector<uint64_t> sequences; ///< empty: unchanged
	};
	/// A read that is under way, shared by all who wait for it.
	struct Loading {
		runtime::WaitList done;
		std::optional<Error> error;
	};

	const Chunk *find(uint32_t block) const;
	const ChunkRef *stored(uint32_t index) const;
	runtime::Task<Result<Chunk>> read(ChunkRef ref);
	runtime::Task<void> write(uint32_t index, uint64_t epoch, std::vector<ChunkRef> &written, std::optional<Error> &error);

	ObjectClient &m_blockerm;
	const Header &m_header;
	std::unordered_map<uint32_t, Chunk> m_chunks;
	std::unordered_map<uint32_t, std::shared_ptr<Loading>> m_loading;
	uint32_t m_unstored = 0; ///< chunks in memory that the table does not name
};

} // namespace archipelago::mapper
