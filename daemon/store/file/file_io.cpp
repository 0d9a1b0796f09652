// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Whole reads and writes. A short direct transfer ends at a sector's boundary, except at the end of the file.
#include "daemon/store/file/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace archipelago::store {

using runtime::Task;

namespace {

struct Free {
	void operator()(std::byte *p) const { std::free(p); }
};

/// The sectors around [offset, offset + size), in memory.
struct Bounce {
	uint64_t from, bytes;
	std::unique_ptr<std::byte, Free> memory;

	Bounce(uint64_t offset, uint64_t size)
	    : from(offset & ~(kSector - 1)), bytes(((offset + size + kSector - 1) & ~(kSector - 1)) - from)
	{
		memory.reset(static_cast<std::byte *>(std::aligned_alloc(4096, (bytes + 4095) & ~4095ull)));
	}
	std::span<std::byte> all() { return {memory.get(), bytes}; }
	std::span<std::byte> firstSector() { return all().first(kSector); }
	std::span<std::byte> lastSector() { return all().last(kSector); }
};

} // namespace

Task<int> writeAll(runtime::Reactor &reactor, int fd, std::span<const std::byte> from, uint64_t offset, bool direct,
                   int rwFlags)
{
	for (uint64_t done = 0; done < from.size();) {
		const int32_t n = co_await reactor.write(fd, from.subspan(done), offset + done, rwFlags);
		if (isInterruption(n)) continue;
		if (n < 0) co_return n;
		const uint64_t progress = direct ? static_cast<uint64_t>(n) & ~(kSector - 1) : static_cast<uint64_t>(n);
		if (progress == 0) co_return -EIO;
		done += progress;
	}
	co_return 0;
}

Task<int> readAll(runtime::Reactor &reactor, int fd, std::span<std::byte> to, uint64_t offset, bool direct, uint64_t *got)
{
	*got = 0;
	while (*got < to.size()) {
		const int32_t n = co_await reactor.read(fd, to.subspan(*got), offset + *got);
		if (isInterruption(n)) continue;
		if (n < 0) co_return n;
		*got += static_cast<uint64_t>(n);
		if (isEnd(n, direct)) break;
	}
	co_return 0;
}

Task<int> writeBounced(runtime::Reactor &reactor, int fd, std::span<const std::byte> from, uint64_t offset)
{
	if (from.empty()) co_return 0;
	struct stat before{};
	if (fstat(fd, &before) != 0) co_return -errno;
	Bounce bounce(offset, from.size());
	if (!bounce.memory) co_return -ENOMEM;

	// What surrounds it in its first and last sector; zeros behind the end.
	std::memset(bounce.firstSector().data(), 0, kSector);
	std::memset(bounce.lastSector().data(), 0, kSector);
	const uint64_t end = offset + from.size(), sectorsEnd = bounce.from + bounce.bytes;
	uint64_t got = 0;
	int r = 0;
	if (bounce.from != offset) r = co_await readAll(reactor, fd, bounce.firstSector(), bounce.from, true, &got);
	if (r == 0 && sectorsEnd != end && (bounce.bytes > kSector || bounce.from == offset))
		r = co_await readAll(reactor, fd, bounce.lastSector(), sectorsEnd - kSector, true, &got);
	if (r != 0) co_return r;
	std::memcpy(bounce.memory.get() + (offset - bounce.from), from.data(), from.size());

	r = co_await writeAll(reactor, fd, bounce.all(), bounce.from, true, 0);
	if (r != 0) co_return r;
	// Whole sectors may reach beyond the true end. Cut them off; a kill in between leaves zeros behind the end, which is
	// how it reads anyway.
	const auto trueEnd = std::max(static_cast<uint64_t>(before.st_size), end);
	if (sectorsEnd > trueEnd) {
		std::function<int()> cut = [fd, trueEnd] { return ftruncate(fd, static_cast<off_t>(trueEnd)) != 0 ? -errno : 0; };
		r = co_await reactor.offload(std::move(cut));
	}
	co_return r;
}

Task<int> readBounced(runtime::Reactor &reactor, int fd, std::span<std::byte> to, uint64_t offset, uint64_t *got)
{
	*got = 0;
	if (to.empty()) co_return 0;
	Bounce bounce(offset, to.size());
	if (!bounce.memory) co_return -ENOMEM;
	uint64_t there = 0;
	const int r = co_await readAll(reactor, fd, bounce.all(), bounce.from, true, &there);
	if (r != 0) co_return r;
	const uint64_t skip = offset - bounce.from;
	*got = there > skip ? std::min<uint64_t>(there - skip, to.size()) : 0;
	std::memcpy(to.data(), bounce.memory.get() + skip, *got);
	co_return 0;
}

} // namespace archipelago::store
