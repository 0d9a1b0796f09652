// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Connection, the other half: requests and their pieces from submission to recycling, replies, deadlines.
//
// A request is in the active list from its beginning until its reply is queued; then in the reply queue; then, if its
// deadline had passed and pieces are still out, in no list at all until they are home.
#include "daemon/gateway/nbd/connection.h"

#include <poll.h>

#include <algorithm>
#include <bit>

namespace archipelago::gateway::nbd {

namespace {

constexpr uint32_t kSmallestPart = 64 * 1024; ///< below this a buffer is not halved when memory is short
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint32_t kStatusBytes = 4096; ///< 512 BlockRuns: more than most 4 GiB have, and an answer may stop short

/// Bytes from `offset` to the end of its block, at most `length`.
uint32_t inBlock(uint64_t offset, uint32_t length)
{
	return std::min(length, VolumeShape::kBlock - static_cast<uint32_t>(offset % VolumeShape::kBlock));
}

uint64_t readCost(const Command &command)
{
	uint64_t cost = 0;
	for (uint32_t at = 0; at < command.length;) {
		const uint32_t length = inBlock(command.offset + at, command.length - at);
		cost += BufferBudget::cost(length);
		at += length;
	}
	return cost;
}

} // namespace

/// All buffers or none: see buffer_budget.h.
Connection::Started Connection::beginRead(const Command &command)
{
	const uint64_t cost = readCost(command);
	if (!underCap(cost) || !m_context.budget.reserve(cost, m_held, *this)) return Started::Blocked;
	m_held += cost;
	Request &request = newRequest(command);
	uint64_t used = 0;
	uint32_t at = 0, largest = VolumeShape::kBlock;
	const bool holes = m_dialect.structured && !(command.flags & kCommandDf);
	while (at < command.length) {
		const Part part = allocate(inBlock(command.offset + at, command.length - at), largest);
		if (!part.length) break;
		newPiece(request, Op::VolRead, command.offset + at, part).takesHoles = holes;
		used += BufferBudget::cost(part.length);
		at += part.length;
	}
	ARCHIPELAGO_ASSERT(used <= cost); // see allocate()
	m_held -= cost - used;
	m_context.budget.release(cost - used);
	if (at < command.length) {
		m_active.remove(request);
		recycle(request);
		m_context.budget.waitForMemory(*this);
		return Started::Blocked;
	}
	for (Piece *piece = request.firstPiece; piece; piece = piece->following) submit(*piece);
	completed(request);
	return Started::Yes;
}

Connection::Started Connection::nextWritePiece()
{
	Request &request = *m_receiving;
	const uint64_t offset = request.command.offset + m_payloadPlaced;
	const uint32_t wanted = inBlock(offset, request.command.length - m_payloadPlaced);
	const Part part = reserveAndAllocate(wanted);
	if (!part.length) return Started::Blocked;
	m_piece = &newPiece(request, Op::VolWrite, offset, part);
	m_piece->fua = request.command.flags & kCommandFua;
	m_payloadPlaced += part.length;
	return Started::Yes;
}

/// One buffer answers it, however long the range.
Connection::Started Connection::beginStatus(const Command &command)
{
	const Part part = reserveAndAllocate(kStatusBytes);
	if (!part.length) return Started::Blocked;
	Request &request = newRequest(command);
	Piece &piece = newPiece(request, Op::VolExtents, command.offset, part);
	piece.length = command.length;
	piece.room = part.length;
	submit(piece);
	completed(request);
	return Started::Yes;
}

/// One buffer within the budget, in a part of no length: not now, and roomFreed() will say when.
Part Connection::reserveAndAllocate(uint32_t wanted)
{
	const uint64_t cost = BufferBudget::cost(wanted);
	if (!underCap(cost) || !m_context.budget.reserve(cost, m_held, *this)) return {};
	uint32_t largest = VolumeShape::kBlock;
	const Part part = allocate(wanted, largest);
	const uint64_t used = part.length ? BufferBudget::cost(part.length) : 0;
	m_context.budget.release(cost - used);
	m_held += used;
	if (!part.length) m_context.budget.waitForMemory(*this);
	return part;
}

/// A buffer for `wanted` bytes, or for less when the segment has no room for so large a one in one place; or none. `largest`
/// falls from one power of two to a smaller one and never rises within a request: so its parts cost no more than their whole.
Part Connection::allocate(uint32_t wanted, uint32_t &largest)
{
	for (;;) {
		const uint32_t length = std::min(wanted, largest);
		const uint32_t buffer = m_context.budget.allocate(length);
		if (buffer != XS_NO_BUFFER) {
			const auto data = m_context.reactor.segment().buffer(buffer, 0, length);
			if (data) return {buffer, length, data->data()};
			m_context.budget.free(buffer); // somebody wrote over the table of slabs
			return {};
		}
		if (length <= kSmallestPart) return {};
		largest = std::bit_floor(length - 1);
	}
}

void Connection::freeBuffer(Piece &piece)
{
	if (piece.buffer == XS_NO_BUFFER) return;
	m_context.budget.free(std::exchange(piece.buffer, XS_NO_BUFFER));
	const uint64_t cost = BufferBudget::cost(piece.bufferBytes);
	m_context.budget.release(cost);
	m_held -= cost;
	if (m_blocked) markDirty();
}

Request &Connection::newRequest(const Command &command)
{
	Request *request = m_freeRequests.popFront();
	if (!request) request = &m_requests.emplace_back();
	*request = Request{};
	request->connection = this;
	request->command = command;
	m_active.pushBack(*request);
	++m_inHand;
	return *request;
}

Piece &Connection::newPiece(Request &request, Op op, uint64_t offset, Part part)
{
	Piece *piece = m_freePieces;
	if (piece)
		m_freePieces = piece->following;
	else
		piece = &m_pieces.emplace_back();
	*piece = Piece{};
	piece->request = &request;
	piece->op = op;
	piece->offset = offset;
	piece->buffer = part.buffer;
	piece->length = piece->bufferBytes = part.length;
	piece->data = part.data;
	piece->done = [](VolumeIo &io) {
		auto &self = static_cast<Piece &>(io);
		self.request->connection->pieceDone(self);
	};
	(request.lastPiece ? request.lastPiece->following : request.firstPiece) = piece;
	request.lastPiece = piece;
	return *piece;
}

void Connection::submit(Piece &piece)
{
	++piece.request->piecesOut;
	m_volume->submit(piece);
}

/// The next part of a TRIM or WRITE_ZEROES, or the flush behind them; false when all is done. Parts end where a multiple of the
/// longest one ends, so that no block is cut in two.
bool Connection::submitNext(Piece &piece)
{
	Request &request = *piece.request;
	if (request.spanNext == request.spanEnd) {
		if (!std::exchange(request.flushLast, false)) return false;
		piece.op = Op::VolFlush;
		piece.noHole = false;
		piece.offset = piece.length = 0;
	} else {
		const bool first = request.spanNext == request.command.offset;
		const uint64_t longest = piece.noHole ? VolumeShape::kLongestFill : VolumeShape::kLongestTrim;
		const uint64_t left = request.spanEnd - request.spanNext;
		piece.offset = request.spanNext;
		piece.length = static_cast<uint32_t>(std::min(left, longest - piece.offset % longest));
		request.spanNext += piece.length;
		const bool fua = request.command.flags & kCommandFua;
		piece.fua = fua && first && piece.length == left;
		request.flushLast = fua && !piece.fua;
	}
	submit(piece);
	return true;
}

void Connection::pieceDone(Piece &piece)
{
	Request &request = *piece.request;
	if (!piece.ok && !request.fault) request.fault = faultOf(piece.error);
	if (piece.op == Op::VolWrite) freeBuffer(piece);
	--request.piecesOut;
	// The gateway stops while the volume is away. An error would be final for the client; one whose connection breaks connects
	// again and sends it again.
	if (!piece.ok && piece.error == ErrorCode::Peer) breakOff();
	// The rest of a long one is left alone when it failed, or when nobody waits for it any more.
	const bool wanted = !request.fault && !request.late && m_state != State::Broken;
	if (request.spanEnd && wanted && submitNext(piece)) return;
	if (request.complete && !request.piecesOut) home(request);
}

/// Nothing more will be submitted for it.
void Connection::completed(Request &request)
{
	request.complete = true;
	if (!request.piecesOut) return home(request);
	if (!m_context.ioTimeoutMs || request.silent) return;
	request.deadlineNs = runtime::Reactor::nowNs() + m_context.ioTimeoutMs * kNsPerMs;
	if (!m_deadline.active()) m_deadline.startMs(m_context.ioTimeoutMs);
}

/// All of its pieces are back.
void Connection::home(Request &request)
{
	if (request.late) {
		if (!request.queued) recycle(request);
	} else if (request.silent || m_state == State::Broken) {
		m_active.remove(request);
		recycle(request);
	} else {
		answer(request);
	}
}

void Connection::answer(Request &request)
{
	request.complete = true;
	m_active.remove(request);
	layOut(request, m_dialect);
	count(request);
	m_replies.push(request);
	markDirty();
}

void Connection::count(const Request &request)
{
	if (request.fault) {
		++m_totals.errors;
	} else if (request.command.type == static_cast<uint16_t>(CommandType::Read)) {
		++m_totals.reads;
		m_totals.bytesRead += request.command.length;
	} else if (request.command.type == static_cast<uint16_t>(CommandType::Write)) {
		++m_totals.writes;
		m_totals.bytesWritten += request.command.length;
	} else {
		++m_totals.others;
	}
}

/// To the free list; it is in no other.
void Connection::recycle(Request &request)
{
	dropPieces(request);
	m_freeRequests.pushBack(request);
	--m_inHand;
	if (m_blocked || m_state != State::Reading) markDirty();
}

void Connection::dropPieces(Request &request)
{
	while (Piece *piece = request.firstPiece) {
		request.firstPiece = piece->following;
		freeBuffer(*piece);
		piece->following = m_freePieces;
		m_freePieces = piece;
	}
	request.lastPiece = nullptr;
}

// ---- replies

void Connection::sendReplies()
{
	if (m_state == State::Broken || m_replies.empty()) return;
	RequestList sent;
	const ReplyQueue::Sent result = m_replies.send(m_fd, sent);
	settle(sent);
	switch (result) {
	case ReplyQueue::Sent::All: return;
	case ReplyQueue::Sent::SocketFull:
	case ReplyQueue::Sent::Budget: return arm(m_out, POLLOUT);
	case ReplyQueue::Sent::Broken: return breakOff();
	}
}

/// Their replies are out, or nobody wants them.
void Connection::settle(RequestList &sent)
{
	while (Request *request = sent.popFront())
		if (!request->piecesOut) recycle(*request); // else a late one: home() does it
}

void Connection::expire()
{
	const uint64_t now = runtime::Reactor::nowNs();
	uint64_t next = UINT64_MAX;
	unsigned count = 0;
	for (Request *request = m_active.first(); request;) {
		Request *after = request->after;
		if (request->deadlineNs && request->deadlineNs <= now) {
			request->late = true;
			request->fault = faultOf(ErrorCode::Timeout);
			answer(*request);
			++count;
		} else if (request->deadlineNs) {
			next = std::min(next, request->deadlineNs);
		}
		request = after;
	}
	if (count) m_context.log.warn("{}: {} requests took longer than io_timeout and were answered with an error", m_label, count);
	if (next != UINT64_MAX) m_deadline.startMs((next - now + kNsPerMs - 1) / kNsPerMs);
}

} // namespace archipelago::gateway::nbd
