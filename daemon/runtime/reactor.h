// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reactor: the event loop of one thread. io_uring for files, sockets and timers; ports of the segment drained in batches;
// sleeps only when all are empty, on the eventfd of its waiter. Everything it calls runs on its thread and must not block.
//
// One turn:   completions, timers, mail and posts -> ports with a ready bit -> turn hooks. What all of them prepared is submitted:
//             at once, if there is more to do; else (polling for the spin budget before) ring bell = 1, look once more, and
//             submit and sleep in one io_uring_enter.
//
// I/O comes in two forms: Completion (intrusive, no allocation: the fast path) and awaitables (coroutines).
#pragma once

#include "daemon/base/errors.h"
#include "daemon/runtime/fixed_buffers.h"
#include "daemon/runtime/task.h"
#include "xseg/waiter.h"

#include <liburing.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

struct statx;

namespace archipelago::runtime {

/// Lives in whatever waits for an I/O, until fn was called. `result` is the CQE's res: >= 0 or -errno.
struct Completion {
	void (*fn)(Completion *self, int32_t result) = nullptr;
};

class ServedPort;
class Offload;
class Reactor;

/// What a co_await on an I/O needs: the SQE prepared aside, copied into the ring when the coroutine suspends.
class IoAwaiter : Completion {
public:
	IoAwaiter(Reactor &reactor, const io_uring_sqe &sqe) : m_reactor(reactor), m_sqe(sqe) {}
	bool await_ready() const noexcept { return false; }
	void await_suspend(std::coroutine_handle<> h);
	int32_t await_resume() const noexcept { return m_result; }

private:
	Reactor &m_reactor;
	io_uring_sqe m_sqe;
	std::coroutine_handle<> m_handle;
	int32_t m_result = 0;
};

/// One-shot timer, owned by its user; cancel() or destruction stops it.
class Timer {
public:
	Timer(Reactor &reactor, std::function<void()> fn) : m_reactor(reactor), m_fn(std::move(fn)) {}
	~Timer() { cancel(); }
	Timer(const Timer &) = delete;
	Timer &operator=(const Timer &) = delete;
	void startMs(uint64_t ms);
	void cancel();
	bool active() const { return m_slot >= 0; }

private:
	friend class Reactor;
	Reactor &m_reactor;
	std::function<void()> m_fn;
	int64_t m_slot = -1; ///< place in the reactor's heap
	uint64_t m_dueNs = 0;
};

/// An open file that lives in a reactor's ring, and with it whatever lock was taken through it. Let go by destruction, when its
/// owner has nothing in flight any more; for a process that is killed the kernel does it, after the ring's last request.
class HeldFile {
public:
	HeldFile() = default;
	HeldFile(HeldFile &&other) noexcept : m_reactor(std::exchange(other.m_reactor, nullptr)), m_slot(other.m_slot) {}
	HeldFile &operator=(HeldFile &&other) noexcept
	{
		if (this != &other) {
			reset();
			m_reactor = std::exchange(other.m_reactor, nullptr);
			m_slot = other.m_slot;
		}
		return *this;
	}
	~HeldFile() { reset(); }
	void reset();
	/// Leaves it in the ring until that dies.
	void abandon() { m_reactor = nullptr; }

private:
	friend class Reactor;
	HeldFile(Reactor &reactor, unsigned slot) : m_reactor(&reactor), m_slot(slot) {}
	Reactor *m_reactor = nullptr;
	unsigned m_slot = 0;
};

class Reactor {
public:
	struct Options {
		uint32_t waiter = 0;
		uint32_t ringEntries = 1024;
		bool spin = false; ///< may poll before sleeping (never when peers outnumber CPUs)
	};
	/// Errors: E-FAILED when the kernel refuses io_uring (says what to check).
	static Result<std::unique_ptr<Reactor>> create(const xseg::Segment &segment, const xseg::BellFds &bells, const Options &options);
	~Reactor();
	Reactor(const Reactor &) = delete;
	Reactor &operator=(const Reactor &) = delete;

	/// Runs until stop(). stop() may be called from any handler.
	void run();
	void stop() { m_stopping = true; }
	/// Runs until `done` is true (tests and start-up).
	void runUntil(const std::function<bool()> &done);

	/// A fresh SQE whose completion calls `completion.fn`. Never null: submits when the queue is full.
	io_uring_sqe *prepare(Completion &completion);
	/// For reads and writes between files and the segment.
	FixedBuffers &fixedBuffers() { return m_fixedBuffers; }

	// ---- awaitables; results are >= 0 or -errno
	IoAwaiter read(int fd, std::span<std::byte> to, uint64_t offset);
	IoAwaiter write(int fd, std::span<const std::byte> from, uint64_t offset, int rwFlags = 0);
	IoAwaiter fdatasync(int fd);
	IoAwaiter fsync(int fd);
	IoAwaiter openat(int dirFd, const char *path, int flags, mode_t mode); ///< `path` must live until resumed
	IoAwaiter unlinkat(int dirFd, const char *path, int flags);
	IoAwaiter renameat(int fromDir, const char *from, int toDir, const char *to, unsigned flags = 0);
	IoAwaiter fallocate(int fd, int mode, uint64_t offset, uint64_t length);
	IoAwaiter statx(int dirFd, const char *path, int flags, unsigned mask, struct ::statx *out);
	IoAwaiter pollFd(int fd, unsigned events); ///< result: the events that happened
	IoAwaiter accept(int fd, int flags);
	Task<void> sleepMs(uint64_t ms);
	/// Runs `fn` on this reactor's helper thread (system calls without an io_uring form: syncfs, readdir, FIEMAP) and
	/// comes back with its value.
	Task<int> offload(std::function<int()> fn);

	/// Keeps an open file (a held lock) in the ring itself: the kernel releases it only when the ring's last request is
	/// done, which is later than the death of the process. The caller's descriptor is closed. At most 16 at a time.
	Result<HeldFile> hold(xseg::UniqueFd fd);

	void attach(ServedPort &port);
	void detach(ServedPort &port);
	/// Have the port looked at in the next turn.
	void wakePort(ServedPort &port);
	/// Runs `fn` once per turn before sleeping, e.g. to send a batch; removed by the returned id.
	uint64_t addTurnHook(std::function<void()> fn);
	void removeTurnHook(uint64_t id);
	/// Runs `fn` in the next turn, outside of the caller's stack.
	void post(std::function<void()> fn);
	/// As post(), from any thread, in the order of the calls; wakes the reactor. For the control path: it locks and allocates.
	void postFromAnyThread(std::function<void()> fn);

	const xseg::Segment &segment() const { return m_segment; }
	const xseg::BellFds &bells() const { return m_bells; }
	uint32_t waiterIndex() const { return m_waiter.index(); }
	static uint64_t nowNs(); ///< CLOCK_BOOTTIME
	/// The time for counters: nowNs() of a moment ago. A call of the clock was measured at 50 ns, all else about an operation at
	/// 16; so at most kStamps stamps share one, until the next look for events, where the time goes by. So what is answered
	/// from memory in the same turn may be told as no time at all, and all else is exact to the handling of a few requests.
	uint64_t stampNs()
	{
		if (m_stampsLeft == 0) {
			m_stampNs = nowNs();
			m_stampsLeft = kStamps;
		}
		--m_stampsLeft;
		return m_stampNs;
	}

private:
	friend class HeldFile;
	friend class Timer;
	friend class IoAwaiter;
	friend class ServedPort;
	/// A poll on an eventfd that is armed again each time it fired.
	struct EventWatch : Completion {
		Reactor *reactor = nullptr;
		bool armed = false;
	};
	Reactor(const xseg::Segment &segment, const xseg::BellFds &bells, const Options &options);
	void turn();
	void drainPorts();
	void takeMail();
	void reap();
	void fireTimers();
	bool moreToDo() const;
	void submit();
	bool spin();
	void sleepUntilWork();
	void arm(EventWatch &watch, int fd);
	void startOffload();
	void heapSwap(size_t a, size_t b);
	void heapUp(size_t i);
	void heapDown(size_t i);

	static constexpr unsigned kStamps = 8;
	const xseg::Segment &m_segment;
	const xseg::BellFds &m_bells;
	xseg::Waiter m_waiter;
	xseg::SpinBudget m_spin;
	uint64_t m_turnNs = 0; ///< when this turn began
	uint64_t m_stampNs = 0;
	unsigned m_stampsLeft = 0;
	io_uring m_ring{};
	FixedBuffers m_fixedBuffers{m_ring, m_segment};
	bool m_ringReady = false, m_stopping = false;
	EventWatch m_bell, m_offloadDone;
	std::array<ServedPort *, XS_MAX_PORTS> m_ports{};
	std::vector<ServedPort *> m_again; ///< ports with a full outbox or a local reply to look at next turn
	std::vector<Timer *> m_timers;     ///< heap by due time
	std::vector<std::pair<uint64_t, std::function<void()>>> m_hooks;
	uint64_t m_nextHook = 1;
	std::vector<std::function<void()>> m_posted;
	std::atomic<bool> m_hasMail = false; ///< a look at it costs each turn nothing
	std::mutex m_mailLock;
	std::vector<std::function<void()>> m_mail; ///< from other threads
	std::array<bool, 16> m_heldSlots{}; ///< taken places in the ring's table of files
	std::unique_ptr<Offload> m_offload;
};

} // namespace archipelago::runtime
