// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// nbd-floor: the least an NBD server on this machine can cost, as a yardstick for ours. One file (or a row of equal ones that are
// open all the time, as a volume's objects are; or no storage at all), one thread, one ring. It offers nothing but read, write, flush and FUA and trusts its clients: never run it for anything else.
//
//   poll fires ─> one recvmsg: the rest of a payload into its aligned buffer, everything behind it into the stage
//              ─> each whole request becomes an SQE ... CQEs ─> one sendmsg answers all that are home
#pragma once

#include "daemon/gateway/nbd/wire.h"
#include "xseg/fd.h"

#include <liburing.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

namespace archipelago::bench {

namespace nbd = gateway::nbd;

inline constexpr unsigned kRingEntries = 1024;
inline constexpr size_t kSlots = 128;           ///< requests of one connection in flight
inline constexpr size_t kStageBytes = 192u << 10; ///< a batch of 32 writes of 4 KiB

struct FreeMemory {
	void operator()(std::byte *p) const { std::free(p); }
};
using AlignedBuffer = std::unique_ptr<std::byte, FreeMemory>;
AlignedBuffer alignedBuffer(size_t bytes);

/// What is served. `files`: O_DIRECT, one behind the other, `fileBytes` each; or none: reads give what the buffer holds and writes
/// are forgotten.
struct Storage {
	std::vector<xseg::UniqueFd> files;
	uint64_t fileBytes = 0, sizeBytes = 0;
};

class FloorConnection;

/// What an SQE's user_data points to: a request, or (connection and no cookie) the poll of a socket.
struct Slot {
	FloorConnection *connection = nullptr;
	bool isPoll = false;
	nbd::Command command;
	uint32_t received = 0; ///< of a WRITE's payload
	uint32_t capacity = 0;
	AlignedBuffer buffer;
	std::array<std::byte, nbd::kReplyBytes> header;
	uint32_t payloadBytes = 0; ///< of the reply
};

class FloorConnection {
public:
	FloorConnection(io_uring &ring, const Storage &storage, xseg::UniqueFd fd);
	/// The socket is readable.
	void receive();
	/// A request came back from the ring.
	void completed(Slot &slot, int result);
	/// Answers what is home, goes on with requests that waited for a slot, arms the poll. Once a turn.
	void endOfTurn();
	bool finished() const { return m_closed && m_free.size() == kSlots && !m_poll.isPoll; }

private:
	void process();
	bool takePayload();
	void start(Slot &slot);
	void reply(Slot &slot, nbd::WireError error);
	void sendReplies();
	io_uring_sqe &sqe(Slot &slot);

	io_uring &m_ring;
	const Storage &m_storage;
	xseg::UniqueFd m_fd;
	bool m_closed = false;
	Slot m_poll; ///< isPoll while it is armed
	std::vector<Slot> m_slots;
	std::vector<Slot *> m_free, m_home;
	Slot *m_writing = nullptr; ///< its payload is coming in
	AlignedBuffer m_stage;
	size_t m_begin = 0, m_end = 0; ///< received and not understood yet
};

/// Fixed newstyle as far as fio, nbdinfo and qemu go. False: the client left or is not one of these. Blocks.
bool floorHandshake(int fd, uint64_t sizeBytes);

} // namespace archipelago::bench
