// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Port: one peer's way into the segment. Gets requests from its own pool, submits, accepts, forwards, responds, receives.
//
// A request travels   home --submit--> A --forward--> B --respond--> A --respond--> home   along the path stored in it.
// Every hand-over is one store or CAS of the state word plus one ring push (abi.h: the state word is the truth, the
// ring entry a hint). A RequestRef owns a request in state OWNED by this port. Dropping one fails the request back to
// where it came from (status -ECANCELED), or frees it when it is at home: nothing leaks.
//
// A full ring is back-pressure: submit, forward and respond then return false and leave the request with the caller.
// One thread per port. Nothing here allocates after bind, except when a new run of requests is claimed.
#pragma once

#include "xseg/buffer_pool.h"
#include "xseg/waiter.h"

#include <cstring>
#include <memory>
#include <type_traits>

namespace xseg {

class Port;
class RequestPool;

class RequestRef {
public:
	RequestRef() = default;
	RequestRef(RequestRef &&other) noexcept : m_port(std::exchange(other.m_port, nullptr)), m_index(other.m_index) {}
	RequestRef &operator=(RequestRef &&other) noexcept;
	~RequestRef() { reset(); }

	explicit operator bool() const { return m_port != nullptr; }
	RequestIndex index() const { return m_index; }
	Port &port() const { return *m_port; }
	/// The record in shared memory. Copy a field once, check the copy.
	xs_req &operator*() const;
	xs_req *operator->() const { return &**this; }

	/// Says that this request is no longer what its sender wrote: if we die, it fails back and is not handed to a successor.
	/// To be called before the first change of op, of arguments or of data that are also the request's input (what a read
	/// fills is not). setArgs() and Port::forward() do so themselves. Killed before: the successor gets it whole.
	void alter() const;
	/// Typed view of args: by value, both ways.
	template <typename T> T args() const
	{
		static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(xs_req::args));
		T out;
		std::memcpy(&out, (**this).args, sizeof out);
		return out;
	}
	template <typename T> void setArgs(const T &in) const
	{
		static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(xs_req::args));
		alter();
		std::memcpy((**this).args, &in, sizeof in);
	}
	/// The bytes this request speaks of (data_blk, data_off, data_len), bounds-checked; empty when there are none or
	/// the fields are nonsense.
	std::span<std::byte> data() const;

	void reset(); ///< see above: fails back, or frees at home

private:
	friend class Port;
	RequestRef(Port *port, RequestIndex index) : m_port(port), m_index(index) {}
	RequestIndex release()
	{
		m_port = nullptr;
		return m_index;
	}
	Port *m_port = nullptr;
	RequestIndex m_index = 0;
};

struct BindOptions {
	uint32_t waiter = 0;
	uint32_t maxInflight = 256; ///< own requests out at a time, clamped to half a ring
	uint32_t role = 0;          ///< informational, shown by tools
};

class Port {
public:
	/// Binds port `number`. `buffers` serves the requests of this port and outlives it; it may be shared by ports of
	/// one thread. Errors: EBUSY (bound), EINVAL (number), ENOSPC or ENOMEM (no memory for its rings).
	static Result<std::unique_ptr<Port>> bind(const Segment &segment, const BellFds &bells, BufferPool &buffers,
	                                          PortNo number, const BindOptions &options);
	/// For a peer whose successor can do all it could: when this port unbinds, the requests in its ring stay there for whoever
	/// binds it next, instead of being failed back.
	void leaveQueueToSuccessor() { m_leaveQueue = true; }
	/// Unbinds: what is queued is failed back; own runs are returned, those with requests still out when they are home.
	/// No RequestRef of this port may be left.
	~Port();
	Port(const Port &) = delete;
	Port &operator=(const Port &) = delete;

	PortNo number() const { return m_number; }
	const Segment &segment() const { return m_segment; }
	BufferPool &buffers() { return m_buffers; }

	// ---- as home
	/// A fresh request without buffer, fields zeroed; empty when credit or pool is used up (wait for a receive).
	RequestRef get();
	/// As get(), with a buffer of `bytes` (data_blk, data_off = 0, data_len = bytes); empty also when memory is short.
	RequestRef get(uint32_t bytes);
	/// Gives a request at home its own buffer (it had none). False when memory is short.
	bool attachBuffer(RequestRef &request, uint32_t bytes);
	/// Sends a request of our own. On true `request` is empty afterwards, on false (ring full, port unbound) unchanged.
	/// lastError() then says EAGAIN (full ring or no credit: try again later) or, for good: ENOTCONN (destination unbound
	/// or out of range), EINVAL (not a request of our own at home), EPROTO (a broken peer overwrote it: drop it).
	bool submit(RequestRef &request, PortNo to);
	/// Next reply; its status and fields are the responder's. Includes replies to requests this port forwarded:
	/// those have npath > 0 and go on with respond() or forward(). Own requests have npath == 0: read, then drop.
	RequestRef receive();

	// ---- as peer
	RequestRef accept();
	/// Passes a request on, adding ourselves to its path; the answer comes back through receive(). False as for submit(),
	/// and for good with ELOOP when the path is full (XS_MAX_HOPS).
	bool forward(RequestRef &request, PortNo to);
	/// Sends a request back along its path with `status` (0 or minus an error code). Ports on the path that are gone are
	/// passed over, and the status then is -EOWNERDEAD whatever came of it: only who is gone knew what else there was to do.
	/// When nobody is left it goes home, where it is freed. False only for now (EAGAIN: the ring is full).
	bool respond(RequestRef &request, int32_t status);

	uint32_t inflight() const { return m_inflight; } ///< own requests that are out
	int lastError() const { return m_lastError; }    ///< errno of the last false or empty result

private:
	friend class RequestRef;
	enum class Delivery : uint8_t { Done, Full, Gone, Lost };
	Port(const Segment &segment, const BellFds &bells, BufferPool &buffers, PortNo number, uint64_t me,
	     const BindOptions &options);
	bool fail(int errnum);
	uint32_t pathEntry() const { return uint32_t(m_number) << 16 | (m_generation & 0xffff); }
	uint64_t halfRing() const { return (uint64_t(1) << m_segment.geometry().ringSlotsLog2) / 2; }
	void announceTo(PortNo port) const;

	Delivery push(RequestIndex index, PortNo to, Direction direction, bool evenUnbound);
	bool send(RequestIndex index, PortNo to, Direction direction);
	bool sendBack(RequestIndex index, int32_t status);
	bool sendHome(RequestIndex index);
	void giveBack(RequestIndex index, int32_t status);
	void retryUnsent();

	std::optional<RequestIndex> take(Direction direction);
	bool accepted(RequestIndex index);
	bool received(RequestIndex index);
	void drop(RequestIndex index);
	void freeAtHome(RequestIndex index);

	const Segment &m_segment;
	const BellFds &m_bells;
	BufferPool &m_buffers;
	PortNo m_number;
	uint64_t m_me; ///< owner word of this process
	BindOptions m_options;
	uint32_t m_generation = 0;
	bool m_leaveQueue = false;
	uint32_t m_inflight = 0, m_forwarded = 0; ///< each at most half a ring: a reply always finds room in ours
	int m_lastError = 0;
	std::array<uint64_t, 2> m_heads{}; ///< our own copy, by Direction
	std::unique_ptr<RequestPool> m_pool;
	std::vector<RequestIndex> m_unsent; ///< failed back, but the ring there was full; tried again at each receive
};

inline RequestRef &RequestRef::operator=(RequestRef &&other) noexcept
{
	if (this != &other) {
		reset();
		m_port = std::exchange(other.m_port, nullptr);
		m_index = other.m_index;
	}
	return *this;
}
inline xs_req &RequestRef::operator*() const { return m_port->segment().request(m_index); }

} // namespace xseg
