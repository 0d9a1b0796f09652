// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Recovery: puts right what a dead process left in the segment. For the supervisor, the xseg tool and tests.
//
//   fence(dead)     at once, when the death is confirmed (pidfd, never a timeout): its ports stop being BOUND, what it held
//                   and its slabs become FENCED. Nothing is handed on yet: the kernel may still be reading and writing the
//                   buffers for direct I/O that the dead process had submitted.
//   release(dead)   when that I/O has ended (its `alive` lock was granted to us). Requests it held, or that wait for it, are
//                   replayed to its successor or failed back to who waits for them (status -EOWNERDEAD); its own come home and
//                   are freed; its slabs and runs return; its ports become FREE, so that a successor may bind them.
//                   Not complete while living peers still hold requests whose home is dead: their buffers are the dead
//                   one's, and what it split into parts may only be answered when no part is under way. Call it again.
//
// Both are idempotent, may run beside traffic, and may be killed half-way and begun anew, by this process or another: all
// they know is in the segment. At most one process recovers at a time (the supervisor's lock).
#pragma once

#include "xseg/waiter.h"

#include <compare>
#include <string>
#include <vector>

namespace xseg {

/// A process as its ports name it: pid and start time in clock ticks since boot (/proc/PID/stat, field 22).
struct ProcessId {
	uint32_t pid = 0;
	uint64_t startTime = 0;
	auto operator<=>(const ProcessId &) const = default;
};
/// Who we are.
ProcessId thisProcess();

enum class Verdict : uint8_t {
	Replay, ///< hand it to the successor on the same port; for operations that may be carried out twice
	Fail,   ///< back to who waits for it: only that peer can know what to do
};

struct RecoveryOptions {
	/// Decides by the operation (xs_req::op) of a request that the dead held or that waits in its rings.
	Verdict (*policy)(uint16_t op) = nullptr; ///< null: Fail
	/// A request that was replayed this often fails: it must not kill peers for ever.
	uint16_t maxAttempts = 3;
};

struct RecoveryReport {
	uint32_t ports = 0;    ///< that were the dead one's
	uint32_t replayed = 0, failed = 0, freed = 0, pushedAgain = 0, slabs = 0;
	uint32_t waiting = 0;  ///< requests that others hold for the dead, or that found a ring full: call release() again
	bool complete() const { return waiting == 0; }
};

class Recovery {
public:
	Recovery(const Segment &segment, const BellFds &bells, const RecoveryOptions &options);

	void fence(const ProcessId &dead);
	RecoveryReport release(const ProcessId &dead);
	/// Everybody who owns a port that is not FREE, each once. A new supervisor looks which of them still live.
	std::vector<ProcessId> owners() const;

private:
	const Segment &m_segment;
	const BellFds &m_bells;
	RecoveryOptions m_options;
};

/// One thing that is not as it should be, for people.
struct Finding {
	enum class Kind : uint8_t { Held, Leaked, Broken } kind = Kind::Broken;
	std::string text; ///< "request 17: OWNED by port 500, which is not bound"
};
/// Looks at every port, request, run and slab without writing anything. With traffic some of what it sees is under way (Held);
/// without, nothing may be Held, and Leaked and Broken must never be.
std::vector<Finding> verify(const Segment &segment);

} // namespace xseg
