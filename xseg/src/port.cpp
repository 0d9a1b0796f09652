// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Port, the standing half: binding and leaving, requests at home, RequestRef. (How requests move: delivery.cpp.)
//
// Life of a port:  owner word: nobody --CAS--> this process (nobody else may bind)
//                  FREE --CAS--> RECOVERING (being set up: nobody sends) --> BOUND
//                  BOUND --> RECOVERING (leaving: nobody sends any more, the rings are drained) --> FREE
//                  owner word: nobody's again, unless a pool of ours still holds slabs in the port's name
// Whoever is killed in between has its name in the owner word, from first to last: recovery needs no more than that. The
// state says FREE -> RECOVERING by a CAS too, for two threads of one process. `gen` rises at each bind, before BOUND, so that
// replies meant for an earlier life are told apart; the dead need no new one, since a port that is not BOUND is not alive.
#include "xseg/port.h"

#include "xseg/process.h"
#include "xseg/src/assert.h"
#include "xseg/src/port_word.h"
#include "xseg/src/request_pool.h"
#include "xseg/src/ring.h"
#include "xseg/src/state_word.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace xseg {

Result<std::unique_ptr<Port>> Port::bind(const Segment &segment, const BellFds &bells, BufferPool &buffers,
                                         PortNo number, const BindOptions &options)
{
	const Geometry &geometry = segment.geometry();
	if (number >= geometry.ports) return tl::unexpected(Failure{EINVAL, "there is no such port"});
	if (options.waiter >= geometry.waiters || options.waiter >= bells.size())
		return tl::unexpected(Failure{EINVAL, "there is no such waiter"});
	if (auto backed = segment.backRings(number); !backed) return tl::unexpected(backed.error());

	const uint64_t me = ownerWord(thisProcess());
	std::atomic_ref state(segment.port(number).state);
	uint32_t expected = XS_PORT_FREE;
	if (!claimPort(segment, number, me) || !state.compare_exchange_strong(expected, XS_PORT_RECOVERING))
		return tl::unexpected(Failure{EBUSY, "port " + std::to_string(number) + " is bound already"});
	XSEG_CRASH_POINT();
	std::unique_ptr<Port> port(new Port(segment, bells, buffers, number, me, options));
	setPortState(segment, number, XS_PORT_BOUND);
	port->announceTo(number); // look at what a predecessor has left in the rings
	return port;
}

Port::Port(const Segment &segment, const BellFds &bells, BufferPool &buffers, PortNo number, uint64_t me,
           const BindOptions &options)
	: m_segment(segment),
	  m_bells(bells),
	  m_buffers(buffers),
	  m_number(number),
	  m_me(me),
	  m_options(options),
	  m_pool(std::make_unique<RequestPool>(segment, number))
{
	m_unsent.reserve(halfRing());
	m_options.maxInflight = uint32_t(std::clamp<uint64_t>(options.maxInflight, 1, halfRing()));
	for (const Direction direction : {Direction::Request, Direction::Reply}) {
		m_heads[size_t(direction)] = Ring(segment.ring(number, direction), segment.geometry().ringSlotsLog2)
		                                 .sharedHead();
	}
	xs_port &shared = segment.port(number);
	m_generation = readOnce(shared.gen) + 1;
	if (m_generation == 0) m_generation = 1; // 0 says "never bound"
	writeOnce(shared.gen, m_generation);
	writeOnce(shared.waiter, m_options.waiter);
	writeOnce(shared.max_inflight, m_options.maxInflight);
	const ProcessId process = thisProcess();
	writeOnce(shared.pid, process.pid);
	writeOnce(shared.start_time, process.startTime);
	writeOnce(shared.role, m_options.role);
}

Port::~Port()
{
	setPortState(m_segment, m_number, XS_PORT_RECOVERING);
	for (uint64_t looked = 0; looked < 2 * halfRing(); ++looked) { // one ring's worth: nobody adds to it any more
		if (const auto index = m_leaveQueue ? std::nullopt : take(Direction::Request); index && accepted(*index))
			giveBack(*index, -ECANCELED);
		if (const auto index = take(Direction::Reply); index && received(*index)) drop(*index);
	}
	// What still finds no room stays OWNED by this port: recovery, or its next owner's supervisor, sends it on.
	retryUnsent();
	m_pool.reset();
	setPortState(m_segment, m_number, XS_PORT_FREE);
	if (m_buffers.owner() == m_number)
		m_buffers.giveUpOwner();
	else
		giveUpPort(m_segment, m_number, m_me);
}

bool Port::fail(int errnum)
{
	m_lastError = errnum;
	return false;
}

RequestRef Port::get()
{
	const auto empty = [this](int errnum) {
		fail(errnum);
		return RequestRef();
	};
	if (m_inflight >= m_options.maxInflight) return empty(EAGAIN);
	const auto index = m_pool->take();
	if (!index) return empty(ENOBUFS);

	xs_req &request = m_segment.request(*index);
	request.seq = readOnce(request.seq) + 1;
	request.op = 0;
	request.flags = 0;
	request.status = 0;
	request.attempts = request.npath = 0;
	request.offset = request.size = request.serviced = request.deadline = 0;
	request.data_blk = request.own_blk = XS_NO_BUFFER;
	request.data_off = request.data_len = 0;
	std::memset(request.args, 0, sizeof request.args);
	std::memset(request.cookie, 0, sizeof request.cookie);
	return RequestRef(this, *index);
}

RequestRef Port::get(uint32_t bytes)
{
	RequestRef request = get();
	if (request && !attachBuffer(request, bytes)) request.reset();
	return request;
}

bool Port::attachBuffer(RequestRef &request, uint32_t bytes)
{
	XSEG_ASSERT(request && &request.port() == this, "attachBuffer() for a request that this port does not hold");
	RequestPool::Own *own = m_pool->find(request.index());
	if (!own || own->place != RequestPool::Place::Held || own->buffer != XS_NO_BUFFER) return fail(EINVAL);
	const uint32_t block = m_buffers.allocate(bytes);
	if (block == XS_NO_BUFFER) return fail(ENOMEM);
	own->buffer = block;
	xs_req &shared = *request;
	shared.own_blk = shared.data_blk = block;
	shared.data_off = 0;
	shared.data_len = bytes;
	return true;
}

/// Ours, wherever it was: its buffer and itself can be used again.
void Port::freeAtHome(RequestIndex index)
{
	RequestPool::Own *own = m_pool->find(index);
	if (own->place == RequestPool::Place::Out) --m_inflight;
	if (own->buffer != XS_NO_BUFFER) m_buffers.free(std::exchange(own->buffer, XS_NO_BUFFER));
	m_pool->put(index);
}

void Port::drop(RequestIndex index)
{
	using Place = RequestPool::Place;
	const RequestPool::Own *own = m_pool->find(index);
	if (own && (own->place == Place::Held || own->place == Place::Free))
		freeAtHome(index);
	else
		giveBack(index, -ECANCELED);
}

void RequestRef::alter() const { RequestState(m_port->segment().request(m_index)).alter(m_port->number()); }

std::span<std::byte> RequestRef::data() const
{
	const xs_req &request = **this;
	const auto bytes = m_port->segment().buffer(readOnce(request.data_blk), readOnce(request.data_off),
	                                            readOnce(request.data_len));
	return bytes.value_or(std::span<std::byte>());
}

void RequestRef::reset()
{
	if (Port *port = std::exchange(m_port, nullptr)) port->drop(m_index);
}

} // namespace xseg
