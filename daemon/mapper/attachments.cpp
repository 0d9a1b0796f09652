// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Handles and holders. See attachments.h.
#include "daemon/mapper/attachments.h"

#include <numeric>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr size_t kMaxSlots = 0xffff;
/// By Holder.
constexpr std::array<std::string_view, kHolderKinds> kHolderWords{"explicit open", "nbd client", "fuse mount", "device", "tool"};

} // namespace

uint32_t OpenVolume::clientCount() const
{
	return std::accumulate(clients.begin(), clients.end(), 0u);
}

std::string OpenVolume::who() const
{
	std::string text;
	for (size_t kind = 0; kind < clients.size(); ++kind) {
		if (!clients[kind]) continue;
		if (!text.empty()) text += " and ";
		text += fmt::format("{} {}{}", clients[kind], kHolderWords[kind], clients[kind] == 1 ? "" : "s");
	}
	return text;
}

uint32_t Attachments::add(const Attachment &attachment)
{
	size_t at = m_slots.size();
	if (!m_free.empty()) {
		at = m_free.back();
		m_free.pop_back();
	} else if (at < kMaxSlots) {
		m_slots.emplace_back();
	} else {
		return 0;
	}
	Slot &slot = m_slots[at];
	slot.attachment = attachment;
	if (++slot.generation == 0) slot.generation = 1;
	return handleOf(at, slot.generation);
}

const Attachment *Attachments::find(uint32_t handle) const
{
	const size_t at = handle & 0xffff;
	if (at >= m_slots.size()) return nullptr;
	const Slot &slot = m_slots[at];
	return slot.attachment.volume && slot.generation == handle >> 16 ? &slot.attachment : nullptr;
}

void Attachments::remove(uint32_t handle)
{
	ARCHIPELAGO_ASSERT(find(handle));
	m_slots[handle & 0xffff].attachment = {};
	m_free.push_back(static_cast<uint16_t>(handle & 0xffff));
}

std::vector<uint32_t> Attachments::of(const OpenVolume &volume) const
{
	std::vector<uint32_t> handles;
	for (size_t at = 0; at < m_slots.size(); ++at)
		if (m_slots[at].attachment.volume == &volume) handles.push_back(handleOf(at, m_slots[at].generation));
	return handles;
}

} // namespace archipelago::mapper
