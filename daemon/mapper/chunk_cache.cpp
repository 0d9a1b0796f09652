// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Loading is single-flight: who needs a chunk that is being read waits for that read and shares its outcome.
#include "daemon/mapper/chunk_cache.h"

#include "daemon/mapper/task_group.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr uint32_t kChunkGuess = 260u << 10; ///< entries and some owners; its buffer has room for 512 KiB anyway
constexpr unsigned kWritesAtATime = 4;

constexpr uint32_t chunkOf(uint32_t block) { return block >> kChunkShift; }
constexpr uint32_t placeOf(uint32_t block) { return block & (kChunkEntries - 1); }

} // namespace

const ChunkCache::Chunk *ChunkCache::find(uint32_t block) const
{
	const auto found = m_chunks.find(chunkOf(block));
	return found == m_chunks.end() ? nullptr : &found->second;
}

const ChunkRef *ChunkCache::stored(uint32_t index) const
{
	const auto found = std::ranges::lower_bound(m_header.chunks, index, {}, &ChunkRef::index);
	return found != m_header.chunks.end() && found->index == index ? &*found : nullptr;
}

bool ChunkCache::ready(uint32_t block) const { return find(block) || !stored(chunkOf(block)); }

MapEntry ChunkCache::entry(uint32_t block) const
{
	const Chunk *chunk = find(block);
	return chunk ? chunk->entries[placeOf(block)] : MapEntry{};
}

uint64_t ChunkCache::sequence(uint32_t block) const
{
	const Chunk *chunk = find(block);
	return chunk && !chunk->sequences.empty() ? chunk->sequences[placeOf(block)] : 0;
}

bool ChunkCache::roomFor(uint32_t block, size_t coming) const
{
	return find(block) || m_header.chunks.size() + m_unstored + coming < kMaxChunkRefs;
}

void ChunkCache::set(uint32_t block, const MapEntry &entry, uint64_t sequence)
{
	ARCHIPELAGO_ASSERT(ready(block));
	const auto [found, added] = m_chunks.try_emplace(chunkOf(block));
	Chunk &chunk = found->second;
	if (added) {
		chunk.entries.resize(kChunkEntries);
		++m_unstored;
	}
	if (chunk.sequences.empty()) chunk.sequences.resize(kChunkEntries);
	chunk.entries[placeOf(block)] = entry;
	chunk.sequences[placeOf(block)] = sequence;
}

runtime::Task<Result<void>> ChunkCache::load(uint32_t block)
{
	const uint32_t index = chunkOf(block);
	if (ready(block)) co_return Result<void>{};
	if (const auto under = m_loading.find(index); under != m_loading.end()) {
		const std::shared_ptr<Loading> loading = under->second;
		co_await loading->done.wait();
		if (loading->error) co_return tl::unexpected(*loading->error);
		co_return Result<void>{};
	}
	const auto loading = std::make_shared<Loading>();
	m_loading.emplace(index, loading);
	Result<Chunk> chunk = co_await read(*stored(index));
	if (chunk)
		m_chunks.emplace(index, std::move(*chunk));
	else
		loading->error = chunk.error();
	m_loading.erase(index);
	loading->done.wakeAll();
	if (!chunk) co_return tl::unexpected(std::move(chunk.error()));
	co_return Result<void>{};
}

runtime::Task<Result<ChunkCache::Chunk>> ChunkCache::read(ChunkRef ref)
{
	const ObjectName object = ObjectName::chunk(ref.owner, ref.epoch, ref.index);
	Result<Bytes> bytes = co_await m_blockerm.readWhole(object, kChunkGuess, kMaxChunkBytes);
	if (!bytes) {
		// The header names it, so it must be there: zeros in its place would hide the loss (E-MISSING).
		Error error = std::move(bytes.error());
		if (error.code == ErrorCode::NotFound) error.code = ErrorCode::Missing;
		co_return tl::unexpected(std::move(error));
	}
	Result<std::vector<MapEntry>> entries = decodeChunk(object, ref.crc, *bytes);
	if (!entries) co_return tl::unexpected(std::move(entries.error()));
	for (size_t n = 0; n < entries->size(); ++n) {
		const MapEntry &entry = (*entries)[n];
		if (entry.owner == m_header.volume && entry.epoch >= m_header.epochLimit)
			co_return failure(ErrorCode::Corrupt,
			                  fmt::format("object {}: entry {} has epoch {}, which is not used yet (limit {})",
			                              object.text(), n, entry.epoch, m_header.epochLimit));
	}
	Chunk chunk;
	chunk.entries = std::move(*entries);
	co_return std::move(chunk);
}

bool ChunkCache::changed() const
{
	return std::ranges::any_of(m_chunks, [](const auto &chunk) { return !chunk.second.sequences.empty(); });
}

runtime::Task<Result<std::vector<ChunkRef>>> ChunkCache::writeChanged(uint64_t epoch)
{
	std::vector<ChunkRef> written;
	std::optional<Error> error;
	TaskGroup group(kWritesAtATime);
	for (const auto &[index, chunk] : m_chunks) {
		if (chunk.sequences.empty() || error) continue;
		co_await group.start(write(index, epoch, written, error));
	}
	co_await group.wait();
	if (error) co_return tl::unexpected(std::move(*error));

	std::ranges::sort(written, {}, &ChunkRef::index);
	std::vector<ChunkRef> table;
	std::ranges::set_union(written, m_header.chunks, std::back_inserter(table), {}, &ChunkRef::index, &ChunkRef::index);
	co_return std::move(table); // of two with one index set_union takes the first: the one just written
}

runtime::Task<void> ChunkCache::write(uint32_t index, uint64_t epoch, std::vector<ChunkRef> &written,
                                      std::optional<Error> &error)
{
	const ObjectName object = ObjectName::chunk(m_header.volume, epoch, index);
	const EncodedChunk chunk = encodeChunk(object, m_chunks.at(index).entries);
	Result<void> done = co_await m_blockerm.writeFull(object, chunk.bytes);
	if (!done) {
		error = std::move(done.error());
		co_return;
	}
	written.push_back(ChunkRef{index, chunk.crc, m_header.volume, epoch});
}

void ChunkCache::settle()
{
	for (auto &[index, chunk] : m_chunks) chunk.sequences = {};
	m_unstored = 0;
}

} // namespace archipelago::mapper
