// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A control for the death tests, never part of the product: the ring with the consumer's steps in the wrong order. peek()
// clears the slot before the caller has won the state word. Killed in between, the request is SENDING and in no ring.
// Recovery heals that for the dead's own rings, because it looks for the entry itself; here contains() says "it is there",
// which is the plain rule "leave it, the successor will accept it": both guards off, or the test could not show the first.
#pragma once

#define Ring RingInOrder
#include_next "xseg/src/ring.h"
#undef Ring

namespace xseg {

class Ring : public RingInOrder {
public:
	using RingInOrder::RingInOrder;
	bool contains(uint32_t) const { return true; }
	std::optional<uint32_t> peek(uint64_t &head) const
	{
		const auto found = RingInOrder::peek(head);
		if (found) RingInOrder::clear(head);
		return found;
	}
	void clear(uint64_t &) const {}
};

} // namespace xseg
