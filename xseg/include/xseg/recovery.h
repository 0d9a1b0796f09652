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
// they know is in the segment. At most one process recovers at a time (the supervisor's lock). Call them after every end of
// a process, also an orderly one: a process that left nothing costs one look at its ports.
#pragma once

#include "xseg/process.h"
#include "xseg/waiter.h"

#include <string>
#include <string_view>
#include <vector>

namespace xseg {

enum class Verdict : uint8_t {
	Replay, ///< hand it to the successor on the same port; for operations that may be carried out twice
	Fail,   ///< back to who waits for it: only that peer can know what to do
};

struct RecoveryOptions {
	/// Decides by the operation (xs_req::op) of a request that the dead held or that waits in its rings. Replay is only done
	/// for one that is still as its sender wrote it (RequestRef::alter()) and whose sender is alive; all others fail.
	Verdict (*policy)(uint16_t op) = nullptr; ///< null: Fail
	/// A request that was replayed this often fails: it must not kill peers for ever.
	uint16_t maxAttempts = 3;
};

struct RecoveryReport {
	uint32_t ports = 0;    ///< that were the dead one's
	uint32_t replayed = 0; ///< left in, or handed to, the rings of the dead for its successor
	uint32_t failed = 0;   ///< sent back to who waits for them
	uint32_t freed = 0;    ///< its own
	uint32_t pushedAgain = 0, slabs = 0;
	uint32_t waiting = 0;  ///< requests that others hold for the dead, or that found a ring full: call release() again
	bool complete() const { return waiting == 0; }
};

class Recovery {
public:
	Recovery(const Segment &segment, const BellFds &bells, const RecoveryOptions &options);

	void fence(const ProcessId &dead);
	RecoveryReport release(const ProcessId &dead);
	/// Everybody who owns a port, each once. A new supervisor looks which of them still live (isRunning()).
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
std::string_view name(Finding::Kind kind);
/// Looks at every port, request, run and slab without writing anything. With traffic some of what it sees is under way (Held);
/// without, nothing may be Held, and Leaked and Broken must never be.
std::vector<Finding> verify(const Segment &segment);

} // namespace xseg
