// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The owner word of a slab: tag:24 | state:4 | class:8 | index:12 | port:16 (abi.h). The state's bit XS_SLAB_BACKED says
// that the slab has memory; it survives every change of owner. Each change raises the tag.
#pragma once

#include "xseg/abi.h"

#include <cstdint>

namespace xseg {

struct SlabWord {
	uint32_t tag = 0; ///< 24 bits
	uint8_t state = XS_SLAB_FREE;
	bool backed = false;
	uint8_t classShift = 0;
	uint16_t index = 0; ///< 12 bits: place in its run of slabs
	uint16_t port = 0;

	friend bool operator==(const SlabWord &, const SlabWord &) = default;
};

constexpr uint64_t pack(const SlabWord &word)
{
	const uint64_t state = (word.state & 7u) | (word.backed ? unsigned(XS_SLAB_BACKED) : 0u);
	return uint64_t(word.tag & 0xffffff) << 40 | state << 36 | uint64_t(word.classShift) << 28 |
	       uint64_t(word.index & 0xfff) << 16 | word.port;
}

constexpr SlabWord unpackSlab(uint64_t word)
{
	const uint64_t state = word >> 36 & 0xf;
	return {.tag = uint32_t(word >> 40),
	        .state = uint8_t(state & 7),
	        .backed = (state & XS_SLAB_BACKED) != 0,
	        .classShift = uint8_t(word >> 28 & 0xff),
	        .index = uint16_t(word >> 16 & 0xfff),
	        .port = uint16_t(word & 0xffff)};
}

/// How many slabs one block (or one group of small blocks) of this class takes.
constexpr uint32_t slabsOf(uint32_t classShift)
{
	return classShift <= XS_SLAB_SHIFT ? 1 : 1u << (classShift - XS_SLAB_SHIFT);
}

} // namespace xseg
