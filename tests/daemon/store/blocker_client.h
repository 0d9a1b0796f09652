// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// BlockerClient: who asks a blocker, played by a test: makes requests about objects, sends them, keeps the answers.
#pragma once

#include "daemon/runtime/served_port.h"
#include "store_bench.h"

#include <deque>

namespace archipelago::store {

inline constexpr xseg::PortNo kBlockerClientPort = 21;

/// The requesting end: sends, and keeps what comes back.
class BlockerClient : runtime::PortHandler {
public:
	BlockerClient(Bench &bench, xseg::PortNo blocker)
	    : m_reactor(bench.reactor()), m_blocker(blocker), m_buffers(bench.segment(), kBlockerClientPort)
	{
		auto port = runtime::ServedPort::bind(m_reactor, m_buffers, kBlockerClientPort, 256, *this);
		ARCHIPELAGO_ASSERT(port);
		m_port = std::move(*port);
	}
	xseg::RequestRef request(Op op, uint32_t bytes = 0)
	{
		xseg::RequestRef request = bytes ? m_port->port().get(bytes) : m_port->port().get();
		ARCHIPELAGO_ASSERT(request);
		request->op = static_cast<uint16_t>(op);
		return request;
	}
	xseg::RequestRef object(Op op, const ObjectId &id, uint32_t bytes = 0, uint64_t offset = 0)
	{
		xseg::RequestRef r = request(op, bytes);
		ObjectArgs args;
		args.id = id;
		r.setArgs(args);
		r->offset = offset;
		return r;
	}
	/// A request about the object NAME with `bytes` of payload; the name lies behind it.
	xseg::RequestRef named(Op op, std::string_view name, uint32_t bytes = 0)
	{
		xseg::RequestRef r = object(op, nameObject(), bytes + static_cast<uint32_t>(name.size()));
		std::memcpy(r.data().data() + bytes, name.data(), name.size());
		r->data_len = bytes;
		auto args = r.args<ObjectArgs>();
		args.nameLength = static_cast<uint16_t>(name.size());
		r.setArgs(args);
		return r;
	}
	void send(xseg::RequestRef request) { m_port->submit(std::move(request), m_blocker); }
	xseg::RequestRef call(xseg::RequestRef request)
	{
		const size_t before = replies.size();
		send(std::move(request));
		m_reactor.runUntil([&] { return replies.size() > before; });
		xseg::RequestRef reply = std::move(replies.back());
		replies.pop_back();
		return reply;
	}
	std::deque<xseg::RequestRef> replies;

private:
	void onRequest(runtime::ServedPort &, xseg::RequestRef) override {}
	void onReply(runtime::ServedPort &, xseg::RequestRef reply) override { replies.push_back(std::move(reply)); }

	runtime::Reactor &m_reactor;
	const xseg::PortNo m_blocker;
	xseg::BufferPool m_buffers;
	std::unique_ptr<runtime::ServedPort> m_port;
};

} // namespace archipelago::store
