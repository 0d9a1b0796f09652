// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Looks, and never writes. What it sees may be changing: a finding about a request stands only if the state word is the same
// after the look as it was before.
//
//   Held     somebody has it, or it is on its way: normal under traffic, too much when all is quiet
//   Leaked   nobody will ever look at it again, or its owner is gone and no recovery is under way
//   Broken   nothing any of our code writes
//
// Normal and no finding: slabs USED by an owned port (a pool keeps one free slab per class), runs of an owned port.
#include "xseg/recovery.h"

#include "xseg/src/port_word.h"
#include "xseg/src/request_pool.h"
#include "xseg/src/ring.h"
#include "xseg/src/slab_use.h"
#include "xseg/src/state_word.h"

#include <map>

namespace xseg {
namespace {

using Kind = Finding::Kind;

class Look {
public:
	explicit Look(const Segment &segment) : m_segment(segment) {}
	std::vector<Finding> all();

private:
	void ports();
	void requests();
	void request(RequestIndex index, const StateWord &word);
	void sending(RequestIndex index, const StateWord &word);
	void runs();
	void slabs();

	bool exists(PortNo port) const { return port < m_segment.geometry().ports; }
	bool owned(PortNo port) const { return exists(port) && ownerOf(m_segment, port) != 0; }
	/// Its owner word names a process that does not run any more. Each process is looked up once.
	bool ownerIsDead(PortNo port);
	void find(Kind kind, std::string text) { m_found.push_back({kind, std::move(text)}); }

	const Segment &m_segment;
	std::map<uint64_t, bool> m_running; ///< by owner word
	std::vector<Finding> m_found;
};

std::string portName(PortNo port) { return "port " + std::to_string(port); }

std::vector<Finding> Look::all()
{
	ports();
	requests();
	runs();
	slabs();
	return std::move(m_found);
}

bool Look::ownerIsDead(PortNo port)
{
	const uint64_t owner = ownerOf(m_segment, port);
	if (owner == 0) return false;
	const auto [entry, isNew] = m_running.try_emplace(owner);
	if (isNew) entry->second = isRunning({uint32_t(owner >> 32), uint32_t(owner)});
	return !entry->second;
}

void Look::ports()
{
	for (uint32_t number = 0; number < m_segment.geometry().ports; ++number) {
		const auto port = PortNo(number);
		const uint32_t state = std::atomic_ref(m_segment.port(port).state).load();
		const uint64_t owner = ownerOf(m_segment, port);
		const auto say = [&](Kind kind, const std::string &what) { find(kind, portName(port) + ": " + what); };
		if (state > XS_PORT_RECOVERING)
			say(Kind::Broken, "its state is " + std::to_string(state));
		else if (owner != 0 && ownerIsDead(port))
			say(Kind::Held, "its owner, process " + std::to_string(owner >> 32) + ", has died: not recovered yet");
		else if (owner == 0 && state != XS_PORT_FREE && ownerOf(m_segment, port) == 0 &&
		         std::atomic_ref(m_segment.port(port).state).load() == state)
			say(Kind::Broken, "it is in use, but nobody's");
		else if (state == XS_PORT_RECOVERING)
			say(Kind::Held, "somebody is binding, leaving or recovering it");
	}
}

void Look::requests()
{
	for (RequestIndex index = 0; index < m_segment.geometry().requests; ++index) {
		const RequestState state(m_segment.request(index));
		const StateWord word = state.load();
		if (word.state == XS_FREE) continue;
		const size_t before = m_found.size();
		request(index, word);
		if (state.load() != word) m_found.resize(before); // it moved: what we saw is no state it was in
	}
}

void Look::request(RequestIndex index, const StateWord &word)
{
	const xs_req &shared = m_segment.request(index);
	const auto say = [&](Kind kind, const std::string &what) {
		find(kind, "request " + std::to_string(index) + ": " + what);
	};
	const auto home = homeOf(m_segment, index);
	if (!home) return say(Kind::Broken, "it is in use, but its run is nobody's");
	const std::string holder = (word.state == XS_FENCED ? "FENCED, held by " : "OWNED by ") + portName(word.to);
	switch (word.state) {
	case XS_OWNED:
		if (owned(word.to))
			say(Kind::Held, holder);
		else
			say(Kind::Leaked, holder + ", which is not bound");
		break;
	case XS_SENDING: sending(index, word); break;
	case XS_FENCED:
		if (owned(word.to))
			say(Kind::Held, holder + ", which has died");
		else
			say(Kind::Leaked, holder + ", which is not being recovered");
		break;
	default: return say(Kind::Broken, "its state is " + std::to_string(word.state));
	}

	// At home its fields are being written; on its way they are what they are.
	if (word.state == XS_OWNED && word.to == *home) return;
	const uint32_t block = readOnce(shared.data_blk), slab = block >> (XS_SLAB_SHIFT - XS_MIN_CLASS_SHIFT);
	if (block == XS_NO_BUFFER) return;
	if (slab >= m_segment.geometry().slabs || slabWordOf(m_segment, slab).state == XS_SLAB_FREE)
		say(Kind::Broken, "it names buffer " + std::to_string(block) + ", which is nobody's");
}

void Look::sending(RequestIndex index, const StateWord &word)
{
	const auto say = [&](Kind kind, const std::string &what) {
		find(kind, "request " + std::to_string(index) + ": SENDING from " + portName(word.from) + " to " + portName(word.to) +
		               what);
	};
	if (!exists(word.from) || !exists(word.to) || word.direction > XS_RING_REPLY) return say(Kind::Broken, ", nonsense");
	const Ring ring(m_segment.ring(word.to, Direction(word.direction)), m_segment.geometry().ringSlotsLog2);
	const bool queued = readOnce(m_segment.port(word.to).gen) != 0 && ring.contains(index); // gen 0: its rings have no memory
	if (queued)
		say(Kind::Held, owned(word.to) ? "" : ", which is not bound");
	else if (owned(word.from))
		say(Kind::Held, ", not in its ring yet");
	else
		say(Kind::Leaked, ", but in no ring");
}

void Look::runs()
{
	for (uint32_t run = 0; run < m_segment.geometry().requests / XS_RUN_REQUESTS; ++run) {
		const auto low = uint32_t(std::atomic_ref(m_segment.run(run).owner).load(std::memory_order_acquire));
		if (low == 0) continue;
		const std::string name = "run " + std::to_string(run) + " of requests: ";
		if (low > m_segment.geometry().ports)
			find(Kind::Broken, name + "it names no port");
		else if (!owned(PortNo(low - 1)))
			find(Kind::Held, name + "left behind by " + portName(PortNo(low - 1)) + " for its next owner");
	}
}

void Look::slabs()
{
	const std::vector<bool> inUse = slabsInUse(m_segment);
	for (uint32_t slab = 0; slab < m_segment.geometry().slabs; ++slab) {
		const SlabWord word = slabWordOf(m_segment, slab);
		if (word.state == XS_SLAB_FREE) continue;
		const auto say = [&](Kind kind, const std::string &what) {
			if (slabWordOf(m_segment, slab) == word) find(kind, "slab " + std::to_string(slab) + ": " + what);
		};
		if (!exists(word.port) || word.state > XS_SLAB_FENCED || word.classShift < XS_MIN_CLASS_SHIFT ||
		    word.classShift > XS_MAX_CLASS_SHIFT || word.index >= slabsOf(word.classShift)) {
			say(Kind::Broken, "its owner word makes no sense");
		} else if (word.state == XS_SLAB_ZOMBIE) {
			if (inUse[slab])
				say(Kind::Held, "ZOMBIE of " + portName(word.port) + ", a request still names it");
			else
				say(Kind::Leaked, "ZOMBIE of " + portName(word.port) + ", and no request names it: the next recovery frees it");
		} else if (!owned(word.port)) {
			say(Kind::Leaked, "belongs to " + portName(word.port) + ", which is nobody's");
		} else if (word.state == XS_SLAB_FENCED) {
			say(Kind::Held, "FENCED, its owner has died");
		}
	}
}

} // namespace

std::string_view name(Finding::Kind kind)
{
	switch (kind) {
	case Kind::Held: return "held";
	case Kind::Leaked: return "leaked";
	case Kind::Broken: return "broken";
	}
	return "unknown";
}

std::vector<Finding> verify(const Segment &segment) { return Look(segment).all(); }

} // namespace xseg
