// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// `xseg recover`: what the service does when a host dies, for when there is no service. Fences and releases every owner of a
// port that does not run any more. Everything the dead held fails back to who waits for it: the tool knows no operation that
// may be repeated.
#pragma once

#include "xseg/recovery.h"
#include "xseg/tool/source.h"

namespace xseg::tool {

struct Recovered {
	ProcessId process;
	uint32_t ports = 0;
	RecoveryReport report; ///< sums over all tries; `waiting` of the last
};

/// Takes RUNDIR/service.lock for as long as it works, so that no service starts meanwhile. Waits up to 30 s for the direct I/O
/// of the dead (their alive locks), then up to 5 s for requests that others hold. Errors: EBUSY (a service runs: it recovers
/// by itself), ETIMEDOUT (I/O of the dead does not end: nothing was changed), errno of the lock files.
Result<std::vector<Recovered>> recoverDead(const Source &source);

} // namespace xseg::tool
