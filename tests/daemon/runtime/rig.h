// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A segment, its bells and one reactor, in this process: what every test of a peer stands on.
#pragma once

#include "daemon/runtime/reactor.h"

#include <QtTest>

namespace archipelago::testing {

struct Rig {
	std::optional<xseg::Segment> segment;
	xseg::BellFds bells;
	std::unique_ptr<runtime::Reactor> reactor;

	explicit Rig(uint64_t bytes = 64u << 20, uint32_t ports = 128)
	{
		xseg::SegmentConfig config;
		config.ports = ports;
		config.sizeBytes = bytes;
		auto made = xseg::Segment::create(config);
		if (!made) qFatal("segment: %s", made.error().what.c_str());
		segment.emplace(std::move(*made));
		auto fds = xseg::createBells(5);
		if (!fds) qFatal("bells: %s", fds.error().what.c_str());
		bells = std::move(*fds);
		runtime::Reactor::Options options;
		auto r = runtime::Reactor::create(*segment, bells, options);
		if (!r) qFatal("reactor: %s", r.error().message.c_str());
		reactor = std::move(*r);
	}

	/// Runs a coroutine to its end, turning the reactor.
	void run(runtime::Task<void> task)
	{
		bool done = false;
		runtime::spawn(finish(std::move(task), done));
		reactor->runUntil([&done] { return done; });
	}

private:
	static runtime::Task<void> finish(runtime::Task<void> task, bool &done)
	{
		co_await task;
		done = true;
	}
};

} // namespace archipelago::testing
