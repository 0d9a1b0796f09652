// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What is counted about I/O, and how a latency histogram is read: shared by those who count (daemon/runtime/counters.h), those
// who copy (daemon/client/stats_reader.h) and those who show. The numbers of classes and buckets are those of xseg/abi.h.
//
//   bucket   0        1..4                       5..8           ...   105..108            109
//   values   < 2^10   four quarters of 2^10..2^11   2^11..2^12         2^36..2^37 (137 s)   from 2^37 on     nanoseconds
//
// A value is told as the middle of its bucket: off by 12.5 % at most, between 1 us and 137 s. Pure, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace archipelago {

enum class Op : uint16_t; // protocol.h

enum class OpClass : uint8_t { Read, Write, Flush, Trim, Extents, Other };
inline constexpr size_t kOpClasses = 6;
/// "read", "write", "flush", "trim" (zeroing too), "extents" (where something is stored: NBD's block status), "other".
std::string_view opClassName(OpClass c);
OpClass opClassOf(Op op);
/// Whether it moves, or gives back, the bytes it speaks of: else its length is not counted.
constexpr bool countsBytes(OpClass c) { return c == OpClass::Read || c == OpClass::Write || c == OpClass::Trim; }

/// What a record of counters is about (xs_stats::kind).
enum class CounterKind : uint32_t {
	Volume = 1, ///< what a gateway's clients do with one volume; subject = its id, label = its name
	Role = 2,   ///< what one port of a role answers; no subject, label = name of the role
};

inline constexpr unsigned kLatencyMinShift = 10, kLatencyMaxShift = 37;
inline constexpr size_t kLatencyBuckets = 2 + 4 * (kLatencyMaxShift - kLatencyMinShift);

constexpr size_t latencyBucket(uint64_t ns)
{
	if (ns < (uint64_t(1) << kLatencyMinShift)) return 0;
	if (ns >> kLatencyMaxShift) return kLatencyBuckets - 1;
	const unsigned power = 63u - static_cast<unsigned>(__builtin_clzll(ns));
	return 1 + 4 * (power - kLatencyMinShift) + (ns >> (power - 2) & 3);
}

/// The bucket holds [begin, end) nanoseconds; the last one has no end: UINT64_MAX.
struct LatencyRange {
	uint64_t beginNs = 0, endNs = 0;
};
LatencyRange latencyRange(size_t bucket);

/// Sum, never wrapped: counts may come from anywhere.
uint64_t latencyTotal(std::span<const uint64_t> counts);
/// The value below which `share` (0..1] of all lie: the middle of its bucket; the begin of the last one. 0: nothing was
/// counted. Counts beyond kLatencyBuckets are not looked at.
uint64_t latencyPercentileNs(std::span<const uint64_t> counts, double share);
/// End of the highest bucket that is not empty (begin of the last one); 0: nothing was counted.
uint64_t latencyMaxNs(std::span<const uint64_t> counts);

} // namespace archipelago
