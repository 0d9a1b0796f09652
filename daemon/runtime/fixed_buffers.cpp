// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "daemon/runtime/fixed_buffers.h"

namespace archipelago::runtime {

namespace {

constexpr size_t kRegionBytes = size_t{1} << XS_MAX_CLASS_SHIFT; ///< no buffer lies across two: they are naturally aligned

} // namespace

FixedBuffers::FixedBuffers(io_uring &ring, const xseg::Segment &segment) : m_ring(ring), m_data(segment.data()) {}

void FixedBuffers::prepareRead(io_uring_sqe *sqe, int fd, std::byte *data, unsigned bytes, uint64_t offset)
{
	if (const int region = regionOf(data, bytes); region >= 0)
		io_uring_prep_read_fixed(sqe, fd, data, bytes, offset, region);
	else
		io_uring_prep_read(sqe, fd, data, bytes, offset);
}

void FixedBuffers::prepareWrite(io_uring_sqe *sqe, int fd, const std::byte *data, unsigned bytes, uint64_t offset)
{
	if (const int region = regionOf(data, bytes); region >= 0)
		io_uring_prep_write_fixed(sqe, fd, data, bytes, offset, region);
	else
		io_uring_prep_write(sqe, fd, data, bytes, offset);
}

/// The registered region in which these bytes lie, or -1.
int FixedBuffers::regionOf(const std::byte *data, size_t bytes)
{
	if (bytes < kLeastBytes || data < m_data.data() || data >= m_data.data() + m_data.size()) return -1;
	if (!m_tried) { // the first large I/O of this ring
		m_tried = true;
		const size_t regions = m_data.size() / kRegionBytes;
		if (io_uring_register_buffers_sparse(&m_ring, static_cast<unsigned>(regions)) == 0) m_regions.resize(regions);
	}
	const auto at = static_cast<size_t>(data - m_data.data());
	const size_t region = at / kRegionBytes;
	if (region >= m_regions.size() || at % kRegionBytes + bytes > kRegionBytes) return -1;
	uint8_t &state = m_regions[region];
	if (state == kPinned) return static_cast<int>(region);
	if (state == kRefused || ++state < kUsesToPin) return -1;
	state = pin(region) ? kPinned : kRefused;
	return state == kPinned ? static_cast<int>(region) : -1;
}

bool FixedBuffers::pin(size_t region)
{
	const iovec bytes{m_data.data() + region * kRegionBytes, kRegionBytes};
	const __u64 tag = 0;
	if (io_uring_register_buffers_update_tag(&m_ring, static_cast<unsigned>(region), &bytes, &tag, 1) != 1) return false;
	++m_registered;
	return true;
}

} // namespace archipelago::runtime
