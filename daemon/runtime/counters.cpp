// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The table of what is in hand is private memory, by request index: what stands in the segment belongs to whoever holds the
// request next. It is mapped and never filled, so a port costs the pages that its clients' requests fall into.
#include "daemon/runtime/counters.h"

#include <sys/mman.h>

#include <cerrno>

namespace archipelago::runtime {

namespace {

static_assert(kOpClasses == XS_STAT_CLASSES && kLatencyBuckets == XS_HIST_BUCKETS);
static_assert(static_cast<int>(OpClass::Read) == XS_STAT_READ && static_cast<int>(OpClass::Write) == XS_STAT_WRITE &&
              static_cast<int>(OpClass::Flush) == XS_STAT_FLUSH && static_cast<int>(OpClass::Trim) == XS_STAT_TRIM &&
              static_cast<int>(OpClass::Extents) == XS_STAT_EXTENTS && static_cast<int>(OpClass::Other) == XS_STAT_OTHER);
static_assert(kLatencyMinShift == XS_HIST_MIN_SHIFT && kLatencyMaxShift == XS_HIST_MAX_SHIFT);

constexpr unsigned kClassBits = 3;
static_assert(kOpClasses <= 1u << kClassBits);

/// Payload, or the range that is trimmed. From a request: any number may stand there, and must not spoil the sum.
uint64_t bytesOf(OpClass c, const xs_req &request)
{
	if (c == OpClass::Trim) return std::min<uint64_t>(request.size, kMaxVolumeBytes);
	if (!countsBytes(c)) return 0;
	return request.data_blk == XS_NO_BUFFER ? 0 : request.data_len;
}

} // namespace

xseg::StatsSubject statsOfVolume(const VolumeId &volume, std::string_view name)
{
	return {static_cast<uint32_t>(CounterKind::Volume), volume.bytes, name};
}

xseg::StatsSubject statsOfRole(std::string_view role) { return {static_cast<uint32_t>(CounterKind::Role), {}, role}; }

Result<PortCounters> PortCounters::open(const xseg::Segment &segment, xseg::PortNo port, const xseg::StatsSubject &subject)
{
	if (auto begun = xseg::beginStats(segment, port, subject); !begun)
		return systemFailure(begun.error().errnum, "Cannot count what port " + std::to_string(port) + " does");
	PortCounters counters;
	counters.m_record = &segment.stats(port);
	return counters;
}

Result<std::unique_ptr<ServedCounters>> ServedCounters::open(const xseg::Segment &segment, xseg::PortNo port,
                                                             const xseg::StatsSubject &subject)
{
	auto counters = PortCounters::open(segment, port, subject);
	if (!counters) return tl::unexpected<Error>(counters.error());
	const size_t bytes = segment.geometry().requests * sizeof(InHand);
	void *table = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED) return systemFailure(errno, "Cannot count what port " + std::to_string(port) + " does");
	return std::unique_ptr<ServedCounters>(new ServedCounters(*counters, static_cast<InHand *>(table), bytes));
}

ServedCounters::~ServedCounters() { ::munmap(m_table, m_tableBytes); }

void ServedCounters::accepted(xseg::RequestIndex index, const xs_req &request, uint64_t nowNs)
{
	const OpClass c = opClassOf(static_cast<Op>(request.op));
	InHand &slot = m_table[index];
	// It was dropped: it failed back, or recovery took it away. It has ended all the same.
	if (slot.startNs) responded(index, wireStatus(ErrorCode::Peer), nowNs);
	slot = {nowNs, bytesOf(c, request) << kClassBits | static_cast<uint64_t>(c)};
	m_counters.begin(c);
}

void ServedCounters::responded(xseg::RequestIndex index, int32_t status, uint64_t nowNs)
{
	InHand &slot = m_table[index];
	if (!slot.startNs) return;
	const auto c = static_cast<OpClass>(slot.bytesAndClass & ((1u << kClassBits) - 1));
	m_counters.end(c, nowNs - slot.startNs, slot.bytesAndClass >> kClassBits, status == 0);
	slot.startNs = 0;
}

} // namespace archipelago::runtime
