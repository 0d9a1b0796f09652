// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Rule: those rules of MAP_FORMAT.md that are decisions of the mapper itself. No request shows them, so no lie of a store can
// break them. keeps() stands in the line that makes a rule true; in the product it is `true`, and costs nothing.
//
// For the negative controls of the crash checker (tests/crash) the mapper is built once more, with ARCHIPELAGO_BREAKABLE_RULES:
// there a test breaks one rule at a time, to see that it would be noticed. Included by the mapper's sources only, never by a
// header: what both builds see must be the same.
#pragma once

#include <cstdint>
#include <optional>

#ifdef ARCHIPELAGO_MAPPER_COMMON
#error "This source is compiled once for both libraries. One with rules is listed in sources_with_rules (CMakeLists.txt)."
#endif

namespace archipelago::mapper {

enum class Rule : uint8_t {
	CommitCoversAll,     ///< a COMMIT vouches for what the flush before it has synced, and no more
	CheckpointMemory,    ///< a checkpoint writes the map as of the last COMMIT
	RecoverySameJournal, ///< an open begins a journal of its own
	OpenKeepsEpoch,      ///< an open begins epochs of its own
	DiscardKeepsEpoch,   ///< a discarded block comes back under another epoch
};

#ifdef ARCHIPELAGO_BREAKABLE_RULES
inline std::optional<Rule> brokenRule; ///< set by tests, between two runs
inline bool keeps(Rule rule) { return brokenRule != rule; }
#else
constexpr bool keeps(Rule) { return true; }
#endif

} // namespace archipelago::mapper
