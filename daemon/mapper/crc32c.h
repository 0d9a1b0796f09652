// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// CRC32C (Castagnoli 0x1EDC6F41, bits reflected, inverted on the way in and out: as in iSCSI, ext4 and RFC 3720).
// crc32c(0, "123456789") is 0xE3069283.
//
// isa-l's crc32_iscsi does the table work only: it takes the register as it stands and returns it as it stands. Here a
// value is always a finished CRC, and the inversions happen inside, so that values can be continued and stored alike:
//
//   crc32c(seed, bytes) = ~crc32_iscsi(bytes, ~seed)         crc32c(crc32c(0, a), b) = crc32c(0, a followed by b)
//
// "Seeded with the CRC32C of a name" in MAP_FORMAT.md therefore means: as if the name stood in front of the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace archipelago::mapper {

/// Continues the finished CRC `seed` (0 at the start) over `bytes`.
uint32_t crc32c(uint32_t seed, std::span<const std::byte> bytes);
uint32_t crc32c(uint32_t seed, std::string_view text);

} // namespace archipelago::mapper
