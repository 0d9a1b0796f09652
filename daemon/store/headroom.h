// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Headroom: how much room a store has for data, above the reserve that is kept for metadata. An estimate that errs on the
// side of less, made from the store's capacity (ObjCapacity: a statvfs on the helper thread, so not at each write) and from
// what was taken since.
//
//   left = (free when looked - reserve) / shares - what was being written then - what has been taken since
//
// A write takes its whole length, whether or not it needs it: who overwrites does not know. So the estimate falls while a
// full store is being overwritten, and is corrected by the next look: every 16 MiB taken, every 250 ms while something is
// taken, and whenever it does not suffice. The reserve covers what it cannot know: extents, directories, others who write to the
// same filesystem between two looks.
//
// ENOSPC from below although there seemed to be room (a quota, no inodes): from then on one write goes at a time, as a
// probe, and all others after it has succeeded. Reactor thread only.
//
// Shares: the blockers of a store's shards each take a part of the room and look so much more often, so that together they take
// no more than one would. A share that is used up is measured anew, so what the others leave is found; at the very end each
// of them leaves less than one write unused.
#pragma once

#include "daemon/store/object_store.h"

namespace archipelago::store {

class Headroom {
public:
	/// `looked` is called after each look, in a turn of its own.
	/// `shares`: so many headrooms divide the room of this filesystem between them; each has its part of what is free.
	Headroom(runtime::Reactor &reactor, ObjectStore &store, uint64_t reserveBytes, uint32_t shares, std::function<void()> looked);
	~Headroom() { ARCHIPELAGO_ASSERT(!m_looking); }

	/// What a request of so many bytes may take of the filesystem; `creates`: a new file.
	static uint64_t cost(uint64_t bytes, bool creates);
	/// True: there is room, and it is taken until done(). False: not as far as is known; look.
	bool take(uint64_t bytes);
	/// What was taken has been written, or not.
	void done(uint64_t bytes) { m_pending -= bytes; }

	/// ENOSPC from the store: whatever take() said, only a probe may go.
	void refusedBelow();
	/// While refused below, the one to try, if there seems to be room for it; at most one at a time. It takes its room like
	/// others; how it ended is told by probed().
	bool takeAsProbe(uint64_t bytes);
	void probed(bool hadRoom);
	bool refused() const { return m_refused; }

	void look();
	/// Unless there will be one soon.
	void lookUnlessSoon();
	/// After a while. For those who wait.
	void lookLater();
	bool looking() const { return m_looking; }
	/// No look is begun from now on.
	void stop();

private:
	void count(uint64_t bytes);
	struct Look : StoreOp {
		Headroom *owner = nullptr;
	};
	void onLooked();

	runtime::Reactor &m_reactor;
	ObjectStore &m_store;
	const uint64_t m_reserve;
	const uint32_t m_shares;
	const std::function<void()> m_looked;
	runtime::Timer m_timer;
	Look m_look;
	uint64_t m_left = 0, m_pending = 0;      ///< bytes
	uint64_t m_pendingAtLook = 0, m_taken = 0; ///< when the newest look began; since then
	uint64_t m_lookedNs = 0;
	bool m_looking = false, m_stopped = false, m_refused = false, m_probing = false;
};

} // namespace archipelago::store
