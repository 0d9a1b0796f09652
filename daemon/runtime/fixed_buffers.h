// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FixedBuffers: large I/O in the segment whose pages the kernel need not look up and pin each time. The segment's data is cut
// into regions of 4 MiB; one that has seen some large I/O is registered with the ring, which pins it for good.
//
// Only then, because what is pinned is there: a segment is thin, and most of it is never used for large I/O. A region that the
// kernel does not take (locked memory is limited for users, memory is short) is used in the plain way; nothing fails. One thread.
#pragma once

#include "xseg/segment.h"

#include <liburing.h>

#include <vector>

namespace archipelago::runtime {

class FixedBuffers {
public:
	FixedBuffers(io_uring &ring, const xseg::Segment &segment);

	/// Below this it does not pay.
	static constexpr size_t kLeastBytes = 64 * 1024;
	/// As io_uring_prep_read and io_uring_prep_write, which they use when [data, data + bytes) is in no registered region.
	void prepareRead(io_uring_sqe *sqe, int fd, std::byte *data, unsigned bytes, uint64_t offset);
	void prepareWrite(io_uring_sqe *sqe, int fd, const std::byte *data, unsigned bytes, uint64_t offset);
	unsigned registered() const { return m_registered; }

private:
	enum : uint8_t { kPinned = 255, kRefused = 254, kUsesToPin = 8 };
	int regionOf(const std::byte *data, size_t bytes);
	bool pin(size_t region);

	io_uring &m_ring;
	std::span<std::byte> m_data;
	std::vector<uint8_t> m_regions; ///< uses so far, or what became of it; empty: the kernel has no such tables
	bool m_tried = false;
	unsigned m_registered = 0;
};

} // namespace archipelago::runtime
