// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Segments of a volume's journal as bytes: SegmentEncoder writes one, decodeSegment() reads one. No I/O; journal.h and
// recovery.h have that. MAP_FORMAT.md is the specification.
//
//   0          80                                        4096                          8192
//   | head     | ENTRY | ENTRY | COMMIT | PAD ...........| ENTRY | ...   zeros ........|
//              each record's crc is seeded with the one before it, the first with the head's
//
// Records are multiples of 8 bytes and may cross a block boundary, but none begins in the last 8 bytes of a 4 KiB block:
// there is no room for its head, the bytes stay zero and are skipped.
#pragma once

#include "daemon/mapper/map_format.h"

#include <array>
#include <optional>

namespace archipelago::mapper {

inline constexpr uint32_t kJournalBlockBytes = 4096;
inline constexpr uint32_t kSegmentBytes = 4u << 20;

/// /proc/sys/kernel/random/boot_id: equal ids mean that the page cache which held unsynced writes is still the same one.
using BootId = std::array<uint8_t, 16>;
/// Of the running kernel.
Result<BootId> readBootId();

struct SegmentHead {
	VolumeId volume;
	uint64_t journalEpoch = 0;
	uint32_t segment = 0;
	uint64_t firstSequence = 1; ///< of its first record; the sequence goes on from segment to segment
	BootId bootId{};
	uint64_t generation = 0;    ///< of the owner that writes it
};

/// What a record says of the map: from now on ...
///   ENTRY   block `block` is stored in `entry`
///   DROP    `count` blocks from `block` are stored nowhere and read zeros; `entry` is not mapped
struct MapChange {
	uint32_t block = 0;
	MapEntry entry;
	uint32_t count = 1; ///< 1 when the entry is mapped
};

/// The head of a segment, as it begins its object.
Bytes encodeSegmentHead(const SegmentHead &head);

/// The bytes of one segment, gathered record by record and taken in pieces of whole blocks.
class SegmentEncoder {
public:
	/// `capacity`: how long it may become, at most kSegmentBytes, a multiple of the block.
	explicit SegmentEncoder(const SegmentHead &head, uint32_t capacity = kSegmentBytes);

	/// Room for one more record, a COMMIT with its PAD included.
	bool roomForRecord() const;
	/// Each returns the sequence of its record.
	uint64_t appendChange(const MapChange &change);
	uint64_t appendCommit(uint64_t upto); ///< and a PAD: what comes later starts a new block
	uint64_t nextSequence() const { return m_sequence; }

	/// There are records that no piece has had.
	bool pending() const { return m_taken < m_end; }
	/// Takes back those records. The next ones get their sequences and their place.
	void withdraw();
	/// Where the block with the last record ends.
	uint32_t blocksEnd() const { return (m_end + kJournalBlockBytes - 1) & ~(kJournalBlockBytes - 1); }
	/// All blocks with new records. The last is padded with zeros; if it has room left, the next piece begins with it again.
	struct Piece {
		uint32_t offset = 0; ///< in the segment, as the length a multiple of kJournalBlockBytes
		Bytes bytes;
		uint64_t lastSequence = 0;
	};
	Piece take();

private:
	uint64_t append(uint16_t type, std::span<const std::byte> body);

	uint64_t m_generation;
	uint32_t m_capacity;
	uint64_t m_sequence, m_takenSequence; ///< of the next record; of the first that no piece has had
	uint32_t m_chain = 0, m_takenChain = 0; ///< crc of the last record; of the last one taken
	uint32_t m_start = 0;  ///< offset of m_bytes in the segment, a multiple of the block
	uint32_t m_end = 0;    ///< offset behind the last record
	uint32_t m_taken = 0;  ///< offset up to which pieces were taken
	Bytes m_bytes;         ///< m_start..m_end
};

struct ReplayedChange {
	uint64_t sequence = 0;
	MapChange change;
};

/// What a segment holds, up to the first record that is not valid: the torn tail of its last writes.
struct SegmentContent {
	SegmentHead head;
	std::vector<ReplayedChange> changes;
	uint64_t lastSequence = 0; ///< of the last valid record, COMMIT and PAD included; firstSequence - 1 when there is none
	uint64_t committed = 0;    ///< upto of the last COMMIT, 0 when there is none
};
/// Nothing: the head is not whole, as a segment is whose creation was cut off. Errors: what is intact but makes no sense
/// (E-CORRUPT), or is of a type or version this program does not know (E-UNSUPPORTED).
Result<std::optional<SegmentContent>> decodeSegment(const ObjectName &object, std::span<const std::byte> bytes);

} // namespace archipelago::mapper
