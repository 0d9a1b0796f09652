// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// RunAhead: many WRITEs in one recvmsg, without copying their payload. After two WRITEs of the same length more of the same are
// expected, and the next receive gets a place for each: header, buffer, header, buffer ... What comes is then where it belongs.
//
// When something else comes, nothing is wrong but the place: from the first header that is not as expected, everything is
// copied together and understood in the usual way, and nothing is expected until there is a new run. The buffers are reserved
// only for the time of one receive; while others wait for buffers there are none for guesses.
#pragma once

#include "daemon/gateway/nbd/wire.h"
#include "xseg/segment.h"

#include <algorithm>
#include <array>

namespace archipelago::gateway::nbd {

/// A buffer, and how much of it is meant.
struct Part {
	uint32_t buffer = XS_NO_BUFFER, length = 0;
	std::byte *data = nullptr;
};

struct RunAhead {
	static constexpr unsigned kMost = 16;
	static constexpr uint32_t kMostBytes = 128 * 1024;
	static constexpr unsigned kSureAfter = 2; ///< WRITEs of one length in a row

	struct Place {
		std::array<std::byte, kCommandBytes> header;
		Part part;
	};
	std::array<Place, kMost> places;
	unsigned count = 0;    ///< places of this receive
	size_t received = 0;   ///< bytes in them
	uint32_t length = 0;   ///< of the WRITEs of this run
	unsigned inARow = 0, wanted = kSureAfter;

	size_t room() const { return count * (kCommandBytes + size_t{length}); }
	/// How many to make ready for.
	unsigned expected() const
	{
		if (inARow < kSureAfter || length == 0 || length > kMostBytes || length % kMinimumBlock != 0) return 0;
		return std::min({wanted, kMost, kMostBytes / length});
	}
	void sawWrite(uint32_t bytes)
	{
		inARow = bytes == length ? inARow + 1 : 1;
		length = bytes;
	}
	void sawSomethingElse() { inARow = 0; }
	/// `used` of `count` places held what was expected.
	void learn(unsigned used) { wanted = used == count ? std::min(2 * count, kMost) : used + 1; }
};

} // namespace archipelago::gateway::nbd
