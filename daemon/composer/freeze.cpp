// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The slow half of Freeze.
#include "daemon/composer/freeze.h"

namespace archipelago::composer {

void Freeze::hold(Entrant &entrant, xseg::RequestRef request) { m_held.push_back(Held{&entrant, std::move(request)}); }

runtime::Task<void> Freeze::drained()
{
	while (m_inflight) co_await m_drained.wait();
}

void Freeze::thaw()
{
	ARCHIPELAGO_ASSERT(m_freezers);
	if (--m_freezers) return;
	// Taken aside: a released request may freeze the volume again, and then the rest is held again, in the same order.
	std::deque<Held> held;
	held.swap(m_held);
	for (Held &h : held) h.entrant->released(std::move(h.request));
}

void Freeze::refuseHeld()
{
	std::deque<Held> held;
	held.swap(m_held);
	for (Held &h : held) h.entrant->refused(std::move(h.request));
}

} // namespace archipelago::composer
