// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A range of a volume as ranges of its blocks, and the rules a client's range must keep. Pure arithmetic, no state.
//
//   volume   |........ block n ........|...... block n + 1 ......|
//   request             [---- piece 0 --|---- piece 1 ----]
//   buffer              0               at                 length
//
// A range without data (trim, zero) is cut so that what it covers whole is one span, however long:
//
//   |...[-- part --|========= whole blocks =========|-- part --]...|
#pragma once

#include "daemon/base/errors.h"
#include "daemon/base/protocol.h"

#include <cstdint>
#include <optional>

namespace archipelago::composer {

inline constexpr uint32_t kSectorBytes = 512; ///< what offsets, lengths and buffers of volume I/O are multiples of

/// The part of a request that lies in one block. All in bytes but `block`.
struct Piece {
	uint32_t block = 0;
	uint32_t offset = 0; ///< in the block
	uint32_t at = 0;     ///< in the request's data
	uint32_t length = 0;
};

/// The piece that begins `at` bytes into the request; `at` < `length`, and the range lies below kMaxVolumeBytes.
Piece pieceAt(uint64_t offset, uint32_t length, uint32_t at);
/// How many pieces there are; 0 for an empty request.
uint32_t pieceCount(uint64_t offset, uint32_t length);

/// Part of a range without data.
struct Span {
	uint32_t block = 0;  ///< the first
	uint32_t blocks = 0; ///< whole ones; 0: part of one
	uint64_t length = 0; ///< bytes
};
/// The span that begins `at` bytes into the range; `at` < `length`. There are at most three.
Span spanAt(uint64_t offset, uint64_t length, uint64_t at);

/// A client's range as it stands in its request, none of it checked yet.
struct ClientRange {
	uint64_t offset = 0, size = 0;
	uint32_t dataOffset = 0, dataLength = 0; ///< part of the buffer
	bool write = false;
};
/// Nothing when the range may be carried out. E-INVALID: empty, misaligned, size and data disagree, or it ends behind the
/// volume; E-READONLY.
std::optional<ErrorCode> checkRange(const ClientRange &range, uint64_t volumeBytes, bool readOnly);
/// The same for a range without data. `readOnly`: of the volume, if the range is written.
std::optional<ErrorCode> checkSpan(uint64_t offset, uint64_t size, uint64_t volumeBytes, bool readOnly);

} // namespace archipelago::composer
