// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See sharded_peer.h.
#include "daemon/runtime/sharded_peer.h"

#include "daemon/runtime/reactor_thread.h"

namespace archipelago::runtime {

ShardedPeer::ShardedPeer(std::vector<Reactor *> reactors, std::vector<std::unique_ptr<Peer>> shards)
    : m_here(*reactors.front()), m_parts(std::make_unique<Part[]>(shards.size())), m_count(shards.size())
{
	ARCHIPELAGO_ASSERT(reactors.size() == shards.size());
	for (size_t i = 0; i < m_count; ++i) {
		m_parts[i].reactor = reactors[i];
		m_parts[i].peer = std::move(shards[i]);
	}
}

ShardedPeer::~ShardedPeer() { ARCHIPELAGO_ASSERT(!m_running); }

Task<Result<void>> ShardedPeer::start()
{
	for (size_t i = 0; i < m_count; ++i) {
		Peer *peer = m_parts[i].peer.get();
		std::function<Task<Result<void>>()> job = [peer] { return peer->start(); };
		Result<void> started = co_await runOn(m_here, *m_parts[i].reactor, std::move(job));
		if (started) continue;
		const Result<void> stopped = co_await stopFirst(i);
		(void)stopped; // the start's own error is the one to report
		co_await destroyParts();
		co_return std::move(started);
	}
	m_running = true;
	co_return Result<void>{};
}

Task<Result<void>> ShardedPeer::stop()
{
	m_running = false; // whoever was asked for its count before has answered by the time it is stopped: mail keeps its order
	Result<void> stopped = co_await stopFirst(m_count);
	co_await destroyParts();
	co_return std::move(stopped);
}

Task<Result<void>> ShardedPeer::stopFirst(size_t count)
{
	std::vector<Result<void>> results(count);
	size_t left = count;
	for (size_t i = 0; i < count; ++i) spawn(stopPart(m_parts[i], results[i], left));
	while (left > 0) co_await m_stopped.wait();
	for (Result<void> &result : results)
		if (!result) co_return std::move(result);
	co_return Result<void>{};
}

Task<void> ShardedPeer::stopPart(Part &part, Result<void> &result, size_t &left)
{
	Peer *peer = part.peer.get();
	std::function<Task<Result<void>>()> job = [peer] { return peer->stop(); };
	result = co_await runOn(m_here, *part.reactor, std::move(job));
	if (--left == 0) m_stopped.wakeAll();
}

Task<void> ShardedPeer::destroyParts()
{
	for (size_t i = 0; i < m_count; ++i) {
		Part &part = m_parts[i];
		std::function<Task<bool>()> job = [&part] { return destroy(part); };
		const bool done = co_await runOn(m_here, *part.reactor, std::move(job));
		(void)done;
	}
}

Task<bool> ShardedPeer::destroy(Part &part)
{
	part.peer.reset();
	co_return true;
}

uint32_t ShardedPeer::inflight() const
{
	uint32_t sum = 0;
	for (size_t i = 0; i < m_count; ++i) {
		Part &part = m_parts[i];
		sum += part.inflight.load();
		if (!m_running || part.asked.exchange(true)) continue; // a shard that hangs has one question, not one more each time
		part.reactor->postFromAnyThread([&part] {
			part.inflight.store(part.peer->inflight());
			part.asked.store(false);
		});
	}
	return sum;
}

} // namespace archipelago::runtime
