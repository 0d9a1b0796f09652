// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Waiter: how a thread sleeps until one of its ports has work, and how others wake it.
//
// Protocol (a missed wake-up is impossible, a spurious one harmless):
//   owner     prepareSleep(): bell = 1 (exchange, full barrier); look at the ready bits and rings once more; then wait on
//             the eventfd (at most 100 ms: covers a producer killed between its push and its ring); wake(): bell = 0
//   producer  push into the ring; announce(): set the port's ready bit; if (bell == 1 && CAS(bell, 1 -> 0)) write eventfd
//
// Whoever waits on the eventfd also reads it when it was readable; it may be readable once more for nothing. After a wait
// that timed out, the owner looks at the rings of all its ports: a producer that was killed left no ready bit.
#pragma once

#include "xseg/segment.h"

#include <vector>

namespace xseg {

/// The eventfds of all waiters of a segment, as handed out by the supervisor. Index = waiter number.
/// Each process holds its own duplicates.
using BellFds = std::vector<UniqueFd>;
Result<BellFds> createBells(uint32_t count);

/// Tells waiter `waiter` that `port` has something to do. Any thread, any process.
void announce(const Segment &segment, const BellFds &bells, uint32_t waiter, PortNo port);
/// Wakes without naming a port (shutdown, recovery). When the owner is awake, its next prepareSleep() returns false.
void ring(const Segment &segment, const BellFds &bells, uint32_t waiter);

class Waiter {
public:
	Waiter(const Segment &segment, const BellFds &bells, uint32_t index);

	uint32_t index() const { return m_index; }
	int eventFd() const;
	/// Takes the next port whose ready bit is set, clearing the bit; nothing when none is. The caller then drains the
	/// port's rings until both are empty (or sets the bit again with mark()).
	std::optional<PortNo> takeReady();
	void mark(PortNo port);
	/// The owner has this port. From the first call on, takeReady() and anyReady() look for named ports alone, which is a
	/// cache line where all 2048 are four. Marks it too: a predecessor may have left something in its rings.
	void watch(PortNo port);
	bool anyReady() const;
	/// Announces that the owner is about to sleep. Returns false when there is work: do not sleep.
	bool prepareSleep();
	/// After waking, or instead of sleeping.
	void wake();

private:
	const Segment &m_segment;
	const BellFds &m_bells;
	uint32_t m_index;
	PortNo m_nextPort = 0; ///< takeReady() goes round, so that no busy port starves the others
	uint64_t m_words;      ///< a bit for each word of the ready bits that is looked at
	bool m_named = false;  ///< these hold the ports of watch(), not just any
};

/// How long to poll before sleeping, learned from what polling brought (self-tuning, 0..200 us).
class SpinBudget {
public:
	explicit SpinBudget(bool allowed) : m_allowed(allowed) {}
	bool allowed() const { return m_allowed; }
	uint64_t nextNs();            ///< budget of the coming poll, 0 = sleep at once
	void hit();                   ///< polling found work
	void missed();                ///< it did not
	void blockedFor(uint64_t ns); ///< how long the sleep then lasted

private:
	bool m_allowed;
	bool m_polling = false;           ///< the last budget was not 0
	uint32_t m_fails = 1, m_skip = 2; ///< polls missed in a row; sleeps until the next probe
	uint64_t m_blockedEwmaNs = 0;
};

} // namespace xseg
