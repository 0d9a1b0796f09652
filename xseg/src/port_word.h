// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Whose a port is, and whether somebody is there. The owner word of a port: 0 = nobody's, else pid:32 | start time:32 (the
// low half). It is claimed by one CAS, before anything else of the port is touched, and cleared last: whatever is killed in
// between leaves the name of the dead, and recovery finds what it left by that alone.
#pragma once

#include "xseg/process.h"
#include "xseg/segment.h"
#include "xseg/src/shared_word.h"

namespace xseg {

constexpr uint64_t ownerWord(const ProcessId &process) { return uint64_t(process.pid) << 32 | uint32_t(process.startTime); }

inline uint64_t ownerOf(const Segment &segment, PortNo port)
{
	return std::atomic_ref(segment.port(port).owner).load(std::memory_order_acquire);
}

/// Nobody's -> `me`. Also true when it is `me` already.
inline bool claimPort(const Segment &segment, PortNo port, uint64_t me)
{
	uint64_t before = 0;
	const bool claimed = std::atomic_ref(segment.port(port).owner).compare_exchange_strong(before, me);
	XSEG_CRASH_POINT();
	return claimed || before == me;
}

/// `me` -> nobody's. A word that is not ours any more was overwritten by a broken peer and is left as it is.
inline void giveUpPort(const Segment &segment, PortNo port, uint64_t me)
{
	std::atomic_ref(segment.port(port).owner).compare_exchange_strong(me, 0);
	XSEG_CRASH_POINT();
}

inline void setPortState(const Segment &segment, PortNo port, uint32_t state)
{
	std::atomic_ref(segment.port(port).state).store(state); // sequentially consistent: Port::push() looks after its push
	XSEG_CRASH_POINT();
}

inline bool isBound(const Segment &segment, PortNo port)
{
	return port < segment.geometry().ports && std::atomic_ref(segment.port(port).state).load() == XS_PORT_BOUND;
}

/// The very peer that wrote this entry into a path (port:16 | gen:16) is still there.
inline bool isAlive(const Segment &segment, uint32_t pathEntry)
{
	const auto port = PortNo(pathEntry >> 16);
	return isBound(segment, port) && (readOnce(segment.port(port).gen) & 0xffff) == (pathEntry & 0xffff);
}

/// Number of path entries, 0 when it is nonsense.
inline uint16_t pathLength(const xs_req &request)
{
	const uint16_t length = readOnce(request.npath);
	return length <= XS_MAX_HOPS ? length : uint16_t(0);
}

} // namespace xseg
