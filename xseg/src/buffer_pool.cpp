// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Buffers cut from claimed slabs. The segment knows which slab belongs to whom (one owner word each, claimed by one CAS);
// which blocks of a slab are free is known here only.
//
//   claim     FREE -> USED(owner) for every slab of the run, rolled back when one is lost; memory if it never had any;
//             then BACKED. Segment::buffer() refuses slabs that are not BACKED, so none is touched before it has memory.
//   killed    between two steps: the words say USED with our port, which is all that recovery needs to take them back
//   release   USED -> FREE, keeping BACKED: the memory stays, the next claim is cheap
//
// A slab names a port, and recovery finds the slabs of the dead by the ports that are theirs. So whoever holds slabs also
// holds the owner word of that port: claimed before the first slab if it is not ours already, and given up after the last
// one if no Port of ours has it bound (a pool outlives its ports).
//
// Single slabs are taken from the bottom of the table and runs from the top, so that small buffers do not break up the
// room of large ones. One wholly free slab per class is kept: freeing and allocating in turn costs no claim.
#include "xseg/buffer_pool.h"

#include "xseg/process.h"
#include "xseg/src/assert.h"
#include "xseg/src/port_word.h"
#include "xseg/src/shared_word.h"
#include "xseg/src/slab_word.h"

#include <algorithm>
#include <bit>

namespace xseg {
namespace {

constexpr uint32_t kBlocksPerSlab = 1u << (XS_SLAB_SHIFT - XS_MIN_CLASS_SHIFT); // handles count the smallest blocks

/// Changes the owner word when it still is `from`; the tag goes up.
bool change(const Segment &segment, uint32_t slab, const SlabWord &from, SlabWord to)
{
	to.tag = from.tag + 1;
	uint64_t expected = pack(from);
	const bool changed = std::atomic_ref(segment.slab(slab).owner)
	                         .compare_exchange_strong(expected, pack(to), std::memory_order_acq_rel);
	XSEG_CRASH_POINT();
	return changed;
}

SlabWord wordOf(const Segment &segment, uint32_t slab)
{
	return unpackSlab(std::atomic_ref(segment.slab(slab).owner).load(std::memory_order_acquire));
}

bool isOurs(const SlabWord &word, PortNo owner, uint8_t shift, uint32_t index)
{
	return word.state == XS_SLAB_USED && word.port == owner && word.classShift == shift && word.index == index;
}

/// Gives up `count` slabs of a run that we hold. A word that is not ours any more was overwritten by a broken peer and is
/// left as it is: the checker reports it.
void giveUp(const Segment &segment, PortNo owner, uint8_t shift, uint32_t first, uint32_t count, uint8_t state)
{
	for (uint32_t i = 0; i < count; ++i) {
		const SlabWord word = wordOf(segment, first + i);
		if (!isOurs(word, owner, shift, i)) continue;
		SlabWord next = state == XS_SLAB_FREE ? SlabWord{.state = state} : word;
		next.state = state;
		next.backed = word.backed;
		change(segment, first + i, word, next);
	}
}

} // namespace

uint32_t BufferPool::Slab::blocks() const { return shift >= XS_SLAB_SHIFT ? 1 : 1u << (XS_SLAB_SHIFT - shift); }

BufferPool::BufferPool(const Segment &segment, PortNo owner)
	: m_segment(segment),
	  m_owner(owner),
	  m_me(ownerWord(thisProcess())),
	  m_slabs(segment.geometry().slabs)
{}

BufferPool::~BufferPool()
{
	for (const auto &slab : m_slabs) {
		// A buffer that is still out travels with a request somewhere: its bytes must not become somebody else's.
		const uint8_t state = !slab || slab->whollyFree() ? XS_SLAB_FREE : XS_SLAB_ZOMBIE;
		if (slab) giveUp(m_segment, m_owner, slab->shift, slab->first, slabsOf(slab->shift), state);
	}
	m_slabsHeld = 0;
	giveUpOwner();
}

/// The port is nobody's when it is not bound and no slab names it for us.
void BufferPool::giveUpOwner()
{
	if (m_slabsHeld != 0 || m_owner >= m_segment.geometry().ports) return;
	if (std::atomic_ref(m_segment.port(m_owner).state).load() == XS_PORT_FREE) giveUpPort(m_segment, m_owner, m_me);
}

uint32_t BufferPool::allocate(uint32_t bytes)
{
	if (bytes > uint32_t(1) << XS_MAX_CLASS_SHIFT) return XS_NO_BUFFER;
	const int fitting = bytes <= 1 ? 0 : std::bit_width(bytes - 1);
	const auto shift = uint8_t(std::max(fitting, XS_MIN_CLASS_SHIFT));
	Class &cls = m_classes[shift - XS_MIN_CLASS_SHIFT];
	if (cls.open.empty()) {
		Slab *claimed = claim(shift);
		while (!claimed && releaseSpare()) claimed = claim(shift);
		if (!claimed) return XS_NO_BUFFER;
		cls.open.push_back(claimed);
		++cls.whollyFree;
	}
	Slab &slab = *cls.open.back();
	if (slab.whollyFree()) --cls.whollyFree;
	const auto word = std::ranges::find_if(slab.freeMask, [](uint64_t mask) { return mask != 0; });
	const auto bit = uint32_t(std::countr_zero(*word));
	*word &= *word - 1;
	if (--slab.freeBlocks == 0) cls.open.pop_back();
	m_bytesInUse += uint64_t(1) << shift;
	const uint32_t index = uint32_t(word - slab.freeMask.begin()) * 64 + bit;
	return slab.first * kBlocksPerSlab + (index << (shift - XS_MIN_CLASS_SHIFT));
}

void BufferPool::free(uint32_t block)
{
	const uint32_t number = block / kBlocksPerSlab;
	XSEG_ASSERT(number < m_slabs.size() && m_slabs[number], "free() of a buffer that is not of this pool");
	Slab &slab = *m_slabs[number];
	const uint32_t units = block % kBlocksPerSlab;
	const uint32_t index = units >> (slab.shift - XS_MIN_CLASS_SHIFT);
	const uint64_t bit = uint64_t(1) << (index % 64);
	XSEG_ASSERT(index << (slab.shift - XS_MIN_CLASS_SHIFT) == units, "free() of something inside a buffer");
	XSEG_ASSERT((slab.freeMask[index / 64] & bit) == 0, "free() of a free buffer");

	Class &cls = classOf(slab);
	slab.freeMask[index / 64] |= bit;
	m_bytesInUse -= uint64_t(1) << slab.shift;
	if (slab.freeBlocks++ == 0) cls.open.push_back(&slab);
	if (!slab.whollyFree()) return;
	if (cls.whollyFree != 0) {
		std::erase(cls.open, &slab);
		release(slab);
	} else {
		cls.whollyFree = 1;
	}
}

BufferPool::Slab *BufferPool::claim(uint8_t shift)
{
	if (m_owner >= m_segment.geometry().ports || !claimPort(m_segment, m_owner, m_me)) return nullptr;
	const auto slabs = uint32_t(m_slabs.size());
	const uint32_t run = slabsOf(shift);
	if (run > 1) {
		for (uint32_t end = slabs / run * run; end >= run; end -= run) {
			if (Slab *slab = claimAt(end - run, shift)) return slab;
		}
		return nullptr;
	}
	for (uint32_t step = 0; step < slabs; ++step) {
		const uint32_t number = (m_searchFrom + step) % slabs;
		if (Slab *slab = claimAt(number, shift)) {
			m_searchFrom = number;
			return slab;
		}
	}
	return nullptr;
}

bool BufferPool::holds(uint32_t number) const
{
	for (uint32_t run = 1; run <= slabsOf(XS_MAX_CLASS_SHIFT); run *= 2) {
		const auto &slab = m_slabs[number / run * run];
		if (slab && number < slab->first + slabsOf(slab->shift)) return true;
	}
	return false;
}

BufferPool::Slab *BufferPool::claimAt(uint32_t first, uint8_t shift)
{
	const uint32_t run = slabsOf(shift);
	for (uint32_t i = 0; i < run; ++i) {
		const SlabWord word = wordOf(m_segment, first + i);
		const SlabWord used{
			.state = XS_SLAB_USED, .backed = word.backed, .classShift = shift, .index = uint16_t(i), .port = m_owner};
		// A slab that we hold already but whose word says FREE was overwritten: it must not be handed out twice.
		if (!holds(first + i) && word.state == XS_SLAB_FREE && change(m_segment, first + i, word, used)) continue;
		giveUp(m_segment, m_owner, shift, first, i, XS_SLAB_FREE);
		return nullptr;
	}
	for (uint32_t i = 0; i < run; ++i) {
		const SlabWord word = wordOf(m_segment, first + i);
		if (word.backed) continue;
		SlabWord backed = word;
		backed.backed = true;
		if (!m_segment.backSlab(first + i, 1) || !change(m_segment, first + i, word, backed)) {
			giveUp(m_segment, m_owner, shift, first, run, XS_SLAB_FREE);
			return nullptr;
		}
	}

	auto slab = std::make_unique<Slab>(Slab{.first = first, .freeBlocks = 0, .shift = shift, .freeMask = {}});
	slab->freeBlocks = slab->blocks();
	for (uint32_t left = slab->freeBlocks, i = 0; left > 0; left -= std::min(left, 64u), ++i) {
		slab->freeMask[i] = left >= 64 ? ~uint64_t(0) : (uint64_t(1) << left) - 1;
	}
	++m_slabsHeld;
	m_slabs[first] = std::move(slab);
	return m_slabs[first].get();
}

void BufferPool::release(Slab &slab)
{
	const uint32_t first = slab.first;
	giveUp(m_segment, m_owner, slab.shift, first, slabsOf(slab.shift), XS_SLAB_FREE);
	m_searchFrom = std::min(m_searchFrom, first);
	m_slabs[first].reset();
	--m_slabsHeld;
}

/// Gives back one slab that was only kept for its class. False when there is none.
bool BufferPool::releaseSpare()
{
	for (Class &cls : m_classes) {
		const auto spare = std::ranges::find_if(cls.open, [](const Slab *slab) { return slab->whollyFree(); });
		if (spare == cls.open.end()) continue;
		Slab &slab = **spare;
		cls.open.erase(spare);
		--cls.whollyFree;
		release(slab);
		return true;
	}
	return false;
}

} // namespace xseg
