// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reads /proc/PID/stat: "PID (NAME) STATE ppid ...". The name may hold anything, also spaces and parentheses, but it ends at
// the last ')'. A process that has ended but was not waited for is still listed, with state Z (or X).
#include "xseg/process.h"

#include "xseg/fd.h"

#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace xseg {

uint64_t startTimeOf(uint32_t pid)
{
	constexpr int kFieldsAfterName = 20; // fields 3..22 follow the last ')'
	char path[32];
	std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
	UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
	char text[1024];
	const ssize_t length = fd ? ::read(fd.get(), text, sizeof text - 1) : -1;
	if (length <= 0) return 0;
	text[length] = '\0';
	const char *at = std::strrchr(text, ')');
	if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') return 0;
	for (int field = 0; at && field < kFieldsAfterName; ++field) at = std::strchr(at + 1, ' ');
	return at ? std::strtoull(at + 1, nullptr, 10) : 0;
}

ProcessId thisProcess() { return {uint32_t(getpid()), startTimeOf(uint32_t(getpid()))}; }

bool isRunning(const ProcessId &process)
{
	const uint64_t started = process.pid != 0 ? startTimeOf(process.pid) : 0;
	return started != 0 && uint32_t(started) == uint32_t(process.startTime);
}

} // namespace xseg
