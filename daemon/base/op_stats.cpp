// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "daemon/base/op_stats.h"

#include "daemon/base/protocol.h"

#include "daemon/base/errors.h"

#include <algorithm>
#include <cmath>

namespace archipelago {

namespace {

std::span<const uint64_t> known(std::span<const uint64_t> counts)
{
	return counts.first(std::min(counts.size(), kLatencyBuckets));
}

uint64_t addSaturated(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

} // namespace

std::string_view opClassName(OpClass c)
{
	switch (c) {
	case OpClass::Read: return "read";
	case OpClass::Write: return "write";
	case OpClass::Flush: return "flush";
	case OpClass::Trim: return "trim";
	case OpClass::Extents: return "extents";
	case OpClass::Other: return "other";
	}
	return "other";
}

OpClass opClassOf(Op op)
{
	switch (op) {
	case Op::ObjRead:
	case Op::VolRead:
	case Op::MapRead: return OpClass::Read;
	case Op::ObjWrite:
	case Op::ObjCreate:
	case Op::ObjWriteFull:
	case Op::VolWrite:
	case Op::MapWrite:
	case Op::MapRecord: return OpClass::Write;
	case Op::ObjSync:
	case Op::ObjSyncVolume:
	case Op::ObjSyncAll:
	case Op::VolFlush:
	case Op::MapFlush: return OpClass::Flush;
	case Op::ObjPunch:
	case Op::VolTrim:
	case Op::VolZero:
	case Op::MapTrim:
	case Op::MapPunch: return OpClass::Trim;
	case Op::VolExtents:
	case Op::MapExtents: return OpClass::Extents;
	default: return OpClass::Other; // also what is no operation at all: it comes from a request
	}
}

LatencyRange latencyRange(size_t bucket)
{
	ARCHIPELAGO_ASSERT(bucket < kLatencyBuckets);
	if (bucket == 0) return {0, uint64_t(1) << kLatencyMinShift};
	if (bucket == kLatencyBuckets - 1) return {uint64_t(1) << kLatencyMaxShift, UINT64_MAX};
	const uint64_t power = uint64_t(1) << (kLatencyMinShift + (bucket - 1) / 4), quarter = (bucket - 1) % 4;
	return {power + quarter * (power / 4), power + (quarter + 1) * (power / 4)};
}

uint64_t latencyTotal(std::span<const uint64_t> counts)
{
	uint64_t total = 0;
	for (const uint64_t count : known(counts)) total = addSaturated(total, count);
	return total;
}

uint64_t latencyPercentileNs(std::span<const uint64_t> counts, double share)
{
	counts = known(counts);
	const uint64_t total = latencyTotal(counts);
	if (total == 0) return 0;
	const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(total));
	uint64_t seen = 0;
	size_t at = 0;
	for (size_t bucket = 0; bucket < counts.size(); ++bucket) {
		if (counts[bucket] == 0) continue;
		at = bucket;
		seen = addSaturated(seen, counts[bucket]);
		if (static_cast<double>(seen) >= wanted) break;
	}
	const LatencyRange range = latencyRange(at);
	return at == kLatencyBuckets - 1 ? range.beginNs : range.beginNs + (range.endNs - range.beginNs) / 2;
}

uint64_t latencyMaxNs(std::span<const uint64_t> counts)
{
	counts = known(counts);
	for (size_t bucket = counts.size(); bucket > 0; --bucket) {
		if (counts[bucket - 1] == 0) continue;
		const LatencyRange range = latencyRange(bucket - 1);
		return bucket == kLatencyBuckets ? range.beginNs : range.endNs;
	}
	return 0;
}

} // namespace archipelago
