// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Writing order of a segment, and what each crash leaves:
//
//   room       creates the object with its head and zeros up to the first step, or writes zeros up to the next step. Appends
//              then go to written space (an append to unwritten space costs a journal commit of the file system), and there
//              is always a zero behind the last record or the end of the object. Cut off: an object without a whole head,
//              which counts as absent; or a length that nobody asks for.
//   write      whole blocks from the one that has the first new record. The last block is rewritten while it has room: its
//              old bytes are written again as they were, so a kill leaves the old or the new block, and a torn write
//              loses only what came after the last sync.
//   COMMIT     then PAD: a block with a committed record is never written again, so no torn write can reach it.
//   next       a full segment is synced before its successor is created: if segment n exists, all of n - 1 is durable, and
//              recovery may take a hole between the two for damage.
#include "daemon/mapper/journal.h"

#include <algorithm>

namespace archipelago::mapper {

namespace {

constexpr uint32_t kStepBytes = 256u << 10;

} // namespace

Journal::Journal(ObjectClient &blockerm, const SegmentHead &head, uint32_t segmentBytes)
    : m_blockerm(blockerm), m_segmentBytes(segmentBytes)
{
	addSegment(head);
	m_appended = m_durable = m_committed = head.firstSequence - 1;
}

runtime::Task<Result<uint64_t>> Journal::append(MapChange change)
{
	if (m_error) co_return tl::unexpected(*m_error);
	const uint64_t withdrawals = m_withdrawals;
	const uint64_t sequence = segmentWithRoom().encoder.appendChange(change);
	pump();
	Result<void> done = co_await written(sequence, withdrawals);
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return sequence;
}

runtime::Task<Result<void>> Journal::commit(uint64_t upto)
{
	ARCHIPELAGO_ASSERT(upto <= m_appended && upto >= m_committed);
	if (m_error) co_return tl::unexpected(*m_error);
	const uint64_t withdrawals = m_withdrawals;
	Segment &segment = segmentWithRoom();
	const uint32_t number = segment.head.segment;
	const uint64_t sequence = m_commitSequence = segment.encoder.appendCommit(upto);
	pump();
	Result<void> done = co_await written(sequence, withdrawals);
	if (!done) co_return done;
	// Durable already: by its own write, or because the segment was full and synced since.
	if (m_durable < sequence) {
		ARCHIPELAGO_ASSERT(m_segments.front().head.segment == number);
		done = co_await sync(m_segments.front());
		if (!done) co_return done;
	}
	m_committed = upto;
	co_return Result<void>{};
}

runtime::Task<void> Journal::idle()
{
	while (m_writing) co_await m_wrote.wait();
}

uint32_t Journal::firstSegmentAfter(uint64_t upto) const
{
	for (const Closed &closed : m_closed)
		if (closed.lastSequence > upto) return closed.number;
	return m_segments.front().head.segment;
}

void Journal::forget(uint32_t first)
{
	while (!m_closed.empty() && m_closed.front().number < first) m_closed.pop_front();
}

uint64_t Journal::bytes() const
{
	uint64_t sum = 0;
	for (const Closed &closed : m_closed) sum += closed.bytes;
	for (const Segment &segment : m_segments) sum += segment.encoder.blocksEnd();
	return sum;
}

void Journal::addSegment(const SegmentHead &head)
{
	m_segments.push_back(Segment{head, ObjectName::journal(head.volume, head.journalEpoch, head.segment),
	                             SegmentEncoder(head, m_segmentBytes)});
}

Journal::Segment &Journal::segmentWithRoom()
{
	if (m_segments.back().encoder.roomForRecord()) return m_segments.back();
	SegmentHead next = m_segments.back().head;
	next.firstSequence = m_segments.back().encoder.nextSequence();
	++next.segment;
	addSegment(next);
	return m_segments.back();
}

void Journal::pump()
{
	if (m_writing) return; // it goes round until nothing is left
	m_writing = true;
	runtime::spawn(writeOn());
}

runtime::Task<void> Journal::writeOn()
{
	while (!m_error) {
		Segment &segment = m_segments.front();
		Result<void> done;
		if (segment.encoder.pending() && segment.encoder.blocksEnd() > segment.zeroedTo) {
			done = co_await makeRoom(segment);
			if (!done && done.error().code == ErrorCode::NoSpace) {
				withdraw(done.error());
				done = {};
			}
		} else if (segment.encoder.pending()) {
			const bool hasCommit = m_commitSequence > m_appended;
			done = co_await writePiece(segment, hasCommit);
		} else if (m_segments.size() > 1) {
			done = co_await sync(segment);
			if (done) close(segment);
		} else {
			break;
		}
		if (!done) fail(done.error());
		m_wrote.wakeAll();
	}
	m_writing = false;
	m_wrote.wakeAll(); // idle(); it may destroy this
}

/// Head and zeros of a new segment, or zeros behind those there are: no byte of a record, so nothing is in doubt when it fails
/// but whether zeros are there, and they are written again by the next attempt.
runtime::Task<Result<void>> Journal::makeRoom(Segment &segment)
{
	const uint32_t from = segment.zeroedTo;
	const uint32_t end = segment.encoder.blocksEnd();
	const uint32_t to = std::min((end + kStepBytes - 1) / kStepBytes * kStepBytes, m_segmentBytes);
	Bytes bytes = from ? Bytes() : encodeSegmentHead(segment.head);
	bytes.resize(to - from);

	Result<void> done = failure(ErrorCode::NotFound, "");
	// After a creation that failed the object may exist; its name is ours alone, and so is what is in it.
	if (from || segment.roomFailed) done = co_await m_blockerm.write(segment.object, from, bytes, Durability::Later);
	if (!from && !done && done.error().code == ErrorCode::NotFound)
		done = co_await m_blockerm.create(segment.object, bytes);
	segment.roomFailed = !done;
	if (!done) co_return done;
	segment.zeroedTo = to;
	segment.layoutUnsynced = true;
	co_return Result<void>{};
}

/// One write for all records that have gathered. With `durable` it carries a COMMIT, and is written through if that makes
/// everything before the COMMIT durable as well.
///
/// Write-through (FUA) of one write does not flush earlier writes out of a device's cache, also not those of the same file,
/// nor does it write the directory entry of a new object. So it is used only when every byte without a sync is in this very
/// write and the segment's length and entry are durable; else commit() syncs the object after it.
runtime::Task<Result<void>> Journal::writePiece(Segment &segment, bool durable)
{
	SegmentEncoder::Piece piece = segment.encoder.take();
	const bool through = durable && !segment.layoutUnsynced && segment.unsyncedFrom >= piece.offset;
	Result<void> done = co_await m_blockerm.write(segment.object, piece.offset, piece.bytes,
	                                              through ? Durability::WithThisWrite : Durability::Later);
	if (!done) co_return done;

	m_appended = piece.lastSequence;
	if (through) {
		segment.unsyncedFrom = ~0u;
		m_durable = piece.lastSequence;
	} else {
		// Only now: a sync that began while this write was under way does not cover it.
		segment.unsyncedFrom = std::min(segment.unsyncedFrom, piece.offset);
	}
	co_return Result<void>{};
}

/// Makes durable what is written when it starts. Earlier segments were synced before this one was created.
runtime::Task<Result<void>> Journal::sync(Segment &segment)
{
	const uint64_t upto = m_appended;
	segment.unsyncedFrom = ~0u; // a write that ends during the sync puts its own start here
	segment.layoutUnsynced = false;
	const ObjectName object = segment.object; // the segment may be gone when the answer comes
	Result<void> done = co_await m_blockerm.sync(object);
	if (done)
		m_durable = std::max(m_durable, upto);
	else
		fail(done.error());
	co_return done;
}

runtime::Task<Result<void>> Journal::written(uint64_t sequence, uint64_t withdrawals)
{
	// A record that is taken back has not been written: whoever waits here has been woken since its write was done.
	while (m_withdrawals == withdrawals && m_appended < sequence && !m_error) co_await m_wrote.wait();
	if (m_withdrawals != withdrawals) co_return tl::unexpected(*m_noRoom);
	if (m_appended < sequence) co_return tl::unexpected(*m_error);
	co_return Result<void>{};
}

void Journal::close(const Segment &segment)
{
	m_closed.push_back(Closed{segment.head.segment, segment.encoder.nextSequence() - 1, segment.encoder.blocksEnd()});
	m_segments.pop_front();
}

/// All records that no write has carried, also those of segments to come.
void Journal::withdraw(const Error &error)
{
	while (m_segments.size() > 1) m_segments.pop_back();
	m_segments.front().encoder.withdraw();
	m_commitSequence = std::min(m_commitSequence, m_appended);
	m_noRoom = Error{ErrorCode::NoSpace, "no room for its journal: " + error.message};
	++m_withdrawals;
}

void Journal::fail(const Error &error)
{
	if (m_error) return;
	const ErrorCode code = error.code == ErrorCode::NoSpace ? ErrorCode::NoSpace : ErrorCode::Io;
	m_error = Error{code, "its journal cannot be written: " + error.message};
}

} // namespace archipelago::mapper
