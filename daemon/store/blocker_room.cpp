// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The blocker when its store is full: who asks for room, who waits, in which order they go on.
//
// A write that waits was never acknowledged, and is sent to the store as a whole once there is room, whatever part of it a
// refused attempt has written: the bytes are the same. So a crash while writes wait loses nothing that was promised.
#include "daemon/store/blocker_peer.h"

#include "daemon/runtime/port_life.h"

#include <algorithm>

namespace archipelago::store {

namespace {

/// A store that is full and has room in turns is told of so often.
constexpr uint64_t kTellEachNs = 5'000'000'000;

} // namespace

Blocker::Room Blocker::roomOf(const StoreOp &op)
{
	const bool data = op.id.kind == ObjectKind::Data, content = op.id.kind == ObjectKind::Content;
	if (op.op == Op::ObjPunch && data) return Room::Frees;
	const bool writes = op.op == Op::ObjCreate || op.op == Op::ObjWrite || op.op == Op::ObjWriteFull;
	return writes && (data || content) ? Room::Needs : Room::None;
}

/// Nobody overtakes those who wait.
bool Blocker::admit(Slot &slot)
{
	const uint64_t bytes = Headroom::cost(slot.data.size(), slot.op != Op::ObjWrite);
	if (!m_waiting.empty() || !m_headroom.take(bytes)) return false;
	slot.taken = bytes;
	return true;
}

/// A block whose file has all of its room can be written when there is none left.
void Blocker::askForRoom(Slot &slot)
{
	slot.asking = true;
	slot.op = Op::ObjStat;
	m_store->submit(slot);
}

/// The request waits, its slot does not.
void Blocker::park(Slot &slot)
{
	const uint64_t arrival = slot.arrival;
	Waiting waiting{giveBack(slot), arrival};
	if (m_stopping) return; // dropped: it fails back
	const auto behind = std::find_if(m_waiting.begin(), m_waiting.end(), [=](const Waiting &w) { return w.arrival > arrival; });
	m_waiting.insert(behind, std::move(waiting));
	m_headroom.lookUnlessSoon();
}

/// After a look, and when a slot is free again. Only the former can say that there is no room.
void Blocker::admitWaiting(bool justLooked)
{
	if (m_stopping) return wakeStop();
	if (justLooked) dropOrphans();
	while (!m_waiting.empty() && m_free && admitFirst(justLooked)) {}
	if (!m_waiting.empty() && !m_headroom.looking()) m_headroom.lookLater();
}

/// Whose sender has died: it was never acknowledged and nobody waits for it, but its sender's host is not started again before
/// all of its requests are home. Dropped, they fail back.
void Blocker::dropOrphans()
{
	std::erase_if(m_waiting, [this](const Waiting &w) { return runtime::hasGone(m_reactor.segment(), w.request->path[0]); });
}

/// False: it, or those behind it, have to go on waiting.
bool Blocker::admitFirst(bool justLooked)
{
	Slot &slot = *m_free;
	xseg::RequestRef &first = m_waiting.front().request;
	// Read and checked anew: it is its sender's memory.
	if (const auto wrong = fill(slot, first->op, first)) {
		xseg::RequestRef refused = std::move(first);
		m_waiting.pop_front();
		m_port->respond(std::move(refused), wireStatus(*wrong));
		return true;
	}
	const uint64_t bytes = slot.room == Room::Needs ? Headroom::cost(slot.data.size(), slot.op != Op::ObjWrite) : 0;
	const bool probe = m_headroom.refused();
	const bool room = probe ? m_headroom.takeAsProbe(bytes) : m_headroom.take(bytes);
	if (!room && !justLooked) return false;
	if (!room && m_fullPolicy == FullPolicy::Pause) {
		setFull(true);
		return false;
	}
	const uint64_t arrival = m_waiting.front().arrival;
	xseg::RequestRef request = std::move(first);
	m_waiting.pop_front();
	setFull(!room);
	if (!room) {
		request->serviced = 0;
		m_port->respond(std::move(request), wireStatus(ErrorCode::NoSpace));
		return true;
	}
	Slot *taken = takeSlot(std::move(request));
	taken->arrival = arrival;
	taken->taken = bytes;
	taken->probe = probe;
	m_store->submit(*taken);
	return !probe; // those behind a probe wait for its end
}

void Blocker::setFull(bool full)
{
	const uint64_t now = runtime::Reactor::nowNs();
	if (full == m_full || now - m_fullToldNs < kTellEachNs) return;
	m_full = full;
	m_fullToldNs = now;
	if (!full)
		m_log->warn("{}: there is room for data again", m_role.name);
	else
		m_log->error("{}: {} is full: no more than {} MiB are free, and these are kept for metadata (RESERVE). Writes that need room {}. "
		             "Make room on its file system or enlarge it.", m_role.name,
		             m_role.archipDir.empty() ? "the store" : m_role.archipDir, m_reserveBytes >> 20,
		             m_fullPolicy == FullPolicy::Pause ? "wait and go on by themselves then" : "fail with E-NOSPACE");
}

} // namespace archipelago::store
