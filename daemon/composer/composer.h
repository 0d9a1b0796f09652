// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The composer (role type vlmcd): volumes as clients see them, made of the mapper's map and the blocker's objects.
// Serves a control port (the role's first: attach, list, ping) and one session port per attached client behind it.
#pragma once

#include "daemon/runtime/peer.h"

#include <memory>

namespace archipelago::composer {

/// The peer of `role`. Both arguments outlive it.
std::unique_ptr<runtime::Peer> makeComposer(const runtime::PeerContext &context, const RoleConfig &role);

} // namespace archipelago::composer
