// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "daemon/client/stats_reader.h"

#include "daemon/base/text.h"
#include "xseg/stats.h"

#include <algorithm>
#include <cstring>

namespace archipelago::client {

namespace {

static_assert(kOpClasses == XS_STAT_CLASSES && kLatencyBuckets == XS_HIST_BUCKETS);

bool isKnown(uint32_t kind)
{
	return kind == static_cast<uint32_t>(CounterKind::Volume) || kind == static_cast<uint32_t>(CounterKind::Role);
}

OpCounts countsOf(const xs_stat_class &c, bool bound)
{
	OpCounts out;
	out.ops = c.ops;
	out.bytes = c.bytes;
	out.errors = c.errors;
	out.ns = c.ns;
	// What a dead owner had in hand is nobody's any more; `ops` may have been copied a moment after `begun`.
	out.inflight = bound && c.begun > c.ops ? c.begun - c.ops : 0;
	std::copy(std::begin(c.hist), std::end(c.hist), out.latency.begin());
	return out;
}

} // namespace

std::vector<PortCounts> readCounters(const xseg::Segment &segment)
{
	std::vector<PortCounts> out;
	for (uint32_t n = 0; n < segment.geometry().ports; ++n) {
		const auto port = static_cast<xseg::PortNo>(n);
		const auto copy = xseg::readStats(segment, port);
		if (!copy || !isKnown(copy->record.kind)) continue;
		PortCounts &counts = out.emplace_back();
		counts.port = port;
		counts.generation = copy->generation;
		counts.kind = static_cast<CounterKind>(copy->record.kind);
		std::memcpy(counts.volume.bytes.data(), copy->record.subject, sizeof copy->record.subject);
		counts.name = printable(copy->label);
		counts.bound = copy->bound;
		counts.sinceNs = copy->record.since;
		for (size_t c = 0; c < kOpClasses; ++c) counts.ops[c] = countsOf(copy->record.op[c], copy->bound);
	}
	return out;
}

} // namespace archipelago::client
