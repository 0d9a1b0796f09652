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
//   punch   MapPunch ─ Object ─> ObjPunch ────────────────┬─ no FUA, or done by the punch ──> done
//              └───── Zero ───────────────────────────────┴─ FUA, entry not committed: MapFlush ─> done
//   extents MapExtents (any range) ──────────────────────────────────────────────────────────> done
//   drop    MapTrim (whole blocks, any number) ──────────── FUA: MapFlush ──────────────────> done
//
// Order (data, then record, then acknowledgement): a Create is recorded only when its object holds the data, and a client
// is answered only when the record is appended. If this process dies between ObjCreate and MapRecord, an object stays that
// no map names: garbage, and nothing was acknowledged. FUA: the data is durable when ObjWrite with the flag comes back, if
// the block's entry is durable already; else the entry is not, and only a flush makes both durable in the right order.
//
// When somebody below dies. A blocker: its successor does the operation, and only a request that several lives of it could not
// answer comes back E-PEER: that is passed on, because whoever waits above sends it again, ever more slowly, and an error that
// a guest cannot undo is worse than a wait that `archipelago status` shows. The mapper: it alone knew our handle, so every
// step to it ends with E-PEER from then on (mapperLost()), a write whose record was not answered among them; what is with a
// blocker still ends as it ends: an overwrite in place needs no mapper any more. A successor is told by the life of its
// port: it never gets a request with a handle that it did not give out.
// One thread.
#pragma once

#include "daemon/base/log.h"
#include "daemon/base/protocol.h"
#include "daemon/composer/split.h"
#include "daemon/runtime/port_life.h"
#include "daemon/runtime/served_port.h"

#include <vector>

namespace archipelago::composer {

/// What the composer remembers of a request it has in hand. Indexed by request index: whoever owns the request owns this.
struct IoContext {
	enum class Step : uint8_t { None, Map, Object, Create, Record, Flush, Join, VolumeFlush, Detach, Attach, List };
	enum class Way : uint8_t {
		Read,
		Write,
		Punch, ///< part of a block reads zeros
		Drop,  ///< whole blocks read zeros. Join: the range becomes Drop and Punch
		Fill,  ///< Join only: the range becomes Writes of zeros
		Extents, ///< any number of blocks: which of them are mapped
	};
	Step step = Step::None;
	Way way = Way::Read;
	bool fua = false;
	bool committed = false; ///< the block's entry is durable: FUA needs the object only
	bool asked = false;     ///< the mapper named `object` before, and the blocker did not find it
	bool takesHoles = false; ///< Read: its client needs no zeros for a hole
	bool hole = false;      ///< Read: it was one, and `takesHoles`
	bool piece = false;     ///< one of our own requests, part of the one at index `whole`
	Op op = Op::None;       ///< a client's request: what it asked for
	uint32_t whole = 0;
	uint32_t token = 0;     ///< Create: of MapReply
	uint32_t left = 0;      ///< Join: pieces that are under way
	int32_t status = 0;     ///< Join: the first error. Record: the error to report when the block is unlocked
	uint64_t offset = 0;    ///< in the volume
	uint64_t length = 0;    ///< bytes. Set for Join, Punch, Drop, Extents
	uint64_t sent = 0;      ///< Join: bytes that have a piece
	ObjectId object;        ///< what the mapper named last
	xseg::RequestRef joined; ///< Join: the client's request while its pieces travel

	/// A request came into our hands. What an earlier one left under its index counts no more.
	void begin(bool ofOurs)
	{
		step = Step::None;
		way = Way::Read;
		op = Op::None;
		piece = ofOurs;
		fua = committed = asked = takesHoles = hole = false;
		status = 0;
	}
};
using IoContexts = std::vector<IoContext>;

/// Of one session: where its requests go, and for which volume.
class BlockIo {
public:
	struct Route {
		xseg::PortNo mapper = 0, blocker = 0;
		uint32_t mapperLife = 0;    ///< in which the mapper gave the handle (port_life.h)
		uint32_t handle = 0;        ///< the mapper's, of this attachment
		std::string_view volume;    ///< its name, for the log; outlives this
	};
	BlockIo(runtime::ServedPort &port, IoContexts &contexts, spdlog::logger &log, const Route &route)
	    : m_port(port), m_contexts(contexts), m_log(log), m_route(route)
	{
	}

	/// Starts a request that lies inside one block (Drop: that covers blocks; Extents: any), or starts it over: its data, and way, fua, offset
	/// and length of its context, are set. The caller has looked at mapperLost().
	void start(xseg::RequestRef request);
	/// The next step, when one is back. True when the request has arrived at its end: it is in `request`, and `status` says
	/// how it ended. False: it is under way again, and `request` is empty.
	bool step(xseg::RequestRef &request, int32_t &status);
	/// Sends a client's own request on to the mapper as MapFlush or MapDetach.
	void toMapper(xseg::RequestRef request, Op op, IoContext::Step step);

	/// The mapper has died, or does not know our handle: nothing more can be started, and E-PEER is the answer to everything.
	bool mapperLost() const { return m_lost || otherMapper(); }
	/// Another life of the mapper, or none: there is nothing to detach from.
	bool otherMapper() const { return runtime::portLife(m_port.port().segment(), m_route.mapper) != m_route.mapperLife; }
	/// An answer of the mapper's, reduced to our codes. That it is gone is remembered.
	int32_t mapperStatus(int32_t status);

private:
	IoContext &contextOf(const xseg::RequestRef &request) { return m_contexts[request.index()]; }
	void send(xseg::RequestRef request, xseg::PortNo to);
	bool mapped(xseg::RequestRef &request, int32_t &status);
	bool objectDone(xseg::RequestRef &request, int32_t &status);
	bool created(xseg::RequestRef &request, int32_t &status);
	void toObject(xseg::RequestRef request, Op op, IoContext::Step step);
	bool written(xseg::RequestRef &request, int32_t &status, bool durable);
	bool unreachable(int32_t &status) const;

	runtime::ServedPort &m_port;
	IoContexts &m_contexts;
	spdlog::logger &m_log;
	Route m_route;
	bool m_lost = false; ///< it said so
};

} // namespace archipelago::composer
