// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// mapperd: the peer that knows which volumes there are and which object holds which block. Serves Map* to the composer and
// Cat* to the service (daemon/base/protocol.h), and asks the two blockers for everything it keeps.
#pragma once

#include "daemon/mapper/volume_map.h"
#include "daemon/runtime/peer.h"

#include <memory>

namespace archipelago::mapper {

/// What only tests change.
struct MapperOptions {
	std::optional<BootId> bootId; ///< empty: the kernel's. Another one is how a power cut looks to who opens a volume after it
	VolumeLimits limits;
};

/// The peer of a mapperd role. start() binds its port, stop() closes every open volume.
std::unique_ptr<runtime::Peer> makeMapper(const runtime::PeerContext &context, const RoleConfig &role,
                                          const MapperOptions &options = {});

} // namespace archipelago::mapper
