// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// OpenObject: what the file store knows about an object it has to do with: its descriptor, who waits for it, whether it has
// to be synced. There is one per object while it is in use, open, or dirty; its owner is the FdCache.
//
//            acquire()                    opened
//   Closed ────────────> Busy(opening) ────────────> Open ── evicted ──> Closed
//      │                                               │
//      │                                               ├── makes way ──> Busy(being used up) ── last use ends ──> Busy(opening)
//      └───────────────> Busy(its name is being changed: create, replace, remove) <── lockName()
//
// Busy: whoever wants the object queues behind, first come first served. An object that was removed or replaced while in
// use loses its name: it leaves the table, its users finish on the old file, and with the last of them it goes.
#pragma once

#include "daemon/store/file/layout.h"
#include "daemon/store/object_store.h"

#include <string>

namespace archipelago::store {

class FdCache;
struct DirtyVolume;

/// StoreOps in a row, linked through StoreOp::next.
class OpQueue {
public:
	bool empty() const { return !m_first; }
	StoreOp *front() const { return m_first; }
	void push(StoreOp &op)
	{
		op.next = nullptr;
		(m_last ? m_last->next : m_first) = &op;
		m_last = &op;
	}
	StoreOp *pop()
	{
		StoreOp *op = m_first;
		if (!op) return nullptr;
		m_first = std::exchange(op->next, nullptr);
		if (!m_first) m_last = nullptr;
		return op;
	}
	OpQueue take() { return std::exchange(*this, OpQueue()); }

private:
	StoreOp *m_first = nullptr, *m_last = nullptr;
};

/// Waits for the right to open one more descriptor (FdCache::takeSlot).
struct SlotWaiter {
	SlotWaiter *nextSlot = nullptr;
	void (*granted)(SlotWaiter *self) = nullptr;
};

struct OpenObject : runtime::Completion, SlotWaiter {
	OpenObject(FdCache &owner, const ObjectKey &objectKey)
	    : cache(owner), id(objectKey.id), name(objectKey.name), file(fileName(objectKey)), directory(directoryOf(objectKey))
	{
	}
	ObjectKey key() const { return {id, name}; }

	FdCache &cache;
	const ObjectId id;
	const std::string name; ///< kind Name
	const std::string file; ///< below the hash directory
	const uint8_t directory;

	// ---- the cache's
	int fd = -1;
	bool busy = false;
	bool leaving = false;          ///< busy, and closed with its last use: others wait for a descriptor
	bool named = true;             ///< in the table
	uint32_t uses = 0;             ///< operations that need the descriptor now
	uint32_t pins = 0;             ///< reasons to keep this structure although it is idle
	OpQueue waiting;
	OpenObject *idlePrev = nullptr, *idleNext = nullptr; ///< open and unused, least recently used first

	// ---- writes (direct I/O only: a write of less than whole sectors reads and writes its neighbours too)
	uint32_t writers = 0;
	bool exclusive = false;        ///< such a write has the object alone, or waits for `writers` to end
	OpQueue blockedWrites;
	runtime::WaitList writersGone;

	// ---- the sync queue's
	bool dirty = false;            ///< written since it was last synced
	uint64_t entryChange = 0;      ///< the change of its directory that made its name; 0: before this store was opened
	DirtyVolume *volume = nullptr; ///< whose sync covers it
	OpenObject *dirtyPrev = nullptr, *dirtyNext = nullptr;
};

} // namespace archipelago::store
