// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Journal: the records of one open volume, from its open to its close, in segments j.VID.EPOCH.0, 1, 2...
//
// Group commit: one write is in flight at a time; what is appended meanwhile gathers and goes out with the next one, and
// each waiter is resumed when the write that has its record is done.
//
//   append()  ENTRY, DROP -> written (not synced): a killed process loses nothing of it    [ack-before-record]
//   commit()  COMMIT -> durable, and with it every record before it
//
// A segment comes into being with its first record, not with the volume's header: a segment that is absent is the empty end
// of a journal. That equals creating it before the header: no record is acknowledged before the object was created, and
// commit() syncs the object with its directory entry; so an absent segment means that no record was ever acknowledged (after
// a kill), or none committed (after power loss). Nothing else could have been in it.
//
// Room first, then records: records are only written to where zeros were written before. When there is no room for the zeros
// (E-NOSPACE), no byte of a record has been sent: the records that wait are taken back, their callers get E-NOSPACE, and the
// journal goes on with the same sequence numbers.
//
// Every other error is final: the journal's end in the store is unknown then, so nothing more is written (until the volume
// is opened again, which reads what is there). One thread; idle() before destruction.
#pragma once

#include "daemon/mapper/journal_format.h"
#include "daemon/mapper/object_client.h"

#include <deque>

namespace archipelago::mapper {

class Journal {
public:
	/// `head`: of segment 0. `segmentBytes`: how long a segment may become.
	Journal(ObjectClient &blockerm, const SegmentHead &head, uint32_t segmentBytes = kSegmentBytes);
	Journal(const Journal &) = delete;
	Journal &operator=(const Journal &) = delete;

	/// Comes back with the record's sequence when it is written. E-NOSPACE with error() empty: there is no such record, and
	/// nothing else has changed. Else as error().
	runtime::Task<Result<uint64_t>> append(MapChange change);
	/// Comes back when COMMIT{upto}, and all before it, is durable. One at a time. Errors as append().
	runtime::Task<Result<void>> commit(uint64_t upto);

	uint64_t appended() const { return m_appended; }   ///< records up to here are written
	uint64_t committed() const { return m_committed; } ///< records up to here are committed, durably
	/// Why nothing more can be written.
	const std::optional<Error> &error() const { return m_error; }
	/// Waits until nothing is under way.
	runtime::Task<void> idle();

	// ---- segments: the numbers from forget()'s on, up to segmentCount(), exclusive
	uint32_t segmentCount() const { return m_segments.back().head.segment + 1; }
	/// The first segment with a record after `upto`, or the one that is appended to.
	uint32_t firstSegmentAfter(uint64_t upto) const;
	/// The segments before `first` do not count any more: the header that says so is durable.
	void forget(uint32_t first);
	/// Of the segments that count.
	uint64_t bytes() const;

private:
	struct Segment {
		SegmentHead head;
		ObjectName object;
		SegmentEncoder encoder;
		uint32_t zeroedTo = 0;       ///< written up to here; 0: the object does not exist yet
		bool roomFailed = false;     ///< the object, or zeros behind zeroedTo, may be there all the same
		uint32_t unsyncedFrom = ~0u; ///< the first byte of a write that no sync covers
		bool layoutUnsynced = true;  ///< directory entry or length came after the last sync
	};
	/// A full segment, durable to its end.
	struct Closed {
		uint32_t number;
		uint64_t lastSequence;
		uint32_t bytes;
	};

	void addSegment(const SegmentHead &head);
	Segment &segmentWithRoom();
	void pump();
	runtime::Task<void> writeOn();
	runtime::Task<Result<void>> makeRoom(Segment &segment);
	runtime::Task<Result<void>> writePiece(Segment &segment, bool durable);
	runtime::Task<Result<void>> sync(Segment &segment);
	runtime::Task<Result<void>> written(uint64_t sequence, uint64_t withdrawals);
	void close(const Segment &segment);
	void withdraw(const Error &error);
	void fail(const Error &error);

	ObjectClient &m_blockerm;
	const uint32_t m_segmentBytes;
	std::deque<Closed> m_closed;
	std::deque<Segment> m_segments;   ///< the front is written, the back is appended to
	uint64_t m_appended = 0, m_durable = 0, m_committed = 0;
	uint64_t m_commitSequence = 0;    ///< of the last COMMIT appended
	bool m_writing = false;
	uint64_t m_withdrawals = 0;       ///< how often the waiting records were taken back
	std::optional<Error> m_noRoom;    ///< why, the last time
	std::optional<Error> m_error;
	runtime::WaitList m_wrote;
};

} // namespace archipelago::mapper
