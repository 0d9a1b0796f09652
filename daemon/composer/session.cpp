// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Fields of a client's request are copied once and checked before anything is done with it; what goes on to mapper and
// blocker is made from the copies and from the mapper's answers.
#include "daemon/composer/session.h"

namespace archipelago::composer {

namespace {

constexpr uint32_t kPieces = 64;      ///< own requests of a session: one run of the segment's table
constexpr uint64_t kPoolRetryMs = 10;

} // namespace

Result<std::unique_ptr<Session>> Session::create(SessionHost &host, runtime::Reactor &reactor, xseg::BufferPool &buffers,
                                                 xseg::PortNo number)
{
	std::unique_ptr<Session> session(new Session(host, reactor));
	auto port = runtime::ServedPort::bind(reactor, buffers, number, kPieces, *session);
	if (!port) return tl::unexpected(port.error());
	session->m_port = std::move(*port);
	return session;
}

Session::Session(SessionHost &host, runtime::Reactor &reactor)
    : m_host(host), m_contexts(host.contexts()), m_retry(reactor, [this] { sendWaiting(); })
{
}

void Session::open(Volume &volume, const BlockIo::Route &route, bool readOnly)
{
	m_volume = &volume;
	m_handle = route.handle;
	m_readOnly = readOnly;
	m_io.emplace(*m_port, m_contexts, m_host.log(), route);
	m_state = State::Open;
}

void Session::onRequest(runtime::ServedPort &, xseg::RequestRef request)
{
	switch (static_cast<Op>(request->op)) {
	case Op::Ping: return m_port->respond(std::move(request), 0);
	case Op::VolRead:
	case Op::VolWrite:
	case Op::VolFlush:
	case Op::VolDetach: break;
	default: return m_port->respond(std::move(request), wireStatus(ErrorCode::Unsupported));
	}
	if (m_state != State::Open || m_detach) return m_port->respond(std::move(request), wireStatus(ErrorCode::NotOpen));
	if (static_cast<Op>(request->op) == Op::VolDetach) return detach(std::move(request));
	++m_inflight;
	enter(std::move(request));
}

void Session::onReply(runtime::ServedPort &, xseg::RequestRef request)
{
	const IoContext &context = m_contexts[request.index()];
	int32_t status = request->status;
	switch (context.step) {
	case IoContext::Step::VolumeFlush: return end(std::move(request), status);
	case IoContext::Step::Detach:
		// Whatever the mapper says, this session is over: a client that asked to leave is not kept.
		m_state = State::Closed;
		request->op = static_cast<uint16_t>(Op::VolDetach);
		m_port->respond(std::move(request), status);
		return m_host.closed(m_port->number());
	default: break;
	}
	if (!m_io->step(request, status)) return;
	if (context.piece)
		joined(std::move(request), status);
	else
		end(std::move(request), status);
}

void Session::released(xseg::RequestRef request) { enter(std::move(request)); }

void Session::refused(xseg::RequestRef request)
{
	m_port->respond(std::move(request), wireStatus(ErrorCode::Peer));
	--m_inflight;
	detachWhenIdle();
}

void Session::enter(xseg::RequestRef request)
{
	if (!m_volume->freeze.enter()) return m_volume->freeze.hold(*this, std::move(request));
	m_host.began();
	begin(std::move(request));
}

void Session::begin(xseg::RequestRef request)
{
	m_contexts[request.index()].begin(false);
	switch (static_cast<Op>(request->op)) {
	case Op::VolRead: return beginIo(std::move(request), false);
	case Op::VolWrite: return beginIo(std::move(request), true);
	case Op::VolFlush: return m_io->toMapper(std::move(request), Op::MapFlush, IoContext::Step::VolumeFlush);
	// It changed after it was looked at the first time (it was held, or its sender writes to what it has handed over).
	default: return end(std::move(request), wireStatus(ErrorCode::Invalid));
	}
}

void Session::beginIo(xseg::RequestRef request, bool write)
{
	ClientRange range;
	range.offset = request->offset;
	range.size = request->size;
	range.dataOffset = request->data_off;
	range.dataLength = request->data_len;
	range.write = write;
	if (const auto code = checkRange(range, m_volume->sizeBytes, m_readOnly)) return end(std::move(request), wireStatus(*code));
	if (request.data().size() != range.size) return end(std::move(request), wireStatus(ErrorCode::Invalid)); // no such buffer

	IoContext &context = m_contexts[request.index()];
	context.write = write;
	context.fua = write && (request->flags & kFlagFua);
	context.offset = range.offset;
	const auto length = static_cast<uint32_t>(range.size);
	if (pieceCount(range.offset, length) == 1) return m_io->start(std::move(request));
	split(std::move(request), length);
}

void Session::split(xseg::RequestRef request, uint32_t length)
{
	const xseg::RequestIndex whole = request.index();
	IoContext &context = m_contexts[whole];
	context.step = IoContext::Step::Join;
	context.length = length;
	context.left = pieceCount(context.offset, length);
	context.joined = std::move(request);
	m_waiting.push_back(Waiting{whole, 0});
	sendWaiting();
}

/// In order, as far as the pool goes. It is called again when a piece comes back, or by the timer when none is out.
void Session::sendWaiting()
{
	while (!m_waiting.empty()) {
		Waiting &first = m_waiting.front();
		IoContext &whole = m_contexts[first.whole];
		if (m_pieces == kPieces) return;
		xseg::RequestRef request = m_port->port().get();
		if (!request) {
			if (!m_pieces && !m_retry.active()) m_retry.startMs(kPoolRetryMs);
			return;
		}
		const Piece piece = pieceAt(whole.offset, whole.length, first.sent);
		request->data_blk = whole.joined->data_blk;
		request->data_off = whole.joined->data_off + piece.at;
		request->data_len = piece.length;
		request->size = piece.length;
		IoContext &context = m_contexts[request.index()];
		context.begin(true);
		context.whole = first.whole;
		context.write = whole.write;
		context.fua = whole.fua;
		context.offset = whole.offset + piece.at;
		first.sent += piece.length;
		if (first.sent == whole.length) m_waiting.pop_front();
		++m_pieces;
		m_io->start(std::move(request)); // comes back in a later turn
	}
}

void Session::joined(xseg::RequestRef piece, int32_t status)
{
	const xseg::RequestIndex index = m_contexts[piece.index()].whole;
	IoContext &whole = m_contexts[index];
	if (status && !whole.status) whole.status = status;
	piece.reset();
	--m_pieces;
	if (--whole.left == 0) end(std::move(whole.joined), whole.status);
	sendWaiting();
}

/// Answers a client's request, as it came but for its status.
void Session::end(xseg::RequestRef request, int32_t status)
{
	IoContext &context = m_contexts[request.index()];
	if (context.step == IoContext::Step::VolumeFlush) {
		request->op = static_cast<uint16_t>(Op::VolFlush);
	} else if (context.step != IoContext::Step::None) {
		request->op = static_cast<uint16_t>(context.write ? Op::VolWrite : Op::VolRead);
		request->offset = context.offset;
	}
	context.step = IoContext::Step::None;
	m_port->respond(std::move(request), status);
	--m_inflight;
	m_host.ended();
	detachWhenIdle();
	m_volume->freeze.leave(); // last: whoever waits for the volume to be still goes on from here
}

void Session::detach(xseg::RequestRef request)
{
	m_contexts[request.index()].begin(false);
	m_detach = std::move(request);
	detachWhenIdle();
}

void Session::detachWhenIdle()
{
	if (!m_detach || m_inflight) return;
	m_state = State::Detaching;
	m_io->toMapper(std::move(m_detach), Op::MapDetach, IoContext::Step::Detach);
}

} // namespace archipelago::composer
