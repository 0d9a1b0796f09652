// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Receiving and understanding commands, and the life of a connection. (Requests, pieces and replies: requests.cpp.)
//
// Nothing done() from below ever runs inside submit(), and resuming after a block happens at the end of a turn, so process()
// is never entered twice. After any call that may break the connection, the state is looked at again.
#include "daemon/gateway/nbd/connection.h"

#include "daemon/base/sizes.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace archipelago::gateway::nbd {

namespace {

constexpr unsigned kReceivesPerTurn = 16; ///< then others get their turn, however fast this client writes

bool isWrite(const Command &command) { return command.type == static_cast<uint16_t>(CommandType::Write); }

} // namespace

Connection::Connection(const ConnectionContext &context, int fd, Terms terms)
    : m_context(context), m_fd(fd), m_volume(std::move(terms.volume)), m_dialect(terms.dialect), m_label(std::move(terms.label)),
      m_deadline(context.reactor, [this] { expire(); }), m_linger(context.reactor, [this] { linger(); }),
      m_finished(context.reactor, [this] { m_done.wakeAll(); })
{
	m_in.connection = m_out.connection = this;
	m_in.fn = [](runtime::Completion *self, int32_t) {
		auto *poll = static_cast<Poll *>(self);
		poll->armed = false;
		poll->connection->receive();
		poll->connection->finishIfDone();
	};
	m_out.fn = [](runtime::Completion *self, int32_t) {
		auto *poll = static_cast<Poll *>(self);
		poll->armed = false;
		poll->connection->sendReplies();
		poll->connection->finishIfDone();
	};
}

Connection::~Connection()
{
	ARCHIPELAGO_ASSERT(!m_in.armed && !m_out.armed && !m_inHand && !m_held);
	m_context.budget.leave(*this);
	if (m_dirty) std::erase(m_context.dirty, this);
}

runtime::Task<void> Connection::run()
{
	m_volume->addFront(*this);
	arm(m_in, POLLIN);
	co_await m_done.wait();
	m_volume->removeFront(*this);
	m_context.log.info("{} is gone: {} reads ({}), {} writes ({}), {} other commands, {} errors", m_label, m_totals.reads,
	                   formatSize(m_totals.bytesRead), m_totals.writes, formatSize(m_totals.bytesWritten), m_totals.others,
	                   m_totals.errors);
}

// ---- receiving

void Connection::receive()
{
	for (unsigned i = 0; i < kReceivesPerTurn; ++i) {
		if (m_state != State::Reading || m_blocked) return;
		std::array<iovec, kMostVectors> vectors;
		size_t direct = 0; // bytes of `vectors` that are not the stage
		msghdr message{};
		message.msg_iov = vectors.data();
		message.msg_iovlen = receiveVectors(vectors, direct);
		size_t room = 0;
		for (size_t v = 0; v < message.msg_iovlen; ++v) room += vectors[v].iov_len;

		const ssize_t n = ::recvmsg(m_fd, &message, MSG_DONTWAIT);
		const int error = errno;
		account(n > 0 ? static_cast<size_t>(n) : 0, direct);
		takePlaces();
		if (n < 0 && error == EINTR) continue;
		if (n < 0 && error == EAGAIN) return arm(m_in, POLLIN);
		if (n < 0) return breakOff();
		if (n == 0) return drain("closed the connection");
		process();
		if (static_cast<size_t>(n) < room) break; // that was all there is
	}
	if (m_state == State::Reading && !m_blocked) arm(m_in, POLLIN);
}

/// Where the next bytes go: payload to where it is used (or to the scratch), commands behind it to the stage.
size_t Connection::receiveVectors(std::array<iovec, kMostVectors> &vectors, size_t &direct)
{
	size_t count = 0;
	bool stage = true;
	if (m_piece) {
		direct = m_piece->length - m_piece->received;
		vectors[count++] = iovec{m_piece->data + m_piece->received, direct};
		stage = m_payloadPlaced == m_receiving->command.length; // else the next bytes belong to a piece that is not there yet
	} else if (m_drainLeft) {
		direct = static_cast<size_t>(std::min<uint64_t>(m_drainLeft, m_context.scratch.size()));
		vectors[count++] = iovec{m_context.scratch.data(), direct};
		stage = m_drainLeft == direct;
	}
	if (!stage) return count;
	// Payload never waits behind unread bytes of the stage, so with `direct` the stage is empty here.
	std::memmove(m_stage.data(), m_stage.data() + m_begin, m_end - m_begin);
	m_end -= m_begin;
	m_begin = 0;
	if (m_end == 0 && !m_drainLeft) count += makePlaces(&vectors[count]);
	vectors[count++] = iovec{m_stage.data() + m_end, kStageBytes - m_end};
	return count;
}

void Connection::account(size_t received, size_t direct)
{
	m_bytesReceived += received;
	const size_t toPayload = std::min(received, direct);
	if (m_piece)
		m_piece->received += static_cast<uint32_t>(toPayload);
	else
		m_drainLeft -= toPayload;
	m_ahead.received = std::min(received - toPayload, m_ahead.room());
	m_end += received - toPayload - m_ahead.received;
}

/// Understands as much of what has arrived as there is room for.
void Connection::process()
{
	while (m_state == State::Reading && !m_blocked) {
		if (m_receiving) {
			if (!takePayload()) return;
		} else if (m_refused) {
			if (!takeDrained()) return;
		} else {
			if (m_end - m_begin < kCommandBytes) return;
			const Command command = readCommand(std::span<const std::byte, kCommandBytes>(m_stage.data() + m_begin, kCommandBytes));
			if (command.magic != kCommandMagic) {
				m_context.log.warn("{}: sent something that is no NBD command; disconnected", m_label);
				return breakOff();
			}
			if (begin(command) == Started::Blocked) {
				m_blocked = true; // the command stays in the stage, and is looked at again
				return;
			}
			m_begin += kCommandBytes;
			if (isWrite(command))
				m_ahead.sawWrite(command.length);
			else
				m_ahead.sawSomethingElse();
		}
	}
}

Connection::Started Connection::begin(const Command &command)
{
	if (command.type == static_cast<uint16_t>(CommandType::Disconnect)) {
		drain("disconnected");
		return Started::Yes;
	}
	if (m_inHand == kMaxRequests) return Started::Blocked;
	if (const Fault fault = check(command)) return refuse(command, fault);
	if (!command.length && command.type != static_cast<uint16_t>(CommandType::Flush)) {
		answer(newRequest(command)); // reading or writing nothing is done already
		return Started::Yes;
	}
	switch (static_cast<CommandType>(command.type)) {
	case CommandType::Read: return beginRead(command);
	case CommandType::BlockStatus: return beginStatus(command);
	case CommandType::Write: beginWrite(command); return Started::Yes;
	case CommandType::Trim:
	case CommandType::WriteZeroes: beginSpan(command); return Started::Yes;
	default: break;
	}
	Request &request = newRequest(command);
	submit(newPiece(request, Op::VolFlush, 0, {}));
	completed(request);
	return Started::Yes;
}

/// Answered at once; a WRITE when its payload is out of the way.
Connection::Started Connection::refuse(const Command &command, Fault fault)
{
	const bool payload = isWrite(command) && command.length;
	if (payload && command.length > kMaxDrainBytes) {
		m_context.log.warn("{}: wants to write {} bytes at once; disconnected", m_label, command.length);
		breakOff();
		return Started::Yes;
	}
	Request &request = newRequest(command);
	request.fault = fault;
	if (!payload) {
		answer(request);
	} else {
		m_refused = &request;
		m_drainLeft = command.length;
	}
	return Started::Yes;
}

void Connection::beginWrite(const Command &command)
{
	m_receiving = &newRequest(command);
	m_payloadPlaced = 0;
}

/// Its one piece stands for all of its parts; see submitNext().
void Connection::beginSpan(const Command &command)
{
	Request &request = newRequest(command);
	request.spanNext = command.offset;
	request.spanEnd = command.offset + command.length;
	const bool zero = command.type == static_cast<uint16_t>(CommandType::WriteZeroes);
	Piece &piece = newPiece(request, zero ? Op::VolZero : Op::VolTrim, command.offset, {});
	piece.noHole = command.flags & kCommandNoHole;
	submitNext(piece);
	completed(request);
}

/// True when there may be more to understand; false: the bytes have run out, or buffers have.
bool Connection::takePayload()
{
	if (!m_piece && nextWritePiece() == Started::Blocked) {
		m_blocked = true;
		return false;
	}
	if (const size_t staged = std::min<size_t>(m_end - m_begin, m_piece->length - m_piece->received)) {
		std::memcpy(m_piece->data + m_piece->received, m_stage.data() + m_begin, staged);
		m_piece->received += static_cast<uint32_t>(staged);
		m_begin += staged;
	}
	if (m_piece->received < m_piece->length) return false;
	Request &request = *m_receiving;
	submit(*std::exchange(m_piece, nullptr));
	if (m_payloadPlaced == request.command.length) {
		m_receiving = nullptr;
		completed(request);
	}
	return true;
}

bool Connection::takeDrained()
{
	const size_t staged = static_cast<size_t>(std::min<uint64_t>(m_end - m_begin, m_drainLeft));
	m_begin += staged;
	m_drainLeft -= staged;
	if (m_drainLeft) return false;
	Request &request = *std::exchange(m_refused, nullptr);
	answer(request);
	return true;
}

// ---- life

void Connection::stop()
{
	drain("is disconnected: the server stops");
	if (m_state == State::Draining) m_linger.startMs(kLingerMs);
}

/// Reads no more. A WRITE that is half here is forgotten: it was never acknowledged.
void Connection::drain(const char *why)
{
	if (m_state != State::Reading) return;
	m_context.log.info("{} {}", m_label, why);
	m_state = State::Draining;
	m_context.budget.leave(*this);
	for (Request *request : {std::exchange(m_receiving, nullptr), std::exchange(m_refused, nullptr)}) {
		if (!request) continue;
		request->silent = true;
		if (m_piece) freeBuffer(*std::exchange(m_piece, nullptr));
		completed(*request);
	}
	markDirty();
}

/// The socket is of no use any more. What is in flight comes home and is forgotten.
void Connection::breakOff()
{
	drain("is disconnected");
	if (m_state == State::Broken) return;
	m_state = State::Broken;
	::shutdown(m_fd, SHUT_RDWR); // both polls end
	m_deadline.cancel();
	m_linger.cancel();
	RequestList unsent;
	m_replies.abandon(unsent);
	settle(unsent);
	markDirty();
}

void Connection::finishIfDone()
{
	if (m_state == State::Draining && !m_inHand) breakOff();
	if (m_state != State::Broken || m_inHand || m_in.armed || m_out.armed || m_finished.active()) return;
	m_finished.startMs(0); // from the loop: our owner destroys us, and callers of this function still use us
}

void Connection::evict()
{
	m_context.log.warn("{} holds {} bytes of buffers and hardly moves while others wait; disconnected", m_label, m_held);
	breakOff();
}

bool Connection::stalled()
{
	const uint64_t bytes = m_bytesReceived + m_replies.bytesSent();
	const uint64_t moved = bytes - std::exchange(m_lastSeenBytes, bytes);
	const bool waitsForClient = m_out.armed || (m_piece && m_in.armed);
	return waitsForClient && moved < m_held / kSlowestLooks && m_state != State::Broken;
}

void Connection::linger()
{
	if (!m_replies.empty()) return breakOff();
	m_linger.startMs(kLingerMs); // it is the storage that takes its time, not the client
}

void Connection::endOfTurn()
{
	m_dirty = false;
	if (!m_out.armed) sendReplies();
	if (m_blocked) resume();
	finishIfDone();
}

void Connection::markDirty()
{
	if (std::exchange(m_dirty, true)) return;
	m_context.dirty.push_back(this);
}

void Connection::arm(Poll &poll, unsigned events)
{
	if (poll.armed) return;
	poll.armed = true;
	io_uring_sqe *sqe = m_context.reactor.prepare(poll);
	io_uring_prep_poll_add(sqe, m_fd, events);
	io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&poll));
}

void Connection::resume()
{
	if (m_state != State::Reading) return;
	m_blocked = false;
	process();
	if (m_state == State::Reading && !m_blocked) arm(m_in, POLLIN);
}

void Connection::roomFreed()
{
	if (m_blocked) resume();
}

void Connection::sizeChanged(uint64_t sizeBytes)
{
	// The protocol has no word for it: I/O up to the new end is served, and a client that connects anew is told.
	m_context.log.info("{}: the volume has {} bytes now", m_label, sizeBytes);
}

} // namespace archipelago::gateway::nbd
