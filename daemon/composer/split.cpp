// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The arithmetic of split.h. kMaxVolumeBytes >> kBlockShift is 2^30, so a block number fits 32 bits with room to spare.
#include "daemon/composer/split.h"

#include <algorithm>

namespace archipelago::composer {

static_assert((kMaxVolumeBytes >> kBlockShift) <= UINT32_MAX);

Piece pieceAt(uint64_t offset, uint32_t length, uint32_t at)
{
	const uint64_t start = offset + at;
	Piece piece;
	piece.block = static_cast<uint32_t>(start >> kBlockShift);
	piece.offset = static_cast<uint32_t>(start & (kBlockBytes - 1));
	piece.at = at;
	piece.length = std::min(length - at, static_cast<uint32_t>(kBlockBytes) - piece.offset);
	return piece;
}

uint32_t pieceCount(uint64_t offset, uint32_t length)
{
	if (!length) return 0;
	return static_cast<uint32_t>(((offset + length - 1) >> kBlockShift) - (offset >> kBlockShift)) + 1;
}

Span spanAt(uint64_t offset, uint64_t length, uint64_t at)
{
	const uint64_t start = offset + at, left = length - at;
	const uint64_t inBlock = start & (kBlockBytes - 1);
	Span span;
	span.block = static_cast<uint32_t>(start >> kBlockShift);
	if (inBlock == 0) span.blocks = static_cast<uint32_t>(left >> kBlockShift);
	span.length = span.blocks ? uint64_t{span.blocks} << kBlockShift : std::min(left, kBlockBytes - inBlock);
	return span;
}

namespace {

/// In this order, so that no sum can wrap.
bool withinVolume(uint64_t offset, uint64_t size, uint64_t volumeBytes)
{
	return size <= volumeBytes && offset <= volumeBytes - size;
}

} // namespace

std::optional<ErrorCode> checkRange(const ClientRange &range, uint64_t volumeBytes, bool readOnly)
{
	const uint64_t misaligned = (range.offset | range.size | range.dataOffset) & (kSectorBytes - 1);
	if (range.size == 0 || range.size != range.dataLength || misaligned) return ErrorCode::Invalid;
	if (!withinVolume(range.offset, range.size, volumeBytes)) return ErrorCode::Invalid;
	if (range.write && readOnly) return ErrorCode::ReadOnly;
	return std::nullopt;
}

std::optional<ErrorCode> checkSpan(uint64_t offset, uint64_t size, uint64_t volumeBytes, bool readOnly)
{
	if (size == 0 || ((offset | size) & (kSectorBytes - 1))) return ErrorCode::Invalid;
	if (!withinVolume(offset, size, volumeBytes)) return ErrorCode::Invalid;
	if (readOnly) return ErrorCode::ReadOnly;
	return std::nullopt;
}

} // namespace archipelago::composer
