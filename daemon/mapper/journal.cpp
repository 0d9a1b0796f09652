// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Writing order of a segment, and what each crash leaves:
//
//   create     the head, the first records and zeros up to the first step, in one request. Cut off: an object without a whole
//              head, which counts as absent.
//   write      whole blocks from the one that has the first new record. The last block is rewritten while it has room: its
//              old bytes are written again as they were, so a kill leaves the old or the new block, and a torn write
//              loses only what came after the last sync.
//   extend     a write that would end behind what is written carries zeros up to the next step: appends go to written space
//              (an append to unwritten space costs a journal commit of the file system), and there is always a zero behind
//              the last record or the end of the object.
//   COMMIT     then PAD: a block with a committed record is never written again, so no torn write can reach it.
//   next       a full segment is synced before its successor is created: if segment n exists, all of n - 1 is durable, and
//              recovery may take a hole between the two for damage.
#include "daemon/mapper/journal.h"

#include <algorithm>

namespace archipelago::mapper {

namespace {

constexpr uint32_t kStepBytes = 256u << 10;
static_assert(kSegmentBytes % kStepBytes == 0);

} // namespace

Journal::Journal(ObjectClient &blockerm, const SegmentHead &head) : m_blockerm(blockerm), m_head(head)
{
	m_segments.push_back(
		Segment{head.segment, ObjectName::journal(head.volume, head.journalEpoch, head.segment), SegmentEncoder(head)});
	m_appended = m_durable = m_committed = head.firstSequence - 1;
}

runtime::Task<Result<uint64_t>> Journal::append(EntryRecord record)
{
	if (m_error) co_return tl::unexpected(*m_error);
	const uint64_t sequence = segmentWithRoom().encoder.appendEntry(record);
	pump();
	Result<void> done = co_await written(sequence);
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return sequence;
}

runtime::Task<Result<void>> Journal::commit(uint64_t upto)
{
	ARCHIPELAGO_ASSERT(upto <= m_appended && upto >= m_committed);
	if (m_error) co_return tl::unexpected(*m_error);
	Segment &segment = segmentWithRoom();
	const uint32_t number = segment.number;
	m_commitSequence = segment.encoder.appendCommit(upto);
	pump();
	Result<void> done = co_await written(m_commitSequence);
	if (!done) co_return done;
	// Durable already: by its own write, or because the segment was full and synced since.
	if (m_durable < m_commitSequence) {
		ARCHIPELAGO_ASSERT(m_segments.front().number == number);
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

Journal::Segment &Journal::segmentWithRoom()
{
	if (m_segments.back().encoder.roomForRecord()) return m_segments.back();
	m_head.firstSequence = m_segments.back().encoder.nextSequence();
	++m_head.segment;
	m_segments.push_back(Segment{m_head.segment,
	                             ObjectName::journal(m_head.volume, m_head.journalEpoch, m_head.segment),
	                             SegmentEncoder(m_head)});
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
		if (segment.encoder.pending()) {
			const bool hasCommit = m_commitSequence > m_appended;
			done = co_await writePiece(segment, hasCommit);
		} else if (m_segments.size() > 1) {
			done = co_await sync(segment);
			if (done) m_segments.pop_front();
		} else {
			break;
		}
		if (!done) fail(done.error());
		m_wrote.wakeAll();
	}
	m_writing = false;
	m_wrote.wakeAll(); // idle(); it may destroy this
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
	const auto end = piece.offset + static_cast<uint32_t>(piece.bytes.size());
	const bool extends = end > segment.zeroedTo;
	const bool through = durable && !extends && !segment.layoutUnsynced && segment.unsyncedFrom >= piece.offset;
	if (extends) piece.bytes.resize((end + kStepBytes - 1) / kStepBytes * kStepBytes - piece.offset);

	Result<void> done;
	if (segment.zeroedTo == 0)
		done = co_await m_blockerm.create(segment.object, piece.bytes);
	else
		done = co_await m_blockerm.write(segment.object, piece.offset, piece.bytes,
		                                 through ? Durability::WithThisWrite : Durability::Later);
	if (!done) co_return done;

	m_appended = piece.lastSequence;
	if (extends) {
		segment.zeroedTo = piece.offset + static_cast<uint32_t>(piece.bytes.size());
		segment.layoutUnsynced = true;
	}
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

runtime::Task<Result<void>> Journal::written(uint64_t sequence)
{
	while (m_appended < sequence && !m_error) co_await m_wrote.wait();
	if (m_appended < sequence) co_return tl::unexpected(*m_error);
	co_return Result<void>{};
}

void Journal::fail(const Error &error)
{
	if (!m_error) m_error = Error{ErrorCode::Io, "its journal cannot be written: " + error.message};
}

} // namespace archipelago::mapper
