// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ShardedPeer: one role on several reactors, as one peer of the host process. Its shards (daemon/base/shards.h) start one after the
// other, shard 0 first, and all or none of them; they stop at the same time, and none is destroyed before all have stopped, so
// shards may refer to each other. Each is started, stopped and destroyed on its own reactor; the rest is the first one's thread.
#pragma once

#include "daemon/runtime/peer.h"

#include <atomic>
#include <vector>

namespace archipelago::runtime {

class ShardedPeer : public Peer {
public:
	/// `reactors`, one for each shard; the first is the caller's.
	ShardedPeer(std::vector<Reactor *> reactors, std::vector<std::unique_ptr<Peer>> shards);
	~ShardedPeer() override;

	/// The first error; then none is left running.
	Task<Result<void>> start() override;
	/// The first error; all have stopped.
	Task<Result<void>> stop() override;
	/// The sum, as each shard said it when it was asked the last time: this asks them anew, and waits for none.
	uint32_t inflight() const override;

private:
	struct Part {
		Reactor *reactor = nullptr;
		std::unique_ptr<Peer> peer;
		std::atomic<uint32_t> inflight = 0;
		std::atomic<bool> asked = false;
	};
	Task<Result<void>> stopFirst(size_t count);
	Task<void> stopPart(Part &part, Result<void> &result, size_t &left);
	Task<void> destroyParts();
	static Task<bool> destroy(Part &part);

	Reactor &m_here;
	std::unique_ptr<Part[]> m_parts;
	const size_t m_count;
	bool m_running = false;
	WaitList m_stopped;
};

} // namespace archipelago::runtime
