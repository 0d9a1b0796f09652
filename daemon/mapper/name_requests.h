// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// NameRequests: operations by name, which are Cat* and MapAttach, and MapDetach, which ends what MapAttach began
// (daemon/base/protocol.h). Each is a coroutine that owns its request; an error goes back with its message.
//
// Shard 0 of several passes on what is another shard's (name_router.h); other shards take such requests from shard 0 only.
//
// One thread. Whoever destroys it waits until `inHand` has none.
#pragma once

#include "daemon/mapper/name_router.h"
#include "daemon/mapper/open_volumes.h"
#include "daemon/mapper/requests_in_hand.h"

namespace archipelago::mapper {

class NameRequests {
public:
	/// All of it outlives the requests.
	struct Context {
		runtime::ServedPort &port;
		RequestsInHand &inHand;
		OpenVolumes &volumes;
		NameRouter *router; ///< shard 0 of several; null in others
		Shard shard;
		xseg::PortNo firstPort; ///< of shard 0
	};
	explicit NameRequests(const Context &context)
		: m_port(context.port),
		  m_inHand(context.inHand),
		  m_volumes(context.volumes),
		  m_router(context.router),
		  m_shard(context.shard),
		  m_firstPort(context.firstPort)
	{}

	/// Answers it, now or later, whatever it is. E-UNSUPPORTED: `op` is no operation by name.
	void serve(Op op, xseg::RequestRef request);
	/// Until none is under way.
	runtime::Task<void> allEnded();

private:
	using Handler = runtime::Task<void> (NameRequests::*)(xseg::RequestRef request);
	struct Operation {
		Op op;
		Handler handler;
	};
	static const Operation kOperations[10];

	runtime::Task<void> control(const Operation &operation, xseg::RequestRef request);
	runtime::Task<void> routed(const Operation &operation, xseg::RequestRef request);
	Result<void> sameShards(const AttachArgs &args) const;
	bool mayAskByName(const xseg::RequestRef &request) const;
	Result<std::string> nameOf(const xseg::RequestRef &request) const;
	void respond(xseg::RequestRef request, const Result<void> &result);
	template <typename T> void respond(xseg::RequestRef request, const Result<T> &result);
	runtime::Task<void> mapAttach(xseg::RequestRef request);
	runtime::Task<void> mapDetach(xseg::RequestRef request);
	runtime::Task<void> catCreate(xseg::RequestRef request);
	runtime::Task<void> catInfo(xseg::RequestRef request);
	runtime::Task<void> catList(xseg::RequestRef request);
	runtime::Task<void> catHealth(xseg::RequestRef request);
	runtime::Task<void> catLive(xseg::RequestRef request);
	/// A name in, nothing out.
	template <auto kOperation> runtime::Task<void> byName(xseg::RequestRef request);

	runtime::ServedPort &m_port;
	RequestsInHand &m_inHand;
	OpenVolumes &m_volumes;
	NameRouter *const m_router;
	const Shard m_shard;
	const xseg::PortNo m_firstPort;

	uint32_t m_underWay = 0;
	runtime::WaitList m_ended;
};

} // namespace archipelago::mapper
