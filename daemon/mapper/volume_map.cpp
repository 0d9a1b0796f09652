// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Serving and closing an open volume. The orders that matter stand beside the code that keeps them; [names] are the rules
// of MAP_FORMAT.md that the model in tests/models breaks one by one.
#include "daemon/mapper/volume_map.h"

#include <algorithm>

#include <fmt/format.h>

namespace archipelago::mapper {

MapReply VolumeMap::inPlace(uint32_t block, const MapEntry &entry) const
{
	MapReply reply;
	reply.placement = Placement::Object;
	reply.id = ObjectName::data(entry.owner, entry.epoch, block).id();
	reply.committed = m_chunks.sequence(block) <= m_journal->committed();
	return reply;
}

MapReply VolumeMap::read(uint32_t block) const
{
	const MapEntry entry = m_chunks.entry(block);
	return entry.mapped() ? inPlace(block, entry) : MapReply{};
}

VolumeMap::Placing VolumeMap::place(uint32_t block, uint32_t handle, MapReply &reply)
{
	const MapEntry entry = m_chunks.entry(block);
	if (entry.mapped()) {
		// Below base an object belongs to a snapshot as well, and another owner's was never ours to write.
		if (entry.owner != m_header.volume || entry.epoch < m_header.base) return Placing::Shared;
		reply = inPlace(block, entry);
		return Placing::Done;
	}
	if (m_locks.contains(block)) return Placing::BlockLocked;
	if (!m_chunks.roomFor(block, m_locks.size())) return Placing::Full;
	if (m_epochSpent && !advanceEpoch()) return Placing::NoEpoch;

	BlockLock &lock = m_locks[block];
	lock.token = m_nextToken;
	lock.handle = handle;
	lock.epoch = m_epoch;
	m_nextToken = std::max(m_nextToken + 1, 1u); // 0 is nobody's
	reply = MapReply{};
	reply.placement = Placement::Create;
	reply.id = ObjectName::data(m_header.volume, m_epoch, block).id();
	reply.token = lock.token;
	return Placing::Done;
}

runtime::Task<void> VolumeMap::blockFree(uint32_t block)
{
	const auto lock = m_locks.find(block);
	if (lock != m_locks.end()) co_await lock->second.free.wait();
}

/// Removes the lock first: those who wait look again, and the first of them may take it anew.
void VolumeMap::unlock(uint32_t block)
{
	auto lock = m_locks.extract(block);
	lock.mapped().free.wakeAll();
}

/// False: the header has reserved no more.
bool VolumeMap::advanceEpoch()
{
	if (m_epoch + 1 >= m_header.epochLimit) return false;
	++m_epoch;
	m_epochSpent = false;
	return true;
}

runtime::Task<Result<void>> VolumeMap::reserveEpochs()
{
	co_await m_reserving.enter();
	Result<void> done;
	if (m_epoch + 1 >= m_header.epochLimit) { // else somebody was faster
		Header next = m_header;
		next.epochLimit = std::min(next.epochLimit + m_context.epochsPerHeader, firstEpoch(next.generation + 1));
		if (next.epochLimit == m_header.epochLimit)
			done = failure(ErrorCode::Limit, "all 2^40 epochs of this open are used up; close it and open it again");
		else
			done = co_await writeHeader(std::move(next));
	}
	m_reserving.leave();
	co_return done;
}

/// The object and its data are in the store by now (data before record), and the caller is answered only when the record is
/// written: a killed process loses nothing that was acknowledged [ack-before-record].
runtime::Task<Result<void>> VolumeMap::record(RecordArgs args)
{
	const auto lock = m_locks.find(args.block);
	if (lock == m_locks.end() || lock->second.token != args.token || lock->second.handle != args.handle ||
	    lock->second.recording)
		co_return failure(ErrorCode::Invalid,
		                  fmt::format("no first write of block {} is under way with this token", args.block));
	if (!args.stored) {
		// The object may exist all the same; its name must not be used again.
		m_epochSpent = true;
		unlock(args.block);
		co_return Result<void>{};
	}
	if (m_stopped) {
		unlock(args.block);
		co_return tl::unexpected(*m_stopped);
	}
	lock->second.recording = true;
	EntryRecord record;
	record.block = args.block;
	record.entry.owner = m_header.volume;
	record.entry.epoch = lock->second.epoch;
	Result<uint64_t> sequence = co_await m_journal->append(record);
	if (sequence) {
		m_chunks.set(args.block, record.entry, *sequence);
		m_allocatedBytes += kBlockBytes;
		m_newestRecord = std::max(m_newestRecord, *sequence);
	} else {
		stop(sequence.error());
	}
	unlock(args.block);
	if (!sequence) co_return tl::unexpected(std::move(sequence.error()));
	co_return Result<void>{};
}

void VolumeMap::abandon(uint32_t handle)
{
	std::vector<uint32_t> blocks;
	for (const auto &[block, lock] : m_locks)
		if (lock.handle == handle && !lock.recording) blocks.push_back(block);
	for (uint32_t block : blocks) {
		m_epochSpent = true; // as for an object that was not stored; it may even be written later
		unlock(block);
	}
}

/// Any failure stops the volume. After a failed sync the kernel may have dropped what it was to write; and a blocker that is
/// gone takes along the knowledge of what it had not synced: only recovery's sync of the whole store makes up for that.
runtime::Task<Result<void>> VolumeMap::flush()
{
	// Not one that runs now: it may have begun before what this caller wants flushed.
	const uint64_t mine = m_flushesStarted + 1;
	while (m_flushesDone < mine) {
		if (m_stopped) co_return tl::unexpected(*m_stopped);
		if (m_flushing) {
			co_await m_flushed.wait();
			continue;
		}
		m_flushing = true;
		const uint64_t round = ++m_flushesStarted;
		Result<void> done = co_await flushOnce();
		m_flushing = false;
		if (done)
			m_flushesDone = round;
		else
			stop(done.error());
		m_flushed.wakeAll();
	}
	co_return Result<void>{};
}

/// 1. note upto: every record so far. The data of each was stored before its record was asked for.
/// 2. make the volume's data durable                                                      [journal-before-data]
/// 3. COMMIT{upto}, durable. Not "all before me": records that came during 2 have data that 2 did not cover
///                                                                                         [commit-covers-all]
/// Nothing to commit when there is no ENTRY since the last one: 2 alone then covers overwrites in place.
runtime::Task<Result<void>> VolumeMap::flushOnce()
{
	const uint64_t upto = m_journal->appended();
	const bool records = m_newestRecord > m_journal->committed();
	Result<void> done = co_await m_context.blockerb.syncVolume(m_header.volume);
	if (done && records) done = co_await m_journal->commit(upto);
	co_return done;
}

/// Flush first, so that everything the new header shows is durable before it is. Chunks are new objects that nobody reads
/// until the header names them. The header decides: until it is written the old one and the journal say the same as it.
/// A crash after it leaves journal and old chunks unreferenced, for gc.
///
/// When the header's write fails it may be there all the same. Serving on would append to a journal that the store's header
/// does not know, and lose all of it at the next open: so the volume stops.
runtime::Task<Result<void>> VolumeMap::close()
{
	Result<void> done = co_await flush();
	co_await m_journal->idle();
	if (!done) co_return done;

	Header next = m_header;
	if (m_chunks.changed()) {
		if (!advanceEpoch()) { // chunks of a close that failed half-way exist: their names are used
			done = co_await reserveEpochs();
			if (!done) co_return done;
			advanceEpoch();
			next = m_header;
		}
		Result<std::vector<ChunkRef>> table = co_await m_chunks.writeChanged(m_epoch);
		if (!table) co_return tl::unexpected(std::move(table.error()));
		next.chunks = std::move(*table);
	}
	next.journalEpoch = 0;
	next.firstSegment = 0;
	next.applied = 0;
	next.allocatedBytes = m_allocatedBytes;
	const std::vector<ChunkRef> before = m_header.chunks;
	const uint64_t journalEpoch = m_header.journalEpoch;
	done = co_await writeHeader(std::move(next));
	if (!done) {
		stop(done.error());
		co_return done;
	}
	m_chunks.settle();

	std::vector<ObjectName> garbage = replacedChunks(before, m_header.base);
	for (uint32_t segment = 0; segment < m_journal->segmentCount(); ++segment)
		garbage.push_back(ObjectName::journal(m_header.volume, journalEpoch, segment));
	co_await removeAll(std::move(garbage));
	co_return Result<void>{};
}

runtime::Task<Result<void>> VolumeMap::writeHeader(Header next)
{
	next.writeCount = m_header.writeCount + 1;
	const ObjectName object = ObjectName::header(next.volume, next.generation);
	const Bytes bytes = encodeHeader(next);
	Result<void> done = co_await m_context.blockerm.writeFull(object, bytes);
	if (done) m_header = std::move(next);
	co_return done;
}

void VolumeMap::stop(const Error &error)
{
	if (m_stopped) return;
	m_stopped = Error{ErrorCode::Io, error.message};
	m_context.log.error("volume {} has stopped: {}. Close it and open it again.", m_header.name, error.message);
}

} // namespace archipelago::mapper
