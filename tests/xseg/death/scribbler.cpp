// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A peer that has gone mad. It may cost requests, also all of them; it must not cost another process: no signal, no assertion,
// no endless loop, neither in the peers nor in a supervisor that verifies and recovers all the time.
#include "tests/xseg/death/household.h"

#include "xseg/src/shared_word.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <ctime>

namespace xseg::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kMadFor(250), kTurnsWithin(10'000);

/// One word of a table, aligned; half of them small, so that they look like numbers of ports, states and slabs.
void writeOneWord(const Segment &segment, std::mt19937_64 &random)
{
	const Geometry &g = segment.geometry();
	std::byte *base = segment.data().data() - g.offData;
	const std::pair<uint64_t, uint64_t> tables[] = {
		{0, g.offWaiters},                                              // header and ports
		{g.offWaiters, g.offRings},                                     // waiters
		{g.offRings, g.offRings + 10 * Segment::ringBytes(g)},          // rings of the ports in use
		{g.offRequests, g.offRequests + 256 * sizeof(xs_req)},          // requests in use
		{g.offRuns, g.offData},                                         // runs and slabs
		{g.offData, g.offData + (1u << 20)},                            // payload
	};
	// Ports seldom: one broken state word ends all that its owner does.
	const size_t which = random() % 50 == 0 ? 0 : 1 + random() % (std::size(tables) - 1);
	const auto &[from, to] = tables[which];
	auto &word = *reinterpret_cast<uint64_t *>(base + from + random() % ((to - from) / 8) * 8);
	std::atomic_ref(word).store(random() % 2 ? random() : random() >> random() % 64, std::memory_order_relaxed);
}

} // namespace

void Household::scribble(uint64_t seed)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	auto segment = Segment::attach(UniqueFd(fcntl(m_segment.fd(), F_DUPFD_CLOEXEC, 0)));
	if (!segment) _exit(2);
	std::mt19937_64 random(seed);
	const timespec moment{.tv_sec = 0, .tv_nsec = 50'000}; // a pace at which the others still get something done
	for (;;) {
		for (unsigned i = 1 + unsigned(random() % 4); i > 0; --i) writeOneWord(*segment, random);
		nanosleep(&moment, nullptr);
	}
}

bool Household::everybodyTurns() const
{
	for (uint32_t role = 0; role < kRoles; ++role) {
		if (m_ledger->turns[role] == m_turnsBefore[role]) return false;
	}
	return true;
}

void Household::liveBesideAScribbler()
{
	const auto ownTurns = [this] {
		for (uint32_t role = 0; role < kRoles; ++role) m_turnsBefore[role] = m_ledger->turns[role];
	};
	const auto until = [this](Clock::time_point end, bool stopWhenAllTurn) {
		while (Clock::now() < end && m_outcome.wrong.empty() && !(stopWhenAllTurn && everybodyTurns())) {
			waitABit();
			verify(m_segment);
			for (const ProcessId &owner : m_recovery.owners()) {
				if (isRunning(owner)) continue;
				m_recovery.fence(owner);
				m_recovery.release(owner);
			}
			for (uint32_t role = 0; role < kRoles; ++role) {
				int status = 0;
				if (waitpid(m_processes[role].pid, &status, WNOHANG) != m_processes[role].pid) continue;
				m_processes[role].pid = 0;
				wrong("role " + std::to_string(role) + " was dragged along: status " + std::to_string(status));
			}
		}
	};
	ownTurns();
	until(Clock::now() + kTurnsWithin, true); // all of them have bound their ports
	const uint64_t seed = m_random();
	const pid_t scribbler = fork();
	if (scribbler == 0) scribble(seed);
	until(Clock::now() + kMadFor, false);
	ownTurns();
	until(Clock::now() + kTurnsWithin, true);
	if (m_outcome.wrong.empty() && !everybodyTurns()) wrong("somebody is caught in a loop");
	kill(scribbler, SIGKILL);
	waitpid(scribbler, nullptr, 0);
}

} // namespace xseg::test
