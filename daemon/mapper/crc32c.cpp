// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The only place that calls isa-l. Its length is an int: longer input goes in pieces, which is the same.
#include "daemon/mapper/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace archipelago::mapper {

uint32_t crc32c(uint32_t seed, std::span<const std::byte> bytes)
{
	constexpr size_t kPiece = 1u << 30;
	uint32_t state = ~seed;
	while (!bytes.empty()) {
		const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), kPiece));
		// isa-l forgot a const; it only reads.
		auto *from = reinterpret_cast<unsigned char *>(const_cast<std::byte *>(piece.data()));
		state = crc32_iscsi(from, static_cast<int>(piece.size()), state);
		bytes = bytes.subspan(piece.size());
	}
	return ~state;
}

uint32_t crc32c(uint32_t seed, std::string_view text)
{
	return crc32c(seed, std::as_bytes(std::span(text.data(), text.size())));
}

} // namespace archipelago::mapper
