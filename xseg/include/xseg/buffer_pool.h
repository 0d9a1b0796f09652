// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// BufferPool: data buffers of one peer, cut from slabs of the segment that carry the owner's port number.
// Sizes are powers of two, 512 B..4 MiB, each block naturally aligned, so that O_DIRECT and io_uring use it in place.
// Which blocks are free is private knowledge (a bitmap per slab); the slab's owner word in the segment is all a
// supervisor needs to take a dead peer's buffers back. One thread.
#pragma once

#include "xseg/segment.h"

#include <array>
#include <memory>
#include <vector>

namespace xseg {

class BufferPool {
public:
	/// `owner`: the port with whose owner these slabs die; a port of this process. Nothing can be allocated while it is
	/// somebody else's.
	BufferPool(const Segment &segment, PortNo owner);
	~BufferPool(); ///< gives back all slabs; one with a buffer still out (an orderly shutdown has none) stays as a ZOMBIE
	BufferPool(const BufferPool &) = delete;
	BufferPool &operator=(const BufferPool &) = delete;

	/// A buffer of at least `bytes` (at most 4 MiB) as a handle, XS_NO_BUFFER when the segment has no slab left.
	uint32_t allocate(uint32_t bytes);
	/// Takes back what allocate() gave, once. Anything else is a mistake of this process and aborts: keep handles in
	/// private memory, never free one that was read from the segment.
	void free(uint32_t block);
	uint64_t bytesInUse() const { return m_bytesInUse; }
	PortNo owner() const { return m_owner; }
	/// After a Port has unbound `owner`: the port becomes nobody's once no slab is held in its name.
	void giveUpOwner();

private:
	/// One slab, or the run of slabs of one block above 256 KiB, by the number of its first slab.
	struct Slab {
		uint32_t first;
		uint32_t freeBlocks;
		uint8_t shift; ///< log2 of the block size
		std::array<uint64_t, (1u << (XS_SLAB_SHIFT - XS_MIN_CLASS_SHIFT)) / 64> freeMask;
		uint32_t blocks() const;
		bool whollyFree() const { return freeBlocks == blocks(); }
	};
	struct Class {
		std::vector<Slab *> open; ///< slabs with a free block
		uint32_t whollyFree = 0;
	};
	Class &classOf(const Slab &slab) { return m_classes[slab.shift - XS_MIN_CLASS_SHIFT]; }
	Slab *claim(uint8_t shift);
	Slab *claimAt(uint32_t first, uint8_t shift);
	bool holds(uint32_t number) const;
	void release(Slab &slab);
	bool releaseSpare();

	const Segment &m_segment;
	PortNo m_owner;
	uint64_t m_me; ///< owner word of this process
	uint32_t m_slabsHeld = 0;
	uint64_t m_bytesInUse = 0;
	uint32_t m_searchFrom = 0; ///< where the last single slab was found
	std::array<Class, XS_MAX_CLASS_SHIFT - XS_MIN_CLASS_SHIFT + 1> m_classes;
	std::vector<std::unique_ptr<Slab>> m_slabs; ///< by slab number, empty where the slab is not ours
};

} // namespace xseg
