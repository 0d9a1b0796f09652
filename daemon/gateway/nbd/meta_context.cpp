// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See meta_context.h.
#include "daemon/gateway/nbd/meta_context.h"

namespace archipelago::gateway::nbd {

namespace {

/// A length and so many bytes, taken from the front.
std::optional<std::string_view> takeText(std::span<const std::byte> &data)
{
	if (data.size() < 4) return std::nullopt;
	const uint32_t length = read32(data.data());
	data = data.subspan(4);
	if (length > data.size()) return std::nullopt;
	const std::string_view text(reinterpret_cast<const char *>(data.data()), length);
	data = data.subspan(length);
	return text;
}

} // namespace

std::optional<MetaQuery> readMetaQuery(std::span<const std::byte> data, bool listing)
{
	const auto name = takeText(data);
	if (!name || data.size() < 4) return std::nullopt;
	const uint32_t count = read32(data.data());
	data = data.subspan(4);
	MetaQuery out{.name = std::string(*name), .allocation = listing && count == 0};
	for (uint32_t n = 0; n < count; ++n) {
		const auto query = takeText(data);
		if (!query) return std::nullopt;
		out.allocation |= *query == kAllocationContext || (listing && *query == kBaseContexts);
	}
	if (!data.empty()) return std::nullopt;
	return out;
}

} // namespace archipelago::gateway::nbd
