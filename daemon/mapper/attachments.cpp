// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Handles and holders. See attachments.h.
#include "daemon/mapper/attachments.h"

#include <algorithm>
#include <numeric>
#include <random>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr unsigned kSlotBits = 12;
constexpr uint32_t kSlotMask = (1u << kSlotBits) - 1, kGenerationMask = ~0u >> kSlotBits;
static_assert(Attachments::kMost <= kSlotMask);

uint32_t handleOf(size_t slot, uint32_t generation) { return generation << kSlotBits | static_cast<uint32_t>(slot); }

/// 1 up to the mask: a handle is never 0.
uint32_t after(uint32_t generation) { return std::max((generation + 1) & kGenerationMask, 1u); }

/// By Holder.
constexpr std::array<std::string_view, kHolderKinds> kHolderWords{"explicit open", "nbd client", "fuse mount", "device",
                                                                  "tool"};

} // namespace

uint32_t OpenVolume::clientCount() const { return std::accumulate(clients.begin(), clients.end(), 0u); }

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

Attachments::Attachments() : m_firstGeneration(std::random_device()() & kGenerationMask) {}

uint32_t Attachments::add(const Attachment &attachment)
{
	auto at = static_cast<uint32_t>(m_slots.size());
	if (!m_free.empty()) {
		at = m_free.back();
		m_free.pop_back();
	} else if (at < kMost) {
		m_slots.emplace_back().generation = m_firstGeneration;
	} else {
		return 0;
	}
	Slot &slot = m_slots[at];
	slot.attachment = attachment;
	slot.generation = after(slot.generation);
	return handleOf(at, slot.generation);
}

const Attachment *Attachments::find(uint32_t handle) const
{
	const size_t at = handle & kSlotMask;
	if (at >= m_slots.size()) return nullptr;
	const Slot &slot = m_slots[at];
	return slot.attachment.volume && slot.generation == handle >> kSlotBits ? &slot.attachment : nullptr;
}

void Attachments::remove(uint32_t handle)
{
	ARCHIPELAGO_ASSERT(find(handle));
	m_slots[handle & kSlotMask].attachment = {};
	m_free.push_back(handle & kSlotMask);
}

std::vector<uint32_t> Attachments::of(const OpenVolume &volume) const
{
	std::vector<uint32_t> handles;
	for (size_t at = 0; at < m_slots.size(); ++at)
		if (m_slots[at].attachment.volume == &volume) handles.push_back(handleOf(at, m_slots[at].generation));
	return handles;
}

} // namespace archipelago::mapper
