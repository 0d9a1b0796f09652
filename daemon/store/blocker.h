// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Blocker: the peer in front of an object store. Takes the Obj* requests of protocol.h from its port, checks every field
// (they come from another process), has the store carry them out in the requester's own buffer, answers.
//
// It has nr_ops operations in hand at most, in slots made when it starts; while all are taken, requests wait in the ring,
// which is what their senders see as back-pressure. Nothing is allocated per request. Reactor thread.
//
// A full store. Data that would take room below RESERVE, or that the store has no room for, waits (FULL_POLICY = "pause") in
// the order in which it came, without a slot, so that everything else goes on: reads, removals, punches, metadata, and
// writes to blocks that have all of their room already. With "error" it is E-NOSPACE. Writes that wait when the blocker stops
// fail back (E-PEER): they were never acknowledged.
#pragma once

#include "daemon/runtime/peer.h"
#include "daemon/store/object_store.h"

#include <memory>
#include <span>
#include <vector>

namespace archipelago::store {

/// The blocker of a file_blocker role: a FileStore in role.archipDir behind port role.portnoStart.
std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role);
/// One for each shard of the role, on the reactor of its context. They share the directory and its lock.
std::vector<std::unique_ptr<runtime::Peer>> makeBlockerShards(std::span<const runtime::PeerContext> shards, const RoleConfig &role);
/// The same in front of any store.
std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role,
                                           std::unique_ptr<ObjectStore> store);

} // namespace archipelago::store
