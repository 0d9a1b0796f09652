// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The syncs. See sync_queue.h for the argument why each of the two ways is enough.
#include "daemon/store/file/sync_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace archipelago::store {

namespace {

constexpr size_t kSyncEachAtMost = 2;
/// When a syncfs has failed and all go one by one: this many at a time.
constexpr size_t kAtOnce = 16;

/// fdatasync and fsync of several files at once. Result: 0 or the first -errno.
class SyncMany {
public:
	explicit SyncMany(runtime::Reactor &reactor) : m_reactor(reactor) {}
	bool full() const { return m_count == kAtOnce; }
	size_t count() const { return m_count; }
	void add(int fd, bool directory)
	{
		Part &part = m_parts[m_count++];
		part.many = this;
		part.fd = fd;
		part.directory = directory;
	}

	bool await_ready() const { return m_count == 0; }
	void await_suspend(std::coroutine_handle<> h)
	{
		m_handle = h;
		m_left = m_count;
		for (size_t i = 0; i < m_count; ++i) issue(m_parts[i]);
	}
	int await_resume()
	{
		m_count = 0;
		return std::exchange(m_result, 0);
	}

private:
	struct Part : runtime::Completion {
		SyncMany *many = nullptr;
		int fd = -1;
		bool directory = false;
	};
	void issue(Part &part)
	{
		part.fn = [](runtime::Completion *self, int32_t result) {
			auto *ended = static_cast<Part *>(self);
			ended->many->onEnded(*ended, result);
		};
		io_uring_sqe *sqe = m_reactor.prepare(part);
		io_uring_prep_fsync(sqe, part.fd, part.directory ? 0 : IORING_FSYNC_DATASYNC);
		io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&part));
	}
	void onEnded(Part &part, int32_t result)
	{
		if (result == -EINTR) return issue(part);
		if (result < 0 && m_result == 0) m_result = result;
		if (--m_left == 0) m_handle.resume();
	}

	runtime::Reactor &m_reactor;
	std::array<Part, kAtOnce> m_parts;
	size_t m_count = 0, m_left = 0;
	int m_result = 0;
	std::coroutine_handle<> m_handle;
};

} // namespace

size_t SyncQueue::VolumeHash::operator()(const VolumeId &id) const
{
	uint64_t words[2];
	std::memcpy(words, id.bytes.data(), sizeof words);
	return words[0] ^ words[1]; // random ids
}

void SyncQueue::start(spdlog::logger &log) { m_log = &log; }

void SyncQueue::wrote(OpenObject &object)
{
	if (object.dirty || !object.named) return;
	object.dirty = true;
	object.dirtyPrev = nullptr;
	object.dirtyNext = object.volume->first;
	if (object.dirtyNext) object.dirtyNext->dirtyPrev = &object;
	object.volume->first = &object;
}

void SyncQueue::forget(OpenObject &object)
{
	object.dirty = false;
	(object.dirtyPrev ? object.dirtyPrev->dirtyNext : object.volume->first) = object.dirtyNext;
	if (object.dirtyNext) object.dirtyNext->dirtyPrev = object.dirtyPrev;
	object.dirtyPrev = object.dirtyNext = nullptr;
}

uint64_t SyncQueue::nameChanged(DirtyVolume &volume, uint8_t directory)
{
	volume.directories.set(directory);
	return ++m_changes[directory];
}

void SyncQueue::directorySynced(uint8_t directory, uint64_t upTo)
{
	m_durable[directory] = std::max(m_durable[directory], upTo);
}

bool SyncQueue::nameDurable(const OpenObject &object) const
{
	return !m_inherited && object.entryChange <= m_durable[object.directory];
}

void SyncQueue::fail(std::string_view what, int errnum)
{
	if (m_broken) return;
	m_broken = true;
	m_log->error("{} failed: {}. What was written since the last flush may be lost. Writes are refused until the store is opened "
	             "again: look for errors of the device (dmesg), then restart this role.", what, std::strerror(errnum));
}

void SyncQueue::request(StoreOp &op)
{
	m_waiting.push(op);
	if (!m_running) runtime::spawn(run());
}

runtime::Task<void> SyncQueue::run()
{
	m_running = true;
	while (!m_waiting.empty()) {
		OpQueue batch = m_waiting.take();
		if (!m_broken) {
			Plan work = plan(batch);
			const bool synced = co_await carryOut(work);
			if (synced) {
				for (unsigned n = 0; n < kHashDirectories; ++n)
					if (work.everything || work.directories[n]) directorySynced(static_cast<uint8_t>(n), work.changes[n]);
				if (work.everything) m_inherited = false;
			}
			settle(work);
		}
		const int32_t result = m_broken ? -EIO : 0;
		while (StoreOp *op = batch.pop()) op->fn(op, result);
	}
	m_running = false;
}

SyncQueue::Plan SyncQueue::plan(OpQueue &batch)
{
	Plan out;
	out.changes = m_changes;
	out.everything = m_inherited;
	OpQueue again;
	while (StoreOp *op = batch.pop()) {
		again.push(*op);
		if (op->op == Op::ObjSyncAll) {
			for (auto &[id, volume] : m_volumes) collect(out, volume);
		} else if (op->op == Op::ObjSyncVolume) {
			const auto known = m_volumes.find(op->id.volume);
			if (known != m_volumes.end()) collect(out, known->second);
		} else if (const auto key = objectKey(op->id, op->name)) {
			const uint8_t directory = directoryOf(*key);
			OpenObject *object = m_cache.find(*key);
			// An object that is gone, or not known: what has changed in its directory may have been its name.
			const uint64_t change = object ? object->entryChange : m_changes[directory];
			if (change > m_durable[directory]) out.directories.set(directory);
			if (object && object->dirty) collect(out, *object);
		}
	}
	batch = again;
	out.everything |= out.withoutFile || out.objects.size() + out.directories.count() > kSyncEachAtMost;
	// It takes all that is dirty along anyway: let nobody do it again.
	if (out.everything)
		for (auto &[id, volume] : m_volumes) collect(out, volume);
	return out;
}

void SyncQueue::collect(Plan &plan, DirtyVolume &volume)
{
	while (volume.first) collect(plan, *volume.first);
	for (size_t n = 0; n < kHashDirectories; ++n)
		if (volume.directories[n] && m_changes[n] > m_durable[n]) plan.directories.set(n);
	volume.directories.reset();
}

void SyncQueue::collect(Plan &plan, OpenObject &object)
{
	forget(object);
	++object.pins;
	// A use keeps the file open until it is synced. While the name is being changed there is no taking one.
	const bool inUse = m_cache.tryUse(object);
	plan.objects.push_back(Plan::Part{&object, inUse});
	plan.withoutFile |= !inUse;
}

runtime::Task<bool> SyncQueue::carryOut(Plan &plan)
{
	if (plan.everything) {
		int failedCall = 0;
		const int errnum = co_await syncFilesystem(&failedCall);
		if (errnum == 0) co_return true;
		if (failedCall != 1 || m_inherited || plan.withoutFile) {
			fail(failedCall == 1 ? "syncfs" : "fdatasync", errnum);
			co_return false;
		}
		m_log->warn("syncfs failed: {}. It may have been another file of this filesystem: syncing each object.",
		            std::strerror(errnum));
	}
	co_return co_await syncEach(plan);
}

runtime::Task<bool> SyncQueue::syncEach(Plan &plan)
{
	SyncMany many(m_reactor);
	size_t object = 0, directory = 0;
	while (object < plan.objects.size() || directory < kHashDirectories) {
		while (object < plan.objects.size() && !many.full()) many.add(plan.objects[object++].object->fd, false);
		for (; directory < kHashDirectories && !many.full(); ++directory)
			if (plan.directories[directory]) many.add(m_dir.directory(static_cast<uint8_t>(directory)), true);
		m_counts.files += many.count();
		const int result = co_await many;
		if (result < 0) {
			fail("fdatasync", -result);
			co_return false;
		}
	}
	co_return true;
}

/// Result: 0 or an errno; *failedCall says which of the two calls.
runtime::Task<int> SyncQueue::syncFilesystem(int *failedCall)
{
	++m_counts.filesystems;
	const int filesystem = m_dir.root(), file = m_dir.barrierFile();
	std::function<int()> job = [filesystem, file, failedCall] {
		*failedCall = 1;
		if (syncfs(filesystem) != 0) return errno;
		*failedCall = 2;
		return fdatasync(file) != 0 ? errno : 0;
	};
	co_return co_await m_reactor.offload(std::move(job));
}

/// Lets go of the plan's objects, synced or not: after a failure nothing of them is retried.
void SyncQueue::settle(Plan &plan)
{
	for (const auto &[object, inUse] : plan.objects) {
		--object->pins;
		if (inUse)
			m_cache.release(*object);
		else
			m_cache.forgetIdle(*object);
	}
}

} // namespace archipelago::store
