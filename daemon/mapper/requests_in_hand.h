// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// RequestsInHand: nr_ops requests are worked on at a time, then the port is paused. What waits for another one's Create is not
// counted: that Create ends with a MapRecord, which must get in however many wait for it. One thread.
#pragma once

#include "daemon/runtime/served_port.h"

#include <cstdint>

namespace archipelago::mapper {

class RequestsInHand {
public:
	/// `port` outlives it.
	RequestsInHand(runtime::ServedPort &port, uint32_t nrOps) : m_port(port), m_nrOps(nrOps) {}

	/// A request that is being worked on.
	class Counted {
	public:
		explicit Counted(RequestsInHand &all) : m_all(all) { m_all.count(+1); }
		~Counted() { m_all.count(-1); }
		Counted(const Counted &) = delete;
		Counted &operator=(const Counted &) = delete;

	private:
		RequestsInHand &m_all;
	};
	/// One that waits, or may wait, for a Create of somebody else's.
	class Waiting {
	public:
		explicit Waiting(RequestsInHand &all) : m_all(all) { ++m_all.m_waiting; }
		~Waiting() { --m_all.m_waiting; }
		Waiting(const Waiting &) = delete;
		Waiting &operator=(const Waiting &) = delete;

	private:
		RequestsInHand &m_all;
	};

	uint32_t counted() const { return m_counted; }
	bool none() const { return m_counted == 0 && m_waiting == 0; }

private:
	void count(int change)
	{
		m_counted += static_cast<uint32_t>(change);
		m_port.pauseRequests(m_counted >= m_nrOps);
	}

	runtime::ServedPort &m_port;
	const uint32_t m_nrOps;
	uint32_t m_counted = 0;
	uint32_t m_waiting = 0;
};

} // namespace archipelago::mapper
