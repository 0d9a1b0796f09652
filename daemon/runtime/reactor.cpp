// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The loop: ports, hooks, io_uring, timers, sleep. See reactor.h for the order of one turn.
//
// Sleeping without losing a wake-up: the eventfd of our waiter is polled by an SQE that is always armed before we sleep;
// Waiter::prepareSleep() sets the bell and then looks at the ready bits once more (xseg/waiter.h). The wait itself is bounded
// by 100 ms: it covers a producer that is killed between its push and its ring.
#include "daemon/runtime/reactor.h"

#include "daemon/runtime/offload.h"
#include "daemon/runtime/served_port.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace archipelago::runtime {

namespace {

constexpr unsigned kDrainBudget = 64;
constexpr unsigned kReapBudget = 256;
constexpr uint64_t kSafetyNs = 100'000'000;
/// The kernel's threads for what cannot be done at once: opens of cold files, syncs, creates. It has four for each CPU unless told
/// otherwise, and as many slow opens would hold up every sync. A thread that has nothing to do goes.
constexpr unsigned kKernelWorkers = 64;

void clearEvent(int fd)
{
	// Readable: poll said so and nobody else reads it, hence this cannot block.
	uint64_t count = 0;
	[[maybe_unused]] const ssize_t n = ::read(fd, &count, sizeof count);
}

void giveWorkers(io_uring &ring)
{
	unsigned most[2] = {0, 0}; // for files, for the rest; 0 asks
	if (io_uring_register_iowq_max_workers(&ring, most) < 0 || most[0] >= kKernelWorkers) return;
	most[0] = kKernelWorkers;
	io_uring_register_iowq_max_workers(&ring, most); // refused: slower, not wrong
}

} // namespace

uint64_t Reactor::nowNs()
{
	timespec t{};
	clock_gettime(CLOCK_BOOTTIME, &t);
	return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

Reactor::Reactor(const xseg::Segment &segment, const xseg::BellFds &bells, const Options &options)
    : m_segment(segment), m_bells(bells), m_waiter(segment, bells, options.waiter), m_spin(options.spin)
{
	m_bell.reactor = m_offloadDone.reactor = this;
	m_bell.fn = [](Completion *self, int32_t) {
		auto *watch = static_cast<EventWatch *>(self);
		watch->armed = false;
		clearEvent(watch->reactor->m_waiter.eventFd());
	};
	m_offloadDone.fn = [](Completion *self, int32_t) {
		auto *watch = static_cast<EventWatch *>(self);
		Reactor &reactor = *watch->reactor;
		watch->armed = false;
		clearEvent(reactor.m_offload->eventFd());
		reactor.arm(reactor.m_offloadDone, reactor.m_offload->eventFd());
		reactor.m_offload->finish();
	};
}

Result<std::unique_ptr<Reactor>> Reactor::create(const xseg::Segment &segment, const xseg::BellFds &bells, const Options &options)
{
	std::unique_ptr<Reactor> reactor(new Reactor(segment, bells, options));
	io_uring_params params{};
	params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CQSIZE;
	params.cq_entries = options.ringEntries * 4;
	int r = io_uring_queue_init_params(options.ringEntries, &reactor->m_ring, &params);
	if (r < 0)
		return failure(ErrorCode::Failed, std::string("Cannot set up io_uring: ") + std::strerror(-r) +
		                                      ". Needs Linux 6.1 or newer with kernel.io_uring_disabled = 0 (sysctl) and enough "
		                                      "locked memory (ulimit -l).");
	reactor->m_ringReady = true;
	giveWorkers(reactor->m_ring);
	// Empty slots for the files whose locks must live as long as the ring (hold).
	r = io_uring_register_files_sparse(&reactor->m_ring, static_cast<unsigned>(reactor->m_heldSlots.size()));
	if (r < 0) return failure(ErrorCode::Failed, std::string("Cannot register files with io_uring: ") + std::strerror(-r));
	return reactor;
}

Reactor::~Reactor()
{
	m_offload.reset();
	if (m_ringReady) io_uring_queue_exit(&m_ring);
}

io_uring_sqe *Reactor::prepare(Completion &completion)
{
	io_uring_sqe *sqe = io_uring_get_sqe(&m_ring);
	while (!sqe) {
		// The kernel takes what is queued now; it may refuse for a moment while the completion queue overflows.
		const int r = io_uring_submit(&m_ring);
		ARCHIPELAGO_ASSERT(r >= 0 || r == -EBUSY || r == -EAGAIN || r == -EINTR);
		if (r < 0) io_uring_get_events(&m_ring);
		sqe = io_uring_get_sqe(&m_ring);
	}
	io_uring_sqe_set_data(sqe, &completion);
	return sqe;
}

Result<HeldFile> Reactor::hold(xseg::UniqueFd fd)
{
	const auto slot = std::find(m_heldSlots.begin(), m_heldSlots.end(), false);
	if (slot == m_heldSlots.end()) return failure(ErrorCode::Limit, "Cannot hold more than 16 lock files in one ring.");
	const auto number = static_cast<unsigned>(slot - m_heldSlots.begin());
	int raw = fd.get();
	const int r = io_uring_register_files_update(&m_ring, number, &raw, 1);
	if (r != 1) return systemFailure(r < 0 ? -r : EIO, "Cannot register a lock file with io_uring");
	*slot = true;
	return HeldFile(*this, number);
}

void HeldFile::reset()
{
	Reactor *reactor = std::exchange(m_reactor, nullptr);
	if (!reactor) return;
	// The kernel drops the file once what it had under way when we ask is done: nothing of its owner's, by contract.
	int none = -1;
	io_uring_register_files_update(&reactor->m_ring, m_slot, &none, 1);
	reactor->m_heldSlots[m_slot] = false;
}

void Reactor::attach(ServedPort &port)
{
	m_ports[port.number()] = &port;
	m_waiter.watch(port.number());
}

void Reactor::detach(ServedPort &port)
{
	m_ports[port.number()] = nullptr;
	std::erase(m_again, &port);
}

void Reactor::wakePort(ServedPort &port)
{
	if (port.m_queued) return;
	port.m_queued = true;
	m_again.push_back(&port);
}

uint64_t Reactor::addTurnHook(std::function<void()> fn)
{
	m_hooks.emplace_back(m_nextHook, std::move(fn));
	return m_nextHook++;
}

void Reactor::removeTurnHook(uint64_t id)
{
	// A hook may remove itself or another one while hooks run: leave the place, empty.
	for (auto &hook : m_hooks)
		if (hook.first == id) hook.second = nullptr;
}

void Reactor::post(std::function<void()> fn) { m_posted.push_back(std::move(fn)); }

void Reactor::postFromAnyThread(std::function<void()> fn)
{
	// What `fn` does may end this reactor while we are still here: nothing of it is touched once the lock is released.
	const xseg::Segment &segment = m_segment;
	const xseg::BellFds &bells = m_bells;
	const uint32_t waiter = m_waiter.index();
	{
		const std::lock_guard guard(m_mailLock);
		m_mail.push_back(std::move(fn));
		m_hasMail.store(true);
	}
	xseg::ring(segment, bells, waiter); // after the store: whoever sleeps through the bell has seen the mail
}

void Reactor::takeMail()
{
	std::vector<std::function<void()>> mail;
	{
		const std::lock_guard guard(m_mailLock);
		mail.swap(m_mail);
		m_hasMail.store(false);
	}
	for (auto &fn : mail) fn();
}

void Reactor::startOffload()
{
	m_offload = std::make_unique<Offload>();
	arm(m_offloadDone, m_offload->eventFd());
}

void Reactor::drainPorts()
{
	if (!m_again.empty()) {
		std::vector<ServedPort *> again;
		again.swap(m_again);
		// A handler may destroy ports; detach() forgets them in m_again only, so look each one up by number afterwards.
		std::vector<xseg::PortNo> numbers;
		numbers.reserve(again.size());
		for (ServedPort *port : again) {
			port->m_queued = false;
			numbers.push_back(port->number());
		}
		for (xseg::PortNo number : numbers) {
			ServedPort *port = m_ports[number];
			if (port && port->drain(kDrainBudget) && m_ports[number] == port) wakePort(*port);
		}
	}
	for (unsigned i = 0; i < kDrainBudget; ++i) {
		const auto ready = m_waiter.takeReady();
		if (!ready) break;
		ServedPort *port = m_ports[*ready];
		if (!port) continue; // a stale hint, or a port of another life
		if (port->drain(kDrainBudget) && m_ports[*ready] == port) wakePort(*port);
	}
}

void Reactor::reap()
{
	io_uring_cqe *cqe = nullptr;
	// At most so many: the others get their turn.
	for (unsigned count = 0; count < kReapBudget && io_uring_peek_cqe(&m_ring, &cqe) == 0 && cqe; ++count) {
		auto *completion = static_cast<Completion *>(io_uring_cqe_get_data(cqe));
		const int32_t result = cqe->res;
		// Seen before it is handled: the handler may prepare and submit, which reaps nothing but may need the room.
		io_uring_cqe_seen(&m_ring, cqe);
		if (completion) completion->fn(completion, result);
	}
}

void Reactor::turn()
{
	m_turnNs = m_stampNs = nowNs();
	m_stampsLeft = kStamps;
	reap();
	fireTimers();
	if (m_hasMail.load()) takeMail();
	if (!m_posted.empty()) {
		std::vector<std::function<void()>> posted;
		posted.swap(m_posted);
		for (auto &fn : posted) fn();
	}
	drainPorts();
	// By index: a hook may add others.
	for (size_t i = 0; i < m_hooks.size(); ++i)
		if (m_hooks[i].second) m_hooks[i].second();
	std::erase_if(m_hooks, [](const auto &hook) { return !hook.second; });
}

/// Before it is known whether there is anything to wait for.
bool Reactor::moreToDo() const
{
	return io_uring_cq_ready(&m_ring) != 0 || !m_again.empty() || !m_posted.empty() || m_waiter.anyReady();
}

void Reactor::submit()
{
	if (!io_uring_sq_ready(&m_ring)) return;
	io_uring_submit(&m_ring); // -EBUSY, -EAGAIN: tried again after reaping
	m_stampsLeft = 0;         // the kernel may have done some of it on the spot
}

void Reactor::arm(EventWatch &watch, int fd)
{
	if (watch.armed) return;
	watch.armed = true;
	io_uring_sqe *sqe = prepare(watch);
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data(sqe, &watch);
}

void Reactor::sleepUntilWork()
{
	arm(m_bell, m_waiter.eventFd());
	if (!m_waiter.prepareSleep()) {
		m_waiter.wake();
		return;
	}
	// From the beginning of the turn: what the turn took, a timer may be late.
	uint64_t waitNs = kSafetyNs;
	if (!m_timers.empty()) waitNs = std::min(waitNs, m_timers.front()->m_dueNs > m_turnNs ? m_timers.front()->m_dueNs - m_turnNs : 0);
	__kernel_timespec timeout{};
	timeout.tv_nsec = static_cast<long long>(waitNs);
	io_uring_cqe *cqe = nullptr;
	io_uring_submit_and_wait_timeout(&m_ring, &cqe, 1, &timeout, nullptr);
	m_waiter.wake();
	if (m_spin.allowed()) m_spin.blockedFor(nowNs() - m_turnNs);
}

void Reactor::run()
{
	m_stopping = false;
	runUntil([this] { return m_stopping; });
}

void Reactor::runUntil(const std::function<bool()> &done)
{
	while (!done()) {
		turn();
		if (done()) break;
		// Whoever goes to sleep submits on the way: one system call instead of two.
		if (moreToDo() || spin())
			submit();
		else
			sleepUntilWork();
	}
	submit();
}

/// Polls for what comes next, as long as that paid lately. True: something is there.
bool Reactor::spin()
{
	const uint64_t budget = m_spin.nextNs();
	if (!budget) return false;
	submit();
	const uint64_t until = nowNs() + budget;
	while (nowNs() < until) {
		if (m_waiter.anyReady() || io_uring_cq_ready(&m_ring) != 0) {
			m_spin.hit();
			return true;
		}
		__builtin_ia32_pause();
	}
	m_spin.missed();
	return false;
}

// ---- timers: a binary heap by due time; each timer knows its place

void Timer::startMs(uint64_t ms)
{
	cancel();
	m_dueNs = Reactor::nowNs() + ms * 1'000'000u;
	m_reactor.m_timers.push_back(this);
	m_slot = static_cast<int64_t>(m_reactor.m_timers.size()) - 1;
	m_reactor.heapUp(static_cast<size_t>(m_slot));
}

void Timer::cancel()
{
	if (m_slot < 0) return;
	auto &heap = m_reactor.m_timers;
	const auto at = static_cast<size_t>(m_slot);
	m_reactor.heapSwap(at, heap.size() - 1);
	heap.pop_back();
	m_slot = -1;
	if (at < heap.size()) {
		m_reactor.heapUp(at);
		m_reactor.heapDown(at);
	}
}

void Reactor::fireTimers()
{
	while (!m_timers.empty() && m_timers.front()->m_dueNs <= m_turnNs) {
		Timer *timer = m_timers.front();
		timer->cancel();
		const auto fn = timer->m_fn; // the timer may be destroyed by what it calls
		fn();
	}
}

void Reactor::heapSwap(size_t a, size_t b)
{
	std::swap(m_timers[a], m_timers[b]);
	m_timers[a]->m_slot = static_cast<int64_t>(a);
	m_timers[b]->m_slot = static_cast<int64_t>(b);
}

void Reactor::heapUp(size_t i)
{
	while (i > 0 && m_timers[i]->m_dueNs < m_timers[(i - 1) / 2]->m_dueNs) {
		heapSwap(i, (i - 1) / 2);
		i = (i - 1) / 2;
	}
}

void Reactor::heapDown(size_t i)
{
	for (;;) {
		size_t least = i;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < m_timers.size(); ++child)
			if (m_timers[child]->m_dueNs < m_timers[least]->m_dueNs) least = child;
		if (least == i) return;
		heapSwap(i, least);
		i = least;
	}
}

} // namespace archipelago::runtime
