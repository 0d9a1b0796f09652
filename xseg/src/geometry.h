// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Where the tables of a segment lie: planned once by its creator, checked by everyone who opens it, with the same sizes.
// Pure functions over private memory; the caller has copied the header out of the segment.
#pragma once

#include "xseg/segment.h"

namespace xseg {

inline constexpr uint32_t kMinPorts = 64;
inline constexpr uint32_t kMinRingSlotsLog2 = 5; ///< a ring is then a multiple of 256 bytes
inline constexpr uint32_t kMaxRingSlotsLog2 = 16;
inline constexpr uint32_t kMaxRequests = 1u << 24; ///< ring slots hold 24 bits
inline constexpr uint64_t kTableAlignment = 4096;
inline constexpr uint64_t kDataAlignment = uint64_t(1) << XS_MAX_CLASS_SHIFT;
inline constexpr uint64_t kSlabBytes = uint64_t(1) << XS_SLAB_SHIFT;

/// Layout of a new segment. EINVAL says which number does not fit.
Result<Geometry> planGeometry(const SegmentConfig &config);
/// Layout of an existing one. `fileBytes` is what fstat says. EPROTO says what is wrong.
Result<Geometry> readGeometry(const xs_hdr &header, uint64_t fileBytes);
/// The header of a segment with this layout, all but the magic, which is stored last.
xs_hdr headerOf(const Geometry &geometry);

} // namespace xseg
