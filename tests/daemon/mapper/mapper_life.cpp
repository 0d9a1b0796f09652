// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See mapper_life.h.
#include "tests/daemon/mapper/mapper_life.h"

namespace archipelago::mapper::testing {

namespace {

template <typename T> Content bytesOf(const T &value)
{
	const auto bytes = std::as_bytes(std::span(&value, 1));
	return Content(bytes.begin(), bytes.end());
}

} // namespace

// ---- Client

Client::Client(runtime::Reactor &reactor) : m_buffers(reactor.segment(), kClientPort)
{
	auto port = runtime::ServedPort::bind(reactor, m_buffers, kClientPort, 128, *this);
	if (!port) qFatal("%s", port.error().message.c_str());
	m_port = std::move(*port);
	m_caller.emplace(*m_port);
}

runtime::Task<xseg::RequestRef> Client::call(Op op, std::string payload, uint32_t room, Content args)
{
	xseg::RequestRef request = co_await m_caller->acquire(room);
	request->op = static_cast<uint16_t>(op);
	if (room) request->data_len = room;
	request->size = payload.size();
	if (const size_t length = std::min<size_t>(payload.size(), room))
		std::memcpy(request.data().data(), payload.data(), length);
	if (!args.empty()) std::memcpy(request->args, args.data(), args.size());
	xseg::RequestRef reply = co_await m_caller->call(std::move(request), kMapperPort);
	co_return std::move(reply);
}

runtime::Task<Result<void>> Client::raw(Op op, std::string payload, uint64_t size, Content args)
{
	xseg::RequestRef request = co_await m_caller->acquire(kControlBytes);
	request->op = static_cast<uint16_t>(op);
	request->data_len = static_cast<uint32_t>(payload.size());
	request->size = size;
	if (!payload.empty()) std::memcpy(request.data().data(), payload.data(), payload.size());
	if (!args.empty()) std::memcpy(request->args, args.data(), args.size());
	xseg::RequestRef reply = co_await m_caller->call(std::move(request), kMapperPort);
	co_return runtime::controlResult(reply, "raw");
}

runtime::Task<Result<VolumeId>> Client::create(std::string name, uint64_t sizeBytes)
{
	CreateArgs args;
	args.sizeBytes = sizeBytes;
	xseg::RequestRef reply = co_await call(Op::CatCreate, std::move(name), kControlBytes, bytesOf(args));
	Result<void> done = runtime::controlResult(reply, "create");
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return reply.args<CreateArgs>().volume;
}

runtime::Task<Result<void>> Client::named(Op op, std::string name)
{
	xseg::RequestRef reply = co_await call(op, std::move(name), kControlBytes, Content());
	co_return runtime::controlResult(reply, "named");
}

runtime::Task<Result<VolumeInfo>> Client::info(std::string name)
{
	xseg::RequestRef reply = co_await call(Op::CatInfo, std::move(name), kControlBytes, Content());
	Result<void> done = runtime::controlResult(reply, "info");
	if (!done) co_return tl::unexpected(std::move(done.error()));
	VolumeInfo info;
	if (reply->serviced != sizeof info) co_return failure(ErrorCode::Failed, "info of another length");
	std::memcpy(&info, reply.data().data(), sizeof info);
	co_return info;
}

runtime::Task<Result<std::vector<VolumeInfo>>> Client::list(uint32_t rows)
{
	std::vector<VolumeInfo> all;
	ListArgs args;
	do {
		xseg::RequestRef reply = co_await call(Op::CatList, std::string(), rows * uint32_t(sizeof(VolumeInfo)),
		                                       bytesOf(args));
		Result<void> done = runtime::controlResult(reply, "list");
		if (!done) co_return tl::unexpected(std::move(done.error()));
		const size_t count = reply->serviced / sizeof(VolumeInfo);
		all.resize(all.size() + count);
		if (count) std::memcpy(all.data() + all.size() - count, reply.data().data(), reply->serviced);
		args = reply.args<ListArgs>();
	} while (args.cursor);
	co_return std::move(all);
}

runtime::Task<Result<AttachReply>> Client::attach(std::string name, AttachArgs args)
{
	xseg::RequestRef reply = co_await call(Op::MapAttach, std::move(name), kControlBytes, bytesOf(args));
	Result<void> done = runtime::controlResult(reply, "attach");
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return reply.args<AttachReply>();
}

runtime::Task<Result<AttachReply>> Client::attach(std::string name)
{
	AttachArgs args;
	args.holder = Holder::Nbd;
	return attach(std::move(name), args);
}

runtime::Task<Result<void>> Client::detach(uint32_t handle)
{
	MapArgs args;
	args.handle = handle;
	xseg::RequestRef reply = co_await call(Op::MapDetach, std::string(), 0, bytesOf(args));
	co_return runtime::controlResult(reply, "detach");
}

runtime::Task<Result<MapReply>> Client::map(Op op, uint32_t handle, uint32_t block)
{
	MapArgs args;
	args.handle = handle;
	args.block = block;
	xseg::RequestRef reply = co_await call(op, std::string(), 0, bytesOf(args));
	Result<void> done = runtime::controlResult(reply, "map");
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return reply.args<MapReply>();
}

runtime::Task<Result<void>> Client::record(uint32_t handle, uint32_t block, uint32_t token, bool stored)
{
	RecordArgs args;
	args.handle = handle;
	args.block = block;
	args.token = token;
	args.stored = stored;
	xseg::RequestRef reply = co_await call(Op::MapRecord, std::string(), 0, bytesOf(args));
	co_return runtime::controlResult(reply, "record");
}

runtime::Task<Result<void>> Client::flush(uint32_t handle)
{
	MapArgs args;
	args.handle = handle;
	xseg::RequestRef reply = co_await call(Op::MapFlush, std::string(), 0, bytesOf(args));
	co_return runtime::controlResult(reply, "flush");
}

runtime::Task<Result<void>> Client::trim(uint32_t handle, uint32_t block, uint32_t count)
{
	MapArgs args;
	args.handle = handle;
	args.block = block;
	args.count = count;
	xseg::RequestRef reply = co_await call(Op::MapTrim, std::string(), 0, bytesOf(args));
	co_return runtime::controlResult(reply, "trim");
}

runtime::Task<Result<std::vector<BlockRun>>> Client::extents(uint32_t handle, uint32_t block, uint32_t count, uint32_t room)
{
	MapArgs args;
	args.handle = handle;
	args.block = block;
	args.count = count;
	const auto bytes = static_cast<uint32_t>(room * sizeof(BlockRun));
	xseg::RequestRef reply = co_await call(Op::MapExtents, std::string(), bytes, bytesOf(args));
	if (const auto code = errorFromWire(reply->status)) co_return failure(*code, "extents");
	std::vector<BlockRun> runs(reply->serviced / sizeof(BlockRun));
	if (runs.size() > room) qFatal("more runs than there was room for");
	if (!runs.empty()) std::memcpy(runs.data(), reply.data().data(), runs.size() * sizeof(BlockRun));
	co_return runs;
}

runtime::Task<Result<std::string>> Client::health(uint32_t room)
{
	xseg::RequestRef reply = co_await call(Op::CatHealth, std::string(), room, Content());
	Result<void> done = runtime::controlResult(reply, "health");
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return std::string(reinterpret_cast<const char *>(reply.data().data()), reply->serviced);
}

runtime::Task<Result<void>> Client::object(Op op, ObjectId id, uint32_t value)
{
	xseg::RequestRef request = co_await m_caller->acquire(512);
	request->op = static_cast<uint16_t>(op);
	ObjectArgs args;
	args.id = id;
	request.setArgs(args);
	std::memset(request.data().data(), 0, 512);
	std::memcpy(request.data().data(), &value, sizeof value);
	xseg::RequestRef reply = co_await m_caller->call(std::move(request), kBlockerbPort);
	co_return runtime::controlResult(reply, "object");
}

runtime::Task<Result<void>> Client::write(uint32_t handle, uint32_t block, uint32_t value)
{
	Result<MapReply> where = co_await map(Op::MapWrite, handle, block);
	if (!where) co_return tl::unexpected(std::move(where.error()));
	const bool create = where->placement == Placement::Create;
	Result<void> stored = co_await object(create ? Op::ObjCreate : Op::ObjWrite, where->id, value);
	if (!create) co_return stored;
	Result<void> recorded = co_await record(handle, block, where->token, stored.has_value());
	co_return stored ? recorded : stored;
}

runtime::Task<Result<uint32_t>> Client::read(uint32_t handle, uint32_t block)
{
	Result<MapReply> where = co_await map(Op::MapRead, handle, block);
	if (!where) co_return tl::unexpected(std::move(where.error()));
	if (where->placement == Placement::Zero) co_return 0u;
	xseg::RequestRef request = co_await m_caller->acquire(512);
	request->op = static_cast<uint16_t>(Op::ObjRead);
	ObjectArgs args;
	args.id = where->id;
	request.setArgs(args);
	xseg::RequestRef reply = co_await m_caller->call(std::move(request), kBlockerbPort);
	Result<void> done = runtime::controlResult(reply, "read");
	if (!done) {
		if (done.error().code == ErrorCode::NotFound) done.error().code = ErrorCode::Missing;
		co_return tl::unexpected(std::move(done.error()));
	}
	uint32_t value = 0;
	std::memcpy(&value, reply.data().data(), sizeof value);
	co_return value;
}

// ---- Life

Life::Life(archipelago::testing::Rig &rig, World &world, Options options) : m_rig(rig), m_world(world)
{
	RoleConfig role;
	role.name = "blockerb";
	role.portnoStart = role.portnoEnd = kBlockerbPort;
	m_config.roles.push_back(role);
	role.name = "blockerm";
	role.portnoStart = role.portnoEnd = kBlockermPort;
	m_config.roles.push_back(role);
	role.name = "mapperd";
	role.type = RoleType::Mapperd;
	role.portnoStart = role.portnoEnd = kMapperPort;
	role.blockerbPort = kBlockerbPort;
	role.blockermPort = kBlockermPort;
	role.nrOps = options.nrOps;
	role.mapCacheBytes = options.mapCacheBytes;
	m_config.roles.push_back(role);

	roleLogger("mapperd")->set_level(spdlog::level::off); // these tests provoke thousands of errors
	m_blockerb = std::make_unique<CrashStore>(*rig.reactor, world, world.blocks, kBlockerbPort);
	m_blockerm = std::make_unique<CrashStore>(*rig.reactor, world, world.maps, kBlockermPort);
	m_client = std::make_unique<Client>(*rig.reactor);
	const runtime::PeerContext context(*rig.reactor, m_config);
	MapperOptions mapperOptions;
	mapperOptions.bootId = options.bootId;
	mapperOptions.limits = options.limits;
	m_mapper = makeMapper(context, m_config.roles[2], mapperOptions);
	const Result<void> started = wait(m_mapper->start());
	if (!started) qFatal("%s", started.error().message.c_str());
}

Life::~Life()
{
	if (!m_mapper) return;
	m_world.stopAfter = 0;
	m_world.hold = nullptr;
	m_blockerb->release();
	if (m_blockerm) m_blockerm->release();
	(void)wait(m_mapper->stop());
}

Result<void> Life::stop()
{
	Result<void> stopped = wait(m_mapper->stop());
	m_mapper.reset();
	m_client.reset();
	m_blockerb.reset();
	m_blockerm.reset();
	return stopped;
}

void Life::addBlockerm()
{
	m_blockerm = std::make_unique<CrashStore>(*m_rig.reactor, m_world, m_world.maps, kBlockermPort);
}

void Life::settle()
{
	unsigned turns = 0;
	const std::function<void()> turn = [this, &turns, &turn] {
		if (++turns < 64) m_rig.reactor->post(turn); // something to do, so the reactor does not sleep
	};
	turn();
	m_rig.reactor->runUntil([&turns] { return turns == 64; });
}

} // namespace archipelago::mapper::testing
