// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One NBD command while it is in hand, and its pieces: parts of it that lie inside one block and one buffer. Both live in
// free lists of their connection, which grow to what the connection has ever had in flight and no further.
//
//   parsed ─> pieces submitted ─> all home ─> reply queued ─> reply out ─> free
//                   └ deadline: error reply queued and out; the request waits here until all are home
#pragma once

#include "daemon/gateway/front.h"
#include "daemon/gateway/nbd/wire.h"

#include <sys/uio.h>

#include <array>
#include <deque>

namespace archipelago::gateway::nbd {

class Connection;
struct Request;

struct Piece : VolumeIo {
	Request *request = nullptr;
	Piece *following = nullptr; ///< of the same request, ascending; or of the free list
	std::byte *data = nullptr;  ///< where the buffer is
	uint32_t bufferBytes = 0;   ///< it was made for so many
	uint32_t received = 0;      ///< WRITE: bytes of the payload that are here
	// In the reply, when that has pieces (reply.h).
	uint32_t payload = 0;       ///< bytes of the buffer
	uint8_t headerBytes = 0;    ///< before them
	std::array<std::byte, 32> header;
};

struct Request {
	Connection *connection = nullptr;
	Request *before = nullptr, *after = nullptr; ///< in the one RequestList it is in
	Command command;
	Fault fault;                       ///< the first one wins
	uint32_t piecesOut = 0;            ///< submitted and not home
	bool complete = false;             ///< nothing more will be submitted: all payload is here, all pieces are made
	bool queued = false;               ///< its reply is in the ReplyQueue
	bool late = false;                 ///< the deadline passed: the client gets (or has) an error, pieces may be out
	bool silent = false;               ///< nobody waits for a reply any more
	uint64_t deadlineNs = 0;           ///< 0: waits
	uint64_t spanNext = 0, spanEnd = 0; ///< TRIM, WRITE_ZEROES: what is not submitted yet, in the volume
	bool flushLast = false;            ///< of these, with FUA and in several parts: one flush behind them
	Piece *firstPiece = nullptr, *lastPiece = nullptr;
	// The reply (reply.h): header, text, then the pieces if it has any.
	uint64_t replyBytes = 0;           ///< in all
	std::string_view text;
	bool piecesFollow = false;
	uint8_t headerBytes = 0;
	std::array<std::byte, 32> header;
};

/// A doubly linked list through the requests; owns nothing.
class RequestList {
public:
	Request *first() const { return m_first; }
	void pushBack(Request &request)
	{
		request.after = nullptr;
		request.before = m_last;
		(m_last ? m_last->after : m_first) = &request;
		m_last = &request;
	}
	void remove(Request &request)
	{
		(request.before ? request.before->after : m_first) = request.after;
		(request.after ? request.after->before : m_last) = request.before;
	}
	Request *popFront()
	{
		Request *request = m_first;
		if (request) remove(*request);
		return request;
	}

private:
	Request *m_first = nullptr, *m_last = nullptr;
};

} // namespace archipelago::gateway::nbd
