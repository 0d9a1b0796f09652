// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A peer in a thread of its own that does with requests what its script says: answers, holds, lies. It owns one port and one
// waiter; everything it does to them it does in its thread. The script runs there too.
#pragma once

#include "xseg/port.h"

#include <poll.h>

#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace archipelago::testing {

class ScriptedPeer {
public:
	/// Takes a request; what it keeps goes into held().
	using Script = std::function<void(ScriptedPeer &peer, xseg::RequestRef request)>;

	/// Returns when the port is bound.
	ScriptedPeer(const xseg::Segment &segment, const xseg::BellFds &bells, uint32_t waiter, xseg::PortNo port, Script script)
	    : m_segment(segment), m_bells(bells), m_waiter(waiter), m_number(port), m_script(std::move(script))
	{
		std::promise<void> bound;
		auto ready = bound.get_future();
		m_thread = std::thread([this, &bound] { run(bound); });
		ready.wait();
	}
	~ScriptedPeer()
	{
		post([this](xseg::Port &) { m_stop = true; });
		m_thread.join();
	}
	ScriptedPeer(const ScriptedPeer &) = delete;
	ScriptedPeer &operator=(const ScriptedPeer &) = delete;

	/// Runs `work` in the peer's thread and waits for it.
	void post(std::function<void(xseg::Port &)> work)
	{
		std::promise<void> done;
		auto ready = done.get_future();
		{
			const std::lock_guard guard(m_lock);
			m_work.push_back([&done, work = std::move(work)](xseg::Port &port) {
				work(port);
				done.set_value();
			});
		}
		xseg::ring(m_segment, m_bells, m_waiter);
		ready.wait();
	}
	/// In the peer's thread.
	void answer(xseg::RequestRef request, int32_t status)
	{
		while (!m_port->respond(request, status)) std::this_thread::yield();
	}
	std::vector<xseg::RequestRef> &held() { return m_held; }

private:
	void run(std::promise<void> &bound)
	{
		xseg::BufferPool buffers(m_segment, m_number);
		xseg::BindOptions options;
		options.waiter = m_waiter;
		auto port = xseg::Port::bind(m_segment, m_bells, buffers, m_number, options);
		m_port = std::move(*port);
		xseg::Waiter waiter(m_segment, m_bells, m_waiter);
		bound.set_value();
		while (!m_stop) {
			while (waiter.takeReady()) {}
			while (auto request = m_port->accept()) m_script(*this, std::move(request));
			while (m_port->receive()) {}
			for (auto &work : takeWork()) work(*m_port);
			if (!m_stop && waiter.prepareSleep()) {
				pollfd p{waiter.eventFd(), POLLIN, 0};
				::poll(&p, 1, 100);
				uint64_t count;
				[[maybe_unused]] const ssize_t n = ::read(waiter.eventFd(), &count, sizeof count);
			}
			waiter.wake();
		}
		m_held.clear();
		m_port.reset();
	}
	std::vector<std::function<void(xseg::Port &)>> takeWork()
	{
		const std::lock_guard guard(m_lock);
		return std::exchange(m_work, {});
	}

	const xseg::Segment &m_segment;
	const xseg::BellFds &m_bells;
	uint32_t m_waiter;
	xseg::PortNo m_number;
	Script m_script;
	std::unique_ptr<xseg::Port> m_port;
	std::vector<xseg::RequestRef> m_held;
	std::mutex m_lock;
	std::vector<std::function<void(xseg::Port &)>> m_work;
	bool m_stop = false;
	std::thread m_thread;
};

} // namespace archipelago::testing
