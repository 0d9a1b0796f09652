// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: read and write.
//
// The way of a request: startData() takes a use of the object's descriptor (at once when it is open, else behind its open),
// useData() sends it down the aligned or the unaligned path. StoreOp::handle is the OpenObject it has a use of,
// StoreOp::scratch counts the bytes done. A use is given back before the operation is finished: finish() may come back with the next one.
#include "daemon/store/file/file_io.h"
#include "daemon/store/file/file_store.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace archipelago::store {

namespace {

OpenObject &objectOf(const StoreOp &op) { return *static_cast<OpenObject *>(op.handle); }

unsigned clampToInt(size_t bytes) { return static_cast<unsigned>(std::min<size_t>(bytes, 1u << 30)); }

} // namespace

FileStore &FileStore::storeOf(const StoreOp &op) { return *static_cast<FileStore *>(objectOf(op).cache.context()); }

void FileStore::startData(StoreOp &op, const ObjectKey &key)
{
	OpenObject &object = objectFor(op, key);
	op.handle = &object;
	op.scratch = 0;
	op.again = false;
	if (m_cache.tryUse(object)) return useData(op);
	op.fn = [](runtime::Completion *self, int32_t result) {
		auto &waited = *static_cast<StoreOp *>(self);
		FileStore &store = storeOf(waited);
		if (result < 0) return store.failErrno(waited, -result);
		store.useData(waited);
	};
	m_cache.acquire(object, op);
}

bool FileStore::aligned(const StoreOp &op) const { return !m_direct || isAligned(op.data.data(), op.data.size(), op.offset); }

/// With a use of the object's descriptor.
void FileStore::useData(StoreOp &op)
{
	OpenObject &object = objectOf(op);
	if (op.op == Op::ObjRead) {
		if (aligned(op))
			issueRead(op);
		else
			runtime::spawn(readUnaligned(op));
		return;
	}
	if (object.exclusive) return object.blockedWrites.push(op);
	if (op.op == Op::ObjPunch) {
		object.exclusive = true;
		runtime::spawn(punch(op));
		return;
	}
	if (!aligned(op)) {
		object.exclusive = true;
		runtime::spawn(writeUnaligned(op));
		return;
	}
	++object.writers;
	issueWrite(op);
}

// ---- read

void FileStore::issueRead(StoreOp &op)
{
	op.fn = [](runtime::Completion *self, int32_t result) {
		auto &reading = *static_cast<StoreOp *>(self);
		storeOf(reading).onRead(reading, result);
	};
	io_uring_sqe *sqe = m_reactor.prepare(op);
	const auto rest = op.data.subspan(op.scratch);
	m_reactor.fixedBuffers().prepareRead(sqe, objectOf(op).fd, rest.data(), clampToInt(rest.size()), op.offset + op.scratch);
	io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&op));
}

void FileStore::onRead(StoreOp &op, int32_t result)
{
	if (isInterruption(result)) return issueRead(op);
	if (result >= 0) {
		op.scratch += static_cast<uint64_t>(result);
		if (op.scratch < op.data.size() && !isEnd(result, m_direct)) return issueRead(op);
	}
	m_cache.release(objectOf(op));
	if (result < 0) return failErrno(op, -result);
	op.serviced = op.scratch;
	std::memset(op.data.data() + op.scratch, 0, op.data.size() - op.scratch);
	finish(op);
}

runtime::Task<void> FileStore::readUnaligned(StoreOp &op)
{
	OpenObject &object = objectOf(op);
	uint64_t got = 0;
	const int r = co_await readBounced(m_reactor, object.fd, op.data, op.offset, &got);
	m_cache.release(object);
	if (r != 0) {
		failErrno(op, -r);
		co_return;
	}
	op.serviced = got;
	std::memset(op.data.data() + got, 0, op.data.size() - got);
	finish(op);
}

// ---- write

/// FUA of a direct store rides on the write itself. A buffered one writes and then syncs: an error then says which of the
/// two failed.
int FileStore::writeFlags(const StoreOp &op) const
{
	return m_direct && op.fua && !op.again && op.op != Op::ObjPunch ? RWF_DSYNC : 0;
}

void FileStore::issueWrite(StoreOp &op)
{
	op.fn = [](runtime::Completion *self, int32_t result) {
		auto &writing = *static_cast<StoreOp *>(self);
		storeOf(writing).onWritten(writing, result);
	};
	io_uring_sqe *sqe = m_reactor.prepare(op);
	const auto rest = op.data.subspan(op.scratch);
	m_reactor.fixedBuffers().prepareWrite(sqe, objectOf(op).fd, rest.data(), clampToInt(rest.size()), op.offset + op.scratch);
	sqe->rw_flags = writeFlags(op);
	io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&op));
}

void FileStore::onWritten(StoreOp &op, int32_t result)
{
	if (isInterruption(result)) return issueWrite(op);
	OpenObject &object = objectOf(op);
	if (result == -EIO && writeFlags(op) == RWF_DSYNC) {
		// The write or its sync? A write that fails is the client's to know and concerns this range alone, a sync concerns
		// whatever it covered. Written again without the sync: if that fails too, it was the write.
		op.again = true;
		return issueWrite(op);
	}
	// A direct write that stopped inside a sector goes on from that sector's start.
	const uint64_t progress = static_cast<uint64_t>(std::max(result, 0)) & (m_direct ? ~(kSector - 1) : ~uint64_t{0});
	op.scratch += progress;
	if (progress > 0 && op.scratch < op.data.size()) return issueWrite(op);
	if (op.again && result >= 0) {
		m_sync.failed("A durable write", EIO, object.volume);
		result = -EIO;
	}
	if (--object.writers == 0) object.writersGone.wakeAll();
	endWrite(op, result < 0 ? result : op.scratch < op.data.size() ? -EIO : 0);
}

/// The object may be waiting for its writers, so they are counted down before; the use is still ours.
void FileStore::endWrite(StoreOp &op, int32_t result)
{
	OpenObject &object = objectOf(op);
	const bool durable = result == 0 && writeFlags(op) == RWF_DSYNC && aligned(op);
	// Not the other way round: a durable write says nothing about those before it, so a dirty object stays dirty.
	if (!durable) m_sync.wrote(object);
	const bool more = op.fua && !(durable && m_sync.nameDurable(object));
	m_cache.release(object);
	if (result == 0) {
		op.serviced = op.data.size();
		return more ? syncThenFinish(op) : finish(op);
	}
	failErrno(op, -result);
}

runtime::Task<void> FileStore::writeUnaligned(StoreOp &op)
{
	OpenObject &object = objectOf(op);
	while (object.writers > 0) co_await object.writersGone.wait();
	const int r = co_await writeBounced(m_reactor, object.fd, op.data, op.offset);
	object.exclusive = false;
	resumeWrites(object);
	endWrite(op, r);
}

void FileStore::resumeWrites(OpenObject &object)
{
	// The first unaligned one takes the object again, and those behind it queue up in order.
	OpQueue blocked = object.blockedWrites.take();
	while (StoreOp *op = blocked.pop()) useData(*op);
}

} // namespace archipelago::store
