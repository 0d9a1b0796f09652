// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A port's record of stats (abi.h): begun anew by its owner, copied by anybody. The label and the begin are what the generation
// guards; the numbers may be read at any moment, since each of them only rises. No lock, no system call but for the memory.
#pragma once

#include "xseg/segment.h"

#include <array>
#include <string_view>

namespace xseg {

struct StatsSubject {
	uint32_t kind = 0;
	std::array<uint8_t, 16> id{};
	std::string_view label; ///< what is longer than XS_STAT_LABEL bytes is cut
};

/// Makes the record of a port that this thread owns ready for counting: goes on when it is about that subject already, else
/// begins anew. Errors: EINVAL (number), ENOSPC or ENOMEM.
Result<void> beginStats(const Segment &segment, PortNo port, const StatsSubject &subject);
/// Whether the record is about that subject, under whichever label; a hint for who chooses a port.
bool statsAreAbout(const Segment &segment, PortNo port, uint32_t kind, const std::array<uint8_t, 16> &id);
/// Nobody has ever counted there.
bool statsUnused(const Segment &segment, PortNo port);

struct StatsCopy {
	uint64_t generation = 0;
	bool bound = false;  ///< somebody has the port now
	std::string label;   ///< bytes, as they were; at most XS_STAT_LABEL
	xs_stats record{};
};
/// Nothing when the port has none, or it is being begun anew just now. Safe on any bytes: of the copy only label_len has
/// been checked.
std::optional<StatsCopy> readStats(const Segment &segment, PortNo port);

} // namespace xseg
