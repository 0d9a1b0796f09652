// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The fast path of every client: a request from the pool, nine fields, one push; and back. And the slow one, when it comes
// back without an answer: volume_session.h.
#include "daemon/gateway/volume_session.h"

#include "daemon/runtime/port_life.h"

#include <algorithm>

namespace archipelago::gateway {

namespace {

constexpr uint32_t kMaxInflight = 256; ///< requests of one volume; half of a reply ring of 512
constexpr uint64_t kPoolRetryMs = 10;
constexpr uint64_t kFirstDelayMs = 5, kLongestDelayMs = 200;
constexpr uint64_t kNsPerMs = 1'000'000;

} // namespace

Result<std::unique_ptr<VolumeSession>> VolumeSession::bind(SessionHost &host, runtime::Reactor &reactor, xseg::BufferPool &buffers,
                                                           xseg::PortNo number, std::string name, const AttachReply &attached)
{
	std::unique_ptr<VolumeSession> session(new VolumeSession(host, reactor, std::move(name), attached));
	auto port = runtime::ServedPort::bind(reactor, buffers, number, kMaxInflight, *session);
	if (!port) return tl::unexpected<Error>(port.error());
	session->m_port = std::move(*port);
	auto counters = runtime::PortCounters::open(reactor.segment(), number, runtime::statsOfVolume(attached.volume, session->m_name));
	if (!counters) return tl::unexpected<Error>(counters.error());
	session->m_counters = *counters;
	return session;
}

VolumeSession::VolumeSession(SessionHost &host, runtime::Reactor &reactor, std::string name, const AttachReply &attached)
    : m_host(host), m_table(host.table()), m_name(std::move(name)), m_attached(attached),
      m_sessionLife(runtime::portLife(reactor.segment(), attached.sessionPort)), m_retry(reactor, [this] { sendWaiting(); })
{
	m_shape.sizeBytes = attached.sizeBytes;
	m_shape.readOnly = attached.readOnly != 0;
}

void VolumeSession::submit(VolumeIo &io)
{
	++m_inflight;
	io.sequence = ++m_lastSequence;
	io.submittedNs = m_port->reactor().stampNs();
	m_counters.begin(opClassOf(io.op));
	if (m_state == State::Attached && !m_first && trySend(io)) return;
	io.next = nullptr;
	(m_last ? m_last->next : m_first) = &io;
	m_last = &io;
	if (m_state == State::Attached && !m_sent && !m_retry.active()) m_retry.startMs(kPoolRetryMs);
	if (m_state == State::Failed && !m_retry.active()) m_retry.startMs(0); // done() never comes inside submit()
}

void VolumeSession::setSize(uint64_t sizeBytes)
{
	if (sizeBytes == m_shape.sizeBytes) return;
	m_shape.sizeBytes = sizeBytes;
	for (Front *front : m_fronts) front->sizeChanged(sizeBytes);
}

void VolumeSession::onRequest(runtime::ServedPort &port, xseg::RequestRef request)
{
	const bool ping = static_cast<Op>(request->op) == Op::Ping;
	port.respond(std::move(request), ping ? 0 : wireStatus(ErrorCode::Unsupported));
}

void VolumeSession::onReply(runtime::ServedPort &, xseg::RequestRef request)
{
	VolumeIo *io = m_table[request.index()];
	if (!io || request->npath != 0) return; // not one of ours: it goes back where it came from
	m_table[request.index()] = nullptr;
	const bool answered = request->op == static_cast<uint16_t>(io->op);
	const auto code = errorFromWire(request->status);
	io->hole = io->takesHoles && (request->flags & kFlagHole);
	io->filled = static_cast<uint32_t>(std::min<uint64_t>(request->serviced, io->room));
	request.reset();
	--m_sent;
	if (!answered || code == ErrorCode::Peer) {
		hold(*io);
		leave();
		return awayIfAllBack();
	}
	m_delayMs = 0;
	sendWaiting();
	awayIfAllBack();
	finish(*io, code); // last: a face may do anything in it
}

bool VolumeSession::trySend(VolumeIo &io)
{
	xseg::RequestRef request = m_port->port().get();
	if (!request) return false;
	request->op = static_cast<uint16_t>(io.op);
	request->flags = (io.fua ? kFlagFua : 0u) | (io.noHole ? kFlagNoHole : 0u) | (io.takesHoles ? kFlagTakesHoles : 0u);
	request->offset = io.offset;
	request->size = io.length;
	request->data_blk = io.buffer;
	request->data_len = io.buffer == XS_NO_BUFFER ? 0 : io.op == Op::VolExtents ? io.room : io.length;
	request.setArgs(VolumeArgs{.key = m_attached.key});
	m_table[request.index()] = &io;
	++m_sent;
	m_port->submit(std::move(request), m_attached.sessionPort);
	return true;
}

void VolumeSession::sendWaiting()
{
	if (m_state == State::Failed) return failWaiting();
	while (m_first && m_state == State::Attached) {
		VolumeIo *io = m_first;
		VolumeIo *next = io->next; // `io` may belong to its face again once it is sent
		if (!trySend(*io)) {
			if (!m_sent && !m_retry.active()) m_retry.startMs(kPoolRetryMs);
			return;
		}
		m_first = next;
		if (!m_first) m_last = nullptr;
	}
}

void VolumeSession::finish(VolumeIo &io, std::optional<ErrorCode> code)
{
	--m_inflight;
	const OpClass c = opClassOf(io.op);
	const uint64_t bytes = countsBytes(c) ? io.length : 0; // a question about a range moves none of it
	m_counters.end(c, m_port->reactor().stampNs() - io.submittedNs, bytes, !code);
	io.ok = !code;
	if (code) io.error = *code;
	io.done(io);
}

// ---- when somebody below has died

/// Back in line, where it was: all that was out is older than all that has never been.
void VolumeSession::hold(VolumeIo &io)
{
	VolumeIo **at = &m_first;
	while (*at && (*at)->sequence < io.sequence) at = &(*at)->next;
	io.next = *at;
	*at = &io;
	if (!io.next) m_last = &io;
}

void VolumeSession::leave()
{
	if (m_state != State::Attached) return;
	m_state = State::Leaving;
	m_leftNs = runtime::Reactor::nowNs();
	m_retry.cancel();
}

void VolumeSession::awayIfAllBack()
{
	if (m_state != State::Leaving || m_sent) return;
	m_state = State::Away;
	unsigned waiting = 0;
	for (const VolumeIo *io = m_first; io; io = io->next) ++waiting;
	m_host.log().warn("volume {}: its composer or mapper has gone; {} I/O wait", m_name, waiting);
	m_host.attachAnew(*this);
}

void VolumeSession::look()
{
	if (m_state != State::Attached) return;
	if (runtime::portLife(m_port->port().segment(), m_attached.sessionPort) == m_sessionLife) return;
	leave();
	awayIfAllBack();
}

uint64_t VolumeSession::nextDelayMs()
{
	const uint64_t delay = m_delayMs;
	m_delayMs = std::clamp(2 * m_delayMs, kFirstDelayMs, kLongestDelayMs);
	return delay;
}

void VolumeSession::resume(const AttachReply &attached)
{
	ARCHIPELAGO_ASSERT(m_state == State::Away && attached.volume == m_attached.volume);
	const uint64_t pausedMs = (runtime::Reactor::nowNs() - m_leftNs) / kNsPerMs;
	m_longestPauseMs = std::max(m_longestPauseMs, pausedMs);
	m_host.log().warn("volume {}: back after {} ms", m_name, pausedMs);
	m_attached = attached;
	m_sessionLife = runtime::portLife(m_port->port().segment(), attached.sessionPort);
	m_state = State::Attached;
	setSize(attached.sizeBytes);
	sendWaiting();
}

void VolumeSession::giveUp(const Error &error)
{
	ARCHIPELAGO_ASSERT(m_state == State::Away);
	m_state = State::Failed;
	m_error = error.code;
	m_host.log().error("volume {}: its I/O fails from now on: {}", m_name, error.message);
	failWaiting();
}

/// Those that wait now; what their faces submit from done() has a turn of its own.
void VolumeSession::failWaiting()
{
	VolumeIo *io = std::exchange(m_first, nullptr);
	m_last = nullptr;
	while (io) {
		VolumeIo *next = io->next;
		finish(*io, m_error);
		io = next;
	}
}

} // namespace archipelago::gateway
