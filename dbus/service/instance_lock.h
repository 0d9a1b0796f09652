// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// InstanceLock: one service per run directory. flock on runDir/service.lock, released by the kernel however the process
// ends; the file holds the owner's pid, for the message only, and stays (removing a lock file races with its next taker).
#pragma once

#include "daemon/base/errors.h"
#include "xseg/fd.h"

#include <string>

namespace archipelago::service {

class InstanceLock {
public:
	/// E-BUSY (names the pid), E-DENIED, E-READONLY.
	static Result<InstanceLock> take(const std::string &runDir);

private:
	explicit InstanceLock(xseg::UniqueFd fd) : m_fd(std::move(fd)) {}
	xseg::UniqueFd m_fd;
};

} // namespace archipelago::service
