// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: punch. Whole 4 KiB blocks become a hole (their room is given back), the pieces at both ends are written with
// zeros; where the filesystem has no holes, everything is. The file keeps its length: behind its end it reads zeros anyway.
//
// It has the object alone among writers, as an unaligned write has: its ends share sectors with their neighbours. It is
// durable like a write, by a sync that covers it; cut short, it has zeroed some of the range, each piece on its own.
#include "daemon/store/file/file_io.h"
#include "daemon/store/file/file_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace archipelago::store {

namespace {

constexpr uint64_t kHoleUnit = 4096; ///< of every filesystem we know; one with larger blocks zeroes the rest itself

alignas(4096) constexpr std::array<std::byte, 64 << 10> kZeros{};

OpenObject &objectOf(const StoreOp &op) { return *static_cast<OpenObject *>(op.handle); }

} // namespace

runtime::Task<void> FileStore::punch(StoreOp &op)
{
	OpenObject &object = objectOf(op);
	while (object.writers > 0) co_await object.writersGone.wait();
	struct stat now{};
	int r = fstat(object.fd, &now) != 0 ? -errno : 0;
	const uint64_t end = std::min(op.offset + op.size, static_cast<uint64_t>(now.st_size));
	if (r == 0 && op.offset < end) r = co_await punchFile(object.fd, op.offset, end);
	object.exclusive = false;
	resumeWrites(object);
	endWrite(op, r);
}

/// [offset, end), within the file. 0 or -errno.
runtime::Task<int> FileStore::punchFile(int fd, uint64_t offset, uint64_t end)
{
	const uint64_t from = (offset + kHoleUnit - 1) & ~(kHoleUnit - 1), to = end & ~(kHoleUnit - 1);
	if (from >= to) co_return co_await writeZeros(fd, offset, end);
	int r = 0;
	do {
		r = co_await m_reactor.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
	} while (isInterruption(r));
	if (r == -EOPNOTSUPP) co_return co_await writeZeros(fd, offset, end);
	if (r == 0 && offset < from) r = co_await writeZeros(fd, offset, from);
	if (r == 0 && to < end) r = co_await writeZeros(fd, to, end);
	co_return r;
}

runtime::Task<int> FileStore::writeZeros(int fd, uint64_t offset, uint64_t end)
{
	int r = 0;
	while (r == 0 && offset < end) {
		const auto piece = std::span(kZeros).first(std::min<uint64_t>(end - offset, kZeros.size()));
		if (!m_direct || isAligned(piece.data(), piece.size(), offset))
			r = co_await writeAll(m_reactor, fd, piece, offset, m_direct, 0);
		else
			r = co_await writeBounced(m_reactor, fd, piece, offset);
		offset += piece.size();
	}
	co_return r;
}

} // namespace archipelago::store
