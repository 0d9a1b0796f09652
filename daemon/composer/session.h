// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Session: one client's attachment to a volume, on a port of its own. Checks every request, lets it in at the volume's
// door (freeze.h), sends it along its blocks (block_io.h) and answers it.
//
// A request inside one block travels itself. One that spans blocks stays here while pieces travel in its place: requests
// of this port's own pool that speak of parts of the same buffer. It is answered when the last piece is back; the first
// error wins. When the pool is empty the rest of its pieces wait in line (nothing fails, nothing is lost); a piece that is
// under way never needs another one, so the line always moves.
//
//   Attaching ──mapper──> Open ──VolDetach: waits for what is in flight──> Detaching ──mapper──> Closed
#pragma once

#include "daemon/composer/block_io.h"
#include "daemon/composer/volume.h"

#include <deque>
#include <memory>
#include <optional>

namespace archipelago::composer {

/// What a session needs of the composer.
class SessionHost {
public:
	/// One more (less) client request in hand: the limit of the role (nr_ops).
	virtual void began() = 0;
	virtual void ended() = 0;
	/// The session has answered its VolDetach. It must not be destroyed inside this call.
	virtual void closed(xseg::PortNo port) = 0;
	virtual IoContexts &contexts() = 0;
	virtual spdlog::logger &log() = 0;

protected:
	~SessionHost() = default;
};

class Session : public runtime::PortHandler, private Entrant {
public:
	enum class State { Attaching, Open, Detaching, Closed };

	/// Takes port `number`. Errors: E-PEER, E-INVALID.
	static Result<std::unique_ptr<Session>> create(SessionHost &host, runtime::Reactor &reactor, xseg::BufferPool &buffers,
	                                               xseg::PortNo number);
	~Session() override = default;

	/// The mapper agreed.
	void open(Volume &volume, const BlockIo::Route &route, bool readOnly);

	State state() const { return m_state; }
	Volume *volume() const { return m_volume; }
	uint32_t handle() const { return m_handle; }
	/// Client requests in hand, held ones included.
	uint32_t inflight() const { return m_inflight; }
	runtime::ServedPort &port() { return *m_port; }

	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;

private:
	Session(SessionHost &host, runtime::Reactor &reactor);
	void released(xseg::RequestRef request) override;
	void refused(xseg::RequestRef request) override;

	void enter(xseg::RequestRef request);
	void begin(xseg::RequestRef request);
	void beginIo(xseg::RequestRef request, bool write);
	void split(xseg::RequestRef request, uint32_t length);
	void sendWaiting();
	void joined(xseg::RequestRef piece, int32_t status);
	void end(xseg::RequestRef request, int32_t status);
	void detach(xseg::RequestRef request);
	void detachWhenIdle();

	SessionHost &m_host;
	IoContexts &m_contexts;
	State m_state = State::Attaching;
	std::unique_ptr<runtime::ServedPort> m_port;
	Volume *m_volume = nullptr;
	uint32_t m_handle = 0;
	bool m_readOnly = false;
	std::optional<BlockIo> m_io;
	uint32_t m_inflight = 0;
	uint32_t m_pieces = 0; ///< under way
	/// Split requests with pieces not sent yet: index and how much of it is sent, bytes.
	struct Waiting {
		xseg::RequestIndex whole;
		uint32_t sent;
	};
	std::deque<Waiting> m_waiting;
	runtime::Timer m_retry; ///< the pool was empty although none of it is out: another port has the last requests
	xseg::RequestRef m_detach;
};

} // namespace archipelago::composer
