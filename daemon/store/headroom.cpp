// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See headroom.h.
#include "daemon/store/headroom.h"

namespace archipelago::store {

namespace {

constexpr uint64_t kLookEachBytes = 16u << 20, kLookEachNs = 250'000'000;
constexpr uint64_t kLookAgainMs = 250;
constexpr uint64_t kUnit = 4096; ///< filesystems give room in blocks of this

} // namespace

Headroom::Headroom(runtime::Reactor &reactor, ObjectStore &store, uint64_t reserveBytes, uint32_t shares, std::function<void()> looked)
    : m_reactor(reactor), m_store(store), m_reserve(reserveBytes), m_shares(shares), m_looked(std::move(looked)),
      m_timer(reactor, [this] { look(); })
{
	m_look.owner = this;
	m_look.op = Op::ObjCapacity;
	// In a turn of its own: the store is calling, and what happens next may send it more.
	m_look.done = [](StoreOp &op) {
		Headroom *owner = static_cast<Look &>(op).owner;
		owner->m_reactor.post([owner] { owner->onLooked(); });
	};
}

uint64_t Headroom::cost(uint64_t bytes, bool creates) { return (bytes + kUnit - 1) / kUnit * kUnit + (creates ? kUnit : 0); }

bool Headroom::take(uint64_t bytes)
{
	if (m_refused || bytes > m_left) return false;
	count(bytes);
	if (m_taken >= kLookEachBytes / m_shares || runtime::Reactor::nowNs() - m_lookedNs >= kLookEachNs) look();
	return true;
}

void Headroom::refusedBelow()
{
	m_refused = true;
	lookLater();
}

bool Headroom::takeAsProbe(uint64_t bytes)
{
	if (m_probing || bytes > m_left) return false;
	count(bytes);
	return m_probing = true;
}

void Headroom::count(uint64_t bytes)
{
	m_left -= bytes;
	m_pending += bytes;
	m_taken += bytes;
}

void Headroom::probed(bool hadRoom)
{
	m_probing = false;
	m_refused = !hadRoom;
}

void Headroom::look()
{
	if (m_looking || m_stopped) return;
	m_looking = true;
	m_pendingAtLook = m_pending;
	m_taken = 0;
	m_store.submit(m_look);
}

void Headroom::lookUnlessSoon()
{
	if (!m_timer.active()) look();
}

void Headroom::lookLater()
{
	if (!m_timer.active() && !m_stopped) m_timer.startMs(kLookAgainMs);
}

void Headroom::stop()
{
	m_stopped = true;
	m_timer.cancel();
}

void Headroom::onLooked()
{
	m_looking = false;
	m_timer.cancel();
	m_lookedNs = runtime::Reactor::nowNs();
	const uint64_t spoken = m_pendingAtLook + m_taken;
	// A store that cannot even say how full it is: its own ENOSPC decides.
	const uint64_t free = m_look.ok ? m_look.serviced : UINT64_MAX / 2;
	const uint64_t share = free > m_reserve ? (free - m_reserve) / m_shares : 0;
	m_left = share > spoken ? share - spoken : 0;
	m_looked();
}

} // namespace archipelago::store
