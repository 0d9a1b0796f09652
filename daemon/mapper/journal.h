// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Journal: the records of one open volume, from its open to its close, in segments j.VID.EPOCH.0, 1, 2...
//
// Group commit: one write is in flight at a time; what is appended meanwhile gathers and goes out with the next one, and
// each waiter is resumed when the write that has its record is done.
//
//   append()  ENTRY  -> written (not synced): a killed process loses nothing of it         [ack-before-record]
//   commit()  COMMIT -> durable, and with it every record before it
//
// A segment comes into being with its first write, not with the volume's header: a segment 0 that is absent is an empty
// journal. That equals creating it before the header: no record is acknowledged before the write that creates the segment is
// done, and commit() syncs the object with its directory entry; so an absent segment means that no record was ever
// acknowledged (after a kill), or none committed (after power loss). Nothing else could have been in it.
//
// An error is final: the journal's end in the store is unknown then, so nothing more is written (E-IO until the volume is
// opened again, which reads what is there). One thread; idle() before destruction.
#pragma once

#include "daemon/mapper/journal_format.h"
#include "daemon/mapper/object_client.h"

#include <deque>

namespace archipelago::mapper {

class Journal {
public:
	/// `head`: of segment 0.
	Journal(ObjectClient &blockerm, const SegmentHead &head);
	Journal(const Journal &) = delete;
	Journal &operator=(const Journal &) = delete;

	/// Comes back with the record's sequence when it is written. E-IO.
	runtime::Task<Result<uint64_t>> append(EntryRecord record);
	/// Comes back when COMMIT{upto}, and all before it, is durable. One at a time. E-IO.
	runtime::Task<Result<void>> commit(uint64_t upto);

	uint64_t appended() const { return m_appended; }   ///< records up to here are written
	uint64_t committed() const { return m_committed; } ///< records up to here are committed, durably
	/// Waits until nothing is under way.
	runtime::Task<void> idle();
	/// How many segments there may be: numbers 0 up to here, exclusive.
	uint32_t segmentCount() const { return m_segments.back().number + 1; }

private:
	struct Segment {
		uint32_t number;
		ObjectName object;
		SegmentEncoder encoder;
		uint32_t zeroedTo = 0;       ///< written up to here; 0: the object does not exist yet
		uint32_t unsyncedFrom = ~0u; ///< the first byte of a write that no sync covers
		bool layoutUnsynced = true;  ///< directory entry or length came after the last sync
	};

	Segment &segmentWithRoom();
	void pump();
	runtime::Task<void> writeOn();
	runtime::Task<Result<void>> writePiece(Segment &segment, bool durable);
	runtime::Task<Result<void>> sync(Segment &segment);
	runtime::Task<Result<void>> written(uint64_t sequence);
	void fail(const Error &error);

	ObjectClient &m_blockerm;
	SegmentHead m_head;               ///< of the newest segment
	std::deque<Segment> m_segments;   ///< the front is written, the back is appended to
	uint64_t m_appended = 0, m_durable = 0, m_committed = 0;
	uint64_t m_commitSequence = 0;    ///< of the last COMMIT appended
	bool m_writing = false;
	std::optional<Error> m_error;
	runtime::WaitList m_wrote;
};

} // namespace archipelago::mapper
