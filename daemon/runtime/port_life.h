// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The life of a port: who remembers the one in which it made an agreement with a peer (an attachment, a handle) sees that the
// peer is another one now, although it answers at the same port. A look at shared memory, no request; any thread.
#pragma once

#include "xseg/segment.h"

#include <atomic>

namespace archipelago::runtime {

/// Which bind of `port` this is; 0 while nobody has it (never bound, leaving, or fenced because its owner has died).
inline uint32_t portLife(const xseg::Segment &segment, xseg::PortNo port)
{
	if (port >= segment.geometry().ports) return 0;
	xs_port &shared = segment.port(port);
	// In this order: a binder stores its generation before it is BOUND.
	if (std::atomic_ref(shared.state).load() != XS_PORT_BOUND) return 0;
	return std::atomic_ref(shared.gen).load();
}

/// Whether the owner of a path entry (port:16 | generation:16) is there no more.
inline bool hasGone(const xseg::Segment &segment, uint32_t pathEntry)
{
	const uint32_t life = portLife(segment, static_cast<xseg::PortNo>(pathEntry >> 16));
	return life == 0 || (life & 0xffff) != (pathEntry & 0xffff);
}

} // namespace archipelago::runtime
