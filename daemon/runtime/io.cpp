// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The reactor's I/O as awaitables: each prepares an SQE aside, which goes into the ring when the coroutine suspends.
#include "daemon/runtime/offload.h"
#include "daemon/runtime/reactor.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace archipelago::runtime {

namespace {

template <typename Prepare> io_uring_sqe prepared(Prepare prepare)
{
	io_uring_sqe sqe{};
	prepare(&sqe);
	return sqe;
}

} // namespace

void IoAwaiter::await_suspend(std::coroutine_handle<> h)
{
	m_handle = h;
	fn = [](Completion *self, int32_t result) {
		auto *io = static_cast<IoAwaiter *>(self);
		io->m_result = result;
		io->m_handle.resume();
	};
	io_uring_sqe *sqe = m_reactor.prepare(*this);
	const uint64_t userData = sqe->user_data;
	*sqe = m_sqe;
	sqe->user_data = userData;
}

IoAwaiter Reactor::read(int fd, std::span<std::byte> to, uint64_t offset)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_read(s, fd, to.data(), static_cast<unsigned>(to.size()), offset); })};
}

IoAwaiter Reactor::write(int fd, std::span<const std::byte> from, uint64_t offset, int rwFlags)
{
	return {*this, prepared([&](io_uring_sqe *s) {
		        io_uring_prep_write(s, fd, from.data(), static_cast<unsigned>(from.size()), offset);
		        s->rw_flags = rwFlags;
	        })};
}

IoAwaiter Reactor::fdatasync(int fd)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_fsync(s, fd, IORING_FSYNC_DATASYNC); })};
}

IoAwaiter Reactor::fsync(int fd)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_fsync(s, fd, 0); })};
}

IoAwaiter Reactor::openat(int dirFd, const char *path, int flags, mode_t mode)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_openat(s, dirFd, path, flags, mode); })};
}

IoAwaiter Reactor::unlinkat(int dirFd, const char *path, int flags)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_unlinkat(s, dirFd, path, flags); })};
}

IoAwaiter Reactor::renameat(int fromDir, const char *from, int toDir, const char *to, unsigned flags)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_renameat(s, fromDir, from, toDir, to, flags); })};
}

IoAwaiter Reactor::fallocate(int fd, int mode, uint64_t offset, uint64_t length)
{
	return {*this, prepared([&](io_uring_sqe *s) {
		        io_uring_prep_fallocate(s, fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
	        })};
}

IoAwaiter Reactor::statx(int dirFd, const char *path, int flags, unsigned mask, struct ::statx *out)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_statx(s, dirFd, path, flags, mask, out); })};
}

IoAwaiter Reactor::pollFd(int fd, unsigned events)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_poll_add(s, fd, events); })};
}

IoAwaiter Reactor::accept(int fd, int flags)
{
	return {*this, prepared([&](io_uring_sqe *s) { io_uring_prep_accept(s, fd, nullptr, nullptr, flags); })};
}

Task<void> Reactor::sleepMs(uint64_t ms)
{
	struct Sleep {
		Reactor &reactor;
		uint64_t ms;
		std::optional<Timer> timer;
		bool await_ready() const noexcept { return false; }
		void await_suspend(std::coroutine_handle<> h)
		{
			// The frame, and this timer with it, may be gone when resume() returns: Timer fires from a copy of its function.
			timer.emplace(reactor, [h] { h.resume(); });
			timer->startMs(ms);
		}
		void await_resume() const noexcept {}
	};
	Sleep sleep{*this, ms, {}};
	co_await sleep;
}

Task<int> Reactor::offload(std::function<int()> fn)
{
	struct Wait {
		Offload &thread;
		Offload::Job job;
		bool await_ready() const noexcept { return false; }
		void await_suspend(std::coroutine_handle<> h)
		{
			job.waiter = h;
			thread.push(&job);
		}
		int await_resume() const noexcept { return job.result; }
	};
	if (!m_offload) startOffload();
	Wait wait{*m_offload, {}};
	wait.job.fn = std::move(fn);
	co_return co_await wait;
}

} // namespace archipelago::runtime
