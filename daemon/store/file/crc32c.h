// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// CRC32C (Castagnoli) as everybody writes it: seeded and finished with all ones. isa-l does the work.
#pragma once

#include <cstddef>
#include <cstdint>

#include <isa-l/crc.h>

namespace archipelago::store {

/// crc32c("123456789") is 0xe3069283.
inline uint32_t crc32c(const void *data, size_t bytes)
{
	// isa-l 2.30 takes a pointer to non-const, and only reads.
	auto *from = const_cast<unsigned char *>(static_cast<const unsigned char *>(data));
	return ~crc32_iscsi(from, static_cast<int>(bytes), ~0u);
}

} // namespace archipelago::store
