// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// SyncShare: what the sync queues of one directory's shards have to tell each other. Each shard syncs by itself, but they write
// through one filesystem to one device, and the kernel reports a failed flush once, to whoever asked first: the flush of another
// shard right behind it may then succeed, although what it was to make durable is lost as well. So
//   - a failure that concerns whoever has something un-synced is counted here, and the others treat it as one of their own;
//   - a sync that has succeeded counts only after those that other shards had under way at its end have ended too, and no new
//     failure was counted: one whose failure the kernel took note of before ours is under way until its shard has said so.
// Nobody waits for syncs that begin later, and a sync has ended before its shard waits for others: so no two wait for each other.
// Any thread.
#pragma once

#include "daemon/runtime/reactor.h"

#include <atomic>
#include <mutex>
#include <vector>

namespace archipelago::store {

class SyncShare {
public:
	/// The system calls of a sync of `shard` begin, and have ended.
	void began(uint32_t shard);
	void ended(uint32_t shard);
	/// Comes back when the syncs that others have under way now have ended.
	runtime::Task<void> othersEnded(runtime::Reactor &reactor, uint32_t shard);

	/// A failure that concerns every shard.
	void failed() { ++m_failures; }
	uint64_t failures() const { return m_failures.load(); }

private:
	struct Waiting {
		runtime::Reactor *reactor;
		std::coroutine_handle<> handle;
		uint32_t shards; ///< bit n: the sync of shard n
	};
	bool waitFor(uint32_t shard, const Waiting &waiting);

	std::atomic<uint64_t> m_failures = 0;
	std::mutex m_lock;
	uint32_t m_running = 0; ///< bit n: shard n
	std::vector<Waiting> m_waiting;
};

} // namespace archipelago::store
