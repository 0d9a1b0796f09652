// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Client: what composer and service ask of a mapper, as awaitable calls. It stores data itself, as the composer does:
// a block's value is the number in its first four bytes.
//
// Life: one mapper between its start and its end, over a World that outlives it; blockers, mapper and client meet in one
// segment on one reactor. A Life that ends without stop() ends as by a kill: the world stops for it, so that nothing it still
// tries to do happens.
#pragma once

#include "daemon/mapper/mapper.h"
#include "tests/daemon/mapper/crash_store.h"
#include "tests/daemon/runtime/rig.h"

#include <memory>
#include <optional>

namespace archipelago::mapper::testing {

constexpr xseg::PortNo kBlockerbPort = 10, kMapperPort = 11, kBlockermPort = 12, kClientPort = 13;

template <typename T> bool failsWith(const Result<T> &result, ErrorCode code)
{
	return !result && result.error().code == code;
}

inline AttachArgs holder(Holder kind, bool onlyIfOpened = false, bool readOnly = false)
{
	AttachArgs args;
	args.holder = kind;
	args.onlyIfOpened = onlyIfOpened;
	args.readOnly = readOnly;
	return args;
}

class Client : private runtime::PortHandler {
public:
	explicit Client(runtime::Reactor &reactor);

	runtime::Task<Result<VolumeId>> create(std::string name, uint64_t sizeBytes);
	/// CatRemove, CatOpen, CatClose.
	runtime::Task<Result<void>> named(Op op, std::string name);
	runtime::Task<Result<VolumeInfo>> info(std::string name);
	/// All pages, `rows` at a time.
	runtime::Task<Result<std::vector<VolumeInfo>>> list(uint32_t rows = 64);
	runtime::Task<Result<AttachReply>> attach(std::string name, AttachArgs args);
	runtime::Task<Result<AttachReply>> attach(std::string name);
	runtime::Task<Result<void>> detach(uint32_t handle);

	runtime::Task<Result<MapReply>> map(Op op, uint32_t handle, uint32_t block);
	runtime::Task<Result<void>> record(uint32_t handle, uint32_t block, uint32_t token, bool stored);
	runtime::Task<Result<void>> flush(uint32_t handle);
	runtime::Task<Result<void>> trim(uint32_t handle, uint32_t block, uint32_t count);
	/// What MapExtents answers when it has room for `room` runs.
	runtime::Task<Result<std::vector<BlockRun>>> extents(uint32_t handle, uint32_t block, uint32_t count, uint32_t room = 64);
	/// The lines of CatHealth.
	runtime::Task<Result<std::string>> health(uint32_t room = 64u << 10);
	/// One request, whatever it is; its status.
	runtime::Task<Result<void>> raw(Op op, std::string payload, uint64_t size, Content args);

	/// A block, all the way; the value of one without object is 0.
	runtime::Task<Result<void>> write(uint32_t handle, uint32_t block, uint32_t value);
	runtime::Task<Result<uint32_t>> read(uint32_t handle, uint32_t block);

private:
	void onRequest(runtime::ServedPort &, xseg::RequestRef) override {}
	void onReply(runtime::ServedPort &, xseg::RequestRef request) override { m_caller->deliver(request); }
	runtime::Task<xseg::RequestRef> call(Op op, std::string payload, uint32_t room, Content args);
	runtime::Task<Result<void>> object(Op op, ObjectId id, uint32_t value);

	xseg::BufferPool m_buffers;
	std::unique_ptr<runtime::ServedPort> m_port;
	std::optional<runtime::Caller> m_caller;
};

class Life {
public:
	struct Options {
		BootId bootId{1};
		uint32_t nrOps = 512;
		uint64_t mapCacheBytes = 128u << 20;
		VolumeLimits limits;
	};
	Life(archipelago::testing::Rig &rig, World &world, Options options);
	Life(archipelago::testing::Rig &rig, World &world) : Life(rig, world, Options{}) {}
	~Life();

	/// Runs the reactor until `task` is done.
	template <typename T> T wait(runtime::Task<T> task)
	{
		std::optional<T> out;
		runtime::spawn(keep(std::move(task), out));
		m_rig.reactor->runUntil([&out] { return out.has_value(); });
		return std::move(*out);
	}
	/// Starts a task; what comes out is there when it is done.
	template <typename T> std::shared_ptr<std::optional<T>> start(runtime::Task<T> task)
	{
		auto out = std::make_shared<std::optional<T>>();
		runtime::spawn(keepShared(std::move(task), out));
		return out;
	}
	void until(const std::function<bool()> &done) { m_rig.reactor->runUntil(done); }
	/// Lets everything happen that can happen without outside help: some turns.
	void settle();

	Client &client() { return *m_client; }
	CrashStore &blockerb() { return *m_blockerb; }
	CrashStore &blockerm() { return *m_blockerm; }
	runtime::Peer &mapper() { return *m_mapper; }
	void removeBlockerm() { m_blockerm.reset(); }
	void addBlockerm();
	/// The end as by `archipelago stop`. Nothing of this life may be used after it.
	Result<void> stop();

private:
	template <typename T> static runtime::Task<void> keep(runtime::Task<T> task, std::optional<T> &out)
	{
		T value = co_await task;
		out.emplace(std::move(value));
	}
	template <typename T> static runtime::Task<void> keepShared(runtime::Task<T> task, std::shared_ptr<std::optional<T>> out)
	{
		T value = co_await task;
		out->emplace(std::move(value));
	}

	archipelago::testing::Rig &m_rig;
	World &m_world;
	Config m_config;
	std::unique_ptr<CrashStore> m_blockerb, m_blockerm;
	std::unique_ptr<Client> m_client;
	std::unique_ptr<runtime::Peer> m_mapper;
};

} // namespace archipelago::mapper::testing
