// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: what changes names. Each holds the object's name alone while it does (FdCache::tryLockName), so that an open,
// a create and a remove of one object never overlap, and no descriptor of an old file is taken for the new one.
#include "daemon/store/file/file_io.h"
#include "daemon/store/file/file_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace archipelago::store {

using runtime::Task;

// ---- create

Task<void> FileStore::create(StoreOp &op, ObjectKey key)
{
	op.again = false;
	LockName lock(m_cache, objectFor(op, key), op);
	OpenObject &object = co_await lock;
	int fd = -1;
	int r = -EEXIST;
	if (object.fd < 0) r = co_await createFile(op, object, &fd);
	if (r == 0) {
		m_cache.opened(object, fd);
		object.entryChange = m_sync.nameChanged(*object.volume, object.directory);
		// Even a durable first write leaves the name to be synced; without data there was no durable write.
		if (writeFlags(op) != RWF_DSYNC || !aligned(op) || op.data.empty()) m_sync.wrote(object);
		m_cache.release(object);
	}
	m_cache.unlockName(object);
	if (r == -EEXIST && op.mayExist) {
		// Whatever the predecessor got done of this request, it wrote the same bytes to the same place. Its name is as little
		// durable as its data, which the next sync takes care of: it is one of everything.
		op.data.empty() ? finishCreated(op) : startData(op, key);
		co_return;
	}
	if (r != 0) {
		failErrno(op, -r);
		co_return;
	}
	finishCreated(op);
}

void FileStore::finishCreated(StoreOp &op)
{
	op.serviced = op.data.size();
	op.fua ? syncThenFinish(op) : finish(op);
}

/// O_EXCL decides between two creators. Creation and first write are one operation to everybody else: others queue behind
/// the name, and when the write fails the file is taken away again, so that a retry can create it.
Task<int> FileStore::createFile(StoreOp &op, const OpenObject &object, int *fd)
{
	OpenSlot slot(m_cache);
	co_await slot;
	const int directory = m_dir.directory(object.directory);
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | (m_direct ? O_DIRECT : 0);
	do {
		*fd = co_await m_reactor.openat(directory, object.file.c_str(), flags, 0640);
	} while (isInterruption(*fd));
	if (*fd < 0) {
		m_cache.returnSlot();
		co_return *fd;
	}
	const int r = co_await fillFile(op, *fd);
	if (r == 0) co_return 0;
	if (r == -EIO && writeFlags(op) == RWF_DSYNC) { // the write or its sync? As for any durable write (onWritten)
		op.again = true;
		const int written = co_await fillFile(op, *fd);
		if (written == 0) m_sync.failed("A durable write", EIO, object.volume);
	}
	::close(*fd);
	m_cache.returnSlot();
	const int removed = co_await m_reactor.unlinkat(directory, object.file.c_str(), 0);
	if (removed < 0) m_log->warn("{} was created, but not written or removed: {}", object.file, std::strerror(-removed));
	co_return r;
}

Task<int> FileStore::fillFile(StoreOp &op, int fd)
{
	if (aligned(op)) co_return co_await writeAll(m_reactor, fd, op.data, op.offset, m_direct, writeFlags(op));
	co_return co_await writeBounced(m_reactor, fd, op.data, op.offset);
}

// ---- replace

/// Aside, synced, renamed, directory synced. A crash before the rename leaves a file in tmp/ that the next open removes; one
/// after it leaves the new object, whose content is durable since before it had the name.
Task<void> FileStore::writeFull(StoreOp &op, ObjectKey key)
{
	const std::string temporary = fmt::format("new.{:016x}", m_temporaries++);
	int r = co_await writeAside(op, temporary.c_str());
	if (r == 0) r = co_await putInPlace(op, key, temporary.c_str());
	if (r < 0) co_await m_reactor.unlinkat(m_dir.temporaries(), temporary.c_str(), 0);
	const uint8_t directory = directoryOf(key);
	if (r == 0) {
		const uint64_t change = m_sync.lastChange(directory);
		do {
			r = co_await m_reactor.fsync(m_dir.directory(directory));
		} while (isInterruption(r));
		if (r == 0) m_sync.directorySynced(directory, change);
		if (r < 0) m_sync.failed("fsync of a directory", -r, &m_sync.volume(op.id.volume));
	}
	if (r < 0) {
		failErrno(op, -r);
		co_return;
	}
	op.serviced = op.data.size();
	finish(op);
}

Task<int> FileStore::writeAside(StoreOp &op, const char *temporary)
{
	OpenSlot slot(m_cache);
	co_await slot;
	// Odd sizes go through the page cache: nobody else knows this file, and it is clean before it gets its name.
	const bool direct = m_direct && isAligned(op.data.data(), op.data.size(), 0);
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | (direct ? O_DIRECT : 0);
	int fd = 0;
	do {
		fd = co_await m_reactor.openat(m_dir.temporaries(), temporary, flags, 0640);
	} while (isInterruption(fd));
	int r = fd;
	if (fd >= 0) {
		r = co_await writeAll(m_reactor, fd, op.data, 0, direct, 0);
		if (r == 0) {
			do {
				r = co_await m_reactor.fdatasync(fd);
			} while (isInterruption(r));
			// A full filesystem may show only now; nobody was promised this file. Anything else concerns the device.
			if (r < 0 && r != -ENOSPC && r != -EDQUOT) m_sync.failed("fdatasync", -r, &m_sync.volume(op.id.volume));
		}
		::close(fd);
	}
	m_cache.returnSlot();
	co_return r;
}

Task<int> FileStore::putInPlace(StoreOp &op, ObjectKey key, const char *temporary)
{
	LockName lock(m_cache, objectFor(op, key), op);
	OpenObject &object = co_await lock;
	m_cache.closeUnused(object);
	const int r = co_await m_reactor.renameat(m_dir.temporaries(), temporary, m_dir.directory(object.directory),
	                                          object.file.c_str());
	if (r < 0) {
		m_cache.unlockName(object);
		co_return r;
	}
	const uint64_t change = m_sync.nameChanged(*object.volume, object.directory);
	OpenObject &now = m_cache.loseName(object, &SyncQueue::forget);
	now.entryChange = change;
	m_cache.unlockName(now);
	co_return 0;
}

// ---- remove

Task<void> FileStore::remove(StoreOp &op, ObjectKey key)
{
	LockName lock(m_cache, objectFor(op, key), op);
	OpenObject &object = co_await lock;
	// Closed first, so that its blocks are freed by the worker that unlinks it, not by our close.
	m_cache.closeUnused(object);
	const int r = co_await m_reactor.unlinkat(m_dir.directory(object.directory), object.file.c_str(), 0);
	if (r < 0 && r != -ENOENT) {
		m_cache.unlockName(object);
		failErrno(op, -r);
		co_return;
	}
	const uint64_t change = r == 0 ? m_sync.nameChanged(*object.volume, object.directory) : object.entryChange;
	OpenObject &now = m_cache.loseName(object, &SyncQueue::forget);
	now.entryChange = change;
	m_cache.unlockName(now);
	finish(op);
}

// ---- stat

Task<void> FileStore::stat(StoreOp &op, ObjectKey key)
{
	const std::string file = fileName(key);
	struct statx found{};
	const int r = co_await m_reactor.statx(m_dir.directory(directoryOf(key)), file.c_str(), AT_SYMLINK_NOFOLLOW,
	                                       STATX_SIZE | STATX_BLOCKS, &found);
	if (r < 0) {
		failErrno(op, -r);
		co_return;
	}
	op.size = found.stx_size;
	op.serviced = found.stx_blocks * 512;
	finish(op);
}

} // namespace archipelago::store
