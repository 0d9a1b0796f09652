// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Requests: taken, checked, answered. Look-ups of chunks in memory are answered on the spot, without allocation; everything
// that waits is a coroutine that owns its request.
//
// Fields of a request are copied once and the copies checked: handle and its generation, block against the volume's size,
// lengths against the buffer, enums against their range.
//
// nr_ops requests are in hand at a time, then the port is paused. What waits for another one's Create is not counted: that
// Create ends with a MapRecord, which must get in however many wait for it.
#include "daemon/mapper/mapper.h"

#include "daemon/mapper/name_router.h"
#include "daemon/mapper/open_volumes.h"

#include <algorithm>

namespace archipelago::mapper {

namespace {

using runtime::ServedPort;
using runtime::Task;

constexpr uint32_t kMostExtentBlocks = kChunkEntries; ///< looked at for one MapExtents: no more than two chunks to load
constexpr uint64_t kStopPollMs = 1;  ///< answers that wait for room in a full ring
constexpr size_t kLeastListRows = 3; ///< room for a listing with one name of the longest

std::string roleAt(const Config &config, uint32_t port)
{
	for (const RoleConfig &role : config.roles)
		if (role.type == RoleType::FileBlocker && role.portnoStart == port) return role.name;
	return "at port " + std::to_string(port);
}

xseg::PortNo portNo(uint32_t number) { return static_cast<xseg::PortNo>(number); }

class Mapper : public runtime::Peer, private runtime::PortHandler {
public:
	Mapper(const runtime::PeerContext &context, const RoleConfig &role, const MapperOptions &options)
		: m_reactor(context.reactor),
		  m_shard(context.shard),
		  m_role(roleOfShard(role, context.shard)),
		  m_firstPort(portNo(role.portnoStart)),
		  m_blockerbRole(roleAt(context.config, role.blockerbPort)),
		  m_blockermRole(roleAt(context.config, role.blockermPort)),
		  m_log(roleLogger(role.name)),
		  m_bootId(options.bootId),
		  m_limits(options.limits),
		  m_budget(m_role.mapCacheBytes)
	{}

	Task<Result<void>> start() override;
	Task<Result<void>> stop() override;
	uint32_t inflight() const override { return m_inHand; }

private:
	using Handler = Task<void> (Mapper::*)(xseg::RequestRef request);
	struct Operation {
		Op op;
		Handler handler;
	};
	static const Operation kControlOperations[10];

	/// A request that is being worked on.
	class InHand {
	public:
		explicit InHand(Mapper &mapper) : m_mapper(mapper) { m_mapper.count(+1); }
		~InHand() { m_mapper.count(-1); }
		InHand(const InHand &) = delete;
		InHand &operator=(const InHand &) = delete;

	private:
		Mapper &m_mapper;
	};

	void onRequest(ServedPort &port, xseg::RequestRef request) override;
	void onReply(ServedPort &port, xseg::RequestRef request) override;
	void count(int change);

	// Map*
	enum class Look : uint8_t { Read, Write, Punch };
	std::optional<ErrorCode> refusal(const MapArgs &args, uint32_t count, Look look) const;
	static VolumeMap::Placing place(VolumeMap &map, const MapArgs &args, Look look, MapReply &reply);
	void look(xseg::RequestRef request, Look look);
	Task<void> lookSlowly(xseg::RequestRef request, MapArgs args, Look look);
	Task<void> mapTrim(xseg::RequestRef request);
	Task<void> mapExtents(xseg::RequestRef request);
	void answer(xseg::RequestRef request, const Result<void> &result, OpenVolume &volume);
	Task<void> mapRecord(xseg::RequestRef request);
	Task<void> mapFlush(xseg::RequestRef request);

	// by name
	Task<void> control(const Operation &operation, xseg::RequestRef request);
	Task<void> routed(const Operation &operation, xseg::RequestRef request);
	bool mayAskByName(const xseg::RequestRef &request) const;
	Result<std::string> nameOf(const xseg::RequestRef &request) const;
	void respond(xseg::RequestRef request, const Result<void> &result);
	template <typename T> void respond(xseg::RequestRef request, const Result<T> &result);
	Task<void> mapAttach(xseg::RequestRef request);
	Task<void> mapDetach(xseg::RequestRef request);
	Task<void> catCreate(xseg::RequestRef request);
	Task<void> catInfo(xseg::RequestRef request);
	Task<void> catList(xseg::RequestRef request);
	Task<void> catHealth(xseg::RequestRef request);
	Task<void> catLive(xseg::RequestRef request);
	/// A name in, nothing out.
	template <auto kOperation> Task<void> byName(xseg::RequestRef request);

	runtime::Reactor &m_reactor;
	const Shard m_shard;
	const RoleConfig m_role;
	const xseg::PortNo m_firstPort; ///< of shard 0
	const std::string m_blockerbRole, m_blockermRole;
	std::shared_ptr<spdlog::logger> m_log;
	std::optional<BootId> m_bootId;
	const VolumeLimits m_limits;
	ChunkBudget m_budget;
	// From start() to stop(), each using those before it.
	std::optional<xseg::BufferPool> m_buffers;
	std::unique_ptr<ServedPort> m_port;
	std::optional<runtime::Caller> m_caller;
	std::optional<ObjectClient> m_blockerb, m_blockerm;
	std::optional<OpenVolumes> m_volumes;
	std::optional<NameRouter> m_router; ///< shard 0 of several

	uint32_t m_inHand = 0;   ///< counted against nr_ops
	uint32_t m_waiting = 0;  ///< for a Create of somebody else's, or trims: not counted
	uint32_t m_controls = 0; ///< operations by name, of those in hand
	bool m_stopping = false;
	runtime::WaitList m_less; ///< one of the above has become less
};

// ---- life

Task<Result<void>> Mapper::start()
{
	if (!m_bootId) {
		const Result<BootId> id = readBootId();
		if (!id) co_return tl::unexpected(id.error());
		m_bootId = *id;
	}
	m_buffers.emplace(m_reactor.segment(), portNo(m_role.portnoStart));
	const xseg::StatsSubject counted = runtime::statsOfRole(m_role.name);
	auto port = ServedPort::bind(m_reactor, *m_buffers, portNo(m_role.portnoStart), m_role.nrOps, *this, &counted);
	if (!port) {
		m_buffers.reset();
		co_return tl::unexpected(port.error().within(m_role.name));
	}
	m_port = std::move(*port);
	m_caller.emplace(*m_port);
	m_blockerb.emplace(*m_caller, portNo(m_role.blockerbPort), m_blockerbRole, m_shard);
	m_blockerm.emplace(*m_caller, portNo(m_role.blockermPort), m_blockermRole, m_shard);
	const VolumeContext context{m_reactor, *m_blockerb, *m_blockerm, m_budget, *m_bootId, *m_log, m_limits, m_shard};
	m_volumes.emplace(context, m_reactor.segment());
	if (m_shard.count > 1 && m_shard.index == 0) m_router.emplace(*m_port, *m_caller, *m_blockerm, m_firstPort, m_shard.count);
	m_stopping = false;
	m_log->info("serves port {}", m_role.portnoStart);
	co_return Result<void>{};
}

/// Operations by name end first, so that no volume appears or goes beside closeAll(). That ends the rest: it frees the blocks
/// which others wait for.
Task<Result<void>> Mapper::stop()
{
	m_stopping = true;
	while (m_controls) co_await m_less.wait();
	Result<void> closed = co_await m_volumes->closeAll();
	// Out of the handlers that may stand below us: the port must not be destroyed under them.
	co_await m_reactor.sleepMs(0);
	while (m_inHand || m_waiting || m_caller->outstanding() || !m_port->idle()) co_await m_reactor.sleepMs(kStopPollMs);

	m_router.reset();
	m_volumes.reset();
	m_blockerb.reset();
	m_blockerm.reset();
	m_caller.reset();
	m_port.reset();
	m_buffers.reset();
	co_return closed;
}

void Mapper::count(int change)
{
	m_inHand += static_cast<uint32_t>(change);
	m_port->pauseRequests(m_inHand >= m_role.nrOps);
}

void Mapper::onReply(ServedPort &, xseg::RequestRef request)
{
	m_caller->deliver(request); // every reply is to a call of ours, or to what the router has passed on
}

void Mapper::onRequest(ServedPort &port, xseg::RequestRef request)
{
	const Op op = static_cast<Op>(request->op);
	if (op == Op::Ping) return port.respond(std::move(request), 0);
	if (m_stopping) return port.respond(std::move(request), wireStatus(ErrorCode::Peer));
	switch (op) {
	case Op::MapRead: return look(std::move(request), Look::Read);
	case Op::MapWrite: return look(std::move(request), Look::Write);
	case Op::MapPunch: return look(std::move(request), Look::Punch);
	case Op::MapTrim: runtime::spawn(mapTrim(std::move(request))); return;
	case Op::MapExtents: runtime::spawn(mapExtents(std::move(request))); return;
	case Op::MapRecord: runtime::spawn(mapRecord(std::move(request))); return;
	case Op::MapFlush: runtime::spawn(mapFlush(std::move(request))); return;
	default: break;
	}
	const auto *known = std::ranges::find(kControlOperations, op, &Operation::op);
	if (known == std::end(kControlOperations))
		return respond(std::move(request), failure(ErrorCode::Unsupported, "mapperd does not know this operation."));
	if (!mayAskByName(request))
		return respond(std::move(request), failure(ErrorCode::Invalid, "Volumes are asked for by name at the mapper's first port."));
	runtime::spawn(control(*known, std::move(request)));
}

// ---- blocks

/// Why a request for blocks cannot be served; nothing when it can. A handle that is not known was given out by an earlier life
/// of this mapper, or its client has left: E-PEER says to attach anew.
std::optional<ErrorCode> Mapper::refusal(const MapArgs &args, uint32_t count, Look look) const
{
	const Attachment *attachment = m_volumes->find(args.handle);
	if (!attachment) return ErrorCode::Peer;
	const VolumeMap &map = *attachment->volume->map;
	if (map.stopped()) return map.stopped()->code;
	if (count == 0 || uint64_t(args.block) + count > map.header().blockCount()) return ErrorCode::Invalid;
	if (look != Look::Read && attachment->readOnly) return ErrorCode::ReadOnly;
	return std::nullopt;
}

/// A ready block.
VolumeMap::Placing Mapper::place(VolumeMap &map, const MapArgs &args, Look look, MapReply &reply)
{
	switch (look) {
	case Look::Read: reply = map.read(args.block); return VolumeMap::Placing::Done;
	case Look::Punch: return map.punch(args.block, reply);
	case Look::Write: break;
	}
	return map.place(args.block, args.handle, reply);
}

void Mapper::look(xseg::RequestRef request, Look look)
{
	const MapArgs args = request.args<MapArgs>();
	if (const auto code = refusal(args, 1, look)) return m_port->respond(std::move(request), wireStatus(*code));
	VolumeMap &map = *m_volumes->find(args.handle)->volume->map;
	MapReply reply;
	if (map.ready(args.block) && place(map, args, look, reply) == VolumeMap::Placing::Done) {
		request.setArgs(reply);
		return m_port->respond(std::move(request), 0);
	}
	runtime::spawn(lookSlowly(std::move(request), args, look));
}

/// Goes round until the block can be looked at and, for a write, placed. After each wait everything is checked anew: the
/// client may have left, the volume may have stopped.
Task<void> Mapper::lookSlowly(xseg::RequestRef request, MapArgs args, Look look)
{
	InHand hand(*this);
	OpenVolume &volume = *m_volumes->find(args.handle)->volume;
	VolumeUse use(volume);
	for (;;) {
		if (const auto code = refusal(args, 1, look)) {
			m_port->respond(std::move(request), wireStatus(*code));
			co_return;
		}
		Result<void> waited;
		if (!volume.map->ready(args.block)) {
			waited = co_await volume.map->load(args.block);
		} else {
			MapReply reply;
			switch (place(*volume.map, args, look, reply)) {
			case VolumeMap::Placing::Done:
				request.setArgs(reply);
				m_port->respond(std::move(request), 0);
				co_return;
			case VolumeMap::Placing::BlockLocked:
				++m_waiting;
				count(-1);
				co_await volume.map->blockFree(args.block);
				count(+1);
				--m_waiting;
				break;
			case VolumeMap::Placing::NoEpoch: waited = co_await volume.map->reserveEpochs(); break;
			case VolumeMap::Placing::Full:
				waited = failure(ErrorCode::Limit, "the map's header has no room for another chunk");
				break;
			case VolumeMap::Placing::Shared:
				waited = failure(ErrorCode::Unsupported,
				                 "the block belongs to a snapshot too; this version cannot copy it on write");
				break;
			}
		}
		if (!waited) {
			answer(std::move(request), waited, volume);
			co_return;
		}
	}
}

/// Not counted as in hand: it may wait for Creates of others, which end with a MapRecord that must get in.
Task<void> Mapper::mapTrim(xseg::RequestRef request)
{
	const auto args = request.args<MapArgs>();
	if (const auto code = refusal(args, args.count, Look::Write)) {
		m_port->respond(std::move(request), wireStatus(*code));
		co_return;
	}
	OpenVolume &volume = *m_volumes->find(args.handle)->volume;
	VolumeUse use(volume);
	++m_waiting;
	Result<void> done = co_await volume.map->trim(args.block, args.count);
	--m_waiting;
	answer(std::move(request), done, volume);
}

/// What is mapped is what a read would find now: a first write shows when its record is written, which is before it is
/// acknowledged; a trim is gone from the map before it is acknowledged.
Task<void> Mapper::mapExtents(xseg::RequestRef request)
{
	InHand hand(*this);
	const auto args = request.args<MapArgs>();
	const std::span<std::byte> data = request.data();
	const size_t room = data.size() / sizeof(BlockRun);
	auto code = room ? refusal(args, args.count, Look::Read) : ErrorCode::Invalid;
	if (code) {
		m_port->respond(std::move(request), wireStatus(*code));
		co_return;
	}
	OpenVolume &volume = *m_volumes->find(args.handle)->volume;
	VolumeUse use(volume);
	BlockRun last;
	size_t runs = 0;
	for (uint32_t at = args.block, end = at + std::min(args.count, kMostExtentBlocks); at < end;) {
		if (!volume.map->ready(at)) {
			Result<void> loaded = co_await volume.map->load(at);
			if (!loaded) {
				answer(std::move(request), loaded, volume);
				co_return;
			}
			code = refusal(args, args.count, Look::Read); // the client may have left, the volume may have stopped
			if (!code) continue;
			m_port->respond(std::move(request), wireStatus(*code));
			co_return;
		}
		const BlockRun next = volume.map->run(at, end);
		at += next.blocks;
		if (runs && next.mapped == last.mapped) {
			last.blocks += next.blocks;
		} else if (runs == room) {
			break;
		} else {
			last = next;
			++runs;
		}
		std::memcpy(data.data() + (runs - 1) * sizeof last, &last, sizeof last);
	}
	request->serviced = runs * sizeof last;
	m_port->respond(std::move(request), 0);
}

/// Block clients get a code only; what is behind a failure stands in the log, once while it stays the same.
void Mapper::answer(xseg::RequestRef request, const Result<void> &result, OpenVolume &volume)
{
	if (!result && !volume.map->stopped() && result.error().message != volume.lastError) {
		volume.lastError = result.error().message;
		m_log->error("volume {}: {}", volume.name, result.error().message);
	}
	m_port->respond(std::move(request), result ? 0 : wireStatus(result.error().code));
}

Task<void> Mapper::mapRecord(xseg::RequestRef request)
{
	InHand hand(*this);
	const auto args = request.args<RecordArgs>();
	const Attachment *attachment = m_volumes->find(args.handle);
	if (!attachment || args.stored > 1) {
		m_port->respond(std::move(request), wireStatus(attachment ? ErrorCode::Invalid : ErrorCode::Peer));
		co_return;
	}
	OpenVolume &volume = *attachment->volume;
	VolumeUse use(volume);
	Result<void> recorded = co_await volume.map->record(args);
	answer(std::move(request), recorded, volume);
}

Task<void> Mapper::mapFlush(xseg::RequestRef request)
{
	InHand hand(*this);
	const auto args = request.args<MapArgs>();
	const Attachment *attachment = m_volumes->find(args.handle);
	if (!attachment) {
		m_port->respond(std::move(request), wireStatus(ErrorCode::Peer));
		co_return;
	}
	OpenVolume &volume = *attachment->volume;
	VolumeUse use(volume);
	Result<void> flushed = co_await volume.map->flush();
	answer(std::move(request), flushed, volume);
}

// ---- operations by name

Task<void> Mapper::control(const Operation &operation, xseg::RequestRef request)
{
	InHand hand(*this);
	++m_controls;
	if (m_router)
		co_await routed(operation, std::move(request));
	else
		co_await (this->*operation.handler)(std::move(request));
	--m_controls;
	m_less.wakeAll();
}

/// The locks of names are shard 0's: nobody else may come to another shard by name. (Handles are each shard's own.)
bool Mapper::mayAskByName(const xseg::RequestRef &request) const
{
	if (m_shard.index == 0 || static_cast<Op>(request->op) == Op::MapDetach) return true;
	const uint16_t hops = std::clamp<uint16_t>(request->npath, 1, XS_MAX_HOPS);
	return request->path[hops - 1] >> 16 == m_firstPort;
}

Task<void> Mapper::routed(const Operation &operation, xseg::RequestRef request)
{
	switch (operation.op) {
	case Op::MapAttach:
	case Op::CatCreate:
	case Op::CatInfo:
	case Op::CatRemove:
	case Op::CatOpen:
	case Op::CatClose: {
		Result<std::string> name = nameOf(request);
		if (!name) break; // the handler says so
		NameRouter::Routed mine = co_await m_router->route(operation.op, std::move(request), std::move(*name));
		if (mine.request) co_await (this->*operation.handler)(std::move(mine.request));
		co_return;
	}
	default: break;
	}
	co_await (this->*operation.handler)(std::move(request));
}

/// The name in a request: `size` bytes at the start of its data.
Result<std::string> Mapper::nameOf(const xseg::RequestRef &request) const
{
	const uint64_t length = request->size;
	const std::span<const std::byte> data = request.data();
	if (data.size() < kControlBytes || length > data.size())
		return failure(ErrorCode::Invalid, "The request has no room for its name, or for an answer.");
	return std::string(reinterpret_cast<const char *>(data.data()), length);
}

void Mapper::respond(xseg::RequestRef request, const Result<void> &result)
{
	runtime::respondControl(*m_port, std::move(request), result);
}

/// The value goes back in the arguments.
template <typename T> void Mapper::respond(xseg::RequestRef request, const Result<T> &result)
{
	if (!result) return respond(std::move(request), Result<void>(tl::unexpected(result.error())));
	request.setArgs(*result);
	request->serviced = 0;
	respond(std::move(request), Result<void>{});
}

Task<void> Mapper::mapAttach(xseg::RequestRef request)
{
	const auto args = request.args<AttachArgs>();
	// Another shard got it from shard 0, and that from the composer.
	const uint16_t least = m_shard.index == 0 ? 1 : 2, hops = std::clamp<uint16_t>(request->npath, least, XS_MAX_HOPS);
	Attacher by;
	by.client = request->path[hops - least];
	by.origin = request->path[0];
	Result<AttachReply> reply;
	Result<std::string> name = nameOf(request);
	const bool legal = args.holder >= Holder::Nbd && args.holder <= Holder::Tool && args.readOnly <= 1 &&
	                   args.onlyIfOpened <= 1;
	if (!name)
		reply = tl::unexpected(std::move(name.error()));
	else if (!legal)
		reply = failure(ErrorCode::Invalid, "Cannot attach: the request's arguments are out of range.");
	else
		reply = co_await m_volumes->attach(std::move(*name), args, by);
	respond(std::move(request), reply);
}

Task<void> Mapper::mapDetach(xseg::RequestRef request)
{
	const auto args = request.args<MapArgs>();
	Result<void> done = co_await m_volumes->detach(args.handle);
	m_port->respond(std::move(request), done ? 0 : wireStatus(done.error().code));
}

Task<void> Mapper::catCreate(xseg::RequestRef request)
{
	auto args = request.args<CreateArgs>();
	Result<CreateArgs> reply;
	Result<std::string> name = nameOf(request);
	if (!name) {
		reply = tl::unexpected(std::move(name.error()));
	} else {
		Result<VolumeId> volume = co_await m_volumes->create(std::move(*name), args.sizeBytes);
		if (volume) {
			args.volume = *volume;
			reply = args;
		} else {
			reply = tl::unexpected(std::move(volume.error()));
		}
	}
	respond(std::move(request), reply);
}

Task<void> Mapper::catInfo(xseg::RequestRef request)
{
	static_assert(sizeof(VolumeInfo) <= kControlBytes);
	Result<VolumeInfo> info;
	Result<std::string> name = nameOf(request);
	if (name)
		info = co_await m_volumes->info(std::move(*name));
	else
		info = tl::unexpected(std::move(name.error()));
	if (info) {
		const std::span<std::byte> data = request.data();
		if (data.size() >= sizeof *info) {
			request.alter(); // the name is overwritten: were we killed now, a successor would look for another volume
			std::memcpy(data.data(), &*info, sizeof *info);
			request->serviced = sizeof *info;
			respond(std::move(request), Result<void>{});
			co_return;
		}
		info = failure(ErrorCode::Invalid,
		               "The request has no room for an answer."); // it had, before somebody changed it
	}
	respond(std::move(request), Result<void>(tl::unexpected(std::move(info.error()))));
}

Task<void> Mapper::catList(xseg::RequestRef request)
{
	auto args = request.args<ListArgs>();
	const size_t rows = request.data().size() / sizeof(VolumeInfo);
	Result<Catalog::Page> page;
	if (rows < kLeastListRows)
		page = failure(ErrorCode::Invalid, "Cannot list volumes: the request has no room for an answer.");
	else
		page = co_await m_volumes->list(args.cursor, rows);
	if (!page) {
		respond(std::move(request), Result<void>(tl::unexpected(std::move(page.error()))));
		co_return;
	}
	if (m_router) co_await m_router->addLiveState(page->volumes);
	const std::span<std::byte> data = request.data();
	const size_t bytes = page->volumes.size() * sizeof(VolumeInfo);
	if (bytes > data.size()) { // it had the room, before somebody changed it
		respond(std::move(request),
		        failure(ErrorCode::Invalid, "Cannot list volumes: the request has no room for an answer."));
		co_return;
	}
	if (bytes) std::memcpy(data.data(), page->volumes.data(), bytes);
	args.cursor = page->next;
	request.setArgs(args);
	request->serviced = bytes;
	respond(std::move(request), Result<void>{});
}

Task<void> Mapper::catHealth(xseg::RequestRef request)
{
	const size_t room = request.data().size();
	std::string lines;
	if (room >= kControlBytes) {
		lines = m_volumes->health(room);
		if (m_router) co_await m_router->addHealth(lines, room);
	}
	const std::span<std::byte> data = request.data();
	if (room < kControlBytes || data.size() < lines.size()) { // it had the room, before somebody changed it
		respond(std::move(request), failure(ErrorCode::Invalid, "The request has no room for an answer."));
		co_return;
	}
	if (!lines.empty()) std::memcpy(data.data(), lines.data(), lines.size());
	request->serviced = lines.size();
	respond(std::move(request), Result<void>{});
}

Task<void> Mapper::catLive(xseg::RequestRef request)
{
	const Result<std::string> after = nameOf(request);
	if (!after) {
		respond(std::move(request), Result<void>(tl::unexpected(after.error())));
		co_return;
	}
	const std::span<std::byte> data = request.data();
	const std::vector<VolumeInfo> rows = m_volumes->live(*after, data.size() / sizeof(VolumeInfo));
	request.alter(); // the name is overwritten
	if (!rows.empty()) std::memcpy(data.data(), rows.data(), rows.size() * sizeof(VolumeInfo));
	request->serviced = rows.size() * sizeof(VolumeInfo);
	respond(std::move(request), Result<void>{});
}

template <auto kOperation> Task<void> Mapper::byName(xseg::RequestRef request)
{
	Result<void> done;
	Result<std::string> name = nameOf(request);
	if (name)
		done = co_await ((*m_volumes).*kOperation)(std::move(*name));
	else
		done = tl::unexpected(std::move(name.error()));
	respond(std::move(request), done);
}

const Mapper::Operation Mapper::kControlOperations[] = {
	{Op::MapAttach, &Mapper::mapAttach},
	{Op::MapDetach, &Mapper::mapDetach},
	{Op::CatCreate, &Mapper::catCreate},
	{Op::CatInfo, &Mapper::catInfo},
	{Op::CatList, &Mapper::catList},
	{Op::CatRemove, &Mapper::byName<&OpenVolumes::remove>},
	{Op::CatOpen, &Mapper::byName<&OpenVolumes::open>},
	{Op::CatClose, &Mapper::byName<&OpenVolumes::close>},
	{Op::CatHealth, &Mapper::catHealth},
	{Op::CatLive, &Mapper::catLive},
};

} // namespace

std::unique_ptr<runtime::Peer> makeMapper(const runtime::PeerContext &context, const RoleConfig &role,
                                          const MapperOptions &options)
{
	return std::make_unique<Mapper>(context, role, options);
}

} // namespace archipelago::mapper
