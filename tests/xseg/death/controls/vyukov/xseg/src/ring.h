// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A control for the death tests, never part of the product: a ring that reserves a position first and publishes the entry in
// a second step (Vyukov's bounded queue, with our tickets as its sequence numbers). A producer killed in between leaves a
// hole that stops the consumer for ever.
#pragma once

#define Ring RingOfOneStep
#include_next "xseg/src/ring.h"
#undef Ring

namespace xseg {

class Ring : public RingOfOneStep {
public:
	Ring(xs_ring &shared, uint32_t slotsLog2) : RingOfOneStep(shared, slotsLog2), m_memory(shared), m_shift(slotsLog2) {}
	bool push(uint32_t request) const
	{
		for (uint64_t tries = 0; tries < 2 * slots() + 64; ++tries) {
			uint64_t position = std::atomic_ref(m_memory.tail).load();
			std::atomic_ref slot(m_memory.slot[position & (slots() - 1)]);
			const uint64_t empty = 2 * (position >> m_shift);
			const uint64_t ticket = slot.load() >> kRequestBits;
			if (ticket < empty) return false;
			if (ticket > empty || !std::atomic_ref(m_memory.tail).compare_exchange_strong(position, position + 1)) continue;
			XSEG_CRASH_POINT(); // here the hole is
			slot.store((empty + 1) << kRequestBits | request);
			XSEG_CRASH_POINT();
			return true;
		}
		return false;
	}

private:
	xs_ring &m_memory;
	uint32_t m_shift;
};

} // namespace xseg
