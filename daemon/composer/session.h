// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Session: one client's attachment to a volume, on a port of its own. Checks every request, lets it in at the volume's
// door (freeze.h), sends it along its blocks (block_io.h) and answers it.
//
// A request inside one block travels itself. One that spans blocks stays here while pieces travel in its place: requests
// of this port's own pool that speak of parts of the same buffer. It is answered when the last piece is back, never before:
// nobody works on the client's buffer then. The first error wins, and pieces that were not sent yet are not sent then. Requests
// with pieces left take turns, and when the pool is empty they wait in line (nothing fails, nothing is lost); a piece that is
// under way never needs another one, so the line always moves.
//
// Trim and zero have no data: what they cover whole is one piece (split.h). Zeros that must be written come from a buffer of the
// composer's; such a request always travels as pieces, because recovery looks for the owner of a buffer at the home of the
// request that speaks of it.
//
// Whose request it is: the key, made anew for each attachment. A client that has not noticed yet that this composer, or its
// session, is another one now would else write to the volume that has its port today.
//
//   Attaching ──mapper──> Open ──VolDetach or leave(): waits for what is in flight──> Detaching ──mapper──> Closed
//                                                      └─────── the mapper has died ────────────────────────┘
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
	/// The session is over. It must not be destroyed inside this call. With `handle` != 0 the mapper has still to be told.
	virtual void closed(xseg::PortNo port, uint32_t handle) = 0;
	/// A buffer of kFillBytes zeros; XS_NO_BUFFER while memory is short.
	virtual uint32_t zeros() = 0;
	virtual IoContexts &contexts() = 0;
	virtual spdlog::logger &log() = 0;

protected:
	~SessionHost() = default;
};

/// Zeros are written in pieces of this much, so that they do not keep others from the disk.
inline constexpr uint32_t kFillBytes = 256 * 1024;

class Session : public runtime::PortHandler, private Entrant {
public:
	enum class State { Attaching, Open, Detaching, Closed };

	/// Who attaches, and to what: as it was when the attachment was asked for.
	struct Origin {
		uint64_t key = 0;
		uint32_t client = 0;     ///< path entry of the client's port
		uint32_t mapperLife = 0; ///< whoever answered is gone if it is another one by then
	};

	/// Takes port `number`. Errors: E-PEER, E-INVALID.
	static Result<std::unique_ptr<Session>> create(SessionHost &host, runtime::Reactor &reactor, xseg::BufferPool &buffers,
	                                               xseg::PortNo number, const Origin &origin);
	~Session() override = default;

	/// The mapper agreed.
	void open(Volume &volume, const BlockIo::Route &route, bool readOnly);
	/// Ends as if its client had detached it: the client is gone, or the mapper is. What comes from now on is answered E-PEER.
	void leave();

	State state() const { return m_state; }
	Volume *volume() const { return m_volume; }
	uint32_t handle() const { return m_handle; }
	const Origin &origin() const { return m_origin; }
	bool mapperLost() const { return m_io && m_io->mapperLost(); }
	/// Client requests in hand, held ones included.
	uint32_t inflight() const { return m_inflight; }
	runtime::ServedPort &port() { return *m_port; }

	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;

private:
	Session(SessionHost &host, runtime::Reactor &reactor, const Origin &origin);
	void released(xseg::RequestRef request) override;
	void refused(xseg::RequestRef request) override;

	void enter(xseg::RequestRef request);
	void begin(xseg::RequestRef request);
	void beginIo(xseg::RequestRef request, IoContext::Way way);
	void beginSpan(xseg::RequestRef request);
	void beginExtents(xseg::RequestRef request);
	void split(xseg::RequestRef request);
	void sendWaiting();
	bool cut(IoContext &whole, xseg::RequestIndex index, xseg::RequestRef &piece);
	void joined(xseg::RequestRef piece, int32_t status);
	void endIfJoined(IoContext &whole);
	void end(xseg::RequestRef request, int32_t status);
	void detachWhenIdle();
	void close(uint32_t handle);

	SessionHost &m_host;
	IoContexts &m_contexts;
	const Origin m_origin;
	State m_state = State::Attaching;
	std::unique_ptr<runtime::ServedPort> m_port;
	Volume *m_volume = nullptr;
	uint32_t m_handle = 0;
	bool m_readOnly = false, m_leaving = false;
	std::optional<BlockIo> m_io;
	uint32_t m_inflight = 0;
	uint32_t m_pieces = 0; ///< under way
	std::deque<xseg::RequestIndex> m_waiting; ///< split requests with pieces not sent yet
	runtime::Timer m_retry; ///< the pool was empty although none of it is out: another port has the last requests
	xseg::RequestRef m_detach;
};

} // namespace archipelago::composer
