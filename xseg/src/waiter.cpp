// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Bells, ready bits and the spin budget. Why no wake-up is lost: two pairs of "write mine, then read yours", in each of
// which at least one side sees the other's write, because all eight accesses are sequentially consistent.
//
//   producer   W ring slot (CAS)    R ready bit          skips the fetch_or only if it sees the bit still set ...
//   owner      W ready bit = 0      R ring slot          ... and then the owner, clearing it later, sees the slot
//
//   producer   W ready bit          R bell               does not ring only if it sees the owner awake ...
//   owner      W bell = 1           R ready bits         ... and then the owner, looking once more, sees the bit
//
// A producer killed between its push and its ring leaves a request in SENDING: recovery pushes and announces again, and
// until then the owner finds it when its bounded sleep (100 ms) is over.
#include "xseg/waiter.h"

#include "xseg/src/assert.h"
#include "xseg/src/shared_word.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

namespace xseg {
namespace {

enum : uint32_t { kAwake = 0, kAsleep = 1, kRung = 2 };

constexpr uint32_t kWordBits = 64;

std::atomic_ref<uint32_t> bellOf(const Segment &segment, uint32_t waiter)
{
	return std::atomic_ref(segment.waiter(waiter).bell);
}

/// Number of ready words that ports of this segment use.
uint32_t readyWords(const Segment &segment) { return (segment.geometry().ports + kWordBits - 1) / kWordBits; }

void signal(const BellFds &bells, uint32_t waiter)
{
	const uint64_t one = 1;
	// EAGAIN means that the counter is full, so the descriptor is readable, which is all we want.
	while (write(bells[waiter].get(), &one, sizeof one) < 0 && errno == EINTR) {}
}

bool known(const Segment &segment, const BellFds &bells, uint32_t waiter)
{
	return waiter < segment.geometry().waiters && waiter < bells.size();
}

} // namespace

Result<BellFds> createBells(uint32_t count)
{
	BellFds bells;
	bells.reserve(count);
	for (uint32_t i = 0; i < count; ++i) {
		UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		if (!fd) return tl::unexpected(Failure{errno, "cannot create the eventfd of a waiter"});
		bells.push_back(std::move(fd));
	}
	return bells;
}

void announce(const Segment &segment, const BellFds &bells, uint32_t waiter, PortNo port)
{
	if (!known(segment, bells, waiter) || port >= segment.geometry().ports) return;
	std::atomic_ref word(segment.waiter(waiter).ready[port / kWordBits]);
	const uint64_t bit = uint64_t(1) << (port % kWordBits);
	// A set bit stays set until its owner has seen our push: then the line need not travel (first pair above).
	if ((word.load() & bit) == 0) word.fetch_or(bit);
	XSEG_CRASH_POINT();
	auto bell = bellOf(segment, waiter);
	uint32_t asleep = kAsleep;
	// A CAS, not an exchange: it must not wipe out kRung, which names no port and leaves no ready bit.
	if (bell.load() != kAsleep || !bell.compare_exchange_strong(asleep, kAwake)) return;
	XSEG_CRASH_POINT();
	signal(bells, waiter);
}

void ring(const Segment &segment, const BellFds &bells, uint32_t waiter)
{
	if (!known(segment, bells, waiter)) return;
	if (bellOf(segment, waiter).exchange(kRung) == kAsleep) signal(bells, waiter);
}

Waiter::Waiter(const Segment &segment, const BellFds &bells, uint32_t index)
	: m_segment(segment),
	  m_bells(bells),
	  m_index(index),
	  m_words((uint64_t(1) << readyWords(segment)) - 1)
{
	static_assert(XS_MAX_PORTS / kWordBits < kWordBits, "m_words has a bit for each word");
	XSEG_ASSERT(known(segment, bells, index), "a waiter needs a number within the segment and an eventfd");
}

int Waiter::eventFd() const { return m_bells[m_index].get(); }

std::optional<PortNo> Waiter::takeReady()
{
	const uint32_t ports = m_segment.geometry().ports;
	const auto take = [&](uint64_t words, uint64_t passed) -> std::optional<PortNo> {
		for (; words != 0; words &= words - 1, passed = 0) {
			const auto index = uint32_t(std::countr_zero(words));
			std::atomic_ref word(m_segment.waiter(m_index).ready[index]);
			const uint64_t bits = word.load() & ~passed;
			if (bits == 0) continue;
			const uint32_t port = index * kWordBits + uint32_t(std::countr_zero(bits));
			word.fetch_and(~(uint64_t(1) << (port % kWordBits)));
			if (port < ports) return PortNo(port); // else a bit that no peer of ours sets
		}
		return std::nullopt;
	};
	// Round from m_nextPort on: the rest of its word and those behind it, then all.
	const uint32_t first = m_nextPort / kWordBits;
	const bool inFirst = m_words >> first & 1;
	auto port = take(m_words & (~uint64_t(0) << first), inFirst ? (uint64_t(1) << (m_nextPort % kWordBits)) - 1 : 0);
	if (!port) port = take(m_words, 0);
	if (port) m_nextPort = PortNo((*port + 1) % ports);
	return port;
}

void Waiter::mark(PortNo port)
{
	if (port >= m_segment.geometry().ports) return;
	std::atomic_ref(m_segment.waiter(m_index).ready[port / kWordBits]).fetch_or(uint64_t(1) << (port % kWordBits));
}

void Waiter::watch(PortNo port)
{
	if (port >= m_segment.geometry().ports) return;
	m_words = (m_named ? m_words : 0) | uint64_t(1) << (port / kWordBits);
	m_named = true;
	mark(port);
}

bool Waiter::anyReady() const
{
	for (uint64_t words = m_words; words != 0; words &= words - 1) {
		const auto index = uint32_t(std::countr_zero(words));
		if (std::atomic_ref(m_segment.waiter(m_index).ready[index]).load() != 0) return true;
	}
	return false;
}

bool Waiter::prepareSleep()
{
	const uint32_t before = bellOf(m_segment, m_index).exchange(kAsleep);
	if ((before != kAwake && before != kAsleep) || anyReady()) return false;
	count(m_segment.waiter(m_index).sleeps);
	return true;
}

void Waiter::wake()
{
	if (bellOf(m_segment, m_index).exchange(kAwake) != kAsleep) count(m_segment.waiter(m_index).wakes);
}

// ---- SpinBudget. A poll pays when the partner answers sooner than a sleep and a wake-up cost; whether it does is learned.
// While polling succeeds, 20 us. A miss stops it; the next probe comes after 2^misses sleeps and is long enough to
// outlast the partner's own wake-up, else two peers that both sleep would never find out that polling works.

namespace {

constexpr uint64_t kWorkingBudgetNs = 20'000;
constexpr uint64_t kProbeMarginNs = 10'000;
constexpr uint64_t kLongestProbeNs = 200'000;
constexpr uint32_t kMostFails = 10; // 1024 sleeps between probes
constexpr uint64_t kEwmaWeight = 8;

} // namespace

uint64_t SpinBudget::nextNs()
{
	m_polling = false;
	if (!m_allowed) return 0;
	if (m_fails != 0 && m_skip != 0) {
		--m_skip;
		return 0;
	}
	m_polling = true;
	return m_fails == 0 ? kWorkingBudgetNs : std::min(2 * m_blockedEwmaNs + kProbeMarginNs, kLongestProbeNs);
}

void SpinBudget::hit() { m_fails = m_skip = 0; }

void SpinBudget::missed()
{
	if (!m_polling) return; // there was no poll that could have missed
	m_polling = false;
	m_fails = std::min(m_fails + 1, kMostFails);
	m_skip = 1u << m_fails;
}

void SpinBudget::blockedFor(uint64_t ns)
{
	// Only short sleeps say how long a partner takes; one long idle spell must not need many samples to be forgotten.
	const uint64_t sample = std::min(ns, 2 * kLongestProbeNs);
	m_blockedEwmaNs = m_blockedEwmaNs == 0 ? sample : (m_blockedEwmaNs * (kEwmaWeight - 1) + sample) / kEwmaWeight;
}

} // namespace xseg
