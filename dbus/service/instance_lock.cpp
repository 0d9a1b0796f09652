// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The pid is written after the lock is held: who reads a foreign one while the lock is taken reads its owner's, or nothing.
#include "dbus/service/instance_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace archipelago::service {

Result<InstanceLock> InstanceLock::take(const std::string &runDir)
{
	const std::string path = runDir + "/service.lock";
	xseg::UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
	if (!fd) return systemFailure(errno, "Cannot open " + path);
	if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK) return systemFailure(errno, "Cannot lock " + path);
		char pid[16] = {};
		const ssize_t n = pread(fd.get(), pid, sizeof pid - 1, 0);
		const std::string who = n > 0 && pid[0] >= '1' && pid[0] <= '9' ? " (pid " + std::to_string(atoi(pid)) + ")" : "";
		return failure(ErrorCode::Busy, "archipelagod runs already for " + runDir + who
		                                    + ". Use that one (archipelago status), or end it first.");
	}
	const std::string text = std::to_string(getpid()) + "\n";
	if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
		return systemFailure(errno, "Cannot write " + path);
	return InstanceLock(std::move(fd));
}

} // namespace archipelago::service
