// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Connection, receiving ahead: see run_ahead.h. Order of the stream: the rest of the piece that is being filled, the places, the
// stage. So what is in the places is understood before the stage, and a piece that is not full yet means that they are empty.
#include "daemon/gateway/nbd/connection.h"

#include <cstring>

namespace archipelago::gateway::nbd {

/// Two vectors for each WRITE that is expected and has a buffer.
size_t Connection::makePlaces(iovec *vectors)
{
	const unsigned expected = m_ahead.expected();
	const uint64_t cost = BufferBudget::cost(m_ahead.length);
	while (m_ahead.count < expected && m_inHand + m_ahead.count < kMaxRequests && underCap(cost)) {
		if (!m_context.budget.reserveSpare(cost)) break;
		uint32_t largest = m_ahead.length;
		RunAhead::Place &place = m_ahead.places[m_ahead.count];
		place.part = allocate(m_ahead.length, largest);
		if (place.part.length < m_ahead.length) { // memory is short: no time for guesses
			if (place.part.length) m_context.budget.free(place.part.buffer);
			m_context.budget.release(cost);
			break;
		}
		m_held += cost;
		*vectors++ = iovec{place.header.data(), kCommandBytes};
		*vectors++ = iovec{place.part.data, m_ahead.length};
		++m_ahead.count;
	}
	return 2 * size_t{m_ahead.count};
}

/// Understands what has come into the places, and gives back those that are left.
void Connection::takePlaces()
{
	if (!m_ahead.count) return;
	size_t left = m_ahead.received;
	if (left && m_piece) takePayload(); // full: it lies before them
	unsigned used = 0;
	bool asExpected = true;
	while (left && asExpected) {
		const size_t here = std::min(left, kCommandBytes + size_t{m_ahead.length});
		asExpected = takePlace(m_ahead.places[used], here);
		if (!asExpected) break;
		left -= here;
		++used;
	}
	const uint64_t cost = BufferBudget::cost(m_ahead.length);
	if (left) spill(used, left);
	for (unsigned i = used; i < m_ahead.count; ++i) {
		m_context.budget.free(m_ahead.places[i].part.buffer);
		m_context.budget.release(cost);
		m_held -= cost;
	}
	m_ahead.learn(used);
	m_ahead.count = 0;
	m_ahead.received = 0;
}

/// False: it is no WRITE of this run, or its header is not whole.
bool Connection::takePlace(RunAhead::Place &place, size_t received)
{
	if (received < kCommandBytes) return false;
	const Command command = readCommand(place.header);
	if (command.magic != kCommandMagic || command.type != static_cast<uint16_t>(CommandType::Write) || command.length != m_ahead.length ||
	    check(command))
		return false;
	const uint64_t inBlock = command.offset % VolumeShape::kBlock;
	if (inBlock + command.length > VolumeShape::kBlock) return false;
	Request &request = newRequest(command);
	Piece &piece = newPiece(request, Op::VolWrite, command.offset, place.part);
	piece.fua = command.flags & kCommandFua;
	piece.received = static_cast<uint32_t>(received - kCommandBytes);
	if (piece.received == piece.length) {
		submit(piece);
		completed(request);
	} else {
		m_receiving = &request;
		m_piece = &piece;
		m_payloadPlaced = piece.length;
	}
	return true;
}

/// The last `received` bytes of the places, from that one on, go to the stage, before what is there.
void Connection::spill(unsigned place, size_t received)
{
	if (received >= kCommandBytes) m_ahead.sawSomethingElse(); // less: just the beginning of the next header
	const size_t behind = m_end - m_begin;
	if (m_stage.size() < received + behind) m_stage.resize(kStageBytes + m_ahead.room());
	std::memmove(m_stage.data() + received, m_stage.data() + m_begin, behind);
	size_t at = 0;
	const auto copy = [&](const std::byte *from, size_t bytes) {
		const size_t now = std::min(bytes, received - at);
		std::memcpy(m_stage.data() + at, from, now);
		at += now;
	};
	for (; at < received; ++place) {
		copy(m_ahead.places[place].header.data(), kCommandBytes);
		copy(m_ahead.places[place].part.data, m_ahead.length);
	}
	m_begin = 0;
	m_end = received + behind;
}

} // namespace archipelago::gateway::nbd
