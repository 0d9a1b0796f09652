// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The generation is a sequence lock over the whole record with one writer: odd while the record is begun anew. A writer that is
// killed in between leaves it odd: readers pass it over, and the port's next owner begins it anew.
#include "xseg/stats.h"

#include "xseg/src/port_word.h"
#include "xseg/src/shared_word.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace xseg {
namespace {

constexpr size_t kWords = sizeof(xs_stats) / sizeof(uint64_t);
constexpr int kReadTries = 3;

uint64_t *wordsOf(xs_stats &record) { return reinterpret_cast<uint64_t *>(&record); }

uint64_t bootNs()
{
	timespec t{};
	clock_gettime(CLOCK_BOOTTIME, &t);
	return uint64_t(t.tv_sec) * 1'000'000'000u + uint64_t(t.tv_nsec);
}

xs_stats blank(const StatsSubject &subject)
{
	xs_stats record{};
	record.since = bootNs();
	record.kind = subject.kind;
	record.label_len = uint32_t(std::min<size_t>(subject.label.size(), XS_STAT_LABEL));
	std::memcpy(record.subject, subject.id.data(), sizeof record.subject);
	std::memcpy(record.label, subject.label.data(), record.label_len);
	return record;
}

bool sameSubject(const xs_stats &a, const xs_stats &b)
{
	return a.kind == b.kind && a.label_len == b.label_len && std::memcmp(a.subject, b.subject, sizeof a.subject) == 0 &&
	       std::memcmp(a.label, b.label, sizeof a.label) == 0;
}

/// Word by word: others write meanwhile.
xs_stats copyOf(const Segment &segment, PortNo port)
{
	xs_stats copy;
	const uint64_t *from = wordsOf(segment.stats(port));
	for (size_t i = 0; i < kWords; ++i) wordsOf(copy)[i] = readOnce(from[i]);
	return copy;
}

} // namespace

Result<void> beginStats(const Segment &segment, PortNo port, const StatsSubject &subject)
{
	if (auto backed = segment.backStats(port); !backed) return backed;
	uint64_t &generation = segment.port(port).stats_gen;
	const xs_stats fresh = blank(subject);
	const uint64_t before = readOnce(generation);
	if (before != 0 && before % 2 == 0 && sameSubject(copyOf(segment, port), fresh)) {
		// What an earlier owner had in hand when it went will not end here.
		for (xs_stat_class &op : segment.stats(port).op) writeOnce(op.begun, readOnce(op.ops));
		return {};
	}
	const uint64_t odd = before | 1;
	std::atomic_ref(generation).store(odd, std::memory_order_relaxed);
	std::atomic_thread_fence(std::memory_order_release);
	XSEG_CRASH_POINT();
	uint64_t *to = wordsOf(segment.stats(port));
	for (size_t i = 0; i < kWords; ++i)
		std::atomic_ref(to[i]).store(reinterpret_cast<const uint64_t *>(&fresh)[i], std::memory_order_relaxed);
	const uint64_t next = odd + 1;
	writeOnce(generation, next == 0 ? 2 : next); // 0 says "never used"
	return {};
}

bool statsUnused(const Segment &segment, PortNo port)
{
	return port < segment.geometry().ports && readOnce(segment.port(port).stats_gen) == 0;
}

/// A hint: nobody begins a record anew whose port the caller is about to bind, and who does so anyway gets what it asks for.
bool statsAreAbout(const Segment &segment, PortNo port, uint32_t kind, const std::array<uint8_t, 16> &id)
{
	if (port >= segment.geometry().ports) return false;
	const uint64_t generation = readOnce(segment.port(port).stats_gen);
	if (generation == 0 || generation % 2 != 0) return false;
	const xs_stats &record = segment.stats(port);
	bool same = readOnce(record.kind) == kind;
	for (size_t i = 0; i < id.size(); ++i) same &= readOnce(record.subject[i]) == id[i];
	return same;
}

std::optional<StatsCopy> readStats(const Segment &segment, PortNo port)
{
	if (port >= segment.geometry().ports) return std::nullopt;
	const uint64_t &generation = segment.port(port).stats_gen;
	for (int tries = 0; tries < kReadTries; ++tries) {
		StatsCopy out;
		out.generation = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
		if (out.generation == 0 || out.generation % 2 != 0) return std::nullopt;
		out.record = copyOf(segment, port);
		std::atomic_thread_fence(std::memory_order_acquire);
		if (readOnce(generation) != out.generation) continue;
		if (out.record.label_len > XS_STAT_LABEL) return std::nullopt;
		out.bound = isBound(segment, port);
		out.label.assign(reinterpret_cast<const char *>(out.record.label), out.record.label_len);
		return out;
	}
	return std::nullopt;
}

} // namespace xseg
