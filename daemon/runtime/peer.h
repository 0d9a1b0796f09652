// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Peer: code that owns ports and serves one role. A host process builds its peers in start order, starts each and waits for
// it, and stops them in reverse. A peer only sees its ports: which process the others run in is configuration.
#pragma once

#include "daemon/base/config.h"
#include "daemon/base/log.h"
#include "daemon/base/shards.h"
#include "daemon/runtime/reactor.h"
#include "daemon/runtime/task.h"

#include <cstdint>
#include <memory>
#include <string>

namespace archipelago::runtime {

/// What every peer gets; all of it outlives the peer.
struct PeerContext {
	Reactor &reactor;
	const Config &config;
	std::string runDir;
	bool trial = false;
	Shard shard;             ///< which part of the role this peer is; `reactor` is that of the shard
	bool createDirs = false; ///< `start --create-dirs`: make missing directories instead of refusing

	PeerContext(Reactor &r, const Config &c) : reactor(r), config(c) {}
};

class Peer {
public:
	virtual ~Peer() = default;
	/// Ready to serve when it succeeds. On failure nothing is left running; the error says what to do.
	virtual Task<Result<void>> start() = 0;
	/// Takes nothing new, finishes what is in flight, makes durable what stop promises, unbinds.
	virtual Task<Result<void>> stop() = 0;
	/// Operations in hand, for status.
	virtual uint32_t inflight() const { return 0; }
};

} // namespace archipelago::runtime
