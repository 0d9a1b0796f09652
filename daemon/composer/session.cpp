// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Fields of a client's request are copied once and checked before anything is done with it; what goes on to mapper and
// blocker is made from the copies and from the mapper's answers.
#include "daemon/composer/session.h"

#include <algorithm>

namespace archipelago::composer {

namespace {

using Step = IoContext::Step;
using Way = IoContext::Way;

constexpr uint32_t kPieces = 64;      ///< own requests of a session: one run of the segment's table
constexpr uint64_t kPoolRetryMs = 10;

} // namespace

Result<std::unique_ptr<Session>> Session::create(SessionHost &host, runtime::Reactor &reactor, xseg::BufferPool &buffers,
                                                 xseg::PortNo number, const Origin &origin)
{
	std::unique_ptr<Session> session(new Session(host, reactor, origin));
	const xseg::StatsSubject counted = runtime::statsOfRole(host.log().name());
	auto port = runtime::ServedPort::bind(reactor, buffers, number, kPieces, *session, &counted);
	if (!port) return tl::unexpected(port.error());
	session->m_port = std::move(*port);
	return session;
}

Session::Session(SessionHost &host, runtime::Reactor &reactor, const Origin &origin)
    : m_host(host), m_contexts(host.contexts()), m_origin(origin), m_retry(reactor, [this] { sendWaiting(); })
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
	const Op op = static_cast<Op>(request->op);
	switch (op) {
	case Op::Ping: return m_port->respond(std::move(request), 0);
	case Op::VolRead:
	case Op::VolWrite:
	case Op::VolFlush:
	case Op::VolTrim:
	case Op::VolZero:
	case Op::VolExtents:
	case Op::VolDetach: break;
	default: return m_port->respond(std::move(request), wireStatus(ErrorCode::Unsupported));
	}
	if (request.args<VolumeArgs>().key != m_origin.key || m_leaving)
		return m_port->respond(std::move(request), wireStatus(ErrorCode::Peer));
	if (m_state != State::Open || m_detach) return m_port->respond(std::move(request), wireStatus(ErrorCode::NotOpen));
	if (op == Op::VolDetach) {
		m_contexts[request.index()].begin(false);
		m_detach = std::move(request);
		return detachWhenIdle();
	}
	++m_inflight;
	enter(std::move(request));
}

void Session::onReply(runtime::ServedPort &, xseg::RequestRef request)
{
	const IoContext &context = m_contexts[request.index()];
	int32_t status = request->status;
	switch (context.step) {
	case Step::VolumeFlush: return end(std::move(request), m_io->mapperStatus(status));
	case Step::Detach:
		// Whatever the mapper says, this session is over: a client that asked to leave is not kept. And one that died has
		// nothing of this session any more.
		status = m_io->mapperStatus(status);
		request->op = static_cast<uint16_t>(Op::VolDetach);
		m_port->respond(std::move(request), status == wireStatus(ErrorCode::Peer) ? 0 : status);
		return close(0);
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
	IoContext &context = m_contexts[request.index()];
	context.begin(false);
	if (m_io->mapperLost()) return end(std::move(request), wireStatus(ErrorCode::Peer));
	context.op = static_cast<Op>(request->op);
	switch (context.op) {
	case Op::VolRead: return beginIo(std::move(request), Way::Read);
	case Op::VolWrite: return beginIo(std::move(request), Way::Write);
	case Op::VolTrim:
	case Op::VolZero: return beginSpan(std::move(request));
	case Op::VolExtents: return beginExtents(std::move(request));
	case Op::VolFlush: return m_io->toMapper(std::move(request), Op::MapFlush, Step::VolumeFlush);
	// It changed after it was looked at the first time (it was held, or its sender writes to what it has handed over).
	default: return end(std::move(request), wireStatus(ErrorCode::Invalid));
	}
}

void Session::beginIo(xseg::RequestRef request, Way way)
{
	ClientRange range;
	range.offset = request->offset;
	range.size = request->size;
	range.dataOffset = request->data_off;
	range.dataLength = request->data_len;
	range.write = way == Way::Write;
	if (const auto code = checkRange(range, m_volume->sizeBytes, m_readOnly)) return end(std::move(request), wireStatus(*code));
	if (request.data().size() != range.size) return end(std::move(request), wireStatus(ErrorCode::Invalid)); // no such buffer

	IoContext &context = m_contexts[request.index()];
	context.way = way;
	context.fua = range.write && (request->flags & kFlagFua);
	context.takesHoles = !range.write && (request->flags & kFlagTakesHoles);
	context.offset = range.offset;
	context.length = range.size;
	if (pieceCount(range.offset, range.dataLength) == 1) return m_io->start(std::move(request));
	split(std::move(request));
}

void Session::beginSpan(xseg::RequestRef request)
{
	IoContext &context = m_contexts[request.index()];
	const uint64_t offset = request->offset, size = request->size;
	const uint32_t flags = request->flags;
	const uint32_t legal = context.op == Op::VolZero ? kFlagFua | kFlagNoHole : uint32_t{kFlagFua};
	if (request->data_len || (flags & ~legal)) return end(std::move(request), wireStatus(ErrorCode::Invalid));
	if (const auto code = checkSpan(offset, size, m_volume->sizeBytes, m_readOnly)) return end(std::move(request), wireStatus(*code));

	context.fua = flags & kFlagFua;
	context.offset = offset;
	context.length = size;
	const Span span = spanAt(offset, size, 0);
	context.way = flags & kFlagNoHole ? Way::Fill : span.blocks ? Way::Drop : Way::Punch;
	if (context.way != Way::Fill && span.length == size) return m_io->start(std::move(request));
	if (context.way == Way::Punch) context.way = Way::Drop; // the first piece of several is a part
	split(std::move(request));
}

/// The mapper's business alone: it fills the client's buffer.
void Session::beginExtents(xseg::RequestRef request)
{
	IoContext &context = m_contexts[request.index()];
	const uint64_t offset = request->offset, size = request->size;
	const bool room = request.data().size() >= sizeof(BlockRun);
	if (request->flags || !room) return end(std::move(request), wireStatus(ErrorCode::Invalid));
	if (const auto code = checkSpan(offset, size, m_volume->sizeBytes, false)) return end(std::move(request), wireStatus(*code));
	context.way = Way::Extents;
	context.offset = offset;
	context.length = size;
	m_io->start(std::move(request));
}

void Session::split(xseg::RequestRef request)
{
	const xseg::RequestIndex whole = request.index();
	IoContext &context = m_contexts[whole];
	context.step = Step::Join;
	context.sent = 0;
	context.left = 0;
	context.joined = std::move(request);
	m_waiting.push_back(whole);
	sendWaiting();
}

/// A piece of each in turn, as far as the pool goes. It is called again when a piece comes back, or by the timer when none is
/// out.
void Session::sendWaiting()
{
	while (!m_waiting.empty()) {
		const xseg::RequestIndex index = m_waiting.front();
		IoContext &whole = m_contexts[index];
		if (!whole.status && m_io->mapperLost()) whole.status = wireStatus(ErrorCode::Peer);
		if (whole.status) {
			m_waiting.pop_front();
			whole.sent = whole.length; // no more of it
			endIfJoined(whole);
			continue;
		}
		if (m_pieces == kPieces) return;
		xseg::RequestRef request = m_port->port().get();
		if (!request || !cut(whole, index, request)) {
			if (!m_pieces && !m_retry.active()) m_retry.startMs(kPoolRetryMs);
			return;
		}
		m_waiting.pop_front();
		if (whole.sent < whole.length) m_waiting.push_back(index);
		++whole.left;
		++m_pieces;
		m_io->start(std::move(request)); // comes back in a later turn
	}
}

/// Makes `piece` the next part of a request. False: there is no memory for it now.
bool Session::cut(IoContext &whole, xseg::RequestIndex index, xseg::RequestRef &piece)
{
	IoContext &context = m_contexts[piece.index()];
	context.begin(true);
	context.whole = index;
	context.offset = whole.offset + whole.sent;
	switch (whole.way) {
	case Way::Read:
	case Way::Write: {
		const Piece part = pieceAt(whole.offset, static_cast<uint32_t>(whole.length), static_cast<uint32_t>(whole.sent));
		piece->data_blk = whole.joined->data_blk;
		piece->data_off = whole.joined->data_off + part.at;
		piece->data_len = part.length;
		context.way = whole.way;
		context.fua = whole.fua;
		context.length = part.length;
		break;
	}
	case Way::Drop: {
		const Span span = spanAt(whole.offset, whole.length, whole.sent);
		context.way = span.blocks ? Way::Drop : Way::Punch;
		context.length = span.length;
		break;
	}
	case Way::Fill: {
		const uint32_t zeros = m_host.zeros();
		if (zeros == XS_NO_BUFFER) return false;
		context.way = Way::Write;
		context.length = std::min(whole.length - whole.sent, kFillBytes - context.offset % kFillBytes);
		piece->data_blk = zeros;
		piece->data_len = static_cast<uint32_t>(context.length);
		break;
	}
	case Way::Extents:
	case Way::Punch: ARCHIPELAGO_ASSERT(!"these are never cut");
	}
	piece->size = context.length;
	whole.sent += context.length;
	return true;
}

void Session::joined(xseg::RequestRef piece, int32_t status)
{
	IoContext &whole = m_contexts[m_contexts[piece.index()].whole];
	if (status && !whole.status) whole.status = status;
	piece.reset();
	--m_pieces;
	--whole.left;
	endIfJoined(whole);
	sendWaiting();
}

/// What stands in the line still has pieces to send, or is taken out there.
void Session::endIfJoined(IoContext &whole)
{
	if (whole.left || whole.sent < whole.length) return;
	// Pieces of a range without data carry no FUA: one flush covers them all.
	const bool flush = whole.fua && whole.way != Way::Write && !whole.status;
	if (flush && m_io->mapperLost()) whole.status = wireStatus(ErrorCode::Peer);
	if (flush && !whole.status) return m_io->toMapper(std::move(whole.joined), Op::MapFlush, Step::Flush);
	end(std::move(whole.joined), whole.status);
}

/// Answers a client's request, as it came but for its status.
void Session::end(xseg::RequestRef request, int32_t status)
{
	IoContext &context = m_contexts[request.index()];
	if (context.step != Step::None) {
		request->op = static_cast<uint16_t>(context.op);
		if (context.step != Step::VolumeFlush) request->offset = context.offset;
	}
	// Set and cleared here, so that nothing which a client or somebody below has left there is taken for a hole.
	if (context.op == Op::VolRead) request->flags = context.hole && !status ? kFlagHole : 0u;
	context.step = Step::None;
	m_port->respond(std::move(request), status);
	--m_inflight;
	m_host.ended();
	detachWhenIdle();
	m_volume->freeze.leave(); // last: whoever waits for the volume to be still goes on from here
}

// ---- the end

void Session::leave()
{
	m_leaving = true;
	detachWhenIdle();
}

/// A mapper that has another life now knows nothing of this session: there is nobody to tell.
void Session::detachWhenIdle()
{
	if ((!m_detach && !m_leaving) || m_inflight || m_state != State::Open) return;
	m_state = State::Detaching;
	const bool tell = !m_io->otherMapper();
	if (!m_detach) return close(tell ? m_handle : 0);
	if (tell) return m_io->toMapper(std::move(m_detach), Op::MapDetach, Step::Detach);
	m_port->respond(std::move(m_detach), 0);
	close(0);
}

void Session::close(uint32_t handle)
{
	m_state = State::Closed;
	m_host.closed(m_port->number(), handle);
}

} // namespace archipelago::composer
