// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Sizes, limits and order of the regions of a segment (see abi.h for the picture). `kRegions` is the one list of them.
// Counts are checked before they are multiplied, and the largest product is 2^50: nothing here can overflow.
#include "xseg/src/geometry.h"

#include <array>
#include <cerrno>
#include <cstring>

namespace xseg {
namespace {

using G = Geometry;

struct Region {
	const char *name;
	uint64_t G::*offset;
	uint64_t xs_hdr::*stored;
	uint64_t (*bytes)(const G &);
	uint64_t alignment = kTableAlignment;
};

constexpr std::array<Region, 8> kRegions{{
	{"ports", &G::offPorts, &xs_hdr::off_ports, [](const G &g) { return g.ports * sizeof(xs_port); }},
	{"waiters", &G::offWaiters, &xs_hdr::off_waiters, [](const G &g) { return g.waiters * sizeof(xs_waiter); }},
	{"rings", &G::offRings, &xs_hdr::off_rings, [](const G &g) { return 2 * g.ports * Segment::ringBytes(g); }},
	{"stats", &G::offStats, &xs_hdr::off_stats, [](const G &g) { return g.ports * sizeof(xs_stats); }},
	{"requests", &G::offRequests, &xs_hdr::off_reqs, [](const G &g) { return g.requests * sizeof(xs_req); }},
	{"runs", &G::offRuns, &xs_hdr::off_runs, [](const G &g) { return g.requests / XS_RUN_REQUESTS * sizeof(xs_run); }},
	{"slabs", &G::offSlabs, &xs_hdr::off_slabs, [](const G &g) { return g.slabs * sizeof(xs_slab); }},
	{"data", &G::offData, &xs_hdr::off_data, [](const G &g) { return g.dataBytes; }, kDataAlignment},
}};

constexpr uint64_t kMaxDataBytes = uint64_t(XS_NO_BUFFER) * XS_BLOCK_UNIT / kDataAlignment * kDataAlignment;

uint64_t alignUp(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

tl::unexpected<Failure> refuse(int errnum, const char *what) { return tl::unexpected(Failure{errnum, what}); }

/// The limits that hold for planned and for found numbers alike; nullptr when they are kept.
const char *limitBroken(const G &g)
{
	if (g.ports < kMinPorts || g.ports > XS_MAX_PORTS) return "the number of ports is not 64..2048";
	if (g.waiters < 1 || g.waiters > XS_MAX_WAITERS) return "the number of waiters is not 1..64";
	if (g.requests < XS_RUN_REQUESTS || g.requests > kMaxRequests || g.requests % XS_RUN_REQUESTS != 0)
		return "the number of requests is not a multiple of 64 up to 16777216";
	if (g.ringSlotsLog2 < kMinRingSlotsLog2 || g.ringSlotsLog2 > kMaxRingSlotsLog2)
		return "the number of ring slots is not 2^5..2^16";
	return nullptr;
}

} // namespace

Result<Geometry> planGeometry(const SegmentConfig &config)
{
	constexpr uint64_t kLargeSegment = uint64_t(256) << 20;
	Geometry g{.sizeBytes = config.sizeBytes,
	           .ports = config.ports,
	           .waiters = config.waiters,
	           .requests = config.requests,
	           .ringSlotsLog2 = config.ringSlotsLog2};
	if (g.requests == 0) g.requests = g.sizeBytes >= kLargeSegment ? 65536 : 16384;
	if (const char *broken = limitBroken(g)) return refuse(EINVAL, broken);
	if (g.sizeBytes % kDataAlignment != 0) return refuse(EINVAL, "the segment size is not a multiple of 4 MiB");
	if (g.sizeBytes > kMaxDataBytes) return refuse(EINVAL, "the segment size is not below 2 TiB");

	// The slab table describes the data behind it: plan it for the whole segment, then use what the data really needs.
	g.slabs = uint32_t(g.sizeBytes >> XS_SLAB_SHIFT);
	uint64_t end = kTableAlignment;
	for (const Region &region : kRegions) {
		g.*region.offset = alignUp(end, region.alignment);
		end = g.*region.offset + region.bytes(g);
	}
	if (g.offData >= g.sizeBytes)
		return refuse(EINVAL, "the tables leave no room for data, which needs at least 4 MiB");
	g.dataBytes = g.sizeBytes - g.offData;
	g.slabs = uint32_t(g.dataBytes >> XS_SLAB_SHIFT);
	return g;
}

Result<Geometry> readGeometry(const xs_hdr &header, uint64_t fileBytes)
{
	if (header.magic != XS_MAGIC) return refuse(EPROTO, "this is not a segment");
	if (header.abi_major != XS_ABI_MAJOR)
		return refuse(EPROTO, "the segment has another ABI version than this program");
	// compat bits and a newer minor version add things an older program may ignore; the other two kinds it may not.
	if (header.feat_incompat != 0 || header.feat_rocompat != 0)
		return refuse(EPROTO, "the segment uses features that this program does not know");
	if (header.hdr_size < sizeof(xs_hdr) || header.hdr_size > kTableAlignment || header.reserved0 != 0)
		return refuse(EPROTO, "the segment header is damaged");
	if (header.seg_size != fileBytes) return refuse(EPROTO, "the segment has another size than its header says");

	Geometry g{.sizeBytes = fileBytes,
	           .dataBytes = uint64_t(header.nr_slabs) << XS_SLAB_SHIFT,
	           .ports = header.nr_ports,
	           .waiters = header.nr_waiters,
	           .requests = header.nr_reqs,
	           .slabs = header.nr_slabs,
	           .ringSlotsLog2 = header.ring_lg2};
	std::memcpy(g.instance, header.instance, sizeof g.instance);
	if (const char *broken = limitBroken(g)) return refuse(EPROTO, broken);
	if (g.dataBytes == 0 || g.dataBytes % kDataAlignment != 0 || g.dataBytes > kMaxDataBytes)
		return refuse(EPROTO, "the amount of data is not a multiple of 4 MiB");

	uint64_t end = kTableAlignment;
	for (const Region &region : kRegions) {
		const uint64_t offset = header.*region.stored;
		if (offset % region.alignment != 0 || offset < end || offset > fileBytes ||
		    region.bytes(g) > fileBytes - offset)
			return tl::unexpected(
				Failure{EPROTO, std::string("the segment's table of ") + region.name + " lies where it cannot"});
		g.*region.offset = offset;
		end = offset + region.bytes(g);
	}
	if (end != fileBytes) return refuse(EPROTO, "the segment's data does not reach to its end");
	return g;
}

xs_hdr headerOf(const Geometry &geometry)
{
	xs_hdr header{};
	header.abi_major = XS_ABI_MAJOR;
	header.abi_minor = XS_ABI_MINOR;
	header.hdr_size = sizeof(xs_hdr);
	header.seg_size = geometry.sizeBytes;
	std::memcpy(header.instance, geometry.instance, sizeof header.instance);
	header.nr_ports = geometry.ports;
	header.nr_waiters = geometry.waiters;
	header.nr_reqs = geometry.requests;
	header.nr_slabs = geometry.slabs;
	header.ring_lg2 = geometry.ringSlotsLog2;
	for (const Region &region : kRegions) header.*region.stored = geometry.*region.offset;
	return header;
}

} // namespace xseg
