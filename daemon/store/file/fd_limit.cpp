// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Sharing and raising RLIMIT_NOFILE.
#include "daemon/store/file/fd_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>

namespace archipelago::store {

namespace {

constexpr uint64_t kForTheRest = 1024; ///< NBD clients, bells, control sockets, logs
constexpr uint64_t kFewest = 16;

std::atomic<uint64_t> claimedByAll = 0;

/// The soft limit after trying to have at least `wanted`.
uint64_t raiseLimit(uint64_t wanted)
{
	rlimit limit{};
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted; // cannot fail; EMFILE would tell
	if (limit.rlim_cur >= wanted) return limit.rlim_cur;
	// Beyond the hard limit with CAP_SYS_RESOURCE only.
	const rlimit beyond{wanted, std::max<rlim_t>(wanted, limit.rlim_max)};
	if (setrlimit(RLIMIT_NOFILE, &beyond) == 0) return wanted;
	const rlimit allowed{limit.rlim_max, limit.rlim_max};
	return setrlimit(RLIMIT_NOFILE, &allowed) == 0 ? limit.rlim_max : limit.rlim_cur;
}

} // namespace

uint32_t FdClaim::claim(uint32_t files, uint32_t others)
{
	release();
	m_claimed = uint64_t{files} + others;
	const uint64_t wanted = claimedByAll.fetch_add(m_claimed) + m_claimed + kForTheRest;
	const uint64_t limit = raiseLimit(wanted);
	if (limit >= wanted) return files;
	const uint64_t missing = wanted - limit;
	return static_cast<uint32_t>(std::max(kFewest, files > missing ? files - missing : 0));
}

void FdClaim::release()
{
	claimedByAll.fetch_sub(m_claimed);
	m_claimed = 0;
}

} // namespace archipelago::store
