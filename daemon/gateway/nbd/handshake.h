// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The negotiation with one NBD client: fixed newstyle, from the first byte to the choice of an export. A coroutine that
// reads option after option. It never reads ahead: the first byte behind the handshake is the first of the transmission.
//
//   LIST INFO GO EXPORT_NAME STRUCTURED_REPLY LIST_META_CONTEXT SET_META_CONTEXT ABORT are served; any other option is refused as
//   unsupported and the client may go on. STARTTLS is one of those: TLS is not offered, the socket is local and its access rights
//   and the peer's credentials say who is there. For other machines put an NBD proxy or a tunnel with TLS in front. An option longer than kMaxOptionBytes is read and refused up to kMaxSkippedBytes, beyond that the
//   client is disconnected. A client that is silent for kIdleMs, or takes that long to send one option or to take our
//   answer, is disconnected too; time that we need to open a volume does not count.
#pragma once

#include "daemon/base/log.h"
#include "daemon/gateway/nbd/wire.h"
#include "daemon/gateway/volume_sessions.h"

#include <string>

namespace archipelago::gateway::nbd {

/// Where exports come from. In the server: the volumes of the gateway.
class Exports {
public:
	virtual runtime::Task<Result<OpenVolume>> open(std::string name) = 0;
	virtual runtime::Task<Result<std::vector<std::string>>> list() = 0;

protected:
	~Exports() = default;
};

struct HandshakeLimits {
	uint64_t idleMs = 10'000;
	uint32_t maxRequestBytes = kMaximumRequest; ///< advertised
};

/// What was agreed on.
struct Negotiated {
	OpenVolume volume;
	std::string name;
	Dialect dialect;
};

/// Errors: E-CANCELLED (the client left, before or by ABORT), E-TIMEOUT (idle), E-INVALID (not the NBD protocol, or a client
/// that is not fixed newstyle), and for EXPORT_NAME, which knows no error reply, why the volume does not open. `fd` stays
/// open and is the caller's.
runtime::Task<Result<Negotiated>> handshake(runtime::Reactor &reactor, int fd, Exports &exports, spdlog::logger &log,
                                            HandshakeLimits limits);

} // namespace archipelago::gateway::nbd
