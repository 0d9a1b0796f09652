// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the tests of this folder share: a small segment with its bells, and a peer with its own buffers and one port.
// Declaration order is destruction order reversed: the segment outlives the peers that are made after it.
#pragma once

#include "xseg/port.h"

#include <QtTest>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>

namespace xseg::test {

/// Ports 0..63, 4 waiters, 256 requests (4 runs), 32 ring slots, 8 MiB of data (32 slabs).
inline SegmentConfig smallConfig()
{
	return {.ports = 64, .waiters = 4, .requests = 256, .ringSlotsLog2 = 5, .sizeBytes = 12u << 20};
}

struct TestSegment {
	Segment segment;
	BellFds bells;
};

/// Ends the test program when there is no memory: nothing after it would mean anything.
inline TestSegment makeSegment(const SegmentConfig &config = smallConfig())
{
	auto segment = Segment::create(config);
	auto bells = createBells(config.waiters);
	if (!segment || !bells) {
		std::fprintf(stderr, "no segment for the test: %s\n", (segment ? bells.error() : segment.error()).what.c_str());
		std::abort();
	}
	return {std::move(*segment), std::move(*bells)};
}

struct Peer {
	Peer(const TestSegment &on, PortNo number, const BindOptions &options = {})
		: Peer(on.segment, on.bells, number, options)
	{}
	Peer(const Segment &segment, const BellFds &bells, PortNo number, const BindOptions &options = {})
		: buffers(segment, number)
	{
		auto bound = Port::bind(segment, bells, buffers, number, options);
		if (bound) port = std::move(*bound);
	}
	Port *operator->() const { return port.get(); }

	BufferPool buffers;
	std::unique_ptr<Port> port; ///< empty when the port was bound already
};

inline UniqueFd duplicate(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

/// Runs `action(segment, bells)` in a child process that has attached the segment by itself, as every peer does. The child
/// ends when the action returns, without unbinding anything that action has leaked or left on its stack by _exit().
template <typename Action> pid_t inChild(const TestSegment &t, Action action)
{
	const pid_t child = fork();
	if (child != 0) return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that fails leaves nobody behind
	auto segment = Segment::attach(duplicate(t.segment.fd()));
	if (!segment) _exit(99);
	action(*segment, t.bells);
	_exit(0);
}

/// Exit code of the child, or minus the signal that ended it.
inline int outcomeOf(pid_t child)
{
	int status = 0;
	if (waitpid(child, &status, 0) != child) return 1000;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/// Sleeps until there is work for the waiter, and takes the ready bits: before the caller drains, never after, or what
/// comes in between would be forgotten. False after 10 s without work: in a test that is a lost wake-up.
inline bool waitForWork(Waiter &waiter)
{
	constexpr int kLostAfterMs = 10'000;
	pollfd entry{.fd = waiter.eventFd(), .events = POLLIN, .revents = 0};
	const bool woken = !waiter.prepareSleep() || poll(&entry, 1, kLostAfterMs) == 1;
	waiter.wake();
	uint64_t rung = 0;
	[[maybe_unused]] const ssize_t got = read(waiter.eventFd(), &rung, sizeof rung);
	while (waiter.takeReady()) {}
	return woken;
}

/// What a supervisor says in the end, without the recovery before it: the port of the dead can be bound again.
inline void supervisorFrees(const TestSegment &t, PortNo port)
{
	t.segment.port(port).state = XS_PORT_FREE;
	t.segment.port(port).owner = 0;
}

/// How many requests of a segment are not FREE.
inline unsigned requestsInUse(const Segment &segment)
{
	unsigned used = 0;
	for (RequestIndex i = 0; i < segment.geometry().requests; ++i)
		used += (segment.request(i).state >> 36 & 0xf) != XS_FREE;
	return used;
}

} // namespace xseg::test
