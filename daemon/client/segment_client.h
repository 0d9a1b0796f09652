// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// SegmentClient: control requests to peers, from a program with an event loop of its own (the service). Owns one port of
// the VTOOL range, its buffers and one waiter. No thread, no Qt, nothing blocks.
//
//   event loop      polls pollFd() and sleeps at most until nextDeadlineNs(), then calls process()
//   between calls   the waiter's bell is 1 (asleep), so whoever answers rings it: an answer that arrives while the loop
//                   does something else is found by the next poll. Only process() looks at rings.
//
// A deadline abandons waiting, never a buffer: the callback gets E-TIMEOUT, but the request and its buffer stay with the
// peer and are freed when its answer comes.
// What comes back is not trusted: fields are copied once, and the answer's payload is read from the buffer this client
// put there, never from where the answer says it is.
#pragma once

#include "daemon/base/errors.h"
#include "daemon/base/protocol.h"
#include "xseg/port.h"

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace archipelago::client {

struct ControlRequest {
	Op op = Op::None;
	xseg::PortNo to = 0;
	std::array<std::byte, sizeof(xs_req::args)> args{};
	std::string payload;        ///< copied into the request's buffer
	uint32_t replyCapacity = 0; ///< room for the answer's payload; at most 4 MiB. 0 and no payload: no buffer at all
	uint64_t timeoutMs = 30'000; ///< 0 = as long as it takes

	template <typename T> void setArgs(const T &in)
	{
		static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof args);
		std::memcpy(args.data(), &in, sizeof in);
	}
};

/// A successful answer.
struct ControlReply {
	std::array<std::byte, sizeof(xs_req::args)> args{};
	uint64_t size = 0, serviced = 0;
	std::vector<std::byte> data; ///< replyCapacity bytes; what the peer did not write is zero

	template <typename T> T argsAs() const
	{
		static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof args);
		T out;
		std::memcpy(&out, args.data(), sizeof out);
		return out;
	}
};

/// Called exactly once, from process() or failAll(). Must not destroy the client.
using ReplyFn = std::function<void(Result<ControlReply>)>;

class SegmentClient {
public:
	struct Options {
		uint32_t waiter = 0;        ///< not used by anybody else
		xseg::PortNo port = 0;
		uint32_t maxInflight = 64;
	};
	/// `segment` and `bells` outlive the client. Errors: E-PEER (port bound already), E-INVALID.
	static Result<std::unique_ptr<SegmentClient>> create(const xseg::Segment &segment, const xseg::BellFds &bells,
	                                                     const Options &options);
	/// Callbacks that are still waiting are dropped: call failAll() first when somebody depends on them.
	~SegmentClient();
	SegmentClient(const SegmentClient &) = delete;
	SegmentClient &operator=(const SegmentClient &) = delete;

	/// Sends as soon as credit, memory and the peer's ring allow. Errors of the answer: the peer's own, with the message it
	/// sent along; E-PEER (nobody is bound to the port), E-TIMEOUT, E-LIMIT (no memory until the deadline).
	void request(ControlRequest request, ReplyFn done);

	int pollFd() const { return m_waiter.eventFd(); } ///< readable: call process()
	void process();
	/// When process() has to run although pollFd() is silent; CLOCK_BOOTTIME, 0 = at once; nothing: no need. While a request
	/// is out this is at most 100 ms ahead: a peer killed between its push and its ring leaves an answer nobody rings for.
	std::optional<uint64_t> nextDeadlineNs() const;
	static uint64_t nowNs(); ///< CLOCK_BOOTTIME

	/// Gives up waiting for everything, because whoever should answer is gone. Each callback gets `error`.
	void failAll(const Error &error);
	/// Requests with peers now, abandoned ones included.
	size_t outstanding() const { return m_sent.size(); }

private:
	struct Pending {
		ControlRequest request;
		ReplyFn done;               ///< empty: abandoned
		uint64_t deadlineNs = 0;    ///< 0 = none
		uint32_t buffer = XS_NO_BUFFER, capacity = 0;
	};
	struct Finished {
		ReplyFn done;
		Result<ControlReply> result;
	};
	SegmentClient(const xseg::Segment &segment, const xseg::BellFds &bells, const Options &options);
	enum class Sent { Yes, Later, Refused };
	Sent trySend(Pending &pending);
	void flushOutbox();
	bool drain();
	void answered(Pending &pending, xseg::RequestRef &reply);
	void expire();
	bool deliver();

	const xseg::Segment &m_segment;
	xseg::Waiter m_waiter;
	xseg::BufferPool m_buffers; // outlives the port that uses it
	std::unique_ptr<xseg::Port> m_port;
	std::deque<Pending> m_outbox;                               ///< not sent yet
	std::unordered_map<xseg::RequestIndex, Pending> m_sent;     ///< with a peer
	std::vector<Finished> m_finished;                           ///< to be told
	bool m_processAgain = false;
};

} // namespace archipelago::client
