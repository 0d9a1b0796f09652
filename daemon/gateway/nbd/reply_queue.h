// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ReplyQueue: replies of one connection on their way to the socket. Everything that is finished in one turn goes out in one
// sendmsg: headers, and payload straight from the segment's buffers. A socket that takes no more leaves the rest here; a
// reply is out when its last byte is, and only then are its buffers free.
#pragma once

#include "daemon/gateway/nbd/request.h"

namespace archipelago::gateway::nbd {

class ReplyQueue {
public:
	enum class Sent { All, SocketFull, Budget, Broken };

	bool empty() const { return !m_queue.first(); }
	/// Takes the request, whose reply is laid out, until send() has handed it to `out`.
	void push(Request &request);
	/// Sends as much as the socket takes, at most kSendsPerTurn times. Requests that are out go to `out`, in order.
	Sent send(int fd, RequestList &out);
	/// The connection is broken: what was not sent goes to `out`.
	void abandon(RequestList &out);
	uint64_t bytesSent() const { return m_bytesSent; }

private:
	size_t gather();
	void advance(size_t bytes, RequestList &out);

	static constexpr size_t kMaxVectors = 256;
	RequestList m_queue;
	uint64_t m_headSent = 0; ///< bytes of the first reply that are out
	uint64_t m_bytesSent = 0;
	std::array<iovec, kMaxVectors> m_vectors;
};

} // namespace archipelago::gateway::nbd
