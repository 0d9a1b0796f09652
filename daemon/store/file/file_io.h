// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Whole reads and writes of a file, as coroutines: short ones are continued, interrupted ones repeated. The direct ones
// take any offset, size and memory, through a bounce buffer of whole sectors. For what is not the fast path.
#pragma once

#include "daemon/runtime/reactor.h"

#include <cstdint>
#include <span>

namespace archipelago::store {

/// What direct I/O goes by: offset, size and memory in multiples of this. Stores with larger blocks are used buffered.
inline constexpr uint64_t kSector = 512;

inline bool isAligned(const void *memory, uint64_t size, uint64_t offset)
{
	return ((reinterpret_cast<uintptr_t>(memory) | size | offset) & (kSector - 1)) == 0;
}

/// Does a read that brought `n` bytes end at the end of the file? (A direct one stops inside a sector nowhere else, and
/// could not go on from there.)
inline bool isEnd(int32_t n, bool direct) { return n == 0 || (direct && n % static_cast<int32_t>(kSector) != 0); }
/// Is this result one that only means "again"?
inline bool isInterruption(int32_t result) { return result == -EINTR || result == -EAGAIN; }

/// All of `from`, at `offset`. Result: 0 or -errno. Direct: everything aligned. `rwFlags` as for pwritev2.
runtime::Task<int> writeAll(runtime::Reactor &reactor, int fd, std::span<const std::byte> from, uint64_t offset, bool direct,
                            int rwFlags);
/// Up to `to.size()` bytes; *got tells how many there were before the end of the file. Direct: everything aligned.
runtime::Task<int> readAll(runtime::Reactor &reactor, int fd, std::span<std::byte> to, uint64_t offset, bool direct,
                           uint64_t *got);

/// On an O_DIRECT descriptor, anything. The caller keeps other writers away: the neighbours in the first and last sector
/// are read and written back. The file ends where it would end after an ordinary write.
runtime::Task<int> writeBounced(runtime::Reactor &reactor, int fd, std::span<const std::byte> from, uint64_t offset);
/// On an O_DIRECT descriptor, anything.
runtime::Task<int> readBounced(runtime::Reactor &reactor, int fd, std::span<std::byte> to, uint64_t offset, uint64_t *got);

} // namespace archipelago::store
