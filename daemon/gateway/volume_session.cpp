// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The fast path of every client: a request from the pool, eight fields, one push; and back.
#include "daemon/gateway/volume_session.h"

namespace archipelago::gateway {

namespace {

constexpr uint32_t kMaxInflight = 256; ///< requests of one volume; half of a reply ring of 512
constexpr uint64_t kPoolRetryMs = 10;

} // namespace

Result<std::unique_ptr<VolumeSession>> VolumeSession::bind(runtime::Reactor &reactor, xseg::BufferPool &buffers, IoTable &table,
                                                             xseg::PortNo number, const AttachReply &attached)
{
	std::unique_ptr<VolumeSession> session(new VolumeSession(reactor, table, attached));
	auto port = runtime::ServedPort::bind(reactor, buffers, number, kMaxInflight, *session);
	if (!port) return tl::unexpected<Error>(port.error());
	session->m_port = std::move(*port);
	return session;
}

VolumeSession::VolumeSession(runtime::Reactor &reactor, IoTable &table, const AttachReply &attached)
    : m_table(table), m_volume(attached.volume), m_sessionPort(attached.sessionPort), m_key(attached.key),
      m_retry(reactor, [this] { sendWaiting(); })
{
	m_shape.sizeBytes = attached.sizeBytes;
	m_shape.readOnly = attached.readOnly != 0;
}

void VolumeSession::submit(VolumeIo &io)
{
	++m_inflight;
	if (!m_first && trySend(io)) return;
	io.next = nullptr;
	(m_last ? m_last->next : m_first) = &io;
	m_last = &io;
	if (!m_sent && !m_retry.active()) m_retry.startMs(kPoolRetryMs);
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
	const auto code = errorFromWire(request->status);
	request.reset();
	--m_sent;
	--m_inflight;
	sendWaiting();
	io->ok = !code;
	if (code) io->error = *code;
	io->done(*io);
}

bool VolumeSession::trySend(VolumeIo &io)
{
	xseg::RequestRef request = m_port->port().get();
	if (!request) return false;
	request->op = static_cast<uint16_t>(io.op);
	request->flags = (io.fua ? kFlagFua : 0u) | (io.noHole ? kFlagNoHole : 0u);
	request->offset = io.offset;
	request->size = io.length;
	request->data_blk = io.buffer;
	request->data_len = io.buffer == XS_NO_BUFFER ? 0 : io.length;
	request.setArgs(VolumeArgs{.key = m_key});
	m_table[request.index()] = &io;
	++m_sent;
	m_port->submit(std::move(request), m_sessionPort);
	return true;
}

void VolumeSession::sendWaiting()
{
	while (m_first) {
		VolumeIo *io = m_first;
		VolumeIo *next = io->next; // `io` may belong to its face again once it is sent
		if (!trySend(*io)) {
			if (!m_sent) m_retry.startMs(kPoolRetryMs);
			return;
		}
		m_first = next;
		if (!m_first) m_last = nullptr;
	}
}

} // namespace archipelago::gateway
