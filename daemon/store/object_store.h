// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ObjectStore: where objects live. One implementation per kind of backend; all pass one conformance test.
//
// Promises (mapper/MAP_FORMAT.md relies on them):
//   write, punch,      seen at once by later operations; durable after a sync that covers them. Until then power loss keeps or
//   remove             loses each on its own; the death of this process loses nothing that was completed.
//   create             fails if the name exists. Exactly one of two wins.
//   writeFull          atomic: readers see the old or the new object; durable when completed.
//   syncVolume/All     cover every operation completed before they were submitted, new directory entries included.
//   a predecessor      of this process may have left anything un-synced: until a sync of the whole store has succeeded once,
//                      every volume counts as changed.
//   a failed sync      is told to every volume that may have lost something by it: its next syncVolume (or sync of an object
//                      of it) is E-IO, even when that would find nothing to do, because the kernel reports such a failure
//                      once and drops the pages. Told once: whoever hears it stops the volume. Other volumes go on.
//
// submit() takes a StoreOp that its owner keeps until done() was called: no allocation on the path of a read or write of
// an object that is open already. Operations may complete out of order and inside submit(). One thread (the reactor's).
#pragma once

#include "daemon/base/errors.h"
#include "daemon/base/protocol.h"
#include "daemon/runtime/reactor.h"
#include "daemon/runtime/task.h"

#include <span>
#include <string_view>

namespace archipelago::store {

struct StoreOp : runtime::Completion {
	// ---- in
	Op op = Op::None;          ///< one of Obj*
	ObjectId id;
	std::string_view name;     ///< kind Name only; must live until done
	uint64_t offset = 0;
	std::span<std::byte> data; ///< read into, or written from, in place; 512-aligned for direct I/O
	bool fua = false;
	bool mayExist = false;     ///< ObjCreate: a dead predecessor may have made it for this very request: then it is written
	ListArgs list;             ///< ObjList: what; cursor is updated
	// ---- out
	ErrorCode error = ErrorCode::Failed; ///< when not ok
	bool ok = false;
	uint64_t size = 0, serviced = 0;     ///< as protocol.h says for the operation (ObjPunch: size is in, bytes)
	void (*done)(StoreOp &op) = nullptr;
	// ---- the store's own, while it is being carried out
	StoreOp *next = nullptr;
	void *handle = nullptr;
	uint64_t scratch = 0;
	bool again = false;

	void finish() { ok = true; done(*this); }
	void fail(ErrorCode code) { ok = false; error = code; done(*this); }
};

class ObjectStore {
public:
	virtual ~ObjectStore() = default;
	/// Takes the store's lock and checks its identity object. Errors: E-NOTFOUND (directory missing; with createDirs it is
	/// made), E-DENIED, E-LOCKED (who holds it), E-CONFIG (not our store, or unmounted: objects expected, none there).
	virtual runtime::Task<Result<void>> open(bool createDirs) = 0;
	/// Finishes what is in flight and closes every file. Does not sync: what was promised durable is.
	virtual runtime::Task<void> close() = 0;
	virtual void submit(StoreOp &op) = 0;
};

} // namespace archipelago::store
