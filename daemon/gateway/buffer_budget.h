// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// BufferBudget: how much of the segment the clients of a gateway may tie up, and in which order they get it.
//
// Whoever needs buffers reserves first, all it needs before it can go on by itself (a read: all of its pieces; a write: the
// piece it is about to receive), then allocates within that. So nobody holds a part while waiting for the rest, and
// waiting cannot turn into a deadlock. Those who wait are served in order, one reservation each; nobody overtakes the first.
//
// A client that does not fetch its replies keeps what it has. That is bounded per client by its owner; when others have
// waited in vain for long, stalled() is called and the owner drops clients that do not move. Whoever holds little passes the
// line: up to kOwnBytes each, beyond the limit if need be, so that small I/O goes on whatever others hold.
#pragma once

#include "daemon/runtime/reactor.h"
#include "xseg/buffer_pool.h"

#include <bit>
#include <cstdint>
#include <functional>

namespace archipelago::gateway {

class BufferBudget {
public:
	/// Somebody who waits for room. Must leave() before it goes.
	class Waiter {
	public:
		virtual ~Waiter() = default;
		virtual void roomFreed() = 0;

	private:
		friend class BufferBudget;
		Waiter *m_before = nullptr, *m_after = nullptr;
		bool m_queued = false;
	};

	/// `stalled`: called every stallMs while the same waiter stands first in line.
	BufferBudget(runtime::Reactor &reactor, xseg::BufferPool &pool, uint64_t limitBytes, uint64_t stallMs,
	             std::function<void()> stalled);

	/// What a buffer of `bytes` costs: buffers are powers of two.
	static uint64_t cost(uint32_t bytes) { return std::max<uint64_t>(512, std::bit_ceil(uint64_t{bytes})); }

	/// `held`: what the caller has already. True: `cost` bytes are the caller's, until release(). False: it stands in line, and
	/// roomFreed() says when to try again.
	bool reserve(uint64_t cost, uint64_t held, Waiter &waiter);
	/// For guesses: only while nobody waits. False: no room, and nobody is put in line.
	bool reserveSpare(uint64_t cost)
	{
		if (m_first || m_used + cost > m_limit) return false;
		m_used += cost;
		return true;
	}
	void release(uint64_t cost);
	/// A buffer within what was reserved; XS_NO_BUFFER when the segment has none. Then release(), and waitForMemory().
	uint32_t allocate(uint32_t bytes) { return m_pool.allocate(bytes); }
	void free(uint32_t buffer) { m_pool.free(buffer); }
	/// The segment itself is full of others' buffers: tried again after a while.
	void waitForMemory(Waiter &waiter);
	void leave(Waiter &waiter);

	/// Once per turn: serves those in line as far as there is room.
	void serve();
	static constexpr uint64_t kOwnBytes = 64 * 1024;
	uint64_t used() const { return m_used; }
	uint64_t limit() const { return m_limit; }

private:
	void enqueue(Waiter &waiter);
	void tick();

	xseg::BufferPool &m_pool;
	uint64_t m_limit, m_stallMs, m_used = 0;
	bool m_freed = false; ///< since the last serve()
	Waiter *m_first = nullptr, *m_last = nullptr;
	const Waiter *m_serving = nullptr;  ///< may reserve although it is (was) first in line
	const Waiter *m_watched = nullptr;  ///< first in line at the last tick
	std::function<void()> m_stalled;
	runtime::Timer m_retry, m_stallTimer;
};

} // namespace archipelago::gateway
