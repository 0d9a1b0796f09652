// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Opening, queueing, evicting. Callbacks may come back into the cache (an operation ends, its owner submits the next), so
// serve() and refuseWaiting() pin the object and look at its state anew after each call.
#include "daemon/store/file/fd_cache.h"

#include "daemon/store/file/store_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace archipelago::store {

FdCache::~FdCache()
{
	for (OpenObject *object : m_table) {
		if (object->fd >= 0) ::close(object->fd);
		delete object;
	}
}

void FdCache::start(uint32_t capacity, int openFlags, spdlog::logger &log)
{
	m_capacity = capacity;
	m_openFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | openFlags;
	m_log = &log;
	m_table.reserve(capacity);
}

void FdCache::closeAll()
{
	for (OpenObject *object : m_table) {
		ARCHIPELAGO_ASSERT(object->uses == 0 && !object->busy);
		if (object->fd >= 0) ::close(object->fd);
		delete object;
	}
	m_table.clear();
	m_idleFirst = m_idleLast = nullptr;
	m_openFiles = 0;
}

OpenObject *FdCache::find(const ObjectKey &key) const
{
	const auto found = m_table.find(key);
	return found == m_table.end() ? nullptr : *found;
}

OpenObject &FdCache::object(const ObjectKey &key)
{
	if (OpenObject *known = find(key)) return *known;
	auto *fresh = new OpenObject(*this, key);
	m_table.insert(fresh);
	return *fresh;
}

bool FdCache::wantsName(const StoreOp &op)
{
	return op.op == Op::ObjCreate || op.op == Op::ObjWriteFull || op.op == Op::ObjRemove;
}

// ---- uses

void FdCache::use(OpenObject &object)
{
	if (object.uses++ == 0) idleRemove(object);
}

bool FdCache::tryUse(OpenObject &object)
{
	// One that is in use without a break would keep its descriptor for ever.
	const bool makesWay = m_leaving < m_slotsWanted && object.uses > 0;
	return !makesWay && useIfOpen(object);
}

bool FdCache::useIfOpen(OpenObject &object)
{
	if (object.busy || object.fd < 0) return false;
	use(object);
	return true;
}

void FdCache::acquire(OpenObject &object, StoreOp &op)
{
	object.waiting.push(op);
	if (object.busy) return;
	if (object.fd < 0) return startOpen(object);
	ARCHIPELAGO_ASSERT(object.uses > 0);
	object.busy = object.leaving = true;
	++m_leaving;
}

void FdCache::release(OpenObject &object)
{
	ARCHIPELAGO_ASSERT(object.uses > 0);
	if (--object.uses > 0) return;
	if (!object.named) {
		closeFile(object);
		forgetIdle(object);
	} else if (object.leaving) {
		return leave(object);
	} else {
		idlePush(object);
	}
	grantSlots();
}

/// Its users are gone: its descriptor is for who waits, and those who queued for it meanwhile wait behind them.
void FdCache::leave(OpenObject &object)
{
	object.leaving = false;
	--m_leaving;
	if (!m_slotFirst) { // nobody wants it any more
		object.busy = false;
		idlePush(object);
		return serve(object);
	}
	closeFile(object);
	grantSlots();
	startOpen(object);
}

// ---- names

bool FdCache::tryLockName(OpenObject &object)
{
	if (object.busy) return false;
	object.busy = true;
	return true;
}

void FdCache::queueForName(OpenObject &object, StoreOp &op)
{
	ARCHIPELAGO_ASSERT(object.busy && wantsName(op));
	object.waiting.push(op);
}

void FdCache::unlockName(OpenObject &object)
{
	object.busy = false;
	serve(object);
}

void FdCache::opened(OpenObject &object, int fd)
{
	ARCHIPELAGO_ASSERT(object.busy && object.fd < 0);
	quiet(fd);
	object.fd = fd;
	object.uses = 1;
}

void FdCache::closeUnused(OpenObject &object)
{
	if (object.fd < 0 || object.uses > 0) return;
	idleRemove(object);
	closeFile(object);
	grantSlots();
}

OpenObject &FdCache::loseName(OpenObject &object, void (*forget)(OpenObject &))
{
	if (object.dirty) forget(object);
	if (object.fd < 0) return object; // nobody has the old file: the structure may stand for the new one
	m_table.erase(&object);
	object.named = false;
	object.busy = false;
	auto *heir = new OpenObject(*this, object.key());
	heir->busy = true;
	heir->waiting = object.waiting.take();
	heir->volume = object.volume;
	m_table.insert(heir);
	if (object.uses == 0) {
		idleRemove(object);
		closeFile(object);
		forgetIdle(object);
		grantSlots();
	}
	return *heir;
}

/// Lets the queue go on, as far as it can.
void FdCache::serve(OpenObject &object)
{
	++object.pins;
	while (!object.busy && !object.waiting.empty()) {
		StoreOp &op = *object.waiting.front();
		if (wantsName(op)) {
			object.busy = true;
		} else if (object.fd < 0) {
			startOpen(object);
			break;
		} else {
			use(object);
		}
		object.waiting.pop();
		op.handle = &object;
		op.fn(&op, 0);
	}
	--object.pins;
	forgetIdle(object);
}

void FdCache::forgetIdle(OpenObject &object)
{
	if (object.busy || object.fd >= 0 || object.uses || object.pins || object.dirty || !object.waiting.empty()) return;
	if (object.named) m_table.erase(&object);
	delete &object;
}

// ---- opening

void FdCache::startOpen(OpenObject &object)
{
	object.busy = true;
	object.granted = [](SlotWaiter *self) {
		auto *waiting = static_cast<OpenObject *>(self);
		waiting->cache.issueOpen(*waiting);
	};
	if (takeSlot(object)) issueOpen(object);
}

void FdCache::issueOpen(OpenObject &object)
{
	object.fn = [](runtime::Completion *self, int32_t result) {
		auto *opening = static_cast<OpenObject *>(self);
		opening->cache.onOpened(*opening, result);
	};
	io_uring_sqe *sqe = m_reactor.prepare(object);
	io_uring_prep_openat(sqe, m_dir.directory(object.directory), object.file.c_str(), m_openFlags, 0);
	io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&object));
}

void FdCache::onOpened(OpenObject &object, int32_t result)
{
	if (result == -EINTR || result == -EAGAIN) return issueOpen(object);
	if (result >= 0) {
		object.busy = false;
		object.fd = result;
		quiet(result);
		// Nobody has it yet: idle for a moment, so that whoever is served first takes it from there.
		idlePush(object);
		return serve(object);
	}
	const bool again = (result == -EMFILE || result == -ENFILE) && shrink();
	returnSlot();
	if (again) return startOpen(object);
	object.busy = false;
	refuseWaiting(object, result);
	serve(object);
}

/// Reads shall not write: by default the first read after each write dirties the inode with its access time. Only who owns the
/// file may ask for this (fcntl(2)); who does not goes without.
void FdCache::quiet(int fd) const { fcntl(fd, F_SETFL, (m_openFlags & O_DIRECT) | O_NOATIME); }

/// The process has no descriptor left: do with fewer. False when there are none to give up.
bool FdCache::shrink()
{
	if (m_openFiles <= 1) return false; // the one that could not be opened
	m_capacity = m_openFiles - 1;
	if (!m_shrunk)
		m_log->warn("No more file descriptors: keeping {} objects open instead of more. Raise the limit (LimitNOFILE=, ulimit "
		            "-n) or lower fdcache.", m_capacity);
	m_shrunk = true;
	return true;
}

/// Those who wait for the descriptor now hear `result`. Whoever queues meanwhile is another matter.
void FdCache::refuseWaiting(OpenObject &object, int32_t result)
{
	OpQueue refused;
	while (!object.waiting.empty() && !wantsName(*object.waiting.front())) refused.push(*object.waiting.pop());
	++object.pins;
	while (StoreOp *op = refused.pop()) {
		op->handle = &object;
		op->fn(op, result);
	}
	--object.pins;
}

// ---- descriptors

bool FdCache::takeSlot(SlotWaiter &waiter)
{
	if (m_openFiles < m_capacity || evictOne()) {
		++m_openFiles;
		return true;
	}
	++m_slotsWanted;
	waiter.nextSlot = nullptr;
	(m_slotLast ? m_slotLast->nextSlot : m_slotFirst) = &waiter;
	m_slotLast = &waiter;
	return false;
}

void FdCache::returnSlot()
{
	--m_openFiles;
	grantSlots();
}

void FdCache::grantSlots()
{
	while (m_slotFirst && (m_openFiles < m_capacity || evictOne())) {
		SlotWaiter *waiter = m_slotFirst;
		m_slotFirst = waiter->nextSlot;
		if (!m_slotFirst) m_slotLast = nullptr;
		--m_slotsWanted;
		++m_openFiles;
		waiter->granted(waiter);
	}
}

/// Makes room below the capacity by closing idle files. False when that is not enough.
bool FdCache::evictOne()
{
	while (m_idleFirst && m_openFiles >= m_capacity) {
		OpenObject &victim = *m_idleFirst;
		idleRemove(victim);
		closeFile(victim);
		forgetIdle(victim);
	}
	return m_openFiles < m_capacity;
}

void FdCache::closeFile(OpenObject &object)
{
	::close(std::exchange(object.fd, -1));
	--m_openFiles;
}

void FdCache::idlePush(OpenObject &object)
{
	object.idlePrev = m_idleLast;
	object.idleNext = nullptr;
	(m_idleLast ? m_idleLast->idleNext : m_idleFirst) = &object;
	m_idleLast = &object;
}

void FdCache::idleRemove(OpenObject &object)
{
	(object.idlePrev ? object.idlePrev->idleNext : m_idleFirst) = object.idleNext;
	(object.idleNext ? object.idleNext->idlePrev : m_idleLast) = object.idlePrev;
	object.idlePrev = object.idleNext = nullptr;
}

// ---- awaiting

void LockName::await_suspend(std::coroutine_handle<> h)
{
	m_handle = h;
	m_op.fn = [](runtime::Completion *self, int32_t) {
		auto &granted = *static_cast<StoreOp *>(self);
		auto &lock = *reinterpret_cast<LockName *>(granted.scratch);
		lock.m_object = static_cast<OpenObject *>(granted.handle);
		lock.m_handle.resume();
	};
	m_op.scratch = reinterpret_cast<uintptr_t>(this);
	m_cache.queueForName(*m_object, m_op);
}

bool OpenSlot::await_ready()
{
	granted = [](SlotWaiter *self) { static_cast<OpenSlot *>(self)->m_handle.resume(); };
	return m_cache.takeSlot(*this);
}

} // namespace archipelago::store
