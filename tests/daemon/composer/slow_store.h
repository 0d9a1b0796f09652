// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A memory store whose operations take some turns of the reactor, each a number of its own: so that whoever dies does so while
// its I/O is under way, and operations end in any order.
#pragma once

#include "daemon/store/memory/memory_store.h"

#include <deque>
#include <random>

namespace archipelago::testing {

class SlowStore : public store::MemoryStore {
public:
	SlowStore(runtime::Reactor &reactor, uint32_t seed) : m_reactor(reactor), m_random(seed) {}

	void submit(store::StoreOp &op) override
	{
		if (m_waiting.empty()) m_reactor.post([this] { tick(); });
		m_waiting.push_back(Waiting{&op, unsigned(m_random() % 12)});
	}

private:
	struct Waiting {
		store::StoreOp *op;
		unsigned turns;
	};
	void tick()
	{
		std::deque<Waiting> now;
		now.swap(m_waiting);
		std::vector<store::StoreOp *> due;
		for (Waiting &w : now) {
			if (w.turns == 0)
				due.push_back(w.op);
			else
				m_waiting.push_back(Waiting{w.op, w.turns - 1});
		}
		if (!m_waiting.empty()) m_reactor.post([this] { tick(); });
		for (store::StoreOp *op : due) store::MemoryStore::submit(*op); // ends at once, and may submit others
	}

	runtime::Reactor &m_reactor;
	std::mt19937 m_random;
	std::deque<Waiting> m_waiting;
};

} // namespace archipelago::testing
