// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Port, the moving half: how a request gets into somebody's ring and out of ours. What may be killed between any two
// steps here, and what remains:
//
//   path entry, npath, state = SENDING, ring push, bell
//     killed before SENDING   OWNED by the dead; the top of the path may name the dead itself, which is passed over
//                             (recovery.cpp: fails back, or goes to a successor if it is still as its sender wrote it)
//     killed before the push  SENDING from the dead: recovery pushes once more (a second entry is refused as stale)
//     killed before the bell  the owner finds it after its bounded sleep, or when recovery rings
//   The receiver of a reply takes itself off the path, after it has OWNED the request. Were it the sender, a sender killed
//   between that and SENDING would leave a path that skips somebody who waits.
//
// A request whose path has no living port left goes to its home all the same, even if that is not bound: the ring belongs
// to the port number, its next owner finds the request there, knows nothing of it, and frees it. So nothing leaks.
// Only a request with no home at all (its run was overwritten) stays where it is, OWNED and with a status, for the checker.
#include "xseg/port.h"

#include "xseg/src/assert.h"
#include "xseg/src/port_word.h"
#include "xseg/src/request_pool.h"
#include "xseg/src/ring.h"
#include "xseg/src/state_word.h"

#include <cerrno>

namespace xseg {
void Port::announceTo(PortNo port) const { announce(m_segment, m_bells, readOnce(m_segment.port(port).waiter), port); }

/// OWNED(me) -> SENDING -> ring. Whatever is not Done or Lost leaves the request OWNED by us.
Port::Delivery Port::push(RequestIndex index, PortNo to, Direction direction, bool evenUnbound)
{
	xs_req &request = m_segment.request(index);
	if (direction == Direction::Request) writeOnce(request.attempts, 0); // counts replays of this sending, not of the last
	RequestState state(request);
	const auto sent = state.send(m_number, to, direction);
	if (!sent) return Delivery::Lost;
	if (!Ring(m_segment.ring(to, direction), m_segment.geometry().ringSlotsLog2).push(index)) {
		// Its reader may have come across the request through an older entry: then it is there after all.
		if (state.recall(*sent)) return Delivery::Full;
	} else if (!isBound(m_segment, to)) {
		// It left while we pushed. The one who leaves stops being BOUND, then drains; we push, then look: one of the two
		// sees the other. If both do, recall() and take() are a CAS on the same word.
		if (!evenUnbound && state.recall(*sent)) return Delivery::Gone;
		return Delivery::Done; // whoever binds it next becomes BOUND first and looks at its rings then
	}
	announceTo(to);
	return Delivery::Done;
}

bool Port::send(RequestIndex index, PortNo to, Direction direction)
{
	if (!isBound(m_segment, to)) return fail(ENOTCONN);
	switch (push(index, to, direction, false)) {
	case Delivery::Done: return true;
	case Delivery::Full: return fail(EAGAIN);
	case Delivery::Gone: return fail(ENOTCONN);
	case Delivery::Lost: break;
	}
	return fail(EPROTO);
}

bool Port::submit(RequestRef &request, PortNo to)
{
	XSEG_ASSERT(request && &request.port() == this, "submit() of a request that this port does not hold");
	const RequestIndex index = request.index();
	RequestPool::Own *own = m_pool->find(index);
	if (!own || own->place != RequestPool::Place::Held) return fail(EINVAL);
	if (m_inflight >= m_options.maxInflight) return fail(EAGAIN);
	xs_req &shared = *request;
	writeOnce(shared.path[0], pathEntry());
	writeOnce(shared.npath, 1);
	if (!send(index, to, Direction::Request)) {
		writeOnce(shared.npath, 0);
		return false;
	}
	own->place = RequestPool::Place::Out;
	++m_inflight;
	count(m_segment.port(m_number).submitted);
	request.release();
	return true;
}

bool Port::forward(RequestRef &request, PortNo to)
{
	XSEG_ASSERT(request && &request.port() == this, "forward() of a request that this port does not hold");
	xs_req &shared = *request;
	const uint16_t length = readOnce(shared.npath);
	const RequestPool::Own *own = m_pool->find(request.index());
	if (length == 0 || (own && own->place == RequestPool::Place::Held)) return fail(EINVAL);
	if (length >= XS_MAX_HOPS) return fail(ELOOP);
	if (m_forwarded >= halfRing()) return fail(EAGAIN);
	request.alter(); // whoever forwards has changed it, or may have
	writeOnce(shared.path[length], pathEntry()); // entry first: npath never covers one that is not written
	writeOnce(shared.npath, uint16_t(length + 1));
	if (!send(request.index(), to, Direction::Request)) {
		writeOnce(shared.npath, length);
		return false;
	}
	++m_forwarded;
	request.release();
	return true;
}

bool Port::respond(RequestRef &request, int32_t status)
{
	XSEG_ASSERT(request && &request.port() == this, "respond() to a request that this port does not hold");
	const RequestPool::Own *own = m_pool->find(request.index());
	if (own && own->place == RequestPool::Place::Held) { // at home nobody waits for an answer
		request.reset();
		return true;
	}
	if (!sendBack(request.index(), status)) return false;
	count(m_segment.port(m_number).responded);
	request.release();
	return true;
}

/// To the nearest living port of the path, else home. False: full, still OWNED by us, try again.
///
/// A composer that died before it had recorded a write must not turn into an acknowledgement of that write, so whatever
/// passes over the dead says -EOWNERDEAD. Killed anywhere here, that must hold too: the request is marked as altered before
/// the dead are cut off its path, so that no recovery takes it for one to be carried out again and answered with success.
bool Port::sendBack(RequestIndex index, int32_t status)
{
	xs_req &request = m_segment.request(index);
	RequestState state(request);
	if (!state.ownedBy(m_number)) return true; // overwritten: there is nothing of ours to send
	writeOnce(request.status, status);
	const uint16_t whole = pathLength(request);
	for (uint16_t length = whole; length > 0; --length) {
		const uint32_t entry = readOnce(request.path[length - 1]);
		if (isAlive(m_segment, entry)) {
			writeOnce(request.npath, length); // cuts off the dead only
			if (send(index, PortNo(entry >> 16), Direction::Reply)) return true;
			if (m_lastError == EAGAIN) {
				writeOnce(request.npath, whole); // the next try has to see the dead again
				return false;
			}
		}
		state.alter(m_number);
		writeOnce(request.status, -EOWNERDEAD);
	}
	writeOnce(request.npath, 0);
	return sendHome(index);
}

bool Port::sendHome(RequestIndex index)
{
	if (m_pool->find(index)) {
		freeAtHome(index);
		return true;
	}
	const auto home = homeOf(m_segment, index);
	// gen 0: never bound, so no request can be at home there, and its rings have no memory yet.
	if (!home || readOnce(m_segment.port(*home).gen) == 0) return true;
	return push(index, *home, Direction::Reply, true) != Delivery::Full || fail(EAGAIN);
}

/// As sendBack(), but never fails: what finds no room is tried again later.
void Port::giveBack(RequestIndex index, int32_t status)
{
	count(m_segment.port(m_number).failed);
	if (!sendBack(index, status)) m_unsent.push_back(index);
}

void Port::retryUnsent()
{
	for (size_t left = m_unsent.size(); left > 0; --left) {
		const RequestIndex index = m_unsent[left - 1];
		if (!sendBack(index, readOnce(m_segment.request(index).status))) continue;
		m_unsent[left - 1] = m_unsent.back();
		m_unsent.pop_back();
	}
}

/// The next request of a ring that is really on its way to us, now OWNED by us. Entries that are not are stale: skipped.
std::optional<RequestIndex> Port::take(Direction direction)
{
	const Ring ring(m_segment.ring(m_number, direction), m_segment.geometry().ringSlotsLog2);
	uint64_t &head = m_heads[size_t(direction)];
	for (uint64_t walked = 0; walked < ring.slots(); ++walked) {
		const auto index = ring.peek(head);
		if (!index) return std::nullopt;
		// Step 2 of the consumer's order, before clear(): see ring.h.
		const bool ours = *index < m_segment.geometry().requests &&
		                  RequestState(m_segment.request(*index)).take(m_number, direction);
		ring.clear(head);
		if (ours) return index;
	}
	announceTo(m_number); // as in accept(): more may follow
	return std::nullopt;
}

RequestRef Port::accept()
{
	if (!m_unsent.empty()) retryUnsent();
	for (uint64_t looked = 0; looked < 2 * halfRing(); ++looked) {
		const auto index = take(Direction::Request);
		if (!index) return {};
		if (accepted(*index)) return RequestRef(this, *index);
	}
	announceTo(m_number); // a whole ring of rubbish: look again, but let others have a turn
	return {};
}

RequestRef Port::receive()
{
	if (!m_unsent.empty()) retryUnsent();
	for (uint64_t looked = 0; looked < 2 * halfRing(); ++looked) {
		const auto index = take(Direction::Reply);
		if (!index) return {};
		if (received(*index)) return RequestRef(this, *index);
	}
	announceTo(m_number); // as in accept()
	return {};
}

/// A request has come in. False when it is not one a handler could answer; it is dealt with then.
bool Port::accepted(RequestIndex index)
{
	using Place = RequestPool::Place;
	const RequestPool::Own *own = m_pool->find(index);
	if (own && own->place == Place::Free) m_pool->put(index); // nobody but us could send it, and we did not
	if (own && (own->place == Place::Free || own->place == Place::Held)) return false;
	if (pathLength(m_segment.request(index)) == 0) {
		giveBack(index, -EPROTO);
		return false;
	}
	count(m_segment.port(m_number).accepted);
	return true;
}

/// A reply has come in: takes us off its path. False when nobody here waits for it; it is dealt with then.
bool Port::received(RequestIndex index)
{
	using Place = RequestPool::Place;
	xs_req &request = m_segment.request(index);
	uint16_t length = pathLength(request);
	const bool forUs = length > 0 && readOnce(request.path[length - 1]) == pathEntry();
	if (forUs) writeOnce(request.npath, --length);

	RequestPool::Own *own = m_pool->find(index);
	if (own && own->place == Place::Free) m_pool->put(index); // as in accepted()
	if (own && (own->place == Place::Free || own->place == Place::Held)) return false;
	if (own && own->place == Place::Stray && length == 0) {
		freeAtHome(index);
		return false;
	}
	if (own && own->place == Place::Out && (length == 0 || !forUs)) {
		if (!forUs) { // its path was overwritten on the way, but it is ours and somebody waits for it
			writeOnce(request.npath, 0);
			writeOnce(request.status, -EPROTO);
		}
		own->place = Place::Held;
		--m_inflight;
		count(m_segment.port(m_number).received);
		return true;
	}
	if (!forUs || length == 0) { // forwarded by a predecessor of ours who is gone, or nonsense
		giveBack(index, -EOWNERDEAD);
		return false;
	}
	if (m_forwarded > 0) --m_forwarded;
	count(m_segment.port(m_number).received);
	return true;
}

} // namespace xseg
