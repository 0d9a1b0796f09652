// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What LIST_META_CONTEXT and SET_META_CONTEXT ask for. There is one context, base:allocation; queries for others are not
// errors, they just find nothing.
//
//   u32 length, name of the export, u32 number of queries, {u32 length, query}...
#pragma once

#include "daemon/gateway/nbd/wire.h"

#include <optional>
#include <string>

namespace archipelago::gateway::nbd {

struct MetaQuery {
	std::string name;
	bool allocation = false; ///< some query finds it
};
/// Nothing: the lengths do not agree. Listing, no query at all and "base:" find everything; to set, it must be named.
std::optional<MetaQuery> readMetaQuery(std::span<const std::byte> data, bool listing);

} // namespace archipelago::gateway::nbd
