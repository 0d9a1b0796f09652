// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See sync_share.h.
#include "daemon/store/file/sync_share.h"

namespace archipelago::store {

void SyncShare::began(uint32_t shard)
{
	const std::lock_guard guard(m_lock);
	m_running |= 1u << shard;
}

void SyncShare::ended(uint32_t shard)
{
	const std::lock_guard guard(m_lock);
	m_running &= ~(1u << shard);
	for (Waiting &waiting : m_waiting) {
		waiting.shards &= ~(1u << shard);
		if (waiting.shards) continue;
		const std::coroutine_handle<> handle = waiting.handle;
		waiting.reactor->postFromAnyThread([handle] { handle.resume(); });
	}
	std::erase_if(m_waiting, [](const Waiting &waiting) { return waiting.shards == 0; });
}

/// False: there is nobody to wait for.
bool SyncShare::waitFor(uint32_t shard, const Waiting &waiting)
{
	const std::lock_guard guard(m_lock);
	const uint32_t others = m_running & ~(1u << shard);
	if (!others) return false;
	m_waiting.push_back({waiting.reactor, waiting.handle, others});
	return true;
}

runtime::Task<void> SyncShare::othersEnded(runtime::Reactor &reactor, uint32_t shard)
{
	struct Wait {
		SyncShare &share;
		runtime::Reactor &reactor;
		uint32_t shard;
		bool await_ready() const noexcept { return false; }
		bool await_suspend(std::coroutine_handle<> h) { return share.waitFor(shard, {&reactor, h, 0}); }
		void await_resume() const noexcept {}
	};
	Wait wait{*this, reactor, shard};
	co_await wait;
}

} // namespace archipelago::store
