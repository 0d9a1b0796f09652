// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Gathering and advancing walk the same sequence: header, then the pieces of a read that succeeded.
#include "daemon/gateway/nbd/reply_queue.h"

#include <sys/socket.h>

#include <cerrno>

namespace archipelago::gateway::nbd {

namespace {

constexpr unsigned kSendsPerTurn = 16; ///< then others get their turn, however fast this client reads

uint64_t replyBytes(const Request &request) { return kReplyBytes + request.payloadBytes; }

} // namespace

void ReplyQueue::push(Request &request)
{
	const bool read = request.command.type == static_cast<uint16_t>(CommandType::Read) && request.error == WireError::None;
	request.payloadBytes = read ? request.command.length : 0;
	request.queued = true;
	writeReply(request.header, request.error, request.command.cookie);
	m_queue.pushBack(request);
}

ReplyQueue::Sent ReplyQueue::send(int fd, RequestList &out)
{
	for (unsigned i = 0; i < kSendsPerTurn; ++i) {
		if (empty()) return Sent::All;
		msghdr message{};
		message.msg_iov = m_vectors.data();
		message.msg_iovlen = gather();
		const ssize_t n = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			advance(static_cast<size_t>(n), out);
		else if (errno == EAGAIN)
			return Sent::SocketFull;
		else if (errno != EINTR)
			return Sent::Broken;
	}
	return empty() ? Sent::All : Sent::Budget;
}

void ReplyQueue::abandon(RequestList &out)
{
	while (Request *request = m_queue.popFront()) {
		request->queued = false;
		out.pushBack(*request);
	}
	m_headSent = 0;
}

size_t ReplyQueue::gather()
{
	size_t count = 0;
	uint64_t skip = m_headSent;
	const auto add = [&](std::byte *at, size_t bytes) {
		if (skip >= bytes) {
			skip -= bytes;
			return;
		}
		m_vectors[count++] = iovec{at + skip, bytes - static_cast<size_t>(skip)};
		skip = 0;
	};
	for (Request *request = m_queue.first(); request && count < kMaxVectors; request = request->after) {
		add(request->header.data(), kReplyBytes);
		if (!request->payloadBytes) continue;
		for (Piece *piece = request->firstPiece; piece && count < kMaxVectors; piece = piece->following)
			add(piece->data, piece->length);
	}
	return count;
}

void ReplyQueue::advance(size_t bytes, RequestList &out)
{
	m_bytesSent += bytes;
	m_headSent += bytes;
	while (Request *request = m_queue.first()) {
		const uint64_t length = replyBytes(*request);
		if (m_headSent < length) return;
		m_headSent -= length;
		m_queue.remove(*request);
		request->queued = false;
		out.pushBack(*request);
	}
}

} // namespace archipelago::gateway::nbd
