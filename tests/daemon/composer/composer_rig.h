// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A composer on ports 10..14, between a client (port 1), a mapper (port 2) and a blocker (port 3) that the test plays.
#pragma once

#include "tests/daemon/composer/actor.h"

#include "daemon/composer/composer.h"

namespace archipelago::testing {

inline constexpr xseg::PortNo kClient = 1, kMapper = 2, kBlocker = 3, kComposer = 10;
inline constexpr uint32_t kLastSession = 14;
inline constexpr uint64_t kVolumeBytes = 64u << 20;

inline VolumeId volumeId(uint8_t n)
{
	VolumeId id;
	id.bytes.fill(n);
	return id;
}

inline RoleConfig composerRole(uint32_t nrOps = 512)
{
	RoleConfig role;
	role.name = "vlmcd";
	role.type = RoleType::Vlmcd;
	role.portnoStart = kComposer;
	role.portnoEnd = kLastSession;
	role.nrOps = nrOps;
	role.mapperPort = kMapper;
	role.blockerPort = kBlocker;
	return role;
}

inline ObjectId objectId(uint32_t block, uint64_t epoch = 5)
{
	ObjectId id;
	id.volume = volumeId(7);
	id.epoch = epoch;
	id.index = block;
	return id;
}

inline MapReply placed(Placement placement, uint32_t block, bool committed = false, uint64_t epoch = 5)
{
	MapReply reply;
	reply.placement = placement;
	reply.id = objectId(block, epoch);
	reply.committed = committed;
	reply.token = 1000 + block;
	return reply;
}

struct ComposerRig : Rig {
	Config config;
	RoleConfig role;
	Actor client{*this, kClient}, mapper{*this, kMapper}, blocker{*this, kBlocker};
	std::unique_ptr<runtime::Peer> composer;

	explicit ComposerRig(uint32_t nrOps = 512) : role(composerRole(nrOps))
	{
		const runtime::PeerContext context(*reactor, config);
		composer = composer::makeComposer(context, role);
		run(startComposer());
	}
	~ComposerRig()
	{
		if (!composer || stopping) return;
		// Sessions that a test left open are detached; the mapper's part is played here.
		mapper.automatic = blocker.automatic = nullptr;
		mapper.requests.clear();
		blocker.requests.clear();
		mapper.automatic = [this](xseg::RequestRef r) { mapper.respond(std::move(r)); };
		settle(*this);
		run(stopComposer());
	}

	/// Attaches `name`, with the mapper agreeing. The session port, 0 on failure.
	AttachReply attach(const std::string &name = "vol", uint8_t id = 7, bool readOnly = false, uint32_t handle = 99)
	{
		return attachAs(client, name, id, handle, readOnly);
	}
	AttachReply attachAs(Actor &who, const std::string &name, uint8_t id, uint32_t handle, bool readOnly = false)
	{
		submitAttachAs(who, name);
		xseg::RequestRef asked = mapper.request();
		if (!asked || opOf(asked) != Op::MapAttach) return {};
		agree(std::move(asked), id, handle, readOnly);
		xseg::RequestRef answer = who.reply();
		if (!answer || answer->status != 0) return {};
		const auto out = answer.args<AttachReply>();
		who.keys[out.sessionPort] = out.key;
		return out;
	}
	void submitAttach(const std::string &name) { submitAttachAs(client, name); }
	void submitAttachAs(Actor &who, const std::string &name)
	{
		xseg::RequestRef request = who.make(Op::VolAttach, kControlBytes);
		std::memcpy(request.data().data(), name.data(), name.size());
		request->size = name.size();
		AttachArgs args;
		args.holder = Holder::Nbd;
		request.setArgs(args);
		who.submit(std::move(request), kComposer);
	}
	/// What a mapper says to a MapAttach that it accepts.
	void agree(xseg::RequestRef asked, uint8_t id, uint32_t handle, bool readOnly = false)
	{
		AttachReply out;
		out.volume = volumeId(id);
		out.sizeBytes = kVolumeBytes;
		out.handle = handle;
		out.readOnly = readOnly;
		asked.setArgs(out);
		mapper.respond(std::move(asked));
	}
	/// The next request of the mapper's, which must be this one.
	xseg::RequestRef asked(Op op)
	{
		xseg::RequestRef request = mapper.request();
		if (!request || opOf(request) != op) qFatal("the mapper is asked something else");
		return request;
	}
	/// Answers a look-up.
	void place(xseg::RequestRef lookup, Placement placement, bool committed = false, uint64_t epoch = 5)
	{
		lookup.setArgs(placed(placement, lookup.args<MapArgs>().block, committed, epoch));
		mapper.respond(std::move(lookup));
	}
	/// A read or write of the client's, not sent yet.
	xseg::RequestRef io(Op op, uint64_t offset, uint32_t bytes, uint8_t fill = 0, bool fua = false)
	{
		xseg::RequestRef request = client.make(op, bytes, fill);
		request->offset = offset;
		request->size = bytes;
		request->flags = fua ? kFlagFua : 0u;
		return request;
	}

	/// A trim or zero of the client's, not sent yet.
	xseg::RequestRef span(Op op, uint64_t offset, uint64_t bytes, uint32_t flags = 0)
	{
		xseg::RequestRef request = client.make(op);
		request->offset = offset;
		request->size = bytes;
		request->flags = flags;
		return request;
	}

	runtime::Task<void> startComposer()
	{
		const Result<void> started = co_await composer->start();
		if (!started) qFatal("start: %s", started.error().message.c_str());
	}
	runtime::Task<void> stopComposer()
	{
		stopping = true;
		stopped = co_await composer->stop();
		composer.reset();
	}
	Result<void> stopped;
	bool stopping = false;
};

} // namespace archipelago::testing
