// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The real NBD server on a socket in a temporary directory, before a composer that the test plays.
#pragma once

#include "tests/daemon/gateway/fake_composer.h"
#include "tests/daemon/gateway/nbd_client.h"

#include "daemon/gateway/nbd/server.h"

#include <QTemporaryDir>

namespace archipelago::testing {

struct NbdRig : Rig {
	QTemporaryDir directory;
	Config config;
	std::unique_ptr<FakeComposer> composer;
	std::unique_ptr<runtime::Peer> server;

	explicit NbdRig(uint64_t segmentBytes = 192u << 20, NbdExports exports = NbdExports::All, uint64_t ioTimeoutMs = 0)
	    : Rig(segmentBytes), composer(std::make_unique<FakeComposer>(*this))
	{
		config.ioTimeoutMs = ioTimeoutMs;
		config.nbd.portnoStart = 40;
		config.nbd.portnoEnd = 43;
		config.nbd.composerPort = kFakeControl;
		config.nbd.exports = exports;
		config.nbd.socket = directory.filePath("nbd.sock").toStdString();
		const runtime::PeerContext context(*reactor, config);
		server = gateway::nbd::makeNbdGateway(context);
		run(start());
		if (!started) qFatal("start: %s", started.error().message.c_str());
	}
	~NbdRig()
	{
		if (!server) return;
		composer->failIoWith = 0;
		composer->release();
		run(stop());
	}

	NbdClient connect() { return NbdClient(*this, config.nbd.socket); }
	std::vector<std::byte> &blank() { return composer->volumes.at("blank").data; }

	runtime::Task<void> start() { started = co_await server->start(); }
	runtime::Task<void> stop()
	{
		stopped = co_await server->stop();
		server.reset();
	}
	Result<void> started, stopped;
};

inline std::string pattern(size_t bytes, unsigned seed)
{
	std::string out(bytes, '\0');
	for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>((i * 31 + i / 509 + seed * 97) & 0xff);
	return out;
}

} // namespace archipelago::testing
