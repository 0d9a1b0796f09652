// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeSession: one volume, attached at the composer, for everybody in this gateway who uses it. It has a client port of
// its own; requests are taken from that port when an I/O is submitted and given back when it is done, so that a client that
// does not fetch its replies ties up buffers (buffer_budget.h) but no requests. When the port's credit or the segment's
// requests are used up, I/O waits in line: nothing fails, nothing is lost, nothing is allocated.
#pragma once

#include "daemon/gateway/front.h"
#include "daemon/runtime/served_port.h"

#include <memory>
#include <string>
#include <vector>

namespace archipelago::gateway {

/// Which I/O a request index stands for; shared by the sessions of a gateway, because an index is unique in the segment.
using IoTable = std::vector<VolumeIo *>;

class VolumeSession : private runtime::PortHandler {
public:
	/// Takes port `number` for the volume that `attached` describes. Errors: E-PEER, E-INVALID.
	static Result<std::unique_ptr<VolumeSession>> bind(runtime::Reactor &reactor, xseg::BufferPool &buffers, IoTable &table,
	                                                     xseg::PortNo number, const AttachReply &attached);

	const VolumeId &volume() const { return m_volume; }
	const VolumeShape &shape() const { return m_shape; }
	xseg::PortNo port() const { return m_port->number(); }
	/// Where the composer serves this volume.
	xseg::PortNo sessionPort() const { return m_sessionPort; }
	uint64_t key() const { return m_key; }

	/// Takes the I/O until it calls done(). It lies inside the volume and inside one buffer.
	void submit(VolumeIo &io);
	uint32_t inflight() const { return m_inflight; }

	void addFront(Front &front) { m_fronts.push_back(&front); }
	void removeFront(Front &front) { std::erase(m_fronts, &front); }
	/// Tells the fronts when that is news.
	void setSize(uint64_t sizeBytes);

	uint32_t users = 0;   ///< OpenVolumes that refer to it
	bool closing = false; ///< the last one is gone: nobody may join any more

private:
	VolumeSession(runtime::Reactor &reactor, IoTable &table, const AttachReply &attached);
	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;
	bool trySend(VolumeIo &io);
	void sendWaiting();

	IoTable &m_table;
	VolumeId m_volume;
	VolumeShape m_shape;
	xseg::PortNo m_sessionPort;
	uint64_t m_key; ///< of the attachment: goes with every request
	std::unique_ptr<runtime::ServedPort> m_port;
	std::vector<Front *> m_fronts;
	uint32_t m_inflight = 0; ///< submitted and not done
	uint32_t m_sent = 0;     ///< of those, with a request under way
	VolumeIo *m_first = nullptr, *m_last = nullptr; ///< waiting for a request
	runtime::Timer m_retry; ///< no request to be had although none of ours is out: others have the segment's last ones
};

} // namespace archipelago::gateway
