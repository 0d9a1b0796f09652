// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reads /proc/PID/stat: "PID (NAME) STATE ppid ...". The name may hold anything, also spaces and parentheses, but it ends at
// the last ')'. A process that has ended but was not waited for is still listed, with state Z (or X).
#include "xseg/process.h"

#include "xseg/fd.h"

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

namespace xseg {

namespace {

std::optional<std::string> statOf(uint32_t pid)
{
	UniqueFd fd(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
	char text[1024];
	const ssize_t length = fd ? ::read(fd.get(), text, sizeof text) : -1;
	if (length <= 0) return std::nullopt;
	return std::string(text, size_t(length));
}

/// 0 for one that has ended.
uint64_t startTimeIn(const std::string &stat)
{
	constexpr int kFieldsAfterName = 20; // fields 3..22 follow the last ')'
	const char *at = std::strrchr(stat.c_str(), ')');
	if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') return 0;
	for (int field = 0; at && field < kFieldsAfterName; ++field) at = std::strchr(at + 1, ' ');
	return at ? std::strtoull(at + 1, nullptr, 10) : 0;
}

} // namespace

uint64_t startTimeOf(uint32_t pid)
{
	const auto text = statOf(pid);
	return text ? startTimeIn(*text) : 0;
}

ProcessId thisProcess() { return {uint32_t(getpid()), startTimeOf(uint32_t(getpid()))}; }

bool isRunning(const ProcessId &process)
{
	if (process.pid == 0 || (kill(pid_t(process.pid), 0) != 0 && errno == ESRCH)) return false;
	const auto text = statOf(process.pid);
	if (!text) return true; // there is one, but /proc does not show it to us (hidepid): never take the living for dead
	const uint64_t started = startTimeIn(*text);
	return started != 0 && uint32_t(started) == uint32_t(process.startTime);
}

} // namespace xseg
