// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Connection: the transmission phase of one NBD client, the fast path of the gateway. Callbacks, no coroutine and, once its
// free lists have grown, no allocation.
//
//   receive   one recvmsg takes what is there: the rest of a WRITE's payload straight into its segment buffer, in a run of
//             WRITEs also those that are expected next (run_ahead.h), and the commands behind it into the stage, which is
//             small so that little payload ever has to be copied out of it
//   submit    each piece as soon as it is whole; requests end in any order. TRIM and WRITE_ZEROES may be 4 GiB long and have
//             one piece, submitted again for one part after the other: they take up no more than any other request
//   reply     gathered during a turn of the reactor and sent at its end (reply_queue.h)
//
//   Reading ──DISC, EOF, stop──> Draining ──all answered──> Broken ──all home, no poll armed──> finished
//      └───────────── broken framing, socket error, eviction ──────────┘
//
// Bounds: kMaxRequests commands, and buffers of kMaxHeldBytes (or one command), then it stops reading: that is the
// client's back-pressure. Buffers are freed when their I/O is home and, for a READ, its reply is out or its client is gone;
// never before. One thread; everything it refers to outlives it.
#pragma once

#include "daemon/base/log.h"
#include "daemon/gateway/buffer_budget.h"
#include "daemon/gateway/nbd/command_rules.h"
#include "daemon/gateway/nbd/reply.h"
#include "daemon/gateway/nbd/reply_queue.h"
#include "daemon/gateway/nbd/run_ahead.h"
#include "daemon/gateway/nbd/socket_io.h"
#include "daemon/gateway/volume_sessions.h"

#include <algorithm>
#include <string>

namespace archipelago::gateway::nbd {

/// What the connections of one server share.
struct ConnectionContext {
	runtime::Reactor &reactor;
	BufferBudget &budget;
	spdlog::logger &log;
	std::span<std::byte> scratch;        ///< where payload goes that nobody wants
	std::vector<Connection *> &dirty;    ///< have something to do at the end of the turn
	uint64_t ioTimeoutMs = 0;            ///< 0: I/O waits
	uint32_t maxRequestBytes = kMaximumRequest;
};

class Connection : private BufferBudget::Waiter, private Front {
public:
	/// What was agreed on with the client.
	struct Terms {
		OpenVolume volume;
		Dialect dialect;
		std::string label; ///< names the client in the log
	};
	/// `fd` stays the caller's, open until run() is done.
	Connection(const ConnectionContext &context, int fd, Terms terms);
	~Connection() override;
	Connection(const Connection &) = delete;
	Connection &operator=(const Connection &) = delete;

	/// Serves. Comes back when nothing of this connection is in flight anywhere; it may be destroyed then.
	runtime::Task<void> run();
	/// Reads no more, answers what is in hand, then ends. A client that does not take its replies is given kLingerMs.
	void stop();
	/// Called once per turn while it is in ConnectionContext::dirty.
	void endOfTurn();
	/// True when it holds buffers, waits for its client to move, and since the last call has moved so little that it would hold
	/// them for more than kSlowestLooks of such times: a client that takes a byte now and then is no better than a deaf one.
	bool stalled();
	void evict();
	/// Its client has left (or is being sent away), and I/O of it on this volume is in flight, or still to be read: who waits for
	/// buffers or storage does not look at its socket, and learns late that nobody is there.
	bool leavesBehind(const OpenVolume &volume) const
	{
		if (!m_volume.sharesWith(volume)) return false;
		if (m_state == State::Reading) return hasHungUp(m_fd);
		return std::ranges::any_of(m_requests, [](const Request &request) { return request.piecesOut != 0; });
	}

	static constexpr uint32_t kMaxRequests = 256;
	static constexpr uint64_t kMaxHeldBytes = 16u << 20;
	static constexpr uint64_t kLingerMs = 2000;
	static constexpr uint64_t kSlowestLooks = 12; ///< of the server's kStallMs: a minute
	static constexpr uint64_t kMaxDrainBytes = 2ull * kMaximumRequest; ///< of a WRITE that is refused; a longer one ends the connection

private:
	enum class State { Reading, Draining, Broken };
	enum class Started { Yes, Blocked };
	/// What was answered, for the log.
	struct Totals {
		uint64_t reads = 0, writes = 0, others = 0, errors = 0;
		uint64_t bytesRead = 0, bytesWritten = 0;
	};
	struct Poll : runtime::Completion {
		Connection *connection = nullptr;
		bool armed = false;
	};

	// receiving
	void receive();
	static constexpr size_t kMostVectors = 2 + 2 * RunAhead::kMost;
	size_t receiveVectors(std::array<iovec, kMostVectors> &vectors, size_t &direct);
	void account(size_t received, size_t direct);
	void process();
	// receiving ahead
	size_t makePlaces(iovec *vectors);
	void takePlaces();
	bool takePlace(RunAhead::Place &place, size_t received);
	void spill(unsigned place, size_t received);
	Started begin(const Command &command);
	Fault check(const Command &command) const
	{
		return checkCommand(command, m_volume->shape(), m_dialect, m_context.maxRequestBytes);
	}
	Started refuse(const Command &command, Fault fault);
	Started beginRead(const Command &command);
	Started beginStatus(const Command &command);
	void beginWrite(const Command &command);
	void beginSpan(const Command &command);
	bool takePayload();
	bool takeDrained();
	// requests and pieces
	Request &newRequest(const Command &command);
	Piece &newPiece(Request &request, Op op, uint64_t offset, Part part);
	Part allocate(uint32_t wanted, uint32_t &largest);
	Part reserveAndAllocate(uint32_t wanted);
	Started nextWritePiece();
	bool underCap(uint64_t cost) const { return !m_held || m_held + cost <= kMaxHeldBytes; }
	void freeBuffer(Piece &piece);
	void submit(Piece &piece);
	bool submitNext(Piece &piece);
	void pieceDone(Piece &piece);
	void completed(Request &request);
	void home(Request &request);
	void answer(Request &request);
	void count(const Request &request);
	void recycle(Request &request);
	void dropPieces(Request &request);
	// sending and ending
	void sendReplies();
	void settle(RequestList &sent);
	void drain(const char *why);
	void breakOff();
	void finishIfDone();
	void expire();
	void linger();
	void markDirty();
	void arm(Poll &poll, unsigned events);
	void resume();
	void roomFreed() override;
	void sizeChanged(uint64_t sizeBytes) override;

	ConnectionContext m_context;
	int m_fd;
	OpenVolume m_volume;
	Dialect m_dialect;
	std::string m_label;
	State m_state = State::Reading;
	Poll m_in, m_out;
	bool m_blocked = false; ///< the next command, or the next piece of payload, waits for buffers or for a free request
	bool m_dirty = false;
	runtime::Timer m_deadline, m_linger, m_finished;
	runtime::WaitList m_done;

	// What was received and not understood yet: [m_begin, m_end) of the stage.
	static constexpr size_t kStageBytes = 1024; ///< received at a time; it is larger once a guess has spilled into it
	std::vector<std::byte> m_stage = std::vector<std::byte>(kStageBytes);
	RunAhead m_ahead;
	size_t m_begin = 0, m_end = 0;
	Request *m_receiving = nullptr; ///< a WRITE whose payload is coming in
	Piece *m_piece = nullptr;       ///< of it, the one that is being filled
	uint32_t m_payloadPlaced = 0;   ///< bytes of it that have a piece
	uint64_t m_drainLeft = 0;       ///< payload of m_refused that is still to come
	Request *m_refused = nullptr;   ///< a WRITE that is answered with an error once its payload is out of the way

	std::deque<Request> m_requests;
	std::deque<Piece> m_pieces;
	RequestList m_freeRequests, m_active;
	Piece *m_freePieces = nullptr;
	uint32_t m_inHand = 0; ///< requests that are not free
	uint64_t m_held = 0;   ///< bytes of the budget
	ReplyQueue m_replies;
	uint64_t m_bytesReceived = 0, m_lastSeenBytes = 0;
	Totals m_totals;
};

} // namespace archipelago::gateway::nbd
