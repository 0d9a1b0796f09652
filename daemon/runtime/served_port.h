// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ServedPort: a port of the segment, driven by a reactor. Hands what arrives to its handler, and turns the library's
// back-pressure (a full ring) into an outbox that is retried each turn, so that handlers never wait and never lose one.
// A destination that is not bound answers at once, locally, with E-PEER; but operations on objects wait for it: a blocker
// keeps nothing that its successor could not do as well, so its death or restart is a delay for its clients and no error.
//
// Caller: requests of one's own as awaitables, on top of a ServedPort.
#pragma once

#include "daemon/base/protocol.h"
#include "daemon/runtime/counters.h"
#include "daemon/runtime/reactor.h"
#include "xseg/port.h"

#include <deque>

namespace archipelago::runtime {

class PortHandler {
public:
	virtual ~PortHandler() = default;
	/// A request from another peer. Ends in respond(), forward(), or by being dropped (then it fails back).
	virtual void onRequest(ServedPort &port, xseg::RequestRef request) = 0;
	/// The answer to a request this port submitted (npath 0) or forwarded (npath > 0).
	virtual void onReply(ServedPort &port, xseg::RequestRef request) = 0;
};

class ServedPort {
public:
	/// Binds and attaches. With `counted`, what is accepted and answered here is counted under that name (counters.h).
	/// Errors: E-PEER (already bound: names the port), E-INVALID, E-NOSPACE (counters).
	static Result<std::unique_ptr<ServedPort>> bind(Reactor &reactor, xseg::BufferPool &buffers, xseg::PortNo number,
	                                                uint32_t maxInflight, PortHandler &handler,
	                                                const xseg::StatsSubject *counted = nullptr);
	~ServedPort();

	xseg::PortNo number() const { return m_port->number(); }
	xseg::Port &port() { return *m_port; }
	Reactor &reactor() { return m_reactor; }

	// Each takes the request; none fails.
	void submit(xseg::RequestRef request, xseg::PortNo to) { send(Outgoing{std::move(request), Kind::Submit, to, 0}); }
	void forward(xseg::RequestRef request, xseg::PortNo to) { send(Outgoing{std::move(request), Kind::Forward, to, 0}); }
	void respond(xseg::RequestRef request, int32_t status)
	{
		if (m_counters) m_counters->responded(request.index(), status, m_reactor.stampNs());
		send(Outgoing{std::move(request), Kind::Respond, 0, status});
	}

	/// While true, requests stay in the ring (the peer has as many in hand as nr_ops allows). Replies still come.
	void pauseRequests(bool paused);
	/// Nothing in the outbox.
	bool idle() const { return m_outbox.empty() && m_local.empty() && m_parked.empty(); }

private:
	friend class Reactor;
	enum class Kind : uint8_t { Submit, Forward, Respond };
	struct Outgoing {
		xseg::RequestRef request;
		Kind kind;
		xseg::PortNo to;
		int32_t status;
	};
	ServedPort(Reactor &reactor, std::unique_ptr<xseg::Port> port, PortHandler &handler);
	void send(Outgoing out);
	bool trySend(Outgoing &out);
	void retryParked();
	/// Up to `budget` of each kind; true when there may be more.
	bool drain(unsigned budget);

	Reactor &m_reactor;
	std::unique_ptr<xseg::Port> m_port;
	PortHandler &m_handler;
	std::unique_ptr<ServedCounters> m_counters; ///< null: nothing is counted here
	bool m_paused = false, m_queued = false;
	std::deque<Outgoing> m_outbox;           ///< waits for room in a ring, in order
	std::deque<xseg::RequestRef> m_local;    ///< answered here: the destination is not there
	std::deque<Outgoing> m_parked;           ///< waits for its destination to be bound, in order
	Timer m_parkTimer;
};

/// Requests as awaitables: one's own, and those that are passed on. Its owner shows replies to deliver().
class Caller {
public:
	explicit Caller(ServedPort &port);
	~Caller();

	/// A request with a buffer of `bytes` (0: none); waits while credit or memory is used up.
	Task<xseg::RequestRef> acquire(uint32_t bytes);
	/// Sends and waits for the answer. An empty result means that `timeoutMs` (0: none) went by; the request then is
	/// freed when its answer comes, and its buffer is not reused before.
	Task<xseg::RequestRef> call(xseg::RequestRef request, xseg::PortNo to, uint64_t timeoutMs = 0);
	/// Forwards a request that is somebody else's and waits until it is back; it then goes on, to respond() for example.
	Task<xseg::RequestRef> pass(xseg::RequestRef request, xseg::PortNo to);
	/// True when the reply was one of ours (it is taken).
	bool deliver(xseg::RequestRef &reply);
	unsigned outstanding() const { return m_outstanding; }

private:
	struct Pending;
	struct Await;
	ServedPort &m_port;
	std::vector<Pending *> m_pending; ///< by request index
	unsigned m_outstanding = 0;
	WaitList m_credit;
};

/// The answer of a control request as a Result: its status as an Error, with the message the peer sent along.
Result<void> controlResult(const xseg::RequestRef &reply, std::string_view what);
/// Responds to a control request: on an error the message goes along in the payload as far as it fits.
void respondControl(ServedPort &port, xseg::RequestRef request, const Result<void> &result);

} // namespace archipelago::runtime
