// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Actor: a port that a test plays by hand. What arrives is kept until the test asks for it; waiting turns the reactor and
// fails the test after five seconds. The other end of the protocol, not a copy of any peer.
#pragma once

#include "tests/daemon/runtime/rig.h"

#include "daemon/runtime/served_port.h"

#include <deque>
#include <map>

namespace archipelago::testing {

/// Turns the reactor until `done`; false after five seconds.
inline bool turnUntil(Rig &rig, const std::function<bool()> &done)
{
	bool expired = false;
	runtime::Timer timer(*rig.reactor, [&expired] { expired = true; });
	timer.startMs(5000);
	rig.reactor->runUntil([&] { return expired || done(); });
	return done();
}

/// Lets everything that is on its way arrive.
inline void settle(Rig &rig)
{
	for (int i = 0; i < 20; ++i) {
		bool turned = false;
		rig.reactor->post([&turned] { turned = true; });
		rig.reactor->runUntil([&turned] { return turned; });
	}
}

inline Op opOf(const xseg::RequestRef &request) { return static_cast<Op>(request->op); }

class Actor : public runtime::PortHandler {
public:
	Actor(Rig &rig, xseg::PortNo number) : m_rig(rig), m_number(number), m_buffers(*rig.segment, number) { bind(); }
	~Actor() override { leave(); }

	/// Its port is bound no more; what it has in hand, and what waits in its rings, fails back.
	void leave()
	{
		requests.clear();
		replies.clear();
		m_port.reset();
	}
	/// After leave(): another life on the same port.
	void bind()
	{
		auto bound = runtime::ServedPort::bind(*m_rig.reactor, m_buffers, m_number, 256, *this);
		if (!bound) qFatal("bind: %s", bound.error().message.c_str());
		m_port = std::move(*bound);
	}

	runtime::ServedPort &port() { return *m_port; }
	/// A request of this actor's own, with a buffer of `bytes` filled with `fill`.
	xseg::RequestRef make(Op op, uint32_t bytes = 0, uint8_t fill = 0)
	{
		xseg::RequestRef request = bytes ? m_port->port().get(bytes) : m_port->port().get();
		if (!request) qFatal("no request");
		request->op = static_cast<uint16_t>(op);
		for (std::byte &b : request.data()) b = std::byte{fill};
		return request;
	}
	void submit(xseg::RequestRef request, xseg::PortNo to)
	{
		const auto key = keys.find(to);
		if (key != keys.end()) request.setArgs(VolumeArgs{.key = key->second});
		m_port->submit(std::move(request), to);
	}
	void respond(xseg::RequestRef request, int32_t status = 0) { m_port->respond(std::move(request), status); }
	void respond(xseg::RequestRef request, ErrorCode code) { m_port->respond(std::move(request), wireStatus(code)); }

	/// The next request that arrives here; empty after five seconds.
	xseg::RequestRef request() { return next(requests); }
	/// The next answer to a request of our own.
	xseg::RequestRef reply() { return next(replies); }

	void onRequest(runtime::ServedPort &, xseg::RequestRef request) override
	{
		if (automatic)
			automatic(std::move(request));
		else
			requests.push_back(std::move(request));
	}
	void onReply(runtime::ServedPort &, xseg::RequestRef request) override { replies.push_back(std::move(request)); }

	std::function<void(xseg::RequestRef)> automatic; ///< answers by itself instead
	std::deque<xseg::RequestRef> requests, replies;
	std::map<xseg::PortNo, uint64_t> keys; ///< of attachments, by session port: go with what is submitted there

private:
	xseg::RequestRef next(std::deque<xseg::RequestRef> &from)
	{
		if (!turnUntil(m_rig, [&from] { return !from.empty(); })) return {};
		xseg::RequestRef out = std::move(from.front());
		from.pop_front();
		return out;
	}

	Rig &m_rig;
	xseg::PortNo m_number;
	xseg::BufferPool m_buffers;
	std::unique_ptr<runtime::ServedPort> m_port;
};

} // namespace archipelago::testing
