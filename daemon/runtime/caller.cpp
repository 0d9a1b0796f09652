// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Caller: which coroutine waits for which request. A call whose deadline passed leaves an orphan entry behind: its answer is
// taken and freed when it comes, and not before (its buffer may be under I/O).
#include "daemon/runtime/served_port.h"

#include <cstring>

namespace archipelago::runtime {

struct Caller::Pending {
	std::coroutine_handle<> waiter;
	xseg::RequestRef reply;
	bool abandoned = false; ///< nobody waits any more; on the heap, freed with the answer
};

Caller::Caller(ServedPort &port) : m_port(port), m_pending(port.port().segment().geometry().requests, nullptr) {}

Caller::~Caller()
{
	for (Pending *pending : m_pending)
		if (pending && pending->abandoned) delete pending;
}

Task<xseg::RequestRef> Caller::acquire(uint32_t bytes)
{
	for (;;) {
		xseg::RequestRef request = bytes ? m_port.port().get(bytes) : m_port.port().get();
		if (request) co_return std::move(request);
		// Credit comes back with our own answers; memory may come back with anybody's, so look again after a while.
		if (m_outstanding)
			co_await m_credit.wait();
		else
			co_await m_port.reactor().sleepMs(1);
	}
}

struct Caller::Await {
	ServedPort &port;
	Caller &caller;
	Pending pending;
	xseg::RequestRef request;
	xseg::PortNo to;
	uint64_t timeoutMs;
	bool forward;
	std::optional<Timer> timer;
	xseg::RequestIndex index = 0;

	Await(Caller &c, xseg::RequestRef r, xseg::PortNo t, uint64_t ms, bool f)
	    : port(c.m_port), caller(c), request(std::move(r)), to(t), timeoutMs(ms), forward(f)
	{
	}
	bool await_ready() const noexcept { return false; }
	void await_suspend(std::coroutine_handle<> h)
	{
		pending.waiter = h;
		index = request.index();
		caller.m_pending[index] = &pending;
		++caller.m_outstanding;
		if (timeoutMs) {
			request->deadline = Reactor::nowNs() + timeoutMs * 1'000'000u;
			timer.emplace(port.reactor(), [this] { expire(); });
			timer->startMs(timeoutMs);
		}
		// Neither answers before the next turn.
		forward ? port.forward(std::move(request), to) : port.submit(std::move(request), to);
	}
	void expire()
	{
		auto *orphan = new Pending;
		orphan->abandoned = true;
		caller.m_pending[index] = orphan;
		pending.waiter.resume();
	}
	xseg::RequestRef await_resume() { return std::move(pending.reply); }
};

Task<xseg::RequestRef> Caller::call(xseg::RequestRef request, xseg::PortNo to, uint64_t timeoutMs)
{
	Await await(*this, std::move(request), to, timeoutMs, false);
	xseg::RequestRef reply = co_await await;
	co_return std::move(reply);
}

Task<xseg::RequestRef> Caller::pass(xseg::RequestRef request, xseg::PortNo to)
{
	Await await(*this, std::move(request), to, 0, true);
	xseg::RequestRef reply = co_await await;
	co_return std::move(reply);
}

bool Caller::deliver(xseg::RequestRef &reply)
{
	Pending *pending = m_pending[reply.index()];
	if (!pending) return false;
	m_pending[reply.index()] = nullptr;
	--m_outstanding;
	if (pending->abandoned) {
		delete pending;
		reply.reset();
		m_credit.wakeAll();
		return true;
	}
	pending->reply = std::move(reply);
	m_credit.wakeAll();
	pending->waiter.resume(); // last: whoever waited may be at its end, and this caller with it
	return true;
}

Result<void> controlResult(const xseg::RequestRef &reply, std::string_view what)
{
	if (!reply) return failure(ErrorCode::Timeout, std::string(what) + ": no answer in time. Is the peer stuck? See: archipelago status");
	const auto code = errorFromWire(reply->status);
	if (!code) return {};
	const auto data = reply.data();
	const uint64_t length = reply->serviced;
	std::string text;
	if (length && length <= data.size() && length <= 4096) text.assign(reinterpret_cast<const char *>(data.data()), length);
	if (text.empty()) text = std::string(what) + ": " + std::string(errorInfo(*code).text);
	return failure(*code, std::move(text));
}

void respondControl(ServedPort &port, xseg::RequestRef request, const Result<void> &result)
{
	if (result) return port.respond(std::move(request), 0);
	const auto data = request.data();
	const size_t length = std::min(data.size(), result.error().message.size());
	request.alter(); // the message takes the place of a name
	if (length) std::memcpy(data.data(), result.error().message.data(), length);
	request->serviced = length;
	port.respond(std::move(request), wireStatus(result.error().code));
}

} // namespace archipelago::runtime
