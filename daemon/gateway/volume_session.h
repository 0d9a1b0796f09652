// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeSession: one volume, attached at the composer, for everybody in this gateway who uses it. It has a client port of
// its own; requests are taken from that port when an I/O is submitted and given back when it is done, so that a client that
// does not fetch its replies ties up buffers (buffer_budget.h) but no requests. When the port's credit or the segment's
// requests are used up, I/O waits in line: nothing fails, nothing is lost, nothing is allocated.
//
// When composer or mapper die, clients see a pause:
//
//   Attached ──E-PEER, or our port there is another's──> Leaving ──all that was out is back──> Away ──resume()──> Attached
//                                                                                               └──giveUp()──> Failed
//
// Leaving sends nothing, and keeps what comes back with E-PEER; other answers are answers. Only when nothing is out any more
// the volume is attached anew (SessionHost does that), and what was kept is sent again, in the order in which it came, then
// what has come meanwhile. Why nothing is lost or done in the wrong order by that:
//   - What is sent again was never acknowledged, so it may have happened or not; to happen twice changes nothing, because no
//     I/O of ours is out that could get in between: an old copy of a write ends before a new write to the same place starts.
//   - It comes back only when nobody below works on it or its buffer: recovery waits for the I/O of the dead, and for the
//     parts into which they had split it.
//   - What was acknowledged before is the business of those below: a later flush covers it, whichever life of them it meets.
//   - An answer counts only if it comes from a composer, which restores the operation: one that passed by a dead composer on
//     its way to us still bears the operation of the station it comes from.
// One thread.
#pragma once

#include "daemon/base/log.h"
#include "daemon/gateway/front.h"
#include "daemon/runtime/served_port.h"

#include <memory>
#include <string>
#include <vector>

namespace archipelago::gateway {

/// Which I/O a request index stands for; shared by the sessions of a gateway, because an index is unique in the segment.
using IoTable = std::vector<VolumeIo *>;

class VolumeSession;

/// What a session needs of its owner.
class SessionHost {
public:
	/// It is Away: attach it anew, then resume() or giveUp(), neither inside this call.
	virtual void attachAnew(VolumeSession &session) = 0;
	virtual IoTable &table() = 0;
	virtual spdlog::logger &log() = 0;

protected:
	~SessionHost() = default;
};

class VolumeSession : private runtime::PortHandler {
public:
	enum class State { Attached, Leaving, Away, Failed };

	/// Takes port `number` for the volume that `attached` describes. Errors: E-PEER, E-INVALID, E-NOSPACE.
	static Result<std::unique_ptr<VolumeSession>> bind(SessionHost &host, runtime::Reactor &reactor, xseg::BufferPool &buffers,
	                                                   xseg::PortNo number, std::string name, const AttachReply &attached);

	/// As it was opened.
	const std::string &name() const { return m_name; }
	const VolumeId &volume() const { return m_attached.volume; }
	const VolumeShape &shape() const { return m_shape; }
	xseg::PortNo port() const { return m_port->number(); }
	State state() const { return m_state; }
	/// Where the composer serves this volume, or did last: port and key.
	const AttachReply &attachment() const { return m_attached; }

	/// Takes the I/O until it calls done(). It lies inside the volume and, if it has data, inside one buffer.
	void submit(VolumeIo &io);
	uint32_t inflight() const { return m_inflight; }

	void addFront(Front &front) { m_fronts.push_back(&front); }
	void removeFront(Front &front) { std::erase(m_fronts, &front); }
	/// Tells the fronts when that is news.
	void setSize(uint64_t sizeBytes);

	/// Notices without any I/O that the composer has gone. Once in a while.
	void look();
	/// How long to wait before the next try to attach: 0, then more and more until an I/O is answered.
	uint64_t nextDelayMs();
	/// Away: attached again, the same volume, not smaller.
	void resume(const AttachReply &attached);
	/// Away: everything that waits, and everything that comes, fails with this.
	void giveUp(const Error &error);
	/// From the first E-PEER until it was attached again; the longest time there was.
	uint64_t longestPauseMs() const { return m_longestPauseMs; }

	uint32_t users = 0;   ///< OpenVolumes that refer to it
	bool closing = false; ///< the last one is gone: nobody may join any more

private:
	VolumeSession(SessionHost &host, runtime::Reactor &reactor, std::string name, const AttachReply &attached);
	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;
	bool trySend(VolumeIo &io);
	void sendWaiting();
	void hold(VolumeIo &io);
	void leave();
	void awayIfAllBack();
	void failWaiting();
	void finish(VolumeIo &io, std::optional<ErrorCode> code);

	SessionHost &m_host;
	IoTable &m_table;
	const std::string m_name;
	AttachReply m_attached;
	uint32_t m_sessionLife = 0; ///< of the composer's port (port_life.h)
	VolumeShape m_shape;
	State m_state = State::Attached;
	ErrorCode m_error = ErrorCode::Failed; ///< Failed: why
	std::unique_ptr<runtime::ServedPort> m_port;
	runtime::PortCounters m_counters; ///< from submit() to done(): waiting in line and pauses are part of what I/O costs
	std::vector<Front *> m_fronts;
	uint32_t m_inflight = 0; ///< submitted and not done
	uint32_t m_sent = 0;     ///< of those, with a request under way
	uint64_t m_lastSequence = 0;
	VolumeIo *m_first = nullptr, *m_last = nullptr; ///< waiting to be sent, by sequence
	runtime::Timer m_retry; ///< no request to be had although none of ours is out: others have the segment's last ones
	uint64_t m_leftNs = 0, m_longestPauseMs = 0, m_delayMs = 0;
};

} // namespace archipelago::gateway
