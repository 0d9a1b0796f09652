// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The line of waiters is a list through the waiters themselves: nothing is allocated when memory is short.
#include "daemon/gateway/buffer_budget.h"

namespace archipelago::gateway {

namespace {

constexpr uint64_t kMemoryRetryMs = 10;

} // namespace

BufferBudget::BufferBudget(runtime::Reactor &reactor, xseg::BufferPool &pool, uint64_t limitBytes, uint64_t stallMs,
                           std::function<void()> stalled)
    : m_pool(pool), m_limit(limitBytes), m_stallMs(stallMs), m_stalled(std::move(stalled)),
      m_retry(reactor, [this] { m_freed = true; }), m_stallTimer(reactor, [this] { tick(); })
{
}

bool BufferBudget::reserve(uint64_t cost, uint64_t held, Waiter &waiter)
{
	if (held + cost <= kOwnBytes) {
		m_used += cost;
		leave(waiter); // it may have waited for its own buffers
		return true;
	}
	const bool itsTurn = !m_first || m_serving == &waiter;
	// One request may be larger than the whole budget of a small segment: it goes alone.
	const bool room = m_used + cost <= m_limit || m_used == 0;
	if (itsTurn && room) {
		m_used += cost;
		if (m_first) m_serving = nullptr; // one for each turn: for more it goes to the end of the line
		return true;
	}
	enqueue(waiter);
	return false;
}

void BufferBudget::release(uint64_t cost)
{
	ARCHIPELAGO_ASSERT(cost <= m_used);
	m_used -= cost;
	m_freed = true;
}

void BufferBudget::waitForMemory(Waiter &waiter)
{
	enqueue(waiter);
	if (!m_retry.active()) m_retry.startMs(kMemoryRetryMs);
}

void BufferBudget::enqueue(Waiter &waiter)
{
	if (waiter.m_queued) return;
	waiter.m_queued = true;
	if (m_serving == &waiter) {
		// It was first and needs more room than there is: it stays first.
		waiter.m_before = nullptr;
		waiter.m_after = m_first;
		(m_first ? m_first->m_before : m_last) = &waiter;
		m_first = &waiter;
	} else {
		waiter.m_after = nullptr;
		waiter.m_before = m_last;
		(m_last ? m_last->m_after : m_first) = &waiter;
		m_last = &waiter;
	}
	if (!m_stallTimer.active()) {
		m_watched = m_first;
		m_stallTimer.startMs(m_stallMs);
	}
}

void BufferBudget::leave(Waiter &waiter)
{
	if (m_watched == &waiter) m_watched = nullptr;
	if (!waiter.m_queued) return;
	waiter.m_queued = false;
	(waiter.m_before ? waiter.m_before->m_after : m_first) = waiter.m_after;
	(waiter.m_after ? waiter.m_after->m_before : m_last) = waiter.m_before;
	m_freed = true; // the next one may need less
}

void BufferBudget::serve()
{
	while (m_freed && m_first) {
		m_freed = false;
		Waiter *waiter = m_first;
		const Waiter *watched = m_watched;
		leave(*waiter);
		m_serving = waiter;
		waiter->roomFreed();
		m_serving = nullptr;
		// First again: there is not enough room. Otherwise the next one gets its chance.
		m_freed = m_first != waiter;
		m_watched = m_freed ? nullptr : watched;
	}
}

void BufferBudget::tick()
{
	if (!m_first) return;
	if (m_watched == m_first) m_stalled();
	m_watched = m_first;
	if (m_first) m_stallTimer.startMs(m_stallMs);
}

} // namespace archipelago::gateway
