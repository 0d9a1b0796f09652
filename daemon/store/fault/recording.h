// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Recording: what was done to the stores of a node, in the order in which it was completed: every change and every sync, with
// the bytes. Enough to rebuild what a crash at any moment may leave of them (crash_image.h). Filled by FaultStores.
#pragma once

#include "daemon/base/protocol.h"

#include <string>
#include <vector>

namespace archipelago::store {

struct Step {
	unsigned store = 0; ///< which of the recorded stores
	Op op = Op::None;
	ObjectId id;
	std::string name;   ///< kind Name
	uint64_t offset = 0, size = 0;
	std::vector<std::byte> data;
	bool fua = false;
};

/// A moment of a recording is the number of steps before it.
using Recording = std::vector<Step>;

/// Does the operation belong into a recording?
constexpr bool isStep(Op op)
{
	return op == Op::ObjWrite || op == Op::ObjCreate || op == Op::ObjWriteFull || op == Op::ObjRemove || op == Op::ObjPunch ||
	       op == Op::ObjSync || op == Op::ObjSyncVolume || op == Op::ObjSyncAll;
}

} // namespace archipelago::store
