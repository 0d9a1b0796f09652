// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Where the tool gets a segment from: the listening socket of a host (RUNDIR/hosts/NAME.sock). Whoever connects is sent one
// message at once: a JSON text, and the descriptors of the segment and of all bells.
#pragma once

#include "xseg/waiter.h"

#include <filesystem>

namespace xseg::tool {

struct Source {
	Segment segment;
	BellFds bells;
	std::filesystem::path socket; ///< the host it came from
};

/// RUNDIR of `socket`, which is RUNDIR/hosts/NAME.sock.
std::filesystem::path runDirOf(const std::filesystem::path &socket);
/// Errors: errno of the connection, EPROTO (what was sent is no segment).
Result<Source> fetch(const std::filesystem::path &socket);
/// From the first host of a run directory that answers. Errors: ENOENT (none does), EACCES, EPROTO.
Result<Source> fetchFromAnyHost(const std::filesystem::path &runDir);

} // namespace xseg::tool
