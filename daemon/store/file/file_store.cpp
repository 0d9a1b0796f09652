// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: opening, closing, and which operation goes where.
#include "daemon/store/file/file_store.h"

#include "daemon/base/log.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace archipelago::store {

namespace {

/// The hash directories, tmp, root, lock, identity, and what a listing or a format opens for a moment.
constexpr uint32_t kDescriptorsBesides = kHashDirectories + 16;

/// A dead process's ring goes within milliseconds, unless its device is slow: then somebody should know why we wait.
constexpr uint64_t kOrdinaryMs = 1000;

} // namespace

FileStore::FileStore(runtime::Reactor &reactor, FileStoreOptions options, std::shared_ptr<StoreGroup> group)
    : m_reactor(reactor), m_options(std::move(options)), m_log(roleLogger(m_options.role)),
      m_group(group ? std::move(group)
                    : std::make_shared<StoreGroup>(m_options.dir, m_options.role, m_options.purpose, m_options.owner)),
      m_dir(m_group->dir), m_cache(reactor, m_dir, this), m_sync(reactor, m_cache, m_dir),
      m_temporaries(uint64_t{m_options.shard.index} << 56)
{
	if (m_options.shard.count > 1) m_sync.shareWith(m_group->syncs, m_options.shard.index);
}

FileStore::~FileStore() { ARCHIPELAGO_ASSERT(m_inflight == 0); }

runtime::Task<Result<void>> FileStore::open(bool createDirs)
{
	Result<void> entered = co_await enter(createDirs);
	if (!entered) {
		leave();
		co_return entered;
	}
	m_direct = m_options.direct && m_dir.takesDirectIo();
	if (m_options.direct && !m_direct)
		m_log->warn("{}: its filesystem takes no direct I/O in blocks of 512 bytes; going through the page cache. direct = false "
		            "says that this is meant.", m_options.dir);
	const uint32_t others = m_options.shard.index == 0 ? kDescriptorsBesides : 0; // the directories' are the group's
	const uint32_t files = m_descriptors.claim(m_options.fdcache, others);
	if (files < m_options.fdcache)
		m_log->warn("fdcache = {}, but the limit of open files leaves room for {}. Raise it (LimitNOFILE=, ulimit -n) or lower "
		            "fdcache.", m_options.fdcache, files);
	m_cache.start(files, m_direct ? O_DIRECT : 0, *m_log);
	m_sync.start(*m_log);
	m_open = true;
	m_log->info("store {} open: {}, {} I/O, {} files", m_options.dir, m_dir.identity().store, m_direct ? "direct" : "buffered",
	            files);
	co_return Result<void>{};
}

runtime::Task<Result<void>> FileStore::enter(bool createDirs)
{
	if (m_group->users.fetch_add(1) > 0) co_return holdLock(); // another shard has opened it
	// On the helper thread: a cold or remote directory must not stop the reactor.
	Result<void> result;
	std::function<int()> find = [&] { return (result = m_dir.find(createDirs)) ? 0 : 1; };
	if (co_await m_reactor.offload(std::move(find)) != 0) co_return result;
	result = co_await takeLock();
	if (!result) co_return result;
	std::function<int()> look = [&] { return (result = m_dir.enter(createDirs)) ? 0 : 1; };
	co_await m_reactor.offload(std::move(look));
	co_return result;
}

runtime::Task<Result<void>> FileStore::takeLock()
{
	const uint64_t began = runtime::Reactor::nowNs();
	uint64_t pauseMs = 2;
	bool told = false;
	for (;;) {
		const Result<StoreLock::State> state = m_dir.tryLock();
		if (!state) co_return tl::unexpected<Error>(state.error());
		if (*state == StoreLock::State::Taken) break;
		const std::string who = m_dir.lock().holder().describe();
		const uint64_t waitedMs = (runtime::Reactor::nowNs() - began) / 1'000'000u;
		if (waitedMs >= m_options.lockWaitMs)
			co_return m_dir.refuse(ErrorCode::Locked, fmt::format("{} has ended, but the kernel has not finished its I/O in {} s. Is "
			                                                      "the device stuck (dmesg)? Start again when it answers.", who,
			                                                      m_options.lockWaitMs / 1000));
		if (waitedMs >= kOrdinaryMs && !std::exchange(told, true))
			m_log->warn("{}: waiting until the kernel has finished the I/O of {}, which has ended", m_options.dir, who);
		co_await m_reactor.sleepMs(pauseMs);
		pauseMs = std::min<uint64_t>(pauseMs * 2, 250);
	}
	co_return holdLock();
}

/// In our ring too: our I/O must not outlive the lock.
Result<void> FileStore::holdLock()
{
	xseg::UniqueFd forRing = m_dir.lock().duplicate();
	if (!forRing) return systemFailure(errno, "Cannot duplicate the lock of " + m_options.dir);
	Result<runtime::HeldFile> held = m_reactor.hold(std::move(forRing));
	if (!held) return tl::unexpected<Error>(held.error());
	m_heldLock = std::move(*held);
	return {};
}

/// No I/O of ours is left that the lock would have to outlive; the last one unlocks.
void FileStore::leave()
{
	if (m_group->users.fetch_sub(1) == 1) m_dir.close();
	m_heldLock.reset();
}

runtime::Task<void> FileStore::close()
{
	m_closing = true;
	while (m_inflight > 0) co_await m_quiet.wait();
	m_cache.closeAll();
	leave();
	m_descriptors.release();
	m_open = false;
}

void FileStore::submit(StoreOp &op)
{
	if (!m_open || m_closing) return op.fail(ErrorCode::Cancelled);
	++m_inflight;
	switch (op.op) {
	case Op::ObjList: return void(runtime::spawn(list(op)));
	case Op::ObjCapacity: return void(runtime::spawn(capacity(op)));
	case Op::ObjSyncVolume:
	case Op::ObjSyncAll: return syncThenFinish(op);
	default: break;
	}
	const auto key = objectKey(op.id, op.name);
	if (!key || !inBounds(op)) return fail(op, ErrorCode::Invalid);
	start(op, *key);
}

void FileStore::start(StoreOp &op, const ObjectKey &key)
{
	switch (op.op) {
	case Op::ObjRead:
	case Op::ObjWrite:
	case Op::ObjPunch: return startData(op, key);
	case Op::ObjCreate: return void(runtime::spawn(create(op, key)));
	case Op::ObjWriteFull: return void(runtime::spawn(writeFull(op, key)));
	case Op::ObjRemove: return void(runtime::spawn(remove(op, key)));
	case Op::ObjStat: return void(runtime::spawn(stat(op, key)));
	case Op::ObjSync: return syncThenFinish(op);
	default: return fail(op, ErrorCode::Unsupported);
	}
}

bool FileStore::inBounds(const StoreOp &op)
{
	const uint64_t bytes = op.op == Op::ObjPunch ? op.size : op.data.size();
	return withinObject(op.id.kind, op.offset, bytes) && !(op.op == Op::ObjWriteFull && op.offset != 0);
}

OpenObject &FileStore::objectFor(const StoreOp &op, const ObjectKey &key)
{
	OpenObject &object = m_cache.object(key);
	// Of a name, whatever volume its first operation spoke of.
	if (!object.volume) object.volume = &m_sync.volume(op.id.volume);
	return object;
}

void FileStore::syncThenFinish(StoreOp &op)
{
	op.handle = this;
	op.fn = [](runtime::Completion *self, int32_t result) {
		auto &synced = *static_cast<StoreOp *>(self);
		auto &store = *static_cast<FileStore *>(synced.handle);
		if (result != 0) return store.fail(synced, ErrorCode::Io);
		store.finish(synced);
	};
	m_sync.request(op);
}

// ---- the end of an operation; op may be gone, or on its next errand, afterwards

void FileStore::finish(StoreOp &op)
{
	ended();
	op.finish();
}

void FileStore::fail(StoreOp &op, ErrorCode code)
{
	ended();
	op.fail(code);
}

void FileStore::failErrno(StoreOp &op, int errnum) { fail(op, errorFromErrno(errnum)); }

void FileStore::ended()
{
	// In a turn of its own: close() may be followed by the end of this store, and we are deep inside of it.
	if (--m_inflight == 0 && m_closing) m_reactor.post([this] { m_quiet.wakeAll(); });
}

} // namespace archipelago::store
