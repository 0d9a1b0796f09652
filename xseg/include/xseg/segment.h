// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Segment: creates, seals, maps and validates the shared memory of abi.h, and turns indices into checked references.
// The geometry is read from shared memory once, checked against the size of the file, and kept in private memory.
// Nothing here blocks and nothing is locked; the object is immutable after creation and may be used by any thread.
#pragma once

#include "xseg/abi.h"
#include "xseg/fd.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <tl/expected.hpp>

namespace boost::interprocess {
class mapped_region;
}

namespace xseg {

using PortNo = uint16_t;
using RequestIndex = uint32_t;

/// Why an operation on a segment failed: an errno and a sentence an operator can read.
struct Failure {
	int errnum = 0;
	std::string what;
};
template <typename T> using Result = tl::expected<T, Failure>;

struct SegmentConfig {
	uint32_t ports = XS_MAX_PORTS; ///< 64..2048
	uint32_t waiters = XS_MAX_WAITERS;
	uint32_t requests = 0;           ///< a multiple of 64; 0: 65536 from 256 MiB up, else 16384
	uint32_t ringSlotsLog2 = 9;      ///< slots per ring, 5..16
	uint64_t sizeBytes = 256u << 20; ///< all of it, a multiple of 4 MiB; what the tables leave is data, at least 4 MiB
};

/// Private copy of the header's numbers, all checked.
struct Geometry {
	uint64_t sizeBytes = 0, dataBytes = 0;
	uint32_t ports = 0, waiters = 0, requests = 0, slabs = 0, ringSlotsLog2 = 0;
	uint64_t offPorts = 0, offWaiters = 0, offRings = 0, offStats = 0;
	uint64_t offRequests = 0, offRuns = 0, offSlabs = 0, offData = 0;
	uint8_t instance[16] = {};
};

enum class Direction : uint8_t { Request = XS_RING_REQUEST, Reply = XS_RING_REPLY };

class Segment {
public:
	/// Makes a new segment: memfd, tables allocated and pre-faulted, data thin, sealed against resizing.
	/// Errors: EINVAL (impossible geometry), ENOMEM/ENOSPC (memory).
	static Result<Segment> create(const SegmentConfig &config);
	/// Maps an existing one. Errors: EPROTO (not a segment, another ABI, damaged geometry, not sealed).
	static Result<Segment> attach(UniqueFd fd);

	Segment(Segment &&other) noexcept;
	Segment &operator=(Segment &&other) noexcept;
	~Segment();

	int fd() const { return m_fd.get(); }
	const Geometry &geometry() const { return m_geometry; }

	// Index to reference. The index must be below the count in geometry(): callers check what came from shared memory.
	xs_port &port(PortNo n) const;
	xs_waiter &waiter(uint32_t n) const;
	xs_req &request(RequestIndex n) const;
	xs_run &run(uint32_t n) const;
	xs_slab &slab(uint32_t n) const;
	xs_ring &ring(PortNo n, Direction d) const;
	xs_stats &stats(PortNo n) const; ///< has memory once xs_port::stats_gen is not 0
	static uint64_t ringBytes(const Geometry &geometry)
	{
		return sizeof(xs_ring) + (sizeof(uint64_t) << geometry.ringSlotsLog2);
	}

	/// The bytes [offset, offset+length) of the buffer `block`, or nothing when that does not lie within one buffer of
	/// a slab in use. Safe on any value.
	std::optional<std::span<std::byte>> buffer(uint32_t block, uint32_t offset, uint32_t length) const;
	/// The data region as a whole, for registering with io_uring.
	std::span<std::byte> data() const;
	/// Gives a slab memory before its first use; ENOSPC instead of a SIGBUS later.
	Result<void> backSlab(uint32_t firstSlab, uint32_t count) const;
	/// The same for the rings of a port, which get memory when it is first bound.
	Result<void> backRings(PortNo n) const;
	/// And for its record of stats, which gets memory when somebody first counts there.
	Result<void> backStats(PortNo n) const;

private:
	Segment();
	Result<void> map(UniqueFd fd, uint64_t bytes);
	Result<void> back(uint64_t offset, uint64_t bytes) const;
	Result<void> backPagesOf(uint64_t from, uint64_t to) const;
	template <typename T> T &at(uint64_t region, uint64_t index, uint64_t stride = sizeof(T)) const
	{
		return *reinterpret_cast<T *>(m_base + region + index * stride);
	}

	UniqueFd m_fd;
	std::unique_ptr<boost::interprocess::mapped_region> m_region;
	std::byte *m_base = nullptr; ///< of m_region
	Geometry m_geometry;
};

inline xs_port &Segment::port(PortNo n) const { return at<xs_port>(m_geometry.offPorts, n); }
inline xs_waiter &Segment::waiter(uint32_t n) const { return at<xs_waiter>(m_geometry.offWaiters, n); }
inline xs_req &Segment::request(RequestIndex n) const { return at<xs_req>(m_geometry.offRequests, n); }
inline xs_stats &Segment::stats(PortNo n) const { return at<xs_stats>(m_geometry.offStats, n); }
inline xs_run &Segment::run(uint32_t n) const { return at<xs_run>(m_geometry.offRuns, n); }
inline xs_slab &Segment::slab(uint32_t n) const { return at<xs_slab>(m_geometry.offSlabs, n); }
inline xs_ring &Segment::ring(PortNo n, Direction d) const
{
	return at<xs_ring>(m_geometry.offRings, 2 * uint64_t(n) + uint64_t(d), ringBytes(m_geometry));
}

} // namespace xseg
