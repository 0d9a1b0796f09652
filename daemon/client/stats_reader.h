// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The counters of all ports (daemon/runtime/counters.h), copied out of the segment and made fit to be passed on: names are
// printable, numbers are what they are. Whoever writes to the segment can write nonsense there; it is shown, and harms nobody.
// Reads a few kilobytes for each port that has ever counted; no lock, no request, any thread.
#pragma once

#include "daemon/base/op_stats.h"
#include "daemon/base/protocol.h"
#include "xseg/segment.h"

#include <array>
#include <string>
#include <vector>

namespace archipelago::client {

struct OpCounts {
	uint64_t ops = 0, bytes = 0, errors = 0, ns = 0, inflight = 0; ///< xs_stat_class
	std::array<uint64_t, kLatencyBuckets> latency{};
};

struct PortCounts {
	xseg::PortNo port = 0;
	uint64_t generation = 0; ///< another one: counted from zero again
	CounterKind kind = CounterKind::Role;
	VolumeId volume;  ///< CounterKind::Volume
	std::string name; ///< of volume or role
	bool bound = false;
	uint64_t sinceNs = 0; ///< CLOCK_BOOTTIME
	std::array<OpCounts, kOpClasses> ops; ///< by OpClass
};

/// By port. Records of a kind that is not known are left out.
std::vector<PortCounts> readCounters(const xseg::Segment &segment);

} // namespace archipelago::client
