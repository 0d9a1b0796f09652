// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Checkpoint: what is committed goes into the chunks, so that the journal can be shortened. The volume serves meanwhile.
//
//   1. flush: p = the last committed sequence
//   2. changed chunks as of p, under names of a fresh epoch                                        [checkpoint-memory]
//   3. header: these chunks, applied = p, the first segment that has a record after p
//   4. remove the segments before that, and own chunks that 3 no longer names                      [trim-before-header]
//
// As of p and not of memory: memory has records that no COMMIT covers. A header that shows them would keep, after power loss,
// entries whose data was lost.
//
// A crash before 3 leaves chunks that nobody names; after it segments and chunks that nobody reads. When 2 or 3 fails, the
// volume goes on: after 2 nothing has changed. After 3 the header in the store is the old or the new one. All that either of
// them needs is there, because 4 does not happen: the old one's chunks and its whole journal, of which the new one wants the
// end; the next header, made from the old one, replaces either.
//
// It begins when the journal is long or its oldest record old. When it cannot keep up, those who want to append wait for it,
// and when it fails they fail with it: the journal is bounded either way.
#include "daemon/mapper/volume_map.h"

#include "daemon/mapper/rule.h"

#include <algorithm>

namespace archipelago::mapper {

runtime::Task<Result<void>> VolumeMap::checkpoint()
{
	if (m_stopped) co_return tl::unexpected(*m_stopped);
	if (m_checkpointing) {
		co_await m_checkpointDone.wait();
		if (m_checkpointError) co_return tl::unexpected(*m_checkpointError);
		co_return Result<void>{};
	}
	m_checkpointing = true;
	m_checkpointed = m_journal->committed();
	m_timer.cancel();
	Result<void> done = co_await checkpointOnce();
	m_checkpointing = false;
	m_chunks.forget(m_journal->committed());
	m_checkpointError.reset();
	if (!done) m_checkpointError = done.error();
	// A journal that is still long (records came meanwhile, or this failed) is not looked at again with each record.
	m_checkpointAt = std::max(m_context.limits.checkpointBytes, m_journal->bytes() + m_context.limits.segmentBytes);
	startTimer();
	m_checkpointDone.wakeAll();
	co_return done;
}

runtime::Task<Result<void>> VolumeMap::checkpointOnce()
{
	Result<void> done = co_await flush();
	if (!done) co_return done;
	const uint64_t upto = m_checkpointed = m_journal->committed(); // old values are kept from here on
	if (m_newestRecord <= m_header.applied) co_return done;
	const auto mappedSince = static_cast<uint64_t>(m_chunks.mappedSince(upto)); // modulo 2^64: it may be negative
	const uint64_t allocatedBytes = m_allocatedBytes - mappedSince * kBlockBytes;

	uint64_t epoch = 0;
	done = co_await newChunksEpoch(epoch);
	if (!done) co_return done;
	const uint64_t asOf = keeps(Rule::CheckpointMemory) ? upto : ~0ull;
	Result<std::vector<ChunkRef>> table = co_await m_chunks.writeChanged(epoch, asOf);
	if (!table) co_return tl::unexpected(std::move(table.error()));

	co_await m_headerGate.enter();
	Header next = m_header;
	next.chunks = std::move(*table);
	next.applied = upto;
	next.firstSegment = m_journal->firstSegmentAfter(upto);
	next.allocatedBytes = allocatedBytes;
	const Header before = m_header;
	done = co_await writeHeader(std::move(next));
	if (done) {
		m_chunks.settle(upto);
		m_journal->forget(m_header.firstSegment);
	}
	m_headerGate.leave();
	if (!done) co_return done;

	std::vector<ObjectName> garbage = replacedChunks(before.chunks, before.base);
	for (uint32_t segment = before.firstSegment; segment < m_header.firstSegment; ++segment)
		garbage.push_back(ObjectName::journal(before.volume, before.journalEpoch, segment));
	runtime::spawn(removeInBackground(std::move(garbage)));
	co_return done;
}

/// A fresh one each time: chunks of an attempt that failed half-way exist, and their names are used.
runtime::Task<Result<void>> VolumeMap::newChunksEpoch(uint64_t &epoch)
{
	while (!advanceEpoch()) {
		Result<void> done = co_await reserveEpochs();
		if (!done) co_return done;
	}
	epoch = m_epoch;
	co_return Result<void>{};
}

runtime::Task<void> VolumeMap::checkpointInBackground()
{
	++m_background;
	Result<void> done = co_await checkpoint();
	if (!done && !m_stopped)
		m_context.log.warn("volume {}: its journal could not be shortened, it will be tried again: {}", m_header.name,
		                   done.error().message);
	--m_background;
	m_backgroundEnded.wakeAll(); // last: whoever waits may end this volume
}

runtime::Task<Result<void>> VolumeMap::roomInJournal()
{
	while (!m_stopped && m_journal->bytes() >= m_context.limits.journalBytes) {
		Result<void> done = co_await checkpoint();
		if (!done) co_return done;
	}
	if (m_stopped) co_return tl::unexpected(*m_stopped);
	co_return Result<void>{};
}

/// An ENTRY or a DROP is in the journal and in memory.
void VolumeMap::recorded(uint64_t sequence)
{
	m_newestRecord = std::max(m_newestRecord, sequence);
	if (m_stopped) return;
	if (!m_checkpointing && m_journal->bytes() >= m_checkpointAt)
		runtime::spawn(checkpointInBackground());
	else
		startTimer();
}

void VolumeMap::startTimer()
{
	if (m_stopped || m_checkpointing || m_timer.active() || m_newestRecord <= m_header.applied) return;
	m_timer.startMs(m_context.limits.checkpointMs);
}

} // namespace archipelago::mapper
