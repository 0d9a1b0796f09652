// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What becomes of the requests, runs, slabs and ports of the dead D. Every step is one CAS or store of a word that says what
// is done and what is not, so that who comes after a killed recovery, or runs it twice, goes on from the words alone.
//
//   fence    ports of D -> RECOVERING      OWNED(D) -> FENCED(D)      slabs USED(D) -> FENCED(D)
//
//   release  0 the reply rings of D are emptied
//            1 what nobody needs or can be sent on at once
//              home D, nobody alive on the path: SENDING from D or to D -> FENCED(D)
//              SENDING(D -> X)      pushed again (D may have been killed before its push; twice is harmless). X is not bound:
//                                   taken back, FENCED(D)
//              SENDING(X -> D)      a request to be replayed stays, in the ring for sure; all else -> FENCED(D)
//              FENCED(D), and nobody waits for it: FREE
//            2 what somebody waits for, FENCED(D): replayed into D's own ring for the successor, or failed back.
//              NOT BEFORE all requests with home D are back: D may have split what it held into parts of its own, which use
//              the buffer of the whole. Once the whole is answered its owner uses that buffer anew, and a part that is still
//              under way would write the new bytes to the old place, or read old bytes into it.
//            3 when nothing waits: runs and slabs return, the ports become nobody's. A slab that a request still names (of
//              another dead, say) becomes a ZOMBIE instead, and FREE in a later release of anybody.
//
// What is replayed must be what its sender wrote, and its sender must be alive: state_word.h (direction of FENCED) and the
// top of the path say so. Everything else fails: the word is first made "altered", then the dead are cut off the path, then
// it is sent; the other order would let the next recovery take it for one to be replayed, past the dead.
//
// The port's owner word is D's until step 3 has ended, so no successor binds meanwhile and nobody consumes D's rings.
// Living peers take, recall and answer all the time; whatever both want to change is changed by a CAS on the state word.
#include "xseg/recovery.h"

#include "xseg/src/port_word.h"
#include "xseg/src/request_pool.h"
#include "xseg/src/ring.h"
#include "xseg/src/slab_use.h"
#include "xseg/src/state_word.h"

#include <algorithm>
#include <cerrno>

namespace xseg {
namespace {

constexpr auto kAltered = uint8_t(Direction::Reply), kAsSent = uint8_t(Direction::Request);

class Pass {
public:
	Pass(const Segment &segment, const BellFds &bells, const RecoveryOptions &options, uint64_t dead)
		: m_segment(segment),
		  m_bells(bells),
		  m_options(options),
		  m_owner(dead),
		  m_dead(segment.geometry().ports)
	{}

	/// How many ports the dead has.
	uint32_t fence();
	RecoveryReport release();

private:
	bool ofDead(PortNo port) const { return port < m_dead.size() && m_dead[port]; }
	bool heldByDead(const StateWord &word) const { return word.state == XS_FENCED && ofDead(word.to); }
	bool homeIsDead(RequestIndex index) const
	{
		const auto home = homeOf(m_segment, index);
		return home && ofDead(*home);
	}
	Ring ringOf(PortNo port, Direction direction) const
	{
		return Ring(m_segment.ring(port, direction), m_segment.geometry().ringSlotsLog2);
	}

	bool somebodyWaits(const xs_req &request) const;
	bool mayReplay(const xs_req &request, const StateWord &word) const;
	bool pushAgain(RequestIndex index, PortNo to, Direction direction);

	void emptyReplyRings();
	void sort(RequestIndex index);
	void sortIncoming(RequestIndex index, const StateWord &word);
	void sortOutgoing(RequestIndex index, const StateWord &word);
	void passOn(RequestIndex index);
	bool replay(RequestIndex index, const StateWord &word);
	void failBack(RequestIndex index);
	void free(RequestIndex index);

	void returnRuns();
	void returnSlabs();
	void freePorts();

	const Segment &m_segment;
	const BellFds &m_bells;
	const RecoveryOptions &m_options;
	uint64_t m_owner; ///< owner word of the dead
	std::vector<bool> m_dead; ///< its ports
	RecoveryReport m_report;
};

bool take(xs_req &request, const StateWord &word, PortNo holder, uint8_t direction)
{
	return RequestState(request).exchange(word,
	                                      {.state = XS_FENCED, .direction = direction, .from = word.from, .to = holder});
}

void setSlab(const Segment &segment, uint32_t slab, const SlabWord &from, SlabWord to)
{
	to.tag = from.tag + 1;
	to.backed = from.backed;
	uint64_t expected = pack(from);
	std::atomic_ref(segment.slab(slab).owner).compare_exchange_strong(expected, pack(to), std::memory_order_acq_rel);
	XSEG_CRASH_POINT();
}

// ---- fence

uint32_t Pass::fence()
{
	const Geometry &geometry = m_segment.geometry();
	m_report.ports = 0;
	for (uint32_t port = 0; port < geometry.ports; ++port) {
		m_dead[port] = ownerOf(m_segment, PortNo(port)) == m_owner;
		if (!m_dead[port]) continue;
		setPortState(m_segment, PortNo(port), XS_PORT_RECOVERING);
		++m_report.ports;
	}
	if (m_report.ports == 0) return 0;
	for (RequestIndex index = 0; index < geometry.requests; ++index) {
		const StateWord word = RequestState(m_segment.request(index)).load();
		if (word.state == XS_OWNED && ofDead(word.to)) take(m_segment.request(index), word, word.to, word.direction);
	}
	for (uint32_t slab = 0; slab < geometry.slabs; ++slab) {
		const SlabWord word = slabWordOf(m_segment, slab);
		if (word.state != XS_SLAB_USED || !ofDead(word.port)) continue;
		SlabWord fenced = word;
		fenced.state = XS_SLAB_FENCED;
		setSlab(m_segment, slab, word, fenced);
	}
	return m_report.ports;
}

// ---- release

RecoveryReport Pass::release()
{
	const uint32_t requests = m_segment.geometry().requests;
	if (fence() != 0) {
		emptyReplyRings();
		for (RequestIndex index = 0; index < requests; ++index) sort(index);
		const bool allHome = m_report.waiting == 0;
		for (RequestIndex index = 0; index < requests; ++index) {
			if (!heldByDead(RequestState(m_segment.request(index)).load())) continue;
			if (allHome)
				passOn(index);
			else
				++m_report.waiting;
		}
		if (m_report.waiting == 0) returnRuns();
	}
	returnSlabs(); // also those that an earlier release had to leave
	if (m_report.ports != 0 && m_report.waiting == 0) freePorts();
	// Who was killed between its push and its ring left somebody asleep; who waits for a port to come back wants to look.
	if (m_report.ports != 0) {
		for (uint32_t waiter = 0; waiter < m_segment.geometry().waiters; ++waiter) ring(m_segment, m_bells, waiter);
	}
	return m_report;
}

bool Pass::somebodyWaits(const xs_req &request) const
{
	for (uint16_t length = pathLength(request); length > 0; --length) {
		if (isAlive(m_segment, readOnce(request.path[length - 1]))) return true;
	}
	return false;
}

bool Pass::mayReplay(const xs_req &request, const StateWord &word) const
{
	const uint16_t length = pathLength(request);
	return word.direction == kAsSent && length > 0 && isAlive(m_segment, readOnce(request.path[length - 1])) &&
	       m_options.policy && readOnce(request.attempts) < m_options.maxAttempts &&
	       m_options.policy(readOnce(request.op)) == Verdict::Replay;
}

bool Pass::pushAgain(RequestIndex index, PortNo to, Direction direction)
{
	if (!ringOf(to, direction).push(index)) return false;
	announce(m_segment, m_bells, readOnce(m_segment.port(to).waiter), to);
	return true;
}

/// Replies to the dead are found by their state words, so the entries are of no use any more; but if the ring were full, a
/// living peer could not send the last ones home, and we wait for those. We are the only consumer.
void Pass::emptyReplyRings()
{
	for (uint32_t port = 0; port < m_dead.size(); ++port) {
		if (!m_dead[port] || readOnce(m_segment.port(PortNo(port)).gen) == 0) continue; // gen 0: its rings have no memory
		const Ring ring = ringOf(PortNo(port), Direction::Reply);
		uint64_t head = ring.sharedHead();
		for (uint64_t left = ring.slots(); left > 0 && ring.peek(head); --left) ring.clear(head);
	}
}

/// Step 1 for one request. Counts it as waiting when it is the dead one's and away.
void Pass::sort(RequestIndex index)
{
	xs_req &request = m_segment.request(index);
	const StateWord word = RequestState(request).load();
	if (word.state == XS_SENDING) {
		if (ofDead(word.to))
			sortIncoming(index, word);
		else if (ofDead(word.from))
			sortOutgoing(index, word);
	}
	const StateWord now = RequestState(request).load();
	if (heldByDead(now)) {
		const auto home = homeOf(m_segment, index);
		if (!somebodyWaits(request) && (!home || !isBound(m_segment, *home))) free(index);
	} else if (now.state != XS_FREE && homeIsDead(index)) {
		++m_report.waiting;
	}
}

/// SENDING(X -> D).
void Pass::sortIncoming(RequestIndex index, const StateWord &word)
{
	xs_req &request = m_segment.request(index);
	if (word.direction == uint8_t(Direction::Reply)) {
		take(request, word, word.to, kAltered);
		return;
	}
	const bool stays = !homeIsDead(index) && mayReplay(request, word);
	// Nobody consumes this ring now, so an entry that is in it stays until the successor comes.
	const Ring ring = ringOf(word.to, Direction::Request);
	if (stays && (ring.contains(index) || ring.push(index))) {
		++m_report.replayed;
		return;
	}
	take(request, word, word.to, stays ? kAltered : word.direction);
}

/// SENDING(D -> X).
void Pass::sortOutgoing(RequestIndex index, const StateWord &word)
{
	xs_req &request = m_segment.request(index);
	const auto direction = word.direction == uint8_t(Direction::Reply) ? Direction::Reply : Direction::Request;
	if (homeIsDead(index) && !somebodyWaits(request)) {
		take(request, word, word.from, kAltered);
		return;
	}
	if (isBound(m_segment, word.to)) {
		if (!pushAgain(index, word.to, direction)) {
			++m_report.waiting;
			return;
		}
		++m_report.pushedAgain;
	}
	// As in Port::push(): it may have left before it could see the entry.
	if (!isBound(m_segment, word.to)) take(request, word, word.from, kAltered);
}

/// Step 2 for one request that is FENCED(D).
void Pass::passOn(RequestIndex index)
{
	xs_req &request = m_segment.request(index);
	const StateWord word = RequestState(request).load();
	if (!homeIsDead(index) && mayReplay(request, word) && replay(index, word)) {
		++m_report.replayed;
		return;
	}
	failBack(index);
	if (homeIsDead(index) && RequestState(request).load().state != XS_FREE) ++m_report.waiting; // it is on its way to us
}

/// Killed between SENDING and the push: sortIncoming() of the next recovery sees to it.
bool Pass::replay(RequestIndex index, const StateWord &word)
{
	xs_req &request = m_segment.request(index);
	const auto waiter = PortNo(readOnce(request.path[pathLength(request) - 1]) >> 16);
	writeOnce(request.attempts, uint16_t(readOnce(request.attempts) + 1));
	if (!RequestState(request).exchange(
			word, {.state = XS_SENDING, .direction = kAsSent, .from = waiter, .to = word.to}))
		return true; // a broken peer has it
	const Ring ring = ringOf(word.to, Direction::Request);
	if (ring.contains(index) || ring.push(index)) return true;
	take(request, RequestState(request).load(), word.to, kAltered);
	return false;
}

/// To the nearest living port of its path, else home, with -EOWNERDEAD.
void Pass::failBack(RequestIndex index)
{
	xs_req &request = m_segment.request(index);
	StateWord word = RequestState(request).load();
	if (!heldByDead(word)) return; // a broken peer has it
	if (word.direction != kAltered) {
		take(request, word, word.to, kAltered);
		word = RequestState(request).load();
		if (!heldByDead(word)) return;
	}
	writeOnce(request.status, -EOWNERDEAD);
	uint16_t length = pathLength(request);
	while (length > 0 && !isAlive(m_segment, readOnce(request.path[length - 1]))) --length;
	writeOnce(request.npath, length);
	const auto home = homeOf(m_segment, index);
	const auto to = length > 0 ? PortNo(readOnce(request.path[length - 1]) >> 16) : home.value_or(XS_NO_PORT);
	if (!isBound(m_segment, to)) {
		if (length > 0)
			++m_report.waiting; // it left just now: the next look finds the one before it
		else
			free(index);
		return;
	}
	// From here on it is SENDING(D -> to), what sortOutgoing() of the next recovery sends once more or takes back.
	const auto reply = uint8_t(Direction::Reply);
	if (!RequestState(request).exchange(word, {.state = XS_SENDING, .direction = reply, .from = word.to, .to = to})) return;
	++m_report.failed;
	if (!pushAgain(index, to, Direction::Reply) || !isBound(m_segment, to)) ++m_report.waiting;
}

/// FENCED(D) -> FREE: it can be used again by whoever has its run.
void Pass::free(RequestIndex index)
{
	RequestState state(m_segment.request(index));
	const StateWord word = state.load();
	const PortNo home = homeOf(m_segment, index).value_or(0);
	if (heldByDead(word) && state.exchange(word, {.state = XS_FREE, .from = home, .to = home})) ++m_report.freed;
}

// ---- step 3

void Pass::returnRuns()
{
	for (uint32_t run = 0; run < m_segment.geometry().requests / XS_RUN_REQUESTS; ++run) {
		const RequestIndex first = run * XS_RUN_REQUESTS;
		if (!homeIsDead(first)) continue;
		bool allHome = true;
		for (RequestIndex index = first; index < first + XS_RUN_REQUESTS; ++index)
			allHome &= RequestState(m_segment.request(index)).load().state == XS_FREE;
		if (!allHome) continue; // a broken peer's doing: the next owner of the port adopts it
		std::atomic_ref owner(m_segment.run(run).owner);
		uint64_t word = owner.load(std::memory_order_acquire);
		owner.compare_exchange_strong(word, runWord(word, 0), std::memory_order_acq_rel);
		XSEG_CRASH_POINT();
	}
}

/// The dead one's, when nothing waits any more, and what earlier owners had to leave behind.
void Pass::returnSlabs()
{
	const bool ours = m_report.ports != 0 && m_report.waiting == 0;
	std::vector<bool> inUse; // looked up only when there is something to give back
	for (uint32_t slab = 0; slab < m_segment.geometry().slabs; ++slab) {
		const SlabWord word = slabWordOf(m_segment, slab);
		const bool ofTheDead = ours && ofDead(word.port) && (word.state == XS_SLAB_USED || word.state == XS_SLAB_FENCED);
		if (!ofTheDead && word.state != XS_SLAB_ZOMBIE) continue;
		if (inUse.empty()) inUse = slabsInUse(m_segment);
		SlabWord next;
		if (inUse[slab]) {
			if (word.state == XS_SLAB_ZOMBIE) continue;
			next = word;
			next.state = XS_SLAB_ZOMBIE;
		}
		m_report.slabs += !inUse[slab];
		setSlab(m_segment, slab, word, next);
	}
}

void Pass::freePorts()
{
	for (uint32_t number = 0; number < m_dead.size(); ++number) {
		if (!m_dead[number]) continue;
		xs_port &port = m_segment.port(PortNo(number));
		writeOnce(port.pid, 0);
		writeOnce(port.start_time, 0);
		setPortState(m_segment, PortNo(number), XS_PORT_FREE);
		giveUpPort(m_segment, PortNo(number), m_owner);
	}
}

} // namespace

Recovery::Recovery(const Segment &segment, const BellFds &bells, const RecoveryOptions &options)
	: m_segment(segment),
	  m_bells(bells),
	  m_options(options)
{}

void Recovery::fence(const ProcessId &dead) { Pass(m_segment, m_bells, m_options, ownerWord(dead)).fence(); }

RecoveryReport Recovery::release(const ProcessId &dead)
{
	return Pass(m_segment, m_bells, m_options, ownerWord(dead)).release();
}

std::vector<ProcessId> Recovery::owners() const
{
	std::vector<ProcessId> found;
	for (uint32_t number = 0; number < m_segment.geometry().ports; ++number) {
		const uint64_t owner = ownerOf(m_segment, PortNo(number));
		if (owner == 0) continue;
		// The whole start time stands beside it; who was killed early has not written it yet.
		const xs_port &port = m_segment.port(PortNo(number));
		ProcessId process{readOnce(port.pid), readOnce(port.start_time)};
		if (ownerWord(process) != owner) process = {uint32_t(owner >> 32), uint32_t(owner)};
		const auto same = [owner](const ProcessId &other) { return ownerWord(other) == owner; };
		if (std::ranges::none_of(found, same)) found.push_back(process);
	}
	return found;
}

} // namespace xseg
