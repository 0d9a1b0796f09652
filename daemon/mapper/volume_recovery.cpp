// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Opening a volume. Every open is a recovery; after a clean close there just is nothing to replay. In this order:
//
//   1. read the journal of the newest header, apply what counts                                    (journal_replay.h)
//   2. make all data in the store durable                                                          [recovery-no-sync]
//   3. write the chunks that changed, under names of the new generation
//   4. write the header of the new generation: chunks, an empty journal of its own                 [recovery-same-journal]
//                                                                                                  [open-keeps-epoch]
//   5. serve; remove what the old header alone named, and the objects of blocks that were dropped in its journal
//
// Until 4 nothing has changed: chunks of 3 are named by nobody, and another attempt, or another boot that counts fewer
// records, replaces them whole. From 4 on everything a client can see is durable, so what recovery has shown stays.
//
// Step 2 is needed after every unclean end, also when the journal adds nothing: a killed process leaves overwrites of
// mapped blocks unsynced, clients read them from now on, and a flush of this generation promises them. Only "the whole
// store" covers what a predecessor wrote.
//
// 5 after 4, each object on its own and not synced: a removal that is cut off or lost leaves an object that no newest header
// names. An old header that comes back is older than the new one, which was durable first.
#include "daemon/mapper/volume_map.h"

#include "daemon/mapper/journal_replay.h"
#include "daemon/mapper/rule.h"

#include <algorithm>

namespace archipelago::mapper {

namespace {

Result<void> checkOpenable(const Header &header)
{
	if (header.snapshot()) return failure(ErrorCode::Unsupported, "it is a snapshot, which this version cannot open");
	if (header.suspectFrom)
		return failure(ErrorCode::Unsupported, "its lock was broken; this version cannot seal suspect blocks");
	if (header.generation >= kMaxGeneration)
		return failure(ErrorCode::Limit, "it was opened 2^24 times, the most there can be");
	return {};
}

} // namespace

runtime::Task<Result<std::unique_ptr<VolumeMap>>> VolumeMap::open(const VolumeContext &context, FoundVolume found)
{
	if (auto ok = checkOpenable(found.header); !ok) co_return tl::unexpected(std::move(ok.error()));
	std::unique_ptr<VolumeMap> map(new VolumeMap(context, std::move(found.header)));
	Result<void> done = co_await map->recover(std::move(found.generations));
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return std::move(map);
}

runtime::Task<Result<void>> VolumeMap::recover(std::vector<uint64_t> generations)
{
	const Header old = m_header;
	m_allocatedBytes = old.allocatedBytes;
	std::vector<ObjectName> garbage, dropped;
	if (old.journalEpoch) {
		Result<Replay> replay = co_await readJournal(m_context.blockerm, m_header, m_context.bootId);
		if (!replay) co_return tl::unexpected(std::move(replay.error()));
		Result<void> done = co_await apply(replay->changes, dropped);
		if (!done) co_return done;
		done = co_await m_context.blockerb.syncAll();
		if (!done) co_return done;
		m_context.log.info("volume {} was not closed: {} records of its journal were replayed", old.name,
		                   replay->changes.size());
		for (const ObjectId &id : replay->segments)
			garbage.push_back(ObjectName::journal(id.volume, id.epoch, id.index));
	}
	Result<void> done = co_await takeOver();
	if (!done) co_return done;

	for (uint64_t generation : generations) garbage.push_back(ObjectName::header(old.volume, generation));
	for (ObjectName &chunk : replacedChunks(old.chunks, old.base)) garbage.push_back(std::move(chunk));
	co_await removeAll(std::move(garbage));
	if (!dropped.empty()) runtime::spawn(removeInBackground(std::move(dropped)));
	co_return Result<void>{};
}

/// Records are absolute, so applying any of them twice changes nothing. `dropped`: own objects that a DROP took out of the map.
runtime::Task<Result<void>> VolumeMap::apply(const std::vector<MapChange> &changes, std::vector<ObjectName> &dropped)
{
	constexpr uint64_t kReplayed = 1; // any number: settle() forgets it before the new journal counts from 1
	for (const MapChange &change : changes) {
		for (uint64_t at = change.block, end = at + change.count; at < end; ++at) {
			const auto block = static_cast<uint32_t>(at);
			if (!ready(block)) {
				Result<void> loaded = co_await load(block);
				if (!loaded) co_return loaded;
			}
			if (!change.entry.mapped() && m_chunks.blank(block)) {
				at |= kChunkEntries - 1; // nothing to drop in this chunk
				continue;
			}
			if (!m_chunks.roomFor(block, 0))
				co_return failure(ErrorCode::Limit, "its header has no room for another chunk");
			const MapEntry before = m_chunks.entry(block);
			if (before.mapped()) m_allocatedBytes -= kBlockBytes;
			if (change.entry.mapped()) m_allocatedBytes += kBlockBytes;
			if (!change.entry.mapped() && isPrivate(before))
				dropped.push_back(ObjectName::data(before.owner, before.epoch, block));
			m_chunks.set(block, change.entry, kReplayed);
		}
	}
	co_return Result<void>{};
}

/// Steps 3 and 4. Epochs of a generation begin at GEN << 40: no name of an earlier one can come back, and floor = that makes
/// whatever crashed writers left behind below it collectable, once unreferenced.
runtime::Task<Result<void>> VolumeMap::takeOver()
{
	Header next = m_header;
	const uint64_t e = firstEpoch(++next.generation);
	if (m_chunks.changed()) {
		Result<std::vector<ChunkRef>> table = co_await m_chunks.writeChanged(e, ~0ull);
		if (!table) co_return tl::unexpected(std::move(table.error()));
		next.chunks = std::move(*table);
	}
	if (keeps(Rule::RecoverySameJournal) || !next.journalEpoch) next.journalEpoch = e;
	next.firstSegment = 0;
	next.applied = 0;
	if (keeps(Rule::OpenKeepsEpoch)) next.floor = e;
	next.epochLimit = e + m_context.limits.epochsPerHeader;
	next.allocatedBytes = m_allocatedBytes;
	Result<void> done = co_await writeHeader(std::move(next));
	if (!done) co_return done;

	m_chunks.settle(~0ull);
	m_epoch = m_header.floor;
	m_epochSpent = true; // e is the chunks' and the journal's
	SegmentHead head;
	head.volume = m_header.volume;
	head.journalEpoch = m_header.journalEpoch;
	head.bootId = m_context.bootId;
	head.generation = m_header.generation;
	m_journal.emplace(m_context.blockerm, head, m_context.limits.segmentBytes);
	co_return Result<void>{};
}

/// Chunks that `before` named and the header no longer does, as far as they are ours alone: from `base` on no snapshot can
/// have them.
std::vector<ObjectName> VolumeMap::replacedChunks(const std::vector<ChunkRef> &before, uint64_t base) const
{
	std::vector<ObjectName> replaced;
	auto now = m_header.chunks.begin();
	for (const ChunkRef &ref : before) {
		while (now != m_header.chunks.end() && now->index < ref.index) ++now;
		const bool kept = now != m_header.chunks.end() && *now == ref;
		if (!kept && ref.owner == m_header.volume && ref.epoch >= base)
			replaced.push_back(ObjectName::chunk(ref.owner, ref.epoch, ref.index));
	}
	return replaced;
}

} // namespace archipelago::mapper
