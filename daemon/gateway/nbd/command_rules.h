// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Which commands may be carried out: pure, no state.
#pragma once

#include "daemon/gateway/front.h"
#include "daemon/gateway/nbd/wire.h"

namespace archipelago::gateway::nbd {

/// What the protocol wants to hear about a command that cannot be carried out; no fault when it can. The length of what may be
/// nothing may be 0.
Fault checkCommand(const Command &command, const VolumeShape &shape, const Dialect &dialect, uint32_t maxRequestBytes);

} // namespace archipelago::gateway::nbd
