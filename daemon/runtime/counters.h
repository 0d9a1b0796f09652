// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Counters: what a port's owner thread notes about the I/O that goes through it, in the segment (xs_stats), where others read
// it without a lock. An operation costs two calls of a few nanoseconds: plain stores to lines that nobody else writes.
//
//   PortCounters     begin() and end() for who keeps the time himself (a gateway's volume)
//   ServedCounters   for who answers requests: accepted() to responded(); keeps when and what, because a request that is
//                    forwarded in between comes back with other fields
//
// Time stamps: Reactor::stampNs(). One thread.
#pragma once

#include "daemon/base/errors.h"
#include "daemon/base/op_stats.h"
#include "daemon/base/protocol.h"
#include "xseg/stats.h"

#include <atomic>
#include <memory>

namespace archipelago::runtime {

/// The record of a volume, or of a port of a role.
xseg::StatsSubject statsOfVolume(const VolumeId &volume, std::string_view name);
xseg::StatsSubject statsOfRole(std::string_view role);

class PortCounters {
public:
	PortCounters() = default; ///< must not count
	/// The port is bound by this thread. E-NOSPACE: no memory for the record.
	static Result<PortCounters> open(const xseg::Segment &segment, xseg::PortNo port, const xseg::StatsSubject &subject);

	void begin(OpClass c) { add(of(c).begun, 1); }
	/// What was begun has ended after `ns`; `bytes` are counted when it succeeded.
	void end(OpClass c, uint64_t ns, uint64_t bytes, bool ok)
	{
		xs_stat_class &counted = of(c);
		if (ok)
			add(counted.bytes, bytes);
		else
			add(counted.errors, 1);
		add(counted.ns, ns);
		add(counted.hist[latencyBucket(ns)], 1);
		add(counted.ops, 1);
	}

private:
	xs_stat_class &of(OpClass c) { return m_record->op[static_cast<size_t>(c)]; }
	/// The only writer: a load and a store, no locked instruction.
	static void add(xs_u64 &counter, uint64_t n)
	{
		const std::atomic_ref word(counter);
		word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
	}
	xs_stats *m_record = nullptr;
};

class ServedCounters {
public:
	/// As PortCounters::open(); E-NOSPACE also for the table of what is in hand.
	static Result<std::unique_ptr<ServedCounters>> open(const xseg::Segment &segment, xseg::PortNo port,
	                                                    const xseg::StatsSubject &subject);
	~ServedCounters();
	ServedCounters(const ServedCounters &) = delete;
	ServedCounters &operator=(const ServedCounters &) = delete;

	void accepted(xseg::RequestIndex index, const xs_req &request, uint64_t nowNs);
	/// Nothing when it was not accepted here.
	void responded(xseg::RequestIndex index, int32_t status, uint64_t nowNs);

private:
	/// One per request of the segment; its memory is touched where requests are used. startNs 0: not in hand.
	struct InHand {
		uint64_t startNs;
		uint64_t bytesAndClass; ///< bytes << 3 | class
	};
	ServedCounters(const PortCounters &counters, InHand *table, size_t bytes)
	    : m_counters(counters), m_table(table), m_tableBytes(bytes)
	{
	}
	PortCounters m_counters;
	InHand *m_table;
	size_t m_tableBytes;
};

} // namespace archipelago::runtime
