// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Handles and holders. See attachments.h.
#include "daemon/mapper/attachments.h"

#include "daemon/runtime/reactor.h"

#include <numeric>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

/// By Holder.
constexpr std::array<std::string_view, kHolderKinds> kHolderWords{"explicit open", "nbd clients", "fuse mount", "device",
                                                                  "tool"};

} // namespace

uint32_t OpenVolume::clientCount() const { return std::accumulate(clients.begin(), clients.end(), 0u); }

std::string OpenVolume::who() const
{
	std::string text;
	for (size_t kind = 0; kind < clients.size(); ++kind) {
		if (!clients[kind]) continue;
		if (!text.empty()) text += " and ";
		// A gateway attaches once for all of its NBD clients: how many there are is not known here.
		if (kind == static_cast<size_t>(Holder::Nbd))
			text += kHolderWords[kind];
		else
			text += fmt::format("{} {}{}", clients[kind], kHolderWords[kind], clients[kind] == 1 ? "" : "s");
	}
	return text;
}

Attachments::Attachments() : m_next(static_cast<uint32_t>(runtime::Reactor::nowNs() >> 14)) {}

uint32_t Attachments::add(const Attachment &attachment)
{
	if (m_attachments.size() == kMost) return 0;
	do {
		++m_next;
	} while (m_next == 0 || m_attachments.contains(m_next));
	m_attachments.emplace(m_next, attachment);
	return m_next;
}

const Attachment *Attachments::find(uint32_t handle) const
{
	const auto found = m_attachments.find(handle);
	return found == m_attachments.end() ? nullptr : &found->second;
}

void Attachments::remove(uint32_t handle)
{
	const size_t removed = m_attachments.erase(handle);
	ARCHIPELAGO_ASSERT(removed == 1);
}

std::vector<uint32_t> Attachments::of(const OpenVolume &volume) const
{
	std::vector<uint32_t> handles;
	for (const auto &[handle, attachment] : m_attachments)
		if (attachment.volume == &volume) handles.push_back(handle);
	return handles;
}

} // namespace archipelago::mapper
