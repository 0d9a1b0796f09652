// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ProcessId: a process as the segment knows it. A pid alone is used again; with the start time it names one life.
#pragma once

#include <compare>
#include <cstdint>

namespace xseg {

/// pid, and start time in clock ticks since boot (/proc/PID/stat, field 22).
struct ProcessId {
	uint32_t pid = 0;
	uint64_t startTime = 0;
	auto operator<=>(const ProcessId &) const = default;
};

/// Who we are.
ProcessId thisProcess();
/// When the process with this pid started; 0 when there is none (or it has ended and nobody has waited for it yet).
uint64_t startTimeOf(uint32_t pid);
/// Still the same process, and not a zombie. One that cannot be looked at counts as running. Only the low 32 bits of the
/// start time count: owner words have no more. Pids are those of our own namespace.
bool isRunning(const ProcessId &process);

} // namespace xseg
