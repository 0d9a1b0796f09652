// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Serving and closing an open volume. The orders that matter stand beside the code that keeps them; [names] are the rules
// of MAP_FORMAT.md that the model in tests/models breaks one by one.
#include "daemon/mapper/volume_map.h"

#include "daemon/mapper/rule.h"

#include <algorithm>

#include <fmt/format.h>

namespace archipelago::mapper {

VolumeMap::VolumeMap(const VolumeContext &context, Header header)
	: m_context(context),
	  m_header(std::move(header)),
	  m_chunks(context.blockerm, context.budget, m_header),
	  m_checkpointAt(context.limits.checkpointBytes),
	  m_timer(context.reactor, [this] { runtime::spawn(checkpointInBackground()); })
{}

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
	if (m_locks.contains(block)) return Placing::BlockLocked;
	const MapEntry entry = m_chunks.entry(block);
	if (entry.mapped()) {
		// Below base an object belongs to a snapshot as well, and another owner's was never ours to write.
		if (!isPrivate(entry)) return Placing::Shared;
		reply = inPlace(block, entry);
		return Placing::Done;
	}
	if (!m_chunks.roomFor(block, m_creating)) return Placing::Full;
	if (m_epochSpent && !advanceEpoch()) return Placing::NoEpoch;

	BlockLock &taken = lock(block);
	++m_creating;
	taken.token = m_nextToken;
	taken.handle = handle;
	taken.epoch = m_epoch;
	m_nextToken = std::max(m_nextToken + 1, 1u); // 0 is nobody's
	reply = MapReply{};
	reply.placement = Placement::Create;
	reply.id = ObjectName::data(m_header.volume, m_epoch, block).id();
	reply.token = taken.token;
	return Placing::Done;
}

/// Zeros are written in place, so a punch is ordered with writes of the block by whoever sends them, as those are among
/// themselves. A Create that is under way may bring the block its first object: the punch waits for it.
VolumeMap::Placing VolumeMap::punch(uint32_t block, MapReply &reply) const
{
	if (m_locks.contains(block)) return Placing::BlockLocked;
	const MapEntry entry = m_chunks.entry(block);
	if (entry.mapped() && !isPrivate(entry)) return Placing::Shared;
	reply = entry.mapped() ? inPlace(block, entry) : MapReply{};
	return Placing::Done;
}

runtime::Task<void> VolumeMap::blockFree(uint32_t block)
{
	const auto lock = m_locks.find(block);
	if (lock != m_locks.end()) co_await lock->second.free.wait();
}

/// The block's chunk stays in memory until unlock(): the entry will be set.
VolumeMap::BlockLock &VolumeMap::lock(uint32_t block)
{
	m_chunks.pin(block);
	return m_locks[block];
}

/// Removes the lock first: those who wait look again, and the first of them may take it anew.
void VolumeMap::unlock(uint32_t block)
{
	auto lock = m_locks.extract(block);
	m_chunks.unpin(block);
	if (lock.mapped().token) --m_creating;
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
	co_await m_headerGate.enter();
	Result<void> done;
	if (m_epoch + 1 >= m_header.epochLimit) { // else somebody was faster
		Header next = m_header;
		next.epochLimit = std::min(next.epochLimit + m_context.limits.epochsPerHeader, firstEpoch(next.generation + 1));
		if (next.epochLimit == m_header.epochLimit)
			done = failure(ErrorCode::Limit, "all 2^40 epochs of this open are used up; close it and open it again");
		else
			done = co_await writeHeader(std::move(next));
	}
	m_headerGate.leave();
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
	BlockLock &taken = lock->second; // stays where it is until unlock()
	taken.recording = true;
	MapChange change;
	change.block = args.block;
	change.entry.owner = m_header.volume;
	change.entry.epoch = taken.epoch;
	Result<void> done = co_await roomInJournal();
	if (done) {
		Result<uint64_t> sequence = co_await m_journal->append(change);
		if (sequence) {
			m_chunks.set(args.block, change.entry, *sequence);
			m_allocatedBytes += kBlockBytes;
			recorded(*sequence);
		} else {
			done = tl::unexpected(sequence.error());
		}
		if (m_stopped) done = tl::unexpected(*m_stopped);
	}
	if (!done) {
		m_epochSpent = true; // the object exists, and nothing names it
		stopWithJournal();
	}
	unlock(args.block);
	co_return done;
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
		if (done) m_flushesDone = round;
		m_flushed.wakeAll();
		if (!done) co_return done;
	}
	co_return Result<void>{};
}

/// 1. note upto: every record so far. The data of each was stored before its record was asked for.
/// 2. make the volume's data durable                                                      [journal-before-data]
/// 3. COMMIT{upto}, durable. Not "all before me": records that came during 2 have data that 2 did not cover
///                                                                                         [commit-covers-all]
/// Nothing to commit when there is no record since the last one: 2 alone then covers overwrites in place.
/// 4. whoever waits is answered; objects whose DROP is committed now are removed           [discard-removes-early]
///
/// A failure of 2 stops the volume, whatever it is: the kernel may have dropped what it was to write. So does one of 3 that
/// leaves the journal in doubt. A COMMIT that found no room was never written: all is as before, and the next flush, whose
/// `upto` covers these records too, may find some.
runtime::Task<Result<void>> VolumeMap::flushOnce()
{
	const uint64_t upto = m_journal->appended();
	const bool records = m_newestRecord > m_journal->committed();
	Result<void> done = co_await m_context.blockerb.syncVolume(m_header.volume);
	if (!done) {
		stop(done.error());
		co_return done;
	}
	if (!records) co_return done;
	done = co_await m_journal->commit(keeps(Rule::CommitCoversAll) ? upto : m_journal->appended());
	if (!done) {
		stopWithJournal();
		co_return done;
	}
	m_chunks.forget(m_checkpointing ? std::min(m_checkpointed, upto) : upto);
	removeDropped();
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
	m_timer.cancel();
	co_await quiet();
	Result<void> done = co_await flush();
	co_await quiet();
	if (!done) co_return done;

	std::vector<ChunkRef> table = m_header.chunks;
	if (m_chunks.changed()) {
		uint64_t epoch = 0;
		done = co_await newChunksEpoch(epoch);
		if (!done) co_return done;
		Result<std::vector<ChunkRef>> written = co_await m_chunks.writeChanged(epoch, m_newestRecord);
		if (!written) co_return tl::unexpected(std::move(written.error()));
		table = std::move(*written);
	}
	Header next = m_header;
	next.chunks = std::move(table);
	next.journalEpoch = 0;
	next.firstSegment = 0;
	next.applied = 0;
	next.allocatedBytes = m_allocatedBytes;
	const Header before = m_header;
	done = co_await writeHeader(std::move(next));
	if (!done) {
		stop(done.error());
		co_return done;
	}
	m_chunks.settle(m_newestRecord);

	std::vector<ObjectName> garbage = replacedChunks(before.chunks, before.base);
	for (uint32_t segment = before.firstSegment; segment < m_journal->segmentCount(); ++segment)
		garbage.push_back(ObjectName::journal(before.volume, before.journalEpoch, segment));
	co_await removeAll(std::move(garbage));
	co_return Result<void>{};
}

/// Waits for what nobody else waits for.
runtime::Task<void> VolumeMap::quiet()
{
	while (m_checkpointing) co_await m_checkpointDone.wait();
	while (m_background) co_await m_backgroundEnded.wait();
	co_await m_journal->idle();
}

/// The caller has entered m_headerGate, or nothing else is under way.
runtime::Task<Result<void>> VolumeMap::writeHeader(Header next)
{
	next.writeCount = m_header.writeCount + 1;
	const ObjectName object = ObjectName::header(next.volume, next.generation);
	const Bytes bytes = encodeHeader(next);
	Result<void> done = co_await m_context.blockerm.writeFull(object, bytes);
	if (done) m_header = std::move(next);
	co_return done;
}

/// Whoever waits is woken, looks, and fails. Nobody of them takes a lock away or ends this volume: the caller is still in it.
void VolumeMap::stop(const Error &error)
{
	if (m_stopped) return;
	const ErrorCode code = error.code == ErrorCode::NoSpace ? ErrorCode::NoSpace : ErrorCode::Io;
	m_stopped = Error{code, error.message};
	m_timer.cancel();
	m_context.log.error("volume {} has stopped: {}. Close it and open it again.", m_header.name, error.message);
	std::vector<uint32_t> locked;
	for (const auto &[block, lock] : m_locks) locked.push_back(block);
	for (const uint32_t block : locked)
		if (const auto lock = m_locks.find(block); lock != m_locks.end()) lock->second.free.wakeAll();
}

/// After a failed append or commit: stops unless the journal is as it was.
void VolumeMap::stopWithJournal()
{
	if (m_journal->error()) stop(*m_journal->error());
}

} // namespace archipelago::mapper
