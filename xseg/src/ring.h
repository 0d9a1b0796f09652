// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Ring: a bounded queue of request numbers, many producers, one consumer, in which one CAS both reserves and publishes.
//
//   slot = ticket:40 | request:24          position p lives in slot p % slots, its lap is p / slots
//   ticket 2*lap      empty, waits for position p of that lap      (a ring of zeros is an empty ring)
//   ticket 2*lap + 1  full
//   ticket 2*lap + 2  consumed = empty for the next lap
//
// Reserving and publishing in one step is the point: a producer may be killed between any two instructions and leaves
// either nothing or a complete entry, never a hole that stops everybody behind it (tests/models/ring_model.py; the
// two-step Vyukov ring there is the counter-example). `tail` is a hint that every producer helps along; because a
// position is only tried by who read it from `tail`, the hint is never more than one behind.
//
// THE CONSUMER'S ORDER IS FIXED:  1 read the slot   2 CAS the state word   3 clear the slot   4 bump head.
//   killed after 1   nothing has changed
//   killed after 2   the request is OWNED by the dead; its entry is still here, and the successor's CAS refuses it
//   killed after 3   head is one behind; peek() steps over a slot that was cleared (or already filled for the next lap)
//   3 before 2       killed in between, the request is SENDING and in no ring: lost, nobody will ever look at it again
// peek() is step 1, clear() steps 3 and 4; step 2 belongs to the caller (state_word.h).
//
// Slot and tail accesses are sequentially consistent because the bells need it (waiter.cpp). On x86 that costs nothing
// over the locked CAS. Every walk is bounded, whatever is in the memory: garbage can make a ring refuse or skip, never loop.
#pragma once

#include "xseg/segment.h"
#include "xseg/src/shared_word.h"

namespace xseg {

class Ring {
public:
	static constexpr uint32_t kRequestBits = 24;
	static constexpr uint64_t kRequestMask = (uint64_t(1) << kRequestBits) - 1;
	static constexpr uint64_t kTicketMask = (uint64_t(1) << (64 - kRequestBits)) - 1;

	Ring(xs_ring &shared, uint32_t slotsLog2)
		: m_shared(shared),
		  m_log2(slotsLog2),
		  m_mask((uint64_t(1) << slotsLog2) - 1)
	{}

	uint64_t slots() const { return m_mask + 1; }

	/// Any process. False: full (or the memory is garbage). Lock-free: a failed try means that somebody else got on.
	bool push(uint32_t request) const
	{
		std::atomic_ref tail(m_shared.tail);
		for (uint64_t tries = 0; tries < 2 * slots() + 64; ++tries) {
			uint64_t position = tail.load();
			uint64_t word = slot(position).load();
			const int64_t lead = leadOf(word, position);
			if (lead < 0) return false; // the entry of the lap before is still there
			if (lead == 0 && slot(position).compare_exchange_strong(word, pack(2 * lap(position) + 1, request))) {
				XSEG_CRASH_POINT();
				tail.compare_exchange_strong(position,
				                             position + 1); // killed before this line: the next producer helps
				XSEG_CRASH_POINT();
				return true;
			}
			// Taken, by somebody who may be dead: help the hint past it. Fails when it has moved on already.
			if (lead > 0) tail.compare_exchange_strong(position, position + 1);
		}
		return false;
	}

	/// Consumer: the request number at `head`, unchecked, or nothing. `head` is the consumer's own copy, so that no peer
	/// can move it; it moves here only over slots that hold nothing for this lap.
	std::optional<uint32_t> peek(uint64_t &head) const
	{
		for (uint64_t walked = 0; walked < slots(); ++walked) {
			const uint64_t word = slot(head).load();
			switch (leadOf(word, head)) {
			case 1: return uint32_t(word & kRequestMask);
			case 0: return std::nullopt;
			case 2: // a predecessor cleared it and died before it bumped head,
			case 3: // and a producer has filled it for the next lap since: not ours to clear yet
				bump(head);
				break;
			default: // nothing we or a producer write: reset it to what this lap leaves behind, so that the ring goes on
				clear(head);
			}
		}
		return std::nullopt;
	}

	/// Consumer: done with the entry at `head`. Only after the CAS of the state word.
	void clear(uint64_t &head) const
	{
		slot(head).store(pack(2 * lap(head) + 2, 0), std::memory_order_release);
		XSEG_CRASH_POINT();
		bump(head);
	}

	/// Whether some entry of this ring names `request`. Exact only while nobody consumes.
	bool contains(uint32_t request) const
	{
		for (uint64_t index = 0; index < slots(); ++index) {
			const uint64_t word = slot(index).load();
			const bool full = (word >> kRequestBits & 1) != 0;
			if (full && (word & kRequestMask) == request) return true;
		}
		return false;
	}

	/// Where the last consumer of this ring stopped: the first `head` of its successor.
	uint64_t sharedHead() const { return std::atomic_ref(m_shared.head).load(std::memory_order_acquire); }

private:
	static uint64_t pack(uint64_t ticket, uint32_t request)
	{
		return (ticket & kTicketMask) << kRequestBits | (request & kRequestMask);
	}
	uint64_t lap(uint64_t position) const { return position >> m_log2; }
	std::atomic_ref<uint64_t> slot(uint64_t position) const
	{
		return std::atomic_ref(m_shared.slot[position & m_mask]);
	}

	/// Ticket of the slot minus the ticket "empty" of this position, in the 40-bit arithmetic of tickets.
	int64_t leadOf(uint64_t word, uint64_t position) const
	{
		const uint64_t difference = (word >> kRequestBits) - 2 * lap(position);
		return int64_t(difference << kRequestBits) >> kRequestBits;
	}
	void bump(uint64_t &head) const
	{
		++head;
		std::atomic_ref(m_shared.head).store(head, std::memory_order_release);
		XSEG_CRASH_POINT();
	}

	xs_ring &m_shared;
	uint32_t m_log2;
	uint64_t m_mask;
};

} // namespace xseg
