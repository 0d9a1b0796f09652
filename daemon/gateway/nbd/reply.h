// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a request that is finished looks like on the wire. Headers are written into the request and its pieces, payload stays
// where it is: the ReplyQueue sends them one behind the other.
//
//   simple        request.header {error}                            READ: the data of the pieces behind it
//   structured    READ          a chunk for each piece: its data, or that it is a hole; with DF one chunk for all
//                 BLOCK_STATUS  request.header, then the piece's buffer, its BlockRuns turned into descriptors where they are
//                 error         request.header, request.text
//                 other         simple: the protocol allows it, and it is shorter
//
// The offset of an error is not told: parts of a request are submitted together, and none of its data is sent when one fails.
#pragma once

#include "daemon/gateway/nbd/request.h"

namespace archipelago::gateway::nbd {

/// Lays out the reply to `request`, which is finished: its fault is set, or its pieces are done. Of what a BLOCK_STATUS has found,
/// nothing is believed; if it makes no sense, the request fails.
void layOut(Request &request, const Dialect &dialect);

} // namespace archipelago::gateway::nbd
