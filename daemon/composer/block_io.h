// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// BlockIo: the way of one request through one block, from the mapper to the object and back. The request itself travels:
// a client's own when it lies inside one block, else a piece (session.h). It is rewritten for each station, and what must
// be remembered meanwhile stands in IoContext, by request index: nothing is allocated, locked or copied.
//
//   read    MapRead ── Zero ──> zeros ─────────────────────────────────────────────────────> done
//              └───── Object ──> ObjRead ── E-NOTFOUND: ask the mapper again; same object: E-MISSING
//   write   MapWrite ─ Object ─> ObjWrite ────────────────┬─ no FUA, or done by the write ──> done
//              └───── Create ──> ObjCreate ──> MapRecord ─┴─ FUA ──> MapFlush ──────────────> done
//                                   └ failed ─> MapRecord{stored = 0} ──────────────────────> its error
//
// Order (data, then record, then acknowledgement): a Create is recorded only when its object holds the data, and a client
// is answered only when the record is appended. If this process dies between ObjCreate and MapRecord, an object stays that
// no map names: garbage, and nothing was acknowledged. FUA: the data is durable when ObjWrite with the flag comes back, if
// the block's entry is durable already; else the entry is not, and only a flush makes both durable in the right order.
// One thread.
#pragma once

#include "daemon/base/log.h"
#include "daemon/base/protocol.h"
#include "daemon/composer/split.h"
#include "daemon/runtime/served_port.h"

#include <vector>

namespace archipelago::composer {

/// What the composer remembers of a request it has in hand. Indexed by request index: whoever owns the request owns this.
struct IoContext {
	enum class Step : uint8_t { None, Map, Object, Create, Record, Flush, Join, VolumeFlush, Detach, Attach, List };
	Step step = Step::None;
	bool write = false, fua = false;
	bool committed = false; ///< the block's entry is durable: FUA needs the object only
	bool asked = false;     ///< the mapper named `object` before, and the blocker did not find it
	bool piece = false;     ///< one of our own requests, part of the one at index `whole`
	uint32_t whole = 0;
	uint32_t token = 0;     ///< Create: of MapReply
	uint32_t left = 0;      ///< Join: pieces that are not back
	int32_t status = 0;     ///< Join: the first error. Record: the error to report when the block is unlocked
	uint64_t offset = 0;    ///< in the volume
	uint32_t length = 0;    ///< Join: bytes
	ObjectId object;        ///< what the mapper named last
	xseg::RequestRef joined; ///< Join: the client's request while its pieces travel

	/// A request came into our hands. What an earlier one left under its index counts no more.
	void begin(bool ofOurs)
	{
		step = Step::None;
		piece = ofOurs;
		write = fua = committed = asked = false;
		status = 0;
	}
};
using IoContexts = std::vector<IoContext>;

/// Of one session: where its requests go, and for which volume.
class BlockIo {
public:
	struct Route {
		xseg::PortNo mapper = 0, blocker = 0;
		uint32_t handle = 0;        ///< the mapper's, of this attachment
		std::string_view volume;    ///< its name, for the log; outlives this
	};
	BlockIo(runtime::ServedPort &port, IoContexts &contexts, spdlog::logger &log, const Route &route)
	    : m_port(port), m_contexts(contexts), m_log(log), m_route(route)
	{
	}

	/// Starts a request that lies inside one block: its data, and write, fua and offset of its context, are set.
	void start(xseg::RequestRef request);
	/// The next step, when one is back. True when the request has arrived at its end: it is in `request`, and `status` says
	/// how it ended. False: it is under way again, and `request` is empty.
	bool step(xseg::RequestRef &request, int32_t &status);
	/// Sends a client's own VolFlush or VolDetach to the mapper.
	void toMapper(xseg::RequestRef request, Op op, IoContext::Step step);

private:
	IoContext &contextOf(const xseg::RequestRef &request) { return m_contexts[request.index()]; }
	void send(xseg::RequestRef request, xseg::PortNo to);
	void askMapper(xseg::RequestRef request, IoContext &context);
	bool mapped(xseg::RequestRef &request, IoContext &context, int32_t &status);
	void toObject(xseg::RequestRef request, IoContext &context, Op op, IoContext::Step step);
	void record(xseg::RequestRef request, IoContext &context, bool stored);
	bool written(xseg::RequestRef &request, const IoContext &context, bool durable);

	runtime::ServedPort &m_port;
	IoContexts &m_contexts;
	spdlog::logger &m_log;
	Route m_route;
};

} // namespace archipelago::composer
