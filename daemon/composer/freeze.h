// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Freeze: one volume's door. Every request of every session is counted in and out; while the volume is frozen, new ones
// are held, in order, and those in flight run to their end. "Frozen and drained" means: nothing of this volume is on its
// way to mapper or blocker, and nothing new sets out.
//
// Stop uses it to drain. Freezers nest: the volume thaws when the last of them has thawed it. One thread, and no
// allocation unless a request is held.
#pragma once

#include "daemon/runtime/task.h"
#include "xseg/port.h"

#include <deque>

namespace archipelago::composer {

/// Who asked to come in, and is told when it may try again.
class Entrant {
public:
	/// A request that was held: enter again (it may be held again).
	virtual void released(xseg::RequestRef request) = 0;
	/// A request that was held and will not be let in.
	virtual void refused(xseg::RequestRef request) = 0;

protected:
	~Entrant() = default;
};

class Freeze {
public:
	/// Counts one request in; it must leave(). False while frozen: hand it to hold().
	bool enter()
	{
		if (m_freezers) return false;
		++m_inflight;
		return true;
	}
	void leave()
	{
		if (--m_inflight == 0) m_drained.wakeAll();
	}
	/// Keeps a request until thaw() or refuseHeld(). `entrant` must live as long.
	void hold(Entrant &entrant, xseg::RequestRef request);

	/// From now on requests are held. Those in flight go on: see drained().
	void freeze() { ++m_freezers; }
	/// Comes back when the last of those in flight has left.
	runtime::Task<void> drained();
	/// Takes one freeze() back; the last one releases what was held, in order.
	void thaw();
	/// Sends away what is held.
	void refuseHeld();

	bool frozen() const { return m_freezers != 0; }
	uint32_t inflight() const { return m_inflight; }

private:
	struct Held {
		Entrant *entrant;
		xseg::RequestRef request;
	};
	uint32_t m_inflight = 0, m_freezers = 0;
	std::deque<Held> m_held;
	runtime::WaitList m_drained;
};

} // namespace archipelago::composer
