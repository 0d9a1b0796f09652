// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The state word of a request and its only legal transitions. It is the truth about who holds a request; ring entries
// and bells are hints. Word: tag:24 | state:4 | direction:4 | from:16 | to:16.
//
//            get (home)            send (me)                     take (to)
//     FREE ────────────> OWNED(me) ─────────> SENDING(me -> to) ─────────> OWNED(to)
//      ^   put (home)      │   ^                     │
//      └───────────────────┘   └─────────────────────┘ recall (me): the ring was full or the other side has left
//
// OWNED(p) has to = p and from = whom p has it from; its direction says whether the request still is what its sender wrote:
// Request after take() from the request ring, Reply after take() from the reply ring, after recall() and after alter(). If p
// dies, only the first kind may be handed to a successor of p: in all others op, arguments or data may be half p's own.
// FENCED is what recovery makes of OWNED(dead) (recovery.cpp); from, to and direction stay.
//
// OWNED(p) and FREE words are changed by their single writer (p, home), so load-check-store is enough; SENDING is the
// one state in which two may act (the receiver takes, the sender recalls), so both use a CAS. Every transition raises
// the tag: a CAS whose expected word was read in an earlier life of the request fails, even if that life looked alike.
// A ring entry names only the request. One left over from an earlier life is therefore either refused here (the request
// is not SENDING to its reader) or delivers the present life to the very port it is addressed to, and the entry of that
// life is then the one refused: exactly one take per send, whatever the rings hold.
//
// Any process; lock-free. Fields of the request written before send() are seen by whoever takes (release, acquire).
#pragma once

#include "xseg/segment.h"
#include "xseg/src/shared_word.h"

namespace xseg {

struct StateWord {
	uint32_t tag = 0; ///< 24 bits
	uint8_t state = XS_FREE;
	uint8_t direction = 0;
	PortNo from = 0, to = 0;

	friend bool operator==(const StateWord &, const StateWord &) = default;
};

inline constexpr uint32_t kStateTagMask = 0xffffff;

constexpr uint64_t pack(const StateWord &word)
{
	return uint64_t(word.tag & kStateTagMask) << 40 | uint64_t(word.state & 0xf) << 36 |
	       uint64_t(word.direction & 0xf) << 32 | uint64_t(word.from) << 16 | word.to;
}

constexpr StateWord unpack(uint64_t word)
{
	return {.tag = uint32_t(word >> 40),
	        .state = uint8_t(word >> 36 & 0xf),
	        .direction = uint8_t(word >> 32 & 0xf),
	        .from = PortNo(word >> 16 & 0xffff),
	        .to = PortNo(word & 0xffff)};
}

/// What send() wrote; recall() takes back exactly this and nothing later.
struct SentWord {
	uint64_t word;
};

class RequestState {
public:
	explicit RequestState(xs_req &request) : m_word(request.state) {}

	StateWord load() const { return unpack(m_word.load(std::memory_order_acquire)); }
	bool ownedBy(PortNo port) const
	{
		const StateWord now = load();
		return now.state == XS_OWNED && now.to == port;
	}

	/// FREE -> OWNED(home). All false results: the word is not in the state the transition starts from, nothing changed.
	bool get(PortNo home)
	{
		const StateWord now = load();
		if (now.state != XS_FREE) return false;
		store(now, {.state = XS_OWNED, .from = home, .to = home});
		return true;
	}

	/// OWNED(home) -> FREE.
	bool put(PortNo home)
	{
		const StateWord now = load();
		if (now.state != XS_OWNED || now.to != home) return false;
		store(now, {.state = XS_FREE, .from = home, .to = home});
		return true;
	}

	/// OWNED(me) -> SENDING(me -> to). The ring push comes after: SENDING means "in the ring of `to`, or its sender is
	/// alive and about to push, or dead and recovery pushes".
	std::optional<SentWord> send(PortNo me, PortNo to, Direction direction)
	{
		const StateWord now = load();
		if (now.state != XS_OWNED || now.to != me) return std::nullopt;
		return SentWord{store(now, {.state = XS_SENDING, .direction = uint8_t(direction), .from = me, .to = to})};
	}

	/// SENDING(me -> to) -> OWNED(me), unless the other side was faster: false means it has the request.
	bool recall(SentWord sent)
	{
		const StateWord was = unpack(sent.word);
		return exchange(was, {.state = XS_OWNED, .direction = uint8_t(Direction::Reply), .from = was.from, .to = was.from});
	}

	/// SENDING(x -> me, direction) -> OWNED(me).
	bool take(PortNo me, Direction direction)
	{
		const StateWord now = load();
		if (now.state != XS_SENDING || now.to != me || now.direction != uint8_t(direction)) return false;
		return exchange(now, {.state = XS_OWNED, .direction = now.direction, .from = now.from, .to = me});
	}

	/// OWNED(me): from here on the request is not what its sender wrote. Before the first change of anything it says.
	void alter(PortNo me)
	{
		const StateWord now = load();
		if (now.state != XS_OWNED || now.to != me || now.direction == uint8_t(Direction::Reply)) return;
		store(now, {.state = XS_OWNED, .direction = uint8_t(Direction::Reply), .from = now.from, .to = me});
	}

	/// For recovery: `now` -> `next` with the next tag, unless somebody has changed it meanwhile.
	bool exchange(const StateWord &now, const StateWord &next)
	{
		uint64_t expected = pack(now);
		const bool changed = m_word.compare_exchange_strong(expected, successor(now, next), std::memory_order_acq_rel,
		                                                    std::memory_order_relaxed);
		XSEG_CRASH_POINT();
		return changed;
	}

private:
	static uint64_t successor(const StateWord &now, StateWord next)
	{
		next.tag = (now.tag + 1) & kStateTagMask;
		return pack(next);
	}
	uint64_t store(const StateWord &now, const StateWord &next)
	{
		const uint64_t word = successor(now, next);
		m_word.store(word, std::memory_order_release);
		XSEG_CRASH_POINT();
		return word;
	}

	std::atomic_ref<uint64_t> m_word;
};

} // namespace xseg
