// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Handing requests in and out of a port. The outbox keeps order per port: while it holds something, later sends queue behind.
// What is parked for a blocker that is away is looked at every few milliseconds: nobody tells when a port is bound.
#include "daemon/runtime/served_port.h"

#include <cerrno>
#include <cstring>

namespace archipelago::runtime {

namespace {

constexpr uint64_t kParkedMs = 5;

bool waitsForItsPeer(uint16_t op)
{
	return op >= static_cast<uint16_t>(Op::ObjRead) && op <= static_cast<uint16_t>(Op::ObjPunch);
}

} // namespace

Result<std::unique_ptr<ServedPort>> ServedPort::bind(Reactor &reactor, xseg::BufferPool &buffers, xseg::PortNo number,
                                                     uint32_t maxInflight, PortHandler &handler,
                                                     const xseg::StatsSubject *counted)
{
	xseg::BindOptions options;
	options.waiter = reactor.waiterIndex();
	options.maxInflight = maxInflight;
	auto port = xseg::Port::bind(reactor.segment(), reactor.bells(), buffers, number, options);
	if (!port) {
		const bool taken = port.error().errnum == EBUSY;
		return failure(taken ? ErrorCode::Peer : ErrorCode::Invalid,
		               "Cannot take port " + std::to_string(number) + ": " + port.error().what + ".");
	}
	std::unique_ptr<ServedPort> served(new ServedPort(reactor, std::move(*port), handler));
	if (counted) {
		auto counters = ServedCounters::open(reactor.segment(), number, *counted);
		if (!counters) return tl::unexpected<Error>(counters.error());
		served->m_counters = std::move(*counters);
	}
	reactor.attach(*served);
	return served;
}

ServedPort::ServedPort(Reactor &reactor, std::unique_ptr<xseg::Port> port, PortHandler &handler)
    : m_reactor(reactor), m_port(std::move(port)), m_handler(handler), m_parkTimer(reactor, [this] { retryParked(); })
{
}

ServedPort::~ServedPort()
{
	m_reactor.detach(*this);
	m_outbox.clear(); // each fails back
	m_local.clear();
	m_parked.clear();
}

void ServedPort::pauseRequests(bool paused)
{
	if (m_paused && !paused) m_reactor.wakePort(*this); // what waited in the ring
	m_paused = paused;
}

void ServedPort::send(Outgoing out)
{
	if (m_outbox.empty() && trySend(out)) return;
	m_outbox.push_back(std::move(out));
	m_reactor.wakePort(*this);
}

/// False: the ring is full, try again. Otherwise the request has gone, or waits in m_local with its verdict.
bool ServedPort::trySend(Outgoing &out)
{
	bool sent = false;
	switch (out.kind) {
	case Kind::Submit: sent = m_port->submit(out.request, out.to); break;
	case Kind::Forward: sent = m_port->forward(out.request, out.to); break;
	case Kind::Respond: return m_port->respond(out.request, out.status);
	}
	if (sent) return true;
	if (m_port->lastError() != ENOTCONN) return false;
	if (waitsForItsPeer(out.request->op)) {
		m_parked.push_back(std::move(out));
		if (!m_parkTimer.active()) m_parkTimer.startMs(kParkedMs);
		return true;
	}
	// Nobody is there. Answer here, next turn: a handler does not expect onReply() inside its own send.
	out.request->status = wireStatus(ErrorCode::Peer);
	out.request->serviced = 0;
	m_local.push_back(std::move(out.request));
	m_reactor.wakePort(*this);
	return true;
}

void ServedPort::retryParked()
{
	std::deque<Outgoing> parked;
	parked.swap(m_parked); // one that still has nowhere to go is parked anew
	for (Outgoing &out : parked) send(std::move(out));
}

bool ServedPort::drain(unsigned budget)
{
	while (!m_outbox.empty() && trySend(m_outbox.front())) m_outbox.pop_front();

	const xseg::PortNo number = m_port->number();
	Reactor &reactor = m_reactor;
	const auto alive = [&reactor, number, this] { return reactor.m_ports[number] == this; };

	for (size_t n = m_local.size(); n > 0; --n) {
		xseg::RequestRef request = std::move(m_local.front());
		m_local.pop_front();
		m_handler.onReply(*this, std::move(request));
		if (!alive()) return false; // the handler closed this port
	}
	// Replies first: they free what requests wait for.
	unsigned replies = 0, requests = 0;
	for (; replies < budget; ++replies) {
		xseg::RequestRef request = m_port->receive();
		if (!request) break;
		m_handler.onReply(*this, std::move(request));
		if (!alive()) return false;
	}
	for (; requests < budget && !m_paused; ++requests) {
		xseg::RequestRef request = m_port->accept();
		if (!request) break;
		if (m_counters) m_counters->accepted(request.index(), *request, m_reactor.stampNs());
		m_handler.onRequest(*this, std::move(request));
		if (!alive()) return false;
	}
	return replies == budget || requests == budget || !m_outbox.empty() || !m_local.empty();
}

} // namespace archipelago::runtime
