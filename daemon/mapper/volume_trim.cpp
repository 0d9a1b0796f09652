// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Trim: whole blocks go out of the map.
//
//   1. lock what is mapped, in ascending order; a Create that is under way ends first        new writes of the blocks wait
//   2. DROP appended, one for each run of neighbours
//   3. memory, the epoch is spent, unlock, answer                   the next write of the block makes another object
//   ...
//   4. a flush commits the DROP: now the objects are removed
//
// A crash after 2 counts the DROP (a kill) or, before 4's COMMIT, may not (power loss): then the entries are as they were, and
// their objects must be there: that is why 4 comes last [discard-removes-early]. What a crash after the COMMIT leaves is
// removed by the next open, which replays the DROP, or else by gc.
//
// The epoch is spent because the dropped object may live on, or come back from a removal that was not synced: a new object
// under its name would show its bytes, or be removed in its place [discard-keeps-epoch] [reuse-no-truncate].
//
// Only blocks that this trim has locked are in its DROPs: a record that spans a block which somebody else is just mapping
// would undo that in the journal, but not in memory.
#include "daemon/mapper/rule.h"
#include "daemon/mapper/task_group.h"
#include "daemon/mapper/volume_map.h"

#include <algorithm>

namespace archipelago::mapper {

namespace {

constexpr unsigned kRunsAtATime = 512; ///< records that may gather for one write
constexpr unsigned kRemovalsAtATime = 16;

} // namespace

runtime::Task<Result<void>> VolumeMap::trim(uint32_t first, uint32_t count)
{
	for (uint64_t at = first, end = uint64_t(first) + count; at < end;) {
		const uint64_t chunkEnd = std::min(end, (at | (kChunkEntries - 1)) + 1);
		Result<void> done = co_await trimInChunk(static_cast<uint32_t>(at), static_cast<uint32_t>(chunkEnd));
		// Their list is bounded: without a client that flushes, the trim does it.
		if (done && m_dropped.size() >= m_context.limits.droppedObjects) done = co_await flush();
		if (!done) co_return done;
		at = chunkEnd;
	}
	co_return Result<void>{};
}

runtime::Task<Result<void>> VolumeMap::trimInChunk(uint32_t first, uint32_t end)
{
	if (m_chunks.blank(first) && !anyLocked(first, end)) co_return Result<void>{};

	Trim trim;
	Result<void> done = co_await lockMapped(first, end, trim);
	if (!done) {
		for (const uint32_t block : trim.locked) unlock(block);
		co_return done;
	}
	TaskGroup group(kRunsAtATime);
	for (size_t n = 0; n < trim.locked.size();) {
		MapChange run;
		run.block = trim.locked[n++];
		while (n < trim.locked.size() && trim.locked[n] == run.block + run.count) ++run.count, ++n;
		co_await group.start(dropRun(run, trim));
	}
	co_await group.wait();
	if (trim.error) co_return tl::unexpected(std::move(*trim.error));
	co_return Result<void>{};
}

bool VolumeMap::anyLocked(uint32_t first, uint32_t end) const
{
	return std::ranges::any_of(m_locks, [=](const auto &lock) { return lock.first >= first && lock.first < end; });
}

/// Ascending, and a Create waits for nobody who holds a lock: no two can wait for each other.
runtime::Task<Result<void>> VolumeMap::lockMapped(uint32_t first, uint32_t end, Trim &trim)
{
	for (uint32_t block = first; block < end;) {
		if (m_stopped) co_return tl::unexpected(*m_stopped);
		if (m_locks.contains(block)) {
			co_await blockFree(block);
		} else if (!ready(block)) {
			Result<void> loaded = co_await load(block);
			if (!loaded) co_return loaded;
		} else {
			if (m_chunks.entry(block).mapped()) {
				lock(block).recording = true; // no client's: abandon() leaves it alone
				trim.locked.push_back(block);
			}
			++block;
		}
	}
	co_return Result<void>{};
}

runtime::Task<void> VolumeMap::dropRun(MapChange run, Trim &trim)
{
	Result<void> done;
	if (trim.error)
		done = tl::unexpected(*trim.error); // of a run before this one
	else
		done = co_await roomInJournal();
	if (done) {
		Result<uint64_t> sequence = co_await m_journal->append(run);
		if (sequence)
			drop(run, *sequence);
		else
			done = tl::unexpected(std::move(sequence.error()));
		if (m_stopped) done = tl::unexpected(*m_stopped);
	}
	if (!done) {
		if (!trim.error) trim.error = done.error();
		stopWithJournal();
	}
	for (uint32_t n = 0; n < run.count; ++n) unlock(run.block + n);
}

void VolumeMap::drop(const MapChange &run, uint64_t sequence)
{
	for (uint32_t block = run.block; block < run.block + run.count; ++block) {
		const MapEntry entry = m_chunks.entry(block);
		// What is not ours alone stays: a snapshot may have it.
		if (isPrivate(entry))
			m_dropped.push_back(Dropped{sequence, ObjectName::data(entry.owner, entry.epoch, block)});
		m_chunks.set(block, MapEntry{}, sequence);
		m_allocatedBytes -= kBlockBytes;
	}
	m_epochSpent |= keeps(Rule::DiscardKeepsEpoch);
	recorded(sequence);
}

void VolumeMap::removeDropped()
{
	std::vector<ObjectName> objects;
	for (Dropped &dropped : m_dropped)
		if (dropped.sequence <= m_journal->committed()) objects.push_back(std::move(dropped.object));
	if (objects.empty()) return;
	std::erase_if(m_dropped, [this](const Dropped &dropped) { return dropped.sequence <= m_journal->committed(); });
	runtime::spawn(removeInBackground(std::move(objects)));
}

runtime::Task<void> VolumeMap::removeInBackground(std::vector<ObjectName> objects)
{
	++m_background;
	co_await removeAll(std::move(objects));
	--m_background;
	m_backgroundEnded.wakeAll(); // last: whoever waits may end this volume
}

runtime::Task<void> VolumeMap::removeAll(std::vector<ObjectName> objects)
{
	TaskGroup group(kRemovalsAtATime);
	for (ObjectName &object : objects) co_await group.start(removeOne(std::move(object)));
	co_await group.wait();
}

/// What cannot be removed is garbage that nobody reads; the volume is as good without.
runtime::Task<void> VolumeMap::removeOne(ObjectName object)
{
	ObjectClient &store = object.id().kind == ObjectKind::Data ? m_context.blockerb : m_context.blockerm;
	Result<void> done = co_await store.remove(object);
	if (!done) m_context.log.warn("volume {}: garbage stays in the store: {}", m_header.name, done.error().message);
}

} // namespace archipelago::mapper
