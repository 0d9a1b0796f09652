// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Port, the standing half: binding and leaving, requests at home, RequestRef. (How requests move: delivery.cpp.)
//
// Life of a port:  FREE --CAS--> RECOVERING (being set up: nobody else may bind, nobody sends) --> BOUND
//                  BOUND --> RECOVERING (leaving: nobody sends any more, the rings are drained) --> FREE
// A binder killed in RECOVERING leaves just that, as recovery itself would: the supervisor finishes it. `gen` rises at each
// bind, before BOUND, so that replies meant for an earlier life are told apart.
#include "xseg/port.h"

#include "xseg/src/assert.h"
#include "xseg/src/request_pool.h"
#include "xseg/src/ring.h"
#include "xseg/src/state_word.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace xseg {
namespace {

/// When this process started, in clock ticks since boot (field 22 of /proc/self/stat); 0 when that cannot be read. With
/// the pid it tells a process from a later one with the same number.
uint64_t processStartTime()
{
	constexpr int kFieldsAfterName = 20; // fields 3..22 follow the last ')'
	UniqueFd fd(::open("/proc/self/stat", O_RDONLY | O_CLOEXEC));
	char text[1024];
	const ssize_t length = fd ? ::read(fd.get(), text, sizeof text - 1) : -1;
	if (length <= 0) return 0;
	text[length] = '\0';
	const char *at = std::strrchr(text, ')'); // the name may hold anything, also spaces and parentheses
	for (int field = 0; at && field < kFieldsAfterName; ++field) at = std::strchr(at + 1, ' ');
	return at ? std::strtoull(at + 1, nullptr, 10) : 0;
}

} // namespace

Result<std::unique_ptr<Port>> Port::bind(const Segment &segment, const BellFds &bells, BufferPool &buffers,
                                         PortNo number, const BindOptions &options)
{
	const Geometry &geometry = segment.geometry();
	if (number >= geometry.ports) return tl::unexpected(Failure{EINVAL, "there is no such port"});
	if (options.waiter >= geometry.waiters || options.waiter >= bells.size())
		return tl::unexpected(Failure{EINVAL, "there is no such waiter"});
	if (auto backed = segment.backRings(number); !backed) return tl::unexpected(backed.error());

	std::atomic_ref state(segment.port(number).state);
	uint32_t expected = XS_PORT_FREE;
	if (!state.compare_exchange_strong(expected, XS_PORT_RECOVERING))
		return tl::unexpected(Failure{EBUSY, "port " + std::to_string(number) + " is bound already"});
	std::unique_ptr<Port> port(new Port(segment, bells, buffers, number, options));
	state.store(XS_PORT_BOUND);
	port->announceTo(number); // look at what a predecessor has left in the rings
	return port;
}

Port::Port(const Segment &segment, const BellFds &bells, BufferPool &buffers, PortNo number, const BindOptions &options)
	: m_segment(segment),
	  m_bells(bells),
	  m_buffers(buffers),
	  m_number(number),
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
	writeOnce(shared.pid, uint32_t(getpid()));
	writeOnce(shared.start_time, processStartTime());
	writeOnce(shared.role, m_options.role);
}

Port::~Port()
{
	std::atomic_ref state(m_segment.port(m_number).state);
	state.store(XS_PORT_RECOVERING);
	for (uint64_t looked = 0; looked < 2 * halfRing(); ++looked) { // one ring's worth: nobody adds to it any more
		if (const auto index = take(Direction::Request); index && accepted(*index)) giveBack(*index, -ECANCELED);
		if (const auto index = take(Direction::Reply); index && received(*index)) drop(*index);
	}
	// What still finds no room stays OWNED by this port: recovery, or its next owner's supervisor, sends it on.
	retryUnsent();
	m_pool.reset();
	state.store(XS_PORT_FREE);
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
