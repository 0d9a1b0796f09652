// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The real peers of a node in this process, memory stores below: blockerb on port 100, mapperd on 101, blockerm on 102, vlmcd on
// 110..119. Start and stop in the order a host uses.
#pragma once

#include "tests/daemon/composer/actor.h"
#include "tests/daemon/composer/node_roles.h"

#include "daemon/composer/composer.h"
#include "daemon/mapper/mapper.h"
#include "daemon/store/blocker.h"
#include "daemon/store/memory/memory_store.h"

namespace archipelago::testing {

class Stack {
public:
	Stack(Rig &rig, const Config &config)
	    : Stack(rig, config, std::make_unique<store::MemoryStore>(), std::make_unique<store::MemoryStore>())
	{
	}
	Stack(Rig &rig, const Config &config, std::unique_ptr<store::ObjectStore> data, std::unique_ptr<store::ObjectStore> maps)
	    : m_rig(rig), m_context(*rig.reactor, config), m_roles(nodeRoles())
	{
		m_peers.push_back(store::makeBlocker(m_context, m_roles[0], std::move(data)));
		m_peers.push_back(store::makeBlocker(m_context, m_roles[1], std::move(maps)));
		m_peers.push_back(mapper::makeMapper(m_context, m_roles[2]));
		m_peers.push_back(composer::makeComposer(m_context, m_roles[3]));
		for (auto &peer : m_peers) rig.run(startPeer(*peer));
	}
	/// As recovery leaves a composer that was killed at this moment: what it had in hand has failed back, its ports are bound no
	/// more, and it has told nobody.
	void killComposer() { m_peers[3].reset(); }
	void startComposer()
	{
		m_peers[3] = composer::makeComposer(m_context, m_roles[3]);
		m_rig.run(startPeer(*m_peers[3]));
	}
	/// For its clients the same as a death: it does not answer, and its successor knows no handle. (What it leaves in the store
	/// when it is killed is the business of the mapper's own tests.)
	void stopMapper()
	{
		Result<void> stopped;
		m_rig.run(stopPeer(*m_peers[2], stopped));
		m_peers[2].reset();
	}
	void startMapper()
	{
		m_peers[2] = mapper::makeMapper(m_context, m_roles[2]);
		m_rig.run(startPeer(*m_peers[2]));
	}
	/// Reverse order; the first error, if any.
	Result<void> stop()
	{
		Result<void> first;
		for (size_t i = m_peers.size(); i-- > 0;)
			if (m_peers[i]) m_rig.run(stopPeer(*m_peers[i], first));
		m_peers.clear();
		return first;
	}
	/// A new volume.
	int32_t create(Actor &client, const std::string &name, uint64_t sizeBytes)
	{
		xseg::RequestRef request = client.make(Op::CatCreate, kControlBytes);
		std::memcpy(request.data().data(), name.data(), name.size());
		request->size = name.size();
		CreateArgs args;
		args.sizeBytes = sizeBytes;
		request.setArgs(args);
		client.submit(std::move(request), kNodeMapper);
		const auto reply = client.reply();
		return reply ? reply->status : -9999;
	}

private:
	Rig &m_rig;
	runtime::PeerContext m_context;
	std::array<RoleConfig, 4> m_roles;
	std::vector<std::unique_ptr<runtime::Peer>> m_peers;
};

} // namespace archipelago::testing
