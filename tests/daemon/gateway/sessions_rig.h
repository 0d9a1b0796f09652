// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The volumes of a gateway without any client's face, before a composer that the test plays.
#pragma once

#include "tests/daemon/gateway/fake_composer.h"

#include "daemon/gateway/volume_sessions.h"

namespace archipelago::testing {

struct SessionsRig : Rig {
	FakeComposer composer{*this, 4u << 20};
	std::shared_ptr<spdlog::logger> log = roleLogger("gateway");
	std::unique_ptr<gateway::VolumeSessions> volumes;

	explicit SessionsRig(uint32_t sessions = 3, bool onlyOpened = false)
	{
		gateway::VolumeSessions::Options options;
		options.firstPort = 40;
		options.lastPort = static_cast<xseg::PortNo>(40 + sessions);
		options.composerPort = kFakeControl;
		options.holder = Holder::Nbd;
		options.onlyOpened = onlyOpened;
		volumes = std::make_unique<gateway::VolumeSessions>(*reactor, *log, options);
		if (!volumes->start()) qFatal("start");
	}
	~SessionsRig() { run(stop()); }
	runtime::Task<void> stop() { stopped = co_await volumes->stop(); }
	Result<gateway::OpenVolume> open(const std::string &name)
	{
		Result<gateway::OpenVolume> out = failure(ErrorCode::Failed, "");
		run(openInto(name, out));
		return out;
	}
	runtime::Task<void> openInto(std::string name, Result<gateway::OpenVolume> &out) { out = co_await volumes->open(std::move(name)); }
	Result<void> stopped;
};

/// A face that hears of a new size.
struct WatchingFront final : gateway::Front {
	uint64_t told = 0;
	void sizeChanged(uint64_t sizeBytes) override { told = sizeBytes; }
};

/// An I/O without a face.
struct Io : gateway::VolumeIo {
	bool finished = false;
	Io(Op what, uint64_t at, uint32_t bytes, uint32_t where)
	{
		op = what;
		offset = at;
		length = bytes;
		buffer = where;
		done = [](gateway::VolumeIo &io) { static_cast<Io &>(io).finished = true; };
	}
};

} // namespace archipelago::testing
