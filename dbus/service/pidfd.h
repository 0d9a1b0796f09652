// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// pidfds: a process as a descriptor, readable once it has ended, never confused with a later process of the same number.
// By system call: glibc 2.36 declares its wrappers without extern "C".
// A pid is used again one day; with its start time it names one process for ever.
#pragma once

#include "xseg/fd.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace archipelago::service {

/// Empty with errno when there is no such process.
inline xseg::UniqueFd openPidfd(pid_t pid)
{
	return xseg::UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

/// 0, or -1 with errno.
inline int signalPidfd(const xseg::UniqueFd &pidfd, int signal)
{
	return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0));
}

/// Start time in clock ticks since boot (/proc/PID/stat, field 22); 0 when there is no such process, or it has ended and nobody
/// has waited for it yet.
unsigned long long startTimeOf(pid_t pid);

} // namespace archipelago::service
