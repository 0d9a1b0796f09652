// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Bytes of a socket for coroutines: exactly so many in, all of them out. For the handshake, where every byte is waited for;
// the transmission phase has its own ways (connection.h). Calls never block and never raise SIGPIPE; waiting is a poll
// through the ring, and ends when the socket is shut down (by the peer, or by a timer of ours).
#pragma once

#include "daemon/runtime/reactor.h"
#include "xseg/fd.h"

#include <span>

namespace archipelago::gateway::nbd {

/// False: the stream ended or broke before `to` was full.
runtime::Task<bool> receiveAll(runtime::Reactor &reactor, int fd, std::span<std::byte> to);
/// Reads `bytes` and forgets them.
runtime::Task<bool> receiveAndDrop(runtime::Reactor &reactor, int fd, uint64_t bytes);
/// False: the peer is gone.
runtime::Task<bool> sendAll(runtime::Reactor &reactor, int fd, std::span<const std::byte> from);
/// Its peer has closed it, or died: nobody takes another reply. True before the end of the stream is read, however much there still
/// is to read. (One that only will not send any more has not hung up.)
bool hasHungUp(int fd);

} // namespace archipelago::gateway::nbd
