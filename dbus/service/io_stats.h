// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The counters of the segment as rows of GetStats (Manager and Volume). Reading them costs no peer anything. Main thread.
#pragma once

#include "daemon/client/stats_reader.h"
#include "dbus/interfaces/bus.h"

#include <optional>

namespace archipelago::service {

/// The values of a reply of GetStats: the time, then the rows. `segment` null: nothing runs, no rows. `only`: of that volume.
QVariantList statsReply(const xseg::Segment *segment, const std::optional<VolumeId> &only = std::nullopt);

} // namespace archipelago::service
