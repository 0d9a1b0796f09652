// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The roles of a whole node in one process: blockerb on port 100, mapperd on 101, blockerm on 102, vlmcd on 110..119; in the
// order in which a host starts them.
#pragma once

#include "daemon/runtime/peer.h"

#include <QtTest>

#include <array>

namespace archipelago::testing {

inline constexpr xseg::PortNo kNodeBlocks = 100, kNodeMapper = 101, kNodeMaps = 102, kNodeComposer = 110;

/// blockerb, blockerm, mapperd, vlmcd.
inline std::array<RoleConfig, 4> nodeRoles()
{
	std::array<RoleConfig, 4> out;
	const auto role = [](RoleConfig &r, const char *name, RoleType type, uint32_t from, uint32_t to) {
		r.name = name;
		r.type = type;
		r.portnoStart = from;
		r.portnoEnd = to;
		r.blockerbPort = r.blockerPort = kNodeBlocks;
		r.blockermPort = kNodeMaps;
		r.mapperPort = kNodeMapper;
	};
	role(out[0], "blockerb", RoleType::FileBlocker, kNodeBlocks, kNodeBlocks);
	role(out[1], "blockerm", RoleType::FileBlocker, kNodeMaps, kNodeMaps);
	role(out[2], "mapperd", RoleType::Mapperd, kNodeMapper, kNodeMapper);
	role(out[3], "vlmcd", RoleType::Vlmcd, kNodeComposer, kNodeComposer + 9);
	return out;
}

/// The test ends when one does not start: nothing after it would mean anything.
inline runtime::Task<void> startPeer(runtime::Peer &peer)
{
	const Result<void> started = co_await peer.start();
	if (!started) qFatal("start: %s", started.error().message.c_str());
}

/// `first`: the first error of several stops.
inline runtime::Task<void> stopPeer(runtime::Peer &peer, Result<void> &first)
{
	Result<void> stopped = co_await peer.stop();
	if (!stopped && first) first = std::move(stopped);
}

} // namespace archipelago::testing
