// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Blocker: the peer in front of an object store. Takes the Obj* requests of protocol.h from its port, checks every field
// (they come from another process), has the store carry them out in the requester's own buffer, answers.
//
// It has nr_ops operations in hand at most, in slots made when it starts; while all are taken, requests wait in the ring,
// which is what their senders see as back-pressure. Nothing is allocated per request. Reactor thread.
#pragma once

#include "daemon/runtime/peer.h"
#include "daemon/store/object_store.h"

#include <memory>

namespace archipelago::store {

/// The blocker of a file_blocker role: a FileStore in role.archipDir behind port role.portnoStart.
std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role);
/// The same in front of any store.
std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role,
                                           std::unique_ptr<ObjectStore> store);

} // namespace archipelago::store
