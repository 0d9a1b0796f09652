// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// RequestPool: the requests whose home is one port. They are claimed from the segment in runs of 64 by one CAS on the
// run's owner word and come home along their path, so nobody but this pool ever frees one: the free list is private.
//
// What is known here only, per request: where it is, and the buffer that is freed with it. Neither is ever read back from
// shared memory. Whatever a broken peer writes there, nothing is freed or handed out twice.
//
//   Free   on the free list, word FREE          Held   at home, in somebody's RequestRef
//   Out    submitted, not back yet              Stray  left by a predecessor, or its word was overwritten; freed if it
//                                                      ever comes home, and nobody waits for it
//
// Thread of the port.
#pragma once

#include "xseg/segment.h"

#include <array>
#include <vector>

namespace xseg {

/// The port whose requests these are, from the owner word of their run; nothing when it has none.
std::optional<PortNo> homeOf(const Segment &segment, RequestIndex index);

/// The owner word of a run that was `before`, with the next tag: `low` = port + 1, or 0 for nobody.
constexpr uint64_t runWord(uint64_t before, uint32_t low) { return ((before >> 32) + 1) << 32 | low; }

class RequestPool {
public:
	enum class Place : uint8_t { Free, Held, Out, Stray };
	struct Own {
		Place place = Place::Free;
		uint32_t buffer = XS_NO_BUFFER;
	};

	/// Takes over the runs that a predecessor of this port has left; those of its requests that are FREE can be used again.
	/// The others are strays.
	RequestPool(const Segment &segment, PortNo home);
	~RequestPool(); ///< returns the runs whose requests are all at home; the others stay for the next owner of the port
	RequestPool(const RequestPool &) = delete;
	RequestPool &operator=(const RequestPool &) = delete;

	/// A request of our own, OWNED by home and Held; nothing when the segment has no run left.
	std::optional<RequestIndex> take();
	/// OWNED by home -> FREE. Nothing when it is Free already (a broken peer had sent it to us a second time).
	void put(RequestIndex index);
	/// Nullptr when the request is not of this pool. The pointer is good until the next take().
	Own *find(RequestIndex index);

private:
	struct Run {
		uint32_t number;
		std::array<Own, XS_RUN_REQUESTS> own;
	};
	bool claimRun();
	void adopt(uint32_t number);

	const Segment &m_segment;
	PortNo m_home;
	std::vector<Run> m_runs; ///< few: maxInflight / 64, so a walk is the fastest look-up
	std::vector<RequestIndex> m_free;
};

} // namespace xseg
