// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: one file per object in a directory of this host (layout.h). Everything goes through the reactor's io_uring.
//
//   file_store.cpp          open, close, dispatch
//   file_data.cpp           read and write: no allocation for an object that is open, aligned requests in place
//   file_punch.cpp          punch: a hole, zeros around it
//   file_names.cpp          create, replace, remove, stat
//   file_list.cpp           list, capacity
//   store_dir, store_lock   the directory: identity, format, who may have it; store_group: with several stores in it
//   fd_cache, open_object   descriptors and who waits for them
//   sync_queue              what has to be synced and how; sync_share: what stores in one directory must tell each other
//
// O_DIRECT unless told otherwise or the filesystem refuses 512-byte blocks. Requests that are not multiples of 512 bytes,
// or whose memory is not, then take a way of their own: read through a bounce buffer; write the sectors around it too,
// alone on the object. They exist for small map objects; the data path never sends them.
//
// A failed sync concerns volumes, not the store (sync_queue.h): those that may have lost something hear of it at their next.
#pragma once

#include "daemon/base/shards.h"
#include "daemon/store/file/fd_cache.h"
#include "daemon/store/file/fd_limit.h"
#include "daemon/store/file/store_group.h"
#include "daemon/store/file/sync_queue.h"
#include "daemon/store/listing.h"
#include "daemon/store/object_store.h"

#include <atomic>
#include <memory>
#include <string>

namespace archipelago::store {

struct FileStoreOptions {
	std::string dir;
	std::string role = "store";  ///< for messages and the log
	Purpose purpose = Purpose::Any;
	Owner owner;                 ///< whose the store is when formatted, and must be afterwards
	uint32_t fdcache = 4096;
	bool direct = true;
	uint64_t lockWaitMs = 30'000; ///< for the I/O of a predecessor that died
	Shard shard;
};

class FileStore : public ObjectStore {
public:
	/// `group`: of the shards of this directory; null: this store has it alone.
	FileStore(runtime::Reactor &reactor, FileStoreOptions options, std::shared_ptr<StoreGroup> group = nullptr);
	~FileStore() override;

	runtime::Task<Result<void>> open(bool createDirs) override;
	runtime::Task<void> close() override;
	void submit(StoreOp &op) override;

	/// Of open objects, for tests and status.
	uint32_t openFiles() const { return m_cache.openFiles(); }
	bool direct() const { return m_direct; }
	const SyncCounts &syncCounts() const { return m_sync.counts(); }

private:
	// ---- file_store.cpp
	runtime::Task<Result<void>> enter(bool createDirs);
	runtime::Task<Result<void>> takeLock();
	Result<void> holdLock();
	void leave();
	static bool inBounds(const StoreOp &op);
	void start(StoreOp &op, const ObjectKey &key);
	void finish(StoreOp &op);
	void fail(StoreOp &op, ErrorCode code);
	void failErrno(StoreOp &op, int errnum);
	void ended();
	OpenObject &objectFor(const StoreOp &op, const ObjectKey &key);
	void syncThenFinish(StoreOp &op);
	static FileStore &storeOf(const StoreOp &op);

	// ---- file_data.cpp
	void startData(StoreOp &op, const ObjectKey &key);
	void useData(StoreOp &op);
	void issueRead(StoreOp &op);
	void onRead(StoreOp &op, int32_t result);
	void issueWrite(StoreOp &op);
	void onWritten(StoreOp &op, int32_t result);
	void endWrite(StoreOp &op, int32_t result);
	void resumeWrites(OpenObject &object);
	bool aligned(const StoreOp &op) const;
	int writeFlags(const StoreOp &op) const;
	runtime::Task<void> readUnaligned(StoreOp &op);
	runtime::Task<void> writeUnaligned(StoreOp &op);
	// ---- file_punch.cpp
	runtime::Task<void> punch(StoreOp &op);
	runtime::Task<int> punchFile(int fd, uint64_t offset, uint64_t end);
	runtime::Task<int> writeZeros(int fd, uint64_t offset, uint64_t end);

	// ---- file_names.cpp
	runtime::Task<void> create(StoreOp &op, ObjectKey key);
	void finishCreated(StoreOp &op);
	runtime::Task<int> createFile(StoreOp &op, const OpenObject &object, int *fd);
	runtime::Task<int> fillFile(StoreOp &op, int fd);
	runtime::Task<void> writeFull(StoreOp &op, ObjectKey key);
	runtime::Task<int> writeAside(StoreOp &op, const char *temporary);
	runtime::Task<int> putInPlace(StoreOp &op, ObjectKey key, const char *temporary);
	runtime::Task<void> remove(StoreOp &op, ObjectKey key);
	runtime::Task<void> stat(StoreOp &op, ObjectKey key);
	// ---- file_list.cpp
	runtime::Task<void> list(StoreOp &op);
	int listSome(ListWriter &writer, const ListArgs &args, ListCursor &cursor, unsigned lastGroup);
	runtime::Task<void> capacity(StoreOp &op);
	void warnOfForeign(uint8_t directory, std::string_view file);

	runtime::Reactor &m_reactor;
	const FileStoreOptions m_options;
	std::shared_ptr<spdlog::logger> m_log;
	const std::shared_ptr<StoreGroup> m_group;
	StoreDir &m_dir; ///< the group's
	FdCache m_cache;
	SyncQueue m_sync;
	runtime::HeldFile m_heldLock; ///< the ring's own hold on the store's lock
	bool m_open = false, m_closing = false, m_direct = false;
	uint32_t m_inflight = 0;
	uint64_t m_temporaries; ///< counts their names, which bear the shard
	FdClaim m_descriptors;
	std::atomic<unsigned> m_foreignSeen = 0; ///< helper thread
	runtime::WaitList m_quiet;  ///< close() waits here for m_inflight == 0
};

} // namespace archipelago::store
