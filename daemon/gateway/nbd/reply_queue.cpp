// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Gathering walks the sequence of reply.h.
#include "daemon/gateway/nbd/reply_queue.h"

#include <sys/socket.h>

#include <cerrno>

namespace archipelago::gateway::nbd {

namespace {

constexpr unsigned kSendsPerTurn = 16; ///< then others get their turn, however fast this client reads

} // namespace

void ReplyQueue::push(Request &request)
{
	request.queued = true;
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
	const auto add = [&](const void *at, size_t bytes) {
		if (skip >= bytes) {
			skip -= bytes;
			return;
		}
		if (count == kMaxVectors) return; // it stays so: nothing behind this is added either
		// sendmsg() only reads
		m_vectors[count++] = iovec{static_cast<std::byte *>(const_cast<void *>(at)) + skip, bytes - static_cast<size_t>(skip)};
		skip = 0;
	};
	for (Request *request = m_queue.first(); request && count < kMaxVectors; request = request->after) {
		add(request->header.data(), request->headerBytes);
		add(request->text.data(), request->text.size());
		if (!request->piecesFollow) continue;
		for (Piece *piece = request->firstPiece; piece && count < kMaxVectors; piece = piece->following) {
			add(piece->header.data(), piece->headerBytes);
			add(piece->data, piece->payload);
		}
	}
	return count;
}

void ReplyQueue::advance(size_t bytes, RequestList &out)
{
	m_bytesSent += bytes;
	m_headSent += bytes;
	while (Request *request = m_queue.first()) {
		if (m_headSent < request->replyBytes) return;
		m_headSent -= request->replyBytes;
		m_queue.remove(*request);
		request->queued = false;
		out.pushBack(*request);
	}
}

} // namespace archipelago::gateway::nbd
