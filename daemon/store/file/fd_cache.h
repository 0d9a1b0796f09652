// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FdCache: the table of objects in use and their descriptors, at most `capacity` open at a time, the least recently used
// one closed for the next. Opens go through io_uring (a cold directory must not stop the reactor); whoever asks meanwhile
// queues behind the open. A descriptor in use is never closed; when all are in use, openers wait their turn, and for each of
// them one object makes way: its next users queue, and with the last of those it has now it is closed. Nobody holds one
// descriptor while waiting for another, so waiting always ends.
//
// Closing a dirty object's file is allowed: what is written stays written, and its next sync is a syncfs, which knows
// nothing of descriptors and reports what went wrong since the store was opened.
//
// An operation that waits is told through its own Completion, never inside the call that queued it; StoreOp::handle then is
// the object: not always the one it queued for, because a name passes to another structure when its file is replaced.
// Reactor thread only.
#pragma once

#include "daemon/store/file/open_object.h"

#include <spdlog/logger.h>

#include <span>
#include <unordered_set>

namespace archipelago::store {

class StoreDir;

class FdCache {
public:
	/// `context` is for whoever gets an OpenObject in its hands: the store.
	FdCache(runtime::Reactor &reactor, const StoreDir &dir, void *context) : m_reactor(reactor), m_dir(dir), m_context(context) {}
	~FdCache();
	FdCache(const FdCache &) = delete;
	FdCache &operator=(const FdCache &) = delete;

	/// Before first use. `openFlags`: added to each open (O_DIRECT).
	void start(uint32_t capacity, int openFlags, spdlog::logger &log);
	/// Closes every file. Nothing may be in use.
	void closeAll();
	void *context() const { return m_context; }
	uint32_t openFiles() const { return m_openFiles; }

	/// The object of that name, made when there is none yet.
	OpenObject &object(const ObjectKey &key);
	OpenObject *find(const ObjectKey &key) const;
	/// All that have their name, in no order. `what` must not change the table.
	template <typename What> void forEach(What what) const
	{
		for (OpenObject *object : m_table) what(*object);
	}

	/// The fast way to a use of the descriptor: true when it is open, nobody is changing its name, and it need not make way.
	bool tryUse(OpenObject &object);
	/// The same for who cannot queue: also when it should make way.
	bool useIfOpen(OpenObject &object);
	/// The slow way, when tryUse() said no: queues for it; op.fn(&op, 0) is called with a use, or -errno without.
	void acquire(OpenObject &object, StoreOp &op);
	void release(OpenObject &object);

	/// The object's name alone: for create, replace, remove. Those who have its descriptor go on using it. False: taken,
	/// use queueForName(): op.fn(&op, 0) is called when the name is ours.
	bool tryLockName(OpenObject &object);
	void queueForName(OpenObject &object, StoreOp &op);
	void unlockName(OpenObject &object);
	/// With its name locked: it now has this file (the slot was taken before). The caller has a use of it.
	void opened(OpenObject &object, int fd);
	/// With its name locked: closes it when nobody uses it.
	void closeUnused(OpenObject &object);
	/// With its name locked: what `object` stands for has been removed or replaced. Returns the one that has the name, its
	/// lock and its queue now. The old one is no longer to be synced: `forget` is called first when it is dirty.
	OpenObject &loseName(OpenObject &object, void (*forget)(OpenObject &));

	/// The right to open a file besides. True: taken. False: waiter.granted() is called when it is.
	bool takeSlot(SlotWaiter &waiter);
	void returnSlot();

	/// Gives up an object that nobody needs any more (after it was cleaned, or its pin removed).
	void forgetIdle(OpenObject &object);

private:
	struct Hash {
		using is_transparent = void;
		size_t operator()(const OpenObject *o) const { return hashOf(o->key()); }
		size_t operator()(const ObjectKey &key) const { return hashOf(key); }
	};
	struct Equal {
		using is_transparent = void;
		bool operator()(const OpenObject *a, const OpenObject *b) const { return a == b; }
		bool operator()(const ObjectKey &key, const OpenObject *o) const { return key == o->key(); }
		bool operator()(const OpenObject *o, const ObjectKey &key) const { return key == o->key(); }
	};

	void serve(OpenObject &object);
	void startOpen(OpenObject &object);
	void issueOpen(OpenObject &object);
	static bool wantsName(const StoreOp &op);
	void onOpened(OpenObject &object, int32_t result);
	void quiet(int fd) const;
	bool shrink();
	void refuseWaiting(OpenObject &object, int32_t result);
	void use(OpenObject &object);
	void leave(OpenObject &object);
	void closeFile(OpenObject &object);
	bool evictOne();
	void grantSlots();
	void idlePush(OpenObject &object);
	void idleRemove(OpenObject &object);

	runtime::Reactor &m_reactor;
	const StoreDir &m_dir;
	void *m_context;
	spdlog::logger *m_log = nullptr;
	uint32_t m_capacity = 0, m_openFiles = 0;
	int m_openFlags = 0;
	bool m_shrunk = false;
	std::unordered_set<OpenObject *, Hash, Equal> m_table;
	OpenObject *m_idleFirst = nullptr, *m_idleLast = nullptr;
	SlotWaiter *m_slotFirst = nullptr, *m_slotLast = nullptr;
	uint32_t m_slotsWanted = 0, m_leaving = 0; ///< how many wait for a descriptor, and make way
};

/// co_await LockName(cache, object, op): the object whose name is ours now; ends with unlockName().
class LockName {
public:
	LockName(FdCache &cache, OpenObject &object, StoreOp &op) : m_cache(cache), m_object(&object), m_op(op) {}
	bool await_ready() { return m_cache.tryLockName(*m_object); }
	void await_suspend(std::coroutine_handle<> h);
	OpenObject &await_resume() const { return *m_object; }

private:
	FdCache &m_cache;
	OpenObject *m_object;
	StoreOp &m_op;
	std::coroutine_handle<> m_handle;
};

/// co_await OpenSlot(cache): the right to open one file; ends with returnSlot(), or passes to opened().
class OpenSlot : SlotWaiter {
public:
	explicit OpenSlot(FdCache &cache) : m_cache(cache) {}
	bool await_ready();
	void await_suspend(std::coroutine_handle<> h) { m_handle = h; }
	void await_resume() const {}

private:
	FdCache &m_cache;
	std::coroutine_handle<> m_handle;
};

} // namespace archipelago::store
