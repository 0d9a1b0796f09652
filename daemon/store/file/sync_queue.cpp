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

/// fdatasync and fsync of several files at once. Result: who failed.
class SyncMany {
public:
	struct Failure {
		DirtyVolume *volume; ///< null: a directory
		int errnum;
	};
	explicit SyncMany(runtime::Reactor &reactor) : m_reactor(reactor) {}
	bool full() const { return m_count == kAtOnce; }
	size_t count() const { return m_count; }
	/// `volume` null: a directory.
	void add(int fd, DirtyVolume *volume)
	{
		Part &part = m_parts[m_count++];
		part.many = this;
		part.fd = fd;
		part.volume = volume;
	}

	bool await_ready() const { return m_count == 0; }
	void await_suspend(std::coroutine_handle<> h)
	{
		m_handle = h;
		m_left = m_count;
		for (size_t i = 0; i < m_count; ++i) issue(m_parts[i]);
	}
	std::vector<Failure> await_resume()
	{
		m_count = 0;
		return std::exchange(m_failures, {});
	}

private:
	struct Part : runtime::Completion {
		SyncMany *many = nullptr;
		int fd = -1;
		DirtyVolume *volume = nullptr;
	};
	void issue(Part &part)
	{
		part.fn = [](runtime::Completion *self, int32_t result) {
			auto *ended = static_cast<Part *>(self);
			ended->many->onEnded(*ended, result);
		};
		io_uring_sqe *sqe = m_reactor.prepare(part);
		io_uring_prep_fsync(sqe, part.fd, part.volume ? IORING_FSYNC_DATASYNC : 0);
		io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&part));
	}
	void onEnded(Part &part, int32_t result)
	{
		if (result == -EINTR) return issue(part);
		if (result < 0) m_failures.push_back(Failure{part.volume, -result});
		if (--m_left == 0) m_handle.resume();
	}

	runtime::Reactor &m_reactor;
	std::array<Part, kAtOnce> m_parts;
	size_t m_count = 0, m_left = 0;
	std::vector<Failure> m_failures;
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
	return !m_inherited && !othersFailed() && object.entryChange <= m_durable[object.directory];
}

bool SyncQueue::unsynced(const DirtyVolume &volume) const
{
	if (volume.first || volume.beingSynced) return true;
	for (size_t n = 0; n < kHashDirectories; ++n)
		if (volume.directories[n] && m_changes[n] > m_durable[n]) return true;
	return false;
}

void SyncQueue::failed(std::string_view what, int errnum, DirtyVolume *volume)
{
	hearOfOthers();
	remember(errnum, volume);
	if (m_share && (!volume || errnum == EIO)) {
		m_share->failed();
		++m_shared;
	}
	m_log->error("{} failed: {}. What was written since the last flush may be lost: the volumes concerned stop at their next flush. "
	             "Look for errors of the device (dmesg), then close them and open them again.", what, std::strerror(errnum));
}

/// What another shard has lost may be ours as well.
void SyncQueue::hearOfOthers()
{
	if (!othersFailed()) return;
	m_heard = m_share->failures() - m_shared;
	remember(EIO, nullptr);
}

void SyncQueue::remember(int errnum, DirtyVolume *volume)
{
	++m_failures;
	const bool others = !volume || errnum == EIO; // else (no room, say) it was this file's own
	if (volume) volume->failed = true;
	if (others && m_inherited) {
		++m_failuresOfAll;
	} else if (others) {
		for (auto &[id, known] : m_volumes) known.failed |= unsynced(known);
		// What is being written may be in the device's cache already, and be answered only after this.
		m_cache.forEach([](OpenObject &object) {
			if (object.volume && (object.writers > 0 || object.exclusive || object.busy)) object.volume->failed = true;
		});
	}
	m_inherited = true;
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
		const uint64_t failures = m_failures;
		Plan work = plan(batch);
		if (m_share)
			co_await carryOutBesideOthers(work);
		else
			co_await carryOut(work);
		const bool synced = m_failures == failures; // nor has anybody else's meanwhile
		if (synced) {
			for (unsigned n = 0; n < kHashDirectories; ++n)
				if (work.everything || work.directories[n]) directorySynced(static_cast<uint8_t>(n), work.changes[n]);
			if (work.everything) m_inherited = false;
		}
		settle(work);
		answer(batch, synced);
	}
	m_running = false;
}

runtime::Task<void> SyncQueue::carryOutBesideOthers(Plan &plan)
{
	m_share->began(m_shard);
	co_await carryOut(plan);
	m_share->ended(m_shard);
	co_await m_share->othersEnded(m_reactor, m_shard);
	hearOfOthers();
}

DirtyVolume *SyncQueue::volumeOf(const StoreOp &op)
{
	if (op.op != Op::ObjSyncVolume)
		if (const auto key = objectKey(op.id, op.name))
			if (const OpenObject *object = m_cache.find(*key); object && object->volume) return object->volume;
	const auto known = m_volumes.find(op.id.volume);
	if (known != m_volumes.end()) return &known->second;
	return m_failuresOfAll > 0 ? &m_volumes[op.id.volume] : nullptr; // else it has nothing to be told
}

/// All who shared the sync hear the same, so first each answer is found, then what has been told is put down as told.
void SyncQueue::answer(OpQueue &batch, bool synced)
{
	OpQueue answered;
	std::vector<DirtyVolume *> told;
	while (StoreOp *op = batch.pop()) {
		DirtyVolume *volume = op->op == Op::ObjSyncAll ? nullptr : volumeOf(*op);
		const bool bad = op->op == Op::ObjSyncAll ? !synced
		                                          : volume && (volume->failed || volume->toldOfAll < m_failuresOfAll);
		op->scratch = bad;
		if (bad && (op->op == Op::ObjSyncVolume || op->op == Op::ObjSync)) told.push_back(volume);
		answered.push(*op);
	}
	for (DirtyVolume *volume : told) {
		volume->failed = false;
		volume->toldOfAll = m_failuresOfAll;
	}
	while (StoreOp *op = answered.pop()) op->fn(op, op->scratch ? -EIO : 0);
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
	if (unsynced(volume)) volume.beingSynced = true;
	while (volume.first) collect(plan, *volume.first);
	for (size_t n = 0; n < kHashDirectories; ++n)
		if (volume.directories[n] && m_changes[n] > m_durable[n]) plan.directories.set(n);
	volume.directories.reset();
}

void SyncQueue::collect(Plan &plan, OpenObject &object)
{
	forget(object);
	object.volume->beingSynced = true;
	++object.pins;
	// A use keeps the file open until it is synced. While the name is being changed there is no taking one.
	const bool inUse = m_cache.useIfOpen(object);
	plan.objects.push_back(Plan::Part{&object, inUse});
	plan.withoutFile |= !inUse;
}

runtime::Task<void> SyncQueue::carryOut(Plan &plan)
{
	if (plan.everything) {
		int failedCall = 0;
		const int errnum = co_await syncFilesystem(&failedCall);
		if (errnum == 0) co_return;
		if (failedCall != 1 || m_inherited || plan.withoutFile) {
			failed(failedCall == 1 ? "syncfs" : "fdatasync", errnum, nullptr);
			co_return;
		}
		m_log->warn("syncfs failed: {}. It may have been another file of this filesystem: syncing each object.",
		            std::strerror(errnum));
	}
	co_await syncEach(plan);
}

runtime::Task<void> SyncQueue::syncEach(Plan &plan)
{
	SyncMany many(m_reactor);
	size_t object = 0, directory = 0;
	while (object < plan.objects.size() || directory < kHashDirectories) {
		while (object < plan.objects.size() && !many.full()) {
			OpenObject &next = *plan.objects[object++].object;
			many.add(next.fd, next.volume);
		}
		for (; directory < kHashDirectories && !many.full(); ++directory)
			if (plan.directories[directory]) many.add(m_dir.directory(static_cast<uint8_t>(directory)), nullptr);
		m_counts.files += many.count();
		const std::vector<SyncMany::Failure> failures = co_await many;
		for (const SyncMany::Failure &failure : failures)
			failed(failure.volume ? "fdatasync" : "fsync of a directory", failure.errnum, failure.volume);
	}
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
	for (auto &[id, volume] : m_volumes) volume.beingSynced = false;
	for (const auto &[object, inUse] : plan.objects) {
		--object->pins;
		if (inUse)
			m_cache.release(*object);
		else
			m_cache.forgetIdle(*object);
	}
}

} // namespace archipelago::store
