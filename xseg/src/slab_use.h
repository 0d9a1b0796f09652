// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Which slabs are spoken of. A request that is not FREE names a buffer (data_blk), and its home frees one with it (own_blk):
// while there is such a request, the slab must not become anybody else's, whoever owned it.
//
// The look is not atomic, and need not be: a request gets to name somebody else's buffer only from another request that names
// it and that is not answered before it (a part of a split request). So one of the two is seen.
#pragma once

#include "xseg/segment.h"
#include "xseg/src/slab_word.h"
#include "xseg/src/state_word.h"

#include <vector>

namespace xseg {

inline SlabWord slabWordOf(const Segment &segment, uint32_t slab)
{
	return unpackSlab(std::atomic_ref(segment.slab(slab).owner).load(std::memory_order_acquire));
}

/// By slab number; a block above 256 KiB counts for all slabs of its run.
inline std::vector<bool> slabsInUse(const Segment &segment)
{
	std::vector<bool> used(segment.geometry().slabs);
	for (RequestIndex index = 0; index < segment.geometry().requests; ++index) {
		xs_req &request = segment.request(index);
		if (RequestState(request).load().state == XS_FREE) continue;
		for (const uint32_t block : {readOnce(request.data_blk), readOnce(request.own_blk)}) {
			const uint32_t first = block >> (XS_SLAB_SHIFT - XS_MIN_CLASS_SHIFT);
			if (block == XS_NO_BUFFER || first >= used.size()) continue;
			const uint32_t shift = slabWordOf(segment, first).classShift;
			const uint32_t count = shift <= XS_MAX_CLASS_SHIFT ? slabsOf(shift) : 1;
			for (uint32_t slab = first; slab < used.size() && slab < first + count; ++slab) used[slab] = true;
		}
	}
	return used;
}

} // namespace xseg
