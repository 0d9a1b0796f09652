// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Ledger: what the death tests know for sure, in memory that all processes share and no death touches (it is not part of the
// segment, and its words are whole). And the "disk" of the blocker.
//
// Each client owns some slots of the disk. Per slot the ledger has the value that was acknowledged last and the value that
// is being written (0: none). Whatever dies when: a slot with nothing under way reads exactly as acknowledged, else each
// of its words is one of the two. A write whose answer did not come is sent again until it is acknowledged.
#pragma once

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace xseg::test {

constexpr uint32_t kClients = 2, kSlots = 24, kSlotBytes = 512, kSlotWords = kSlotBytes / 8, kMostSlots = 3;
constexpr uint32_t kOnceIds = 1u << 16;
static_assert(std::atomic<uint64_t>::is_always_lock_free);

struct Ledger {
	struct Slot {
		std::atomic<uint64_t> acknowledged, underWay;
	};
	/// Word `n` of a slot that holds `value`.
	static uint64_t wordOf(uint64_t value, uint32_t n) { return value == 0 ? 0 : value << 8 | n; }

	std::atomic<bool> clientsStop, serversStop;
	std::atomic<uint64_t> serial, answers, ownerDead, violations;
	std::atomic<uint64_t> turns[4]; ///< by role: it is not caught in a loop
	char firstViolation[256];
	Slot slot[kClients][kSlots];
	std::atomic<uint64_t> disk[kClients * kSlots][kSlotWords];
	std::atomic<uint64_t> recorded[kClients * kSlots];              ///< the composer's last step of a write
	std::atomic<uint32_t> once[kOnceIds]; ///< how often an operation that must not be repeated was carried out

	__attribute__((format(printf, 2, 3))) void violation(const char *format, ...)
	{
		if (violations.fetch_add(1) != 0) return;
		va_list arguments;
		va_start(arguments, format);
		std::vsnprintf(firstViolation, sizeof firstViolation, format, arguments);
		va_end(arguments);
	}
};

} // namespace xseg::test
