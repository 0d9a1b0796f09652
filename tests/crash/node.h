// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Node: the real peers of a node in this process, on fault stores over disks in memory that outlive it: blockerb on port 100,
// mapperd on 101, blockerm on 102, vlmcd on 110..119. It can be stopped as a host stops, or killed: then nothing it does
// reaches the disks any more, and what it still answers is E-IO. And a client that plays the operator and the guest.
#pragma once

#include "tests/daemon/composer/actor.h"
#include "tests/daemon/composer/node_roles.h"

#include "daemon/composer/composer.h"
#include "daemon/mapper/mapper.h"
#include "daemon/store/blocker.h"
#include "daemon/store/fault/crash_image.h"
#include "daemon/store/fault/fault_store.h"
#include "daemon/store/memory/memory_store.h"

namespace archipelago::testing {

/// One of the disks of a node as its medium, and what a crash has left of both.
using Medium = std::array<store::CrashImage, 2>; ///< blocks, maps
using Left = std::array<store::CrashImage::Objects, 2>;

inline Left cutPower(const Medium &medium, std::mt19937_64 &random)
{
	Left left;
	for (size_t i = 0; i < left.size(); ++i) left[i] = medium[i].afterPowerCut(random);
	return left;
}

/// What a power cut cannot take away, and a kill cannot touch.
struct Disks {
	explicit Disks(uint64_t blocksBytes = 1ull << 30) : blocks(blocksBytes) {}
	Disks(Rig &rig, const Left &left)
	{
		rig.run(fill(blocks, left[0]));
		rig.run(fill(maps, left[1]));
	}
	store::MemoryStore blocks, maps;

private:
	static runtime::Task<void> fill(store::MemoryStore &disk, const store::CrashImage::Objects &objects)
	{
		const Result<void> opened = co_await disk.open(true);
		const Result<void> loaded = co_await store::CrashImage::load(disk, objects);
		ARCHIPELAGO_ASSERT(opened && loaded);
	}
};

struct NodeOptions {
	store::Recording *recording = nullptr; ///< blocks are store 0, maps store 1
	mapper::MapperOptions mapper;
	std::function<void(store::FaultStore &blocks, store::FaultStore &maps)> tamper; ///< before anything starts
	uint64_t reserveBytes = 64u << 20;
	FullPolicy fullPolicy = FullPolicy::Pause;
};

class Node {
public:
	Node(Rig &rig, Disks &disks, const NodeOptions &options) : m_rig(rig), m_roles(nodeRoles())
	{
		m_config.reserveBytes = options.reserveBytes;
		m_config.fullPolicy = options.fullPolicy;
		const runtime::PeerContext context(*rig.reactor, m_config);
		auto under = std::make_unique<store::FaultStore>(*rig.reactor, disks.blocks, options.recording, 0);
		auto above = std::make_unique<store::FaultStore>(*rig.reactor, disks.maps, options.recording, 1);
		m_blocks = under.get();
		m_maps = above.get();
		if (options.tamper) options.tamper(*m_blocks, *m_maps);
		m_peers.push_back(store::makeBlocker(context, m_roles[0], std::move(under)));
		m_peers.push_back(store::makeBlocker(context, m_roles[1], std::move(above)));
		m_peers.push_back(mapper::makeMapper(context, m_roles[2], options.mapper));
		m_peers.push_back(composer::makeComposer(context, m_roles[3]));
		for (auto &peer : m_peers) rig.run(startPeer(*peer));
	}
	~Node() { kill(); }

	store::FaultStore &blocks() { return *m_blocks; }
	store::FaultStore &maps() { return *m_maps; }
	bool crashed() const { return m_blocks->crashed() || m_maps->crashed(); }
	/// As a host stops: the first error, if any.
	Result<void> stop()
	{
		Result<void> first;
		for (size_t i = m_peers.size(); i-- > 0;) m_rig.run(stopPeer(*m_peers[i], first));
		m_peers.clear();
		return first;
	}
	void kill()
	{
		if (m_peers.empty()) return;
		m_blocks->crash();
		m_maps->crash();
		const Result<void> ignored = stop();
	}

private:
	Rig &m_rig;
	Config m_config;
	std::array<RoleConfig, 4> m_roles;
	store::FaultStore *m_blocks = nullptr, *m_maps = nullptr; ///< owned by the blockers
	std::vector<std::unique_ptr<runtime::Peer>> m_peers;
};

/// Requests of an operator (one at a time) and of guests.
class NodeClient {
public:
	explicit NodeClient(Rig &rig) : m_actor(rig, 1) {}
	Actor &actor() { return m_actor; }

	int32_t create(const std::string &name, uint64_t sizeBytes)
	{
		xseg::RequestRef request = named(Op::CatCreate, name);
		CreateArgs args;
		args.sizeBytes = sizeBytes;
		request.setArgs(args);
		return call(std::move(request), kNodeMapper)->status;
	}
	int32_t remove(const std::string &name) { return call(named(Op::CatRemove, name), kNodeMapper)->status; }
	/// Session port, or the status.
	int attach(const std::string &name)
	{
		xseg::RequestRef request = named(Op::VolAttach, name);
		AttachArgs args;
		args.holder = Holder::Nbd;
		request.setArgs(args);
		const auto reply = call(std::move(request), kNodeComposer);
		if (reply->status != 0) return reply->status;
		const auto attached = reply.args<AttachReply>();
		m_actor.keys[attached.sessionPort] = attached.key;
		return attached.sessionPort;
	}
	int32_t detach(xseg::PortNo session) { return call(m_actor.make(Op::VolDetach), session)->status; }
	/// Names of volumes; nothing when one cannot be listed.
	std::optional<std::vector<std::string>> list()
	{
		std::vector<std::string> names;
		for (uint64_t cursor = 0;;) {
			xseg::RequestRef request = m_actor.make(Op::CatList, 4096);
			ListArgs args;
			args.cursor = cursor;
			request.setArgs(args);
			const auto reply = call(std::move(request), kNodeMapper);
			if (reply->status) return std::nullopt;
			for (uint64_t at = 0; at < reply->serviced; at += sizeof(VolumeInfo)) {
				VolumeInfo info;
				std::memcpy(&info, reply.data().data() + at, sizeof info);
				if (info.error) return std::nullopt;
				names.emplace_back(info.name, info.nameLength);
			}
			cursor = reply.args<ListArgs>().cursor;
			if (cursor == 0) return names;
		}
	}
	/// A read, write, trim ... of a volume, not sent yet.
	xseg::RequestRef io(Op op, uint64_t offset, uint64_t bytes, uint32_t flags = 0)
	{
		const bool data = op == Op::VolRead || op == Op::VolWrite;
		xseg::RequestRef request = m_actor.make(op, data ? static_cast<uint32_t>(bytes) : 0);
		request->offset = offset;
		request->size = bytes;
		request->flags = flags;
		return request;
	}
	xseg::RequestRef call(xseg::RequestRef request, xseg::PortNo to)
	{
		m_actor.submit(std::move(request), to);
		auto reply = m_actor.reply();
		if (!reply) qFatal("no answer within five seconds");
		return reply;
	}

private:
	xseg::RequestRef named(Op op, const std::string &name)
	{
		xseg::RequestRef request = m_actor.make(op, kControlBytes);
		std::memcpy(request.data().data(), name.data(), name.size());
		request->size = name.size();
		return request;
	}

	Actor m_actor;
};

} // namespace archipelago::testing
