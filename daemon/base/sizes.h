// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Sizes as people write and read them. In: 512B, 4K|KiB, 10M|MiB, 1.5G|GiB, 2T|TiB, P (powers of 1024); kB, MB, GB, TB
// (powers of 1000, as written). Case-insensitive, except that a lone "m" is ambiguous and refused. A bare number is MiB
// where the caller says so (create, resize: the seed's grammar), an error elsewhere. Out: IEC, three significant digits.
#pragma once

#include "daemon/base/errors.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace archipelago {

enum class BareNumber { Mebibytes, Refused };

/// Bytes. E-INVALID: negative, overflow, no unit where one is needed, unknown unit (names what is legal).
Result<uint64_t> parseSize(std::string_view text, BareNumber bare);
/// As parseSize, and a legal size of a volume: a multiple of 512, 512 B..4 PiB; the error names the two nearest legal values.
Result<uint64_t> parseVolumeSize(std::string_view text, BareNumber bare);
/// "40 GiB", "1.22 TiB", "512 B".
std::string formatSize(uint64_t bytes);
/// "20s", "200ms", "14d", "1h" to milliseconds. E-INVALID.
Result<uint64_t> parseDurationMs(std::string_view text);

} // namespace archipelago
