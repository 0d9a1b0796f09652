// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The NBD gateway: serves volumes to NBD clients on a unix socket. Everything it needs is in Config::nbd.
#pragma once

#include "daemon/runtime/peer.h"

#include <memory>
#include <span>
#include <vector>

namespace archipelago::gateway::nbd {

/// The peer. `context` and what it refers to outlive it.
std::unique_ptr<runtime::Peer> makeNbdGateway(const runtime::PeerContext &context);
/// One for each shard, on the reactor of its context.
std::vector<std::unique_ptr<runtime::Peer>> makeNbdGatewayShards(std::span<const runtime::PeerContext> shards);

} // namespace archipelago::gateway::nbd
