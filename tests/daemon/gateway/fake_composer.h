// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The composer's end of the protocol, played by the test: volumes "blank" and "ro" (read-only) in memory, sessions on the
// ports behind the control port. Answers can be held back, or made to fail.
#pragma once

#include "tests/daemon/composer/actor.h"

#include <map>
#include <set>

namespace archipelago::testing {

inline constexpr xseg::PortNo kFakeControl = 20;
inline constexpr xseg::PortNo kFakeSessions = 21, kFakeLastSession = 29;

class FakeComposer {
public:
	struct Volume {
		uint8_t id;
		bool readOnly, opened;
		std::vector<std::byte> data;
		uint64_t statedBytes = 0; ///< what clients are told; 0: what there is
		std::set<uint32_t> holes = {}; ///< blocks of which nothing is stored
	};

	explicit FakeComposer(Rig &r, uint64_t volumeBytes = 16u << 20) : rig(r), control(r, kFakeControl)
	{
		volumes["blank"] = Volume{1, false, true, std::vector<std::byte>(volumeBytes), 0, {}};
		volumes["ro"] = Volume{2, true, false, std::vector<std::byte>(volumeBytes), 0, {}};
		control.automatic = [this](xseg::RequestRef request) { onControl(std::move(request)); };
	}

	/// Answers what was held.
	void release()
	{
		holding = false;
		std::deque<std::pair<Session *, xseg::RequestRef>> then;
		then.swap(held);
		for (auto &[session, request] : then) serve(*session, std::move(request));
	}
	size_t sessionCount() const { return sessions.size(); }
	/// As recovery leaves a composer that was killed: its ports are bound no more, what it had in hand has failed back.
	void die()
	{
		held.clear();
		sessions.clear();
		control.leave();
	}
	/// Its successor.
	void live()
	{
		holding = false;
		control.bind();
	}
	/// Takes the next I/O that was held.
	xseg::RequestRef takeHeld()
	{
		xseg::RequestRef request = std::move(held.front().second);
		held.pop_front();
		return request;
	}

	struct Session {
		Session(Rig &r, xseg::PortNo port, std::string v, uint64_t k) : actor(r, port), volume(std::move(v)), key(k) {}
		Actor actor;
		std::string volume;
		uint64_t key;
	};

	Rig &rig;
	Actor control;
	std::map<std::string, Volume> volumes;
	std::map<xseg::PortNo, std::unique_ptr<Session>> sessions;
	bool holding = false;                                        ///< keep I/O instead of answering
	std::deque<std::pair<Session *, xseg::RequestRef>> held;
	int32_t failIoWith = 0, failAttachWith = 0, failListWith = 0;
	std::optional<std::vector<BlockRun>> told; ///< the answer to VolExtents, whatever is stored
	unsigned attaches = 0, detaches = 0, reads = 0, writes = 0, fuaWrites = 0, flushes = 0;
	struct Span {
		Op op;
		uint64_t offset, size;
		uint32_t flags;
		bool operator==(const Span &) const = default;
	};
	std::vector<Span> spans; ///< trims and zeros that were asked for
	std::vector<std::pair<Op, uint64_t>> served; ///< operation and offset of I/O, in order
	unsigned foreign = 0; ///< requests that were meant for another attachment
	uint64_t lastKey = 100;
	AttachArgs lastAttach;

private:
	void onControl(xseg::RequestRef request)
	{
		if (opOf(request) == Op::VolList) return list(std::move(request));
		if (opOf(request) != Op::VolAttach) return control.respond(std::move(request), ErrorCode::Unsupported);
		++attaches;
		lastAttach = request.args<AttachArgs>();
		const std::string name(reinterpret_cast<const char *>(request.data().data()), request->size);
		const auto refuse = [&](ErrorCode code, std::string text) {
			runtime::respondControl(control.port(), std::move(request), failure(code, std::move(text)));
		};
		if (failAttachWith) return refuse(*errorFromWire(failAttachWith), "Cannot attach " + name + ": told so.");
		const auto at = volumes.find(name);
		if (at == volumes.end()) return refuse(ErrorCode::NotFound, "There is no volume " + name + ".");
		if (lastAttach.onlyIfOpened && !at->second.opened) return refuse(ErrorCode::NotOpen, name + " is not open.");
		xseg::PortNo port = kFakeSessions;
		while (sessions.contains(port)) ++port;
		if (port > kFakeLastSession) return refuse(ErrorCode::Limit, "no port");
		auto session = std::make_unique<Session>(rig, port, name, ++lastKey);
		session->actor.automatic = [this, s = session.get()](xseg::RequestRef r) { serve(*s, std::move(r)); };
		sessions[port] = std::move(session);
		AttachReply reply;
		reply.volume.bytes.fill(at->second.id);
		reply.sizeBytes = at->second.statedBytes ? at->second.statedBytes : at->second.data.size();
		reply.sessionPort = port;
		reply.key = lastKey;
		reply.readOnly = at->second.readOnly;
		request.setArgs(reply);
		control.respond(std::move(request));
	}
	void list(xseg::RequestRef request)
	{
		if (failListWith) return control.respond(std::move(request), failListWith);
		// One volume a page, so that paging is used.
		auto args = request.args<ListArgs>();
		auto at = volumes.begin();
		for (uint64_t i = 0; i < args.cursor && at != volumes.end(); ++i) ++at;
		request->serviced = 0;
		if (at != volumes.end()) {
			VolumeInfo info;
			info.state = 1;
			info.openedExplicitly = at->second.opened;
			info.nameLength = static_cast<uint16_t>(at->first.copy(info.name, sizeof info.name));
			std::memcpy(request.data().data(), &info, sizeof info);
			request->serviced = sizeof info;
			args.cursor = std::next(at) == volumes.end() ? 0 : args.cursor + 1;
		}
		request.setArgs(args);
		control.respond(std::move(request));
	}
	std::vector<BlockRun> runsOf(const Session &session, uint64_t offset, uint64_t size) const
	{
		const Volume &volume = volumes.at(session.volume);
		std::vector<BlockRun> runs;
		for (uint64_t block = offset >> kBlockShift; block <= (offset + size - 1) >> kBlockShift; ++block) {
			const uint32_t mapped = !volume.holes.contains(static_cast<uint32_t>(block));
			if (runs.empty() || runs.back().mapped != mapped) runs.push_back(BlockRun{.blocks = 0, .mapped = mapped});
			++runs.back().blocks;
		}
		return runs;
	}
	void serve(Session &session, xseg::RequestRef request)
	{
		if (request.args<VolumeArgs>().key != session.key) {
			++foreign;
			return session.actor.respond(std::move(request), ErrorCode::Peer);
		}
		if (opOf(request) == Op::VolDetach) {
			++detaches;
			const xseg::PortNo port = session.actor.port().number();
			session.actor.respond(std::move(request));
			rig.reactor->post([this, port] { sessions.erase(port); });
			return;
		}
		if (holding) {
			held.emplace_back(&session, std::move(request));
			return;
		}
		served.emplace_back(opOf(request), request->offset);
		if (failIoWith) return session.actor.respond(std::move(request), failIoWith);
		auto &store = volumes.at(session.volume).data;
		const auto data = request.data();
		const bool fits = request->offset + data.size() <= store.size();
		if (opOf(request) == Op::VolFlush) {
			++flushes;
		} else if (opOf(request) == Op::VolTrim || opOf(request) == Op::VolZero) {
			spans.push_back(Span{opOf(request), request->offset, request->size, request->flags});
			if (request->data_len || request->size > store.size() || request->offset > store.size() - request->size)
				return session.actor.respond(std::move(request), ErrorCode::Invalid);
			std::memset(store.data() + request->offset, 0, request->size);
		} else if (opOf(request) == Op::VolExtents) {
			const auto runs = told.value_or(runsOf(session, request->offset, request->size));
			const size_t bytes = std::min(runs.size() * sizeof(BlockRun), data.size());
			if (bytes) std::memcpy(data.data(), runs.data(), bytes);
			request->serviced = bytes;
		} else if (!fits || data.empty() || request->size != data.size()) {
			return session.actor.respond(std::move(request), ErrorCode::Invalid);
		} else if (opOf(request) == Op::VolRead) {
			++reads;
			const bool hole = volumes.at(session.volume).holes.contains(static_cast<uint32_t>(request->offset >> kBlockShift));
			const bool skip = hole && (request->flags & kFlagTakesHoles);
			if (!skip) std::memcpy(data.data(), store.data() + request->offset, data.size());
			request->flags = skip ? kFlagHole : 0u;
		} else {
			++writes;
			fuaWrites += (request->flags & kFlagFua) != 0;
			std::memcpy(store.data() + request->offset, data.data(), data.size());
		}
		session.actor.respond(std::move(request));
	}
};

} // namespace archipelago::testing
