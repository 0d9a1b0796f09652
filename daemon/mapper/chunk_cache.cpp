// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Loading is single-flight: who needs a chunk that is being read waits for that read and shares its outcome. A chunk that is
// being read is not in memory, so it has no changes, and no header that comes meanwhile moves or removes its object.
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

ChunkCache::~ChunkCache()
{
	for (const auto &[index, chunk] : m_chunks)
		if (chunk.clean()) m_budget.remove(chunk.position);
}

const ChunkCache::Chunk *ChunkCache::find(uint32_t block) const
{
	const auto found = m_chunks.find(chunkOf(block));
	if (found == m_chunks.end()) return nullptr;
	if (found->second.clean()) found->second.position->used = true;
	return &found->second;
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

BlockRun ChunkCache::run(uint32_t first, uint32_t end) const
{
	const Chunk *chunk = find(first);
	const uint32_t place = placeOf(first), most = std::min(end - first, kChunkEntries - place);
	if (!chunk) return BlockRun{.blocks = most, .mapped = 0};
	const auto begin = chunk->entries.begin() + place;
	const bool mapped = begin->mapped();
	const auto other = std::find_if(begin, begin + most, [mapped](const MapEntry &e) { return e.mapped() != mapped; });
	return BlockRun{.blocks = static_cast<uint32_t>(other - begin), .mapped = mapped};
}

uint64_t ChunkCache::sequence(uint32_t block) const
{
	const Chunk *chunk = find(block);
	return chunk && !chunk->clean() ? chunk->sequences[placeOf(block)] : 0;
}

bool ChunkCache::roomFor(uint32_t block, size_t coming) const
{
	return find(block) || m_header.chunks.size() + m_unstored + coming < kMaxChunkRefs;
}

void ChunkCache::pin(uint32_t block) { ++m_pins[chunkOf(block)]; }

void ChunkCache::unpin(uint32_t block)
{
	const auto pin = m_pins.find(chunkOf(block));
	ARCHIPELAGO_ASSERT(pin != m_pins.end());
	if (--pin->second == 0) m_pins.erase(pin);
}

bool ChunkCache::evict(uint32_t index)
{
	if (m_pins.contains(index)) return false;
	m_chunks.erase(index); // clean, so the table names it
	return true;
}

void ChunkCache::set(uint32_t block, const MapEntry &entry, uint64_t sequence)
{
	ARCHIPELAGO_ASSERT(ready(block));
	const uint32_t place = placeOf(block);
	const auto [found, added] = m_chunks.try_emplace(chunkOf(block));
	Chunk &chunk = found->second;
	if (added) {
		chunk.entries.resize(kChunkEntries);
		++m_unstored;
	} else if (chunk.clean()) {
		m_budget.remove(chunk.position);
	}
	if (chunk.clean()) {
		chunk.sequences.resize(kChunkEntries);
		chunk.first = sequence;
	}
	if (sequence > m_forgotten) {
		if (chunk.before.empty()) m_remembering.push_back(found->first);
		// Records that one write carried end in any order; those of one block in theirs.
		const auto at = std::ranges::upper_bound(chunk.before, sequence, {}, &Before::sequence);
		chunk.before.insert(at, Before{sequence, place, chunk.entries[place]});
	}
	chunk.entries[place] = entry;
	chunk.sequences[place] = sequence;
	chunk.first = std::min(chunk.first, sequence);
	chunk.last = std::max(chunk.last, sequence);
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
	Result<std::vector<MapEntry>> entries = co_await read(*stored(index));
	if (entries) {
		Chunk &chunk = m_chunks[index];
		chunk.entries = std::move(*entries);
		chunk.position = m_budget.add(*this, index);
	} else {
		loading->error = entries.error();
	}
	m_loading.erase(index);
	loading->done.wakeAll();
	if (!entries) co_return tl::unexpected(std::move(entries.error()));
	co_return Result<void>{};
}

runtime::Task<Result<std::vector<MapEntry>>> ChunkCache::read(ChunkRef ref)
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
	if (!entries) co_return entries;
	for (size_t n = 0; n < entries->size(); ++n) {
		const MapEntry &entry = (*entries)[n];
		if (entry.owner == m_header.volume && entry.epoch >= m_header.epochLimit)
			co_return failure(ErrorCode::Corrupt,
			                  fmt::format("object {}: entry {} has epoch {}, which is not used yet (limit {})",
			                              object.text(), n, entry.epoch, m_header.epochLimit));
	}
	co_return entries;
}

bool ChunkCache::changed() const
{
	return std::ranges::any_of(m_chunks, [](const auto &chunk) { return !chunk.second.clean(); });
}

/// Undoes, newest first, what came after `upto`.
std::vector<MapEntry> ChunkCache::entriesAsOf(const Chunk &chunk, uint64_t upto)
{
	std::vector<MapEntry> entries = chunk.entries;
	for (auto before = chunk.before.rbegin(); before != chunk.before.rend() && before->sequence > upto; ++before)
		entries[before->place] = before->entry;
	return entries;
}

int64_t ChunkCache::mappedSince(uint64_t upto) const
{
	int64_t sum = 0;
	for (const auto &[index, chunk] : m_chunks) {
		if (chunk.before.empty() || chunk.last <= upto) continue;
		const std::vector<MapEntry> then = entriesAsOf(chunk, upto);
		sum += std::ranges::count_if(chunk.entries, &MapEntry::mapped) - std::ranges::count_if(then, &MapEntry::mapped);
	}
	return sum;
}

runtime::Task<Result<std::vector<ChunkRef>>> ChunkCache::writeChanged(uint64_t epoch, uint64_t upto)
{
	// Chunks with changes stay in memory, but others come and go meanwhile: no iterator is kept over a wait.
	std::vector<uint32_t> changed;
	for (const auto &[index, chunk] : m_chunks)
		if (!chunk.clean() && chunk.first <= upto) changed.push_back(index);
	Writing writing;
	writing.epoch = epoch;
	writing.upto = upto;
	TaskGroup group(kWritesAtATime);
	for (const uint32_t index : changed)
		if (!writing.error) co_await group.start(write(index, writing));
	co_await group.wait();
	if (writing.error) co_return tl::unexpected(std::move(*writing.error));

	std::ranges::sort(writing.written, {}, &ChunkRef::index);
	std::vector<ChunkRef> table;
	std::ranges::set_union(writing.written, m_header.chunks, std::back_inserter(table), {}, &ChunkRef::index,
	                       &ChunkRef::index); // of two with one index it takes the first: the one just written
	std::ranges::sort(writing.blank);
	std::erase_if(table, [&writing](const ChunkRef &ref) { return std::ranges::binary_search(writing.blank, ref.index); });
	co_return std::move(table);
}

runtime::Task<void> ChunkCache::write(uint32_t index, Writing &writing)
{
	const std::vector<MapEntry> entries = entriesAsOf(m_chunks.at(index), writing.upto);
	if (std::ranges::none_of(entries, &MapEntry::mapped)) {
		writing.blank.push_back(index);
		co_return;
	}
	const ObjectName object = ObjectName::chunk(m_header.volume, writing.epoch, index);
	const EncodedChunk chunk = encodeChunk(object, entries);
	Result<void> done = co_await m_blockerm.writeFull(object, chunk.bytes);
	if (done)
		writing.written.push_back(ChunkRef{index, chunk.crc, m_header.volume, writing.epoch});
	else
		writing.error = std::move(done.error());
}

/// Each flush comes here, so only chunks with something to forget are looked at.
void ChunkCache::forget(uint64_t upto)
{
	m_forgotten = upto;
	std::erase_if(m_remembering, [this, upto](uint32_t index) {
		const auto found = m_chunks.find(index);
		if (found == m_chunks.end()) return true;
		std::vector<Before> &before = found->second.before;
		before.erase(before.begin(), std::ranges::upper_bound(before, upto, {}, &Before::sequence));
		return before.empty();
	});
}

void ChunkCache::settle(uint64_t upto)
{
	m_unstored = 0;
	for (auto at = m_chunks.begin(); at != m_chunks.end();) {
		const uint32_t index = at->first;
		Chunk &chunk = at->second;
		const bool named = stored(index) != nullptr;
		if (!chunk.clean() && chunk.last > upto) {
			chunk.first = std::max(chunk.first, upto + 1);
			m_unstored += !named;
			++at;
		} else if (!named) { // nothing is mapped in it
			at = m_chunks.erase(at);
		} else {
			if (!chunk.clean()) {
				chunk.sequences = {};
				chunk.before = {};
				chunk.last = 0;
				chunk.position = m_budget.add(*this, index);
			}
			++at;
		}
	}
	if (m_forgotten == ~0ull) m_forgotten = 0;
}

} // namespace archipelago::mapper
