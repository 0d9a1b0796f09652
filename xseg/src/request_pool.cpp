// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Claiming, adopting and returning runs. Owner word of a run: tag:32 | port+1:32, 0 in the low half = unclaimed.
// `home` in the requests of a run is written after the claim; a claimer killed in between leaves a run that the next owner
// of its port adopts, and adopting writes `home` again. Readers who must be sure ask homeOf(), not the field.
#include "xseg/src/request_pool.h"

#include "xseg/src/assert.h"
#include "xseg/src/shared_word.h"
#include "xseg/src/state_word.h"

namespace xseg {
namespace {

uint32_t runsOf(const Segment &segment) { return segment.geometry().requests / XS_RUN_REQUESTS; }

std::atomic_ref<uint64_t> ownerOf(const Segment &segment, uint32_t run)
{
	return std::atomic_ref(segment.run(run).owner);
}

} // namespace

std::optional<PortNo> homeOf(const Segment &segment, RequestIndex index)
{
	const auto low = uint32_t(ownerOf(segment, index / XS_RUN_REQUESTS).load(std::memory_order_acquire));
	if (low == 0 || low > segment.geometry().ports) return std::nullopt;
	return PortNo(low - 1);
}

RequestPool::RequestPool(const Segment &segment, PortNo home) : m_segment(segment), m_home(home)
{
	for (uint32_t run = 0; run < runsOf(segment); ++run) {
		if (uint32_t(ownerOf(segment, run).load(std::memory_order_acquire)) == home + 1u) adopt(run);
	}
}

RequestPool::~RequestPool()
{
	for (const Run &run : m_runs) {
		bool allHome = true;
		for (uint32_t i = 0; i < XS_RUN_REQUESTS; ++i) {
			const RequestIndex index = run.number * XS_RUN_REQUESTS + i;
			allHome &= RequestState(m_segment.request(index)).load().state == XS_FREE;
		}
		if (!allHome) continue;
		// A CAS: a word that a broken peer overwrote is not made worse.
		uint64_t word = ownerOf(m_segment, run.number).load(std::memory_order_relaxed);
		if (uint32_t(word) != m_home + 1u) continue;
		ownerOf(m_segment, run.number).compare_exchange_strong(word, runWord(word, 0), std::memory_order_acq_rel);
		XSEG_CRASH_POINT();
	}
}

std::optional<RequestIndex> RequestPool::take()
{
	do {
		while (!m_free.empty()) {
			const RequestIndex index = m_free.back();
			m_free.pop_back();
			Own *own = find(index);
			own->place = Place::Held;
			if (RequestState(m_segment.request(index)).get(m_home)) return index;
			own->place = Place::Stray; // not FREE: a broken peer wrote to it
		}
	} while (claimRun());
	return std::nullopt;
}

void RequestPool::put(RequestIndex index)
{
	Own *own = find(index);
	XSEG_ASSERT(own, "only a request of this pool can be put back");
	const bool freed = RequestState(m_segment.request(index)).put(m_home);
	if (own->place == Place::Free) return;
	own->place = freed ? Place::Free : Place::Stray;
	if (freed) m_free.push_back(index);
}

RequestPool::Own *RequestPool::find(RequestIndex index)
{
	for (Run &run : m_runs) {
		if (run.number == index / XS_RUN_REQUESTS) return &run.own[index % XS_RUN_REQUESTS];
	}
	return nullptr;
}

bool RequestPool::claimRun()
{
	for (uint32_t run = 0; run < runsOf(m_segment); ++run) {
		auto owner = ownerOf(m_segment, run);
		uint64_t word = owner.load(std::memory_order_relaxed);
		if (uint32_t(word) != 0) continue;
		if (!owner.compare_exchange_strong(word, runWord(word, m_home + 1u), std::memory_order_acq_rel)) continue;
		XSEG_CRASH_POINT();
		const size_t before = m_free.size();
		adopt(run);
		if (m_free.size() > before) return true; // else every request of it was overwritten: on to the next
	}
	return false;
}

void RequestPool::adopt(uint32_t number)
{
	Run run{.number = number, .own = {}};
	m_free.reserve((m_runs.size() + 1) * XS_RUN_REQUESTS); // put() never allocates
	for (uint32_t i = XS_RUN_REQUESTS; i-- > 0;) {
		const RequestIndex index = number * XS_RUN_REQUESTS + i;
		xs_req &request = m_segment.request(index);
		// A request of a predecessor may be in somebody's hands: then the field is right already and stays untouched.
		if (readOnce(request.home) != m_home) writeOnce(request.home, m_home);
		if (RequestState(request).load().state == XS_FREE)
			m_free.push_back(index);
		else
			run.own[i].place = Place::Stray;
	}
	m_runs.push_back(run);
}

} // namespace xseg
