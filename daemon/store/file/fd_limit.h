// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FdClaim: a store's share of this process's file descriptors. Claims of all stores add up; what everybody else needs
// (sockets, bells, ring) is set aside. Raises RLIMIT_NOFILE as far as it may. Any thread.
#pragma once

#include <cstdint>

namespace archipelago::store {

class FdClaim {
public:
	FdClaim() = default;
	~FdClaim() { release(); }
	FdClaim(const FdClaim &) = delete;
	FdClaim &operator=(const FdClaim &) = delete;

	/// Claims descriptors for `files` object files and `others` besides. Returns how many files there may be: `files`, or
	/// fewer (at least 16) when the limit is too low.
	uint32_t claim(uint32_t files, uint32_t others);
	void release();

private:
	uint64_t m_claimed = 0;
};

} // namespace archipelago::store
