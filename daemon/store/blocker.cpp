// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The blocker peer: requests in, answers out (blocker_room.cpp: when the store is full). What a request may say is in kOperations; everything else is E-INVALID or E-UNSUPPORTED before the store
// hears of it. Fields of shared memory are copied once, the copies are checked and used; a name is copied too, because it
// becomes a file name while its sender can still write to it.
#include "daemon/store/blocker.h"

#include "daemon/store/blocker_peer.h"
#include "daemon/store/file/file_store.h"
#include "daemon/store/object_key.h"

#include <algorithm>

namespace archipelago::store {

namespace {

enum class Args : uint8_t { Object, List, Volume, None };
enum class Payload : uint8_t { None, Optional, Needed };

struct Operation {
	Op op;
	Args args;
	Payload payload;
};

constexpr Operation kOperations[] = {
    {Op::ObjRead, Args::Object, Payload::Needed},     {Op::ObjWrite, Args::Object, Payload::Needed},
    {Op::ObjCreate, Args::Object, Payload::Optional}, {Op::ObjWriteFull, Args::Object, Payload::Optional},
    {Op::ObjRemove, Args::Object, Payload::None},     {Op::ObjStat, Args::Object, Payload::None},
    {Op::ObjList, Args::List, Payload::Needed},       {Op::ObjSync, Args::Object, Payload::None},
    {Op::ObjSyncVolume, Args::Volume, Payload::None}, {Op::ObjSyncAll, Args::None, Payload::None},
    {Op::ObjCapacity, Args::None, Payload::None},     {Op::ObjPunch, Args::Object, Payload::None},
};

const Operation *operation(uint16_t op)
{
	const auto found = std::find_if(std::begin(kOperations), std::end(kOperations),
	                                [op](const Operation &o) { return static_cast<uint16_t>(o.op) == op; });
	return found == std::end(kOperations) ? nullptr : found;
}

/// Own requests of a blocker's port: it makes none.
constexpr uint32_t kOwnRequests = 1;
/// How long stop() waits for full reply rings; what is left then fails back when the port unbinds.
constexpr uint64_t kLastRepliesMs = 1000;

} // namespace

Blocker::Blocker(const runtime::PeerContext &context, const RoleConfig &role, std::unique_ptr<ObjectStore> store)
    : m_reactor(context.reactor), m_role(roleOfShard(role, context.shard)), m_shards(context.shard.count), m_fullPolicy(context.config.fullPolicy),
      m_reserveBytes(context.config.reserveBytes), m_createDirs(context.createDirs), m_log(roleLogger(role.name)),
      m_store(std::move(store)), m_headroom(context.reactor, *m_store, context.config.reserveBytes, m_shards, [this] { admitWaiting(true); }),
      m_slots(std::make_unique<Slot[]>(role.nrOps))
{
	for (uint32_t n = 0; n < role.nrOps; ++n) {
		Slot &slot = m_slots[n];
		slot.blocker = this;
		slot.done = [](StoreOp &op) {
			auto &ended = static_cast<Slot &>(op);
			ended.blocker->done(ended);
		};
		slot.nextFree = std::exchange(m_free, &slot);
	}
}

Blocker::~Blocker() { ARCHIPELAGO_ASSERT(m_inflight == 0); }

runtime::Task<Result<void>> Blocker::start()
{
	Result<void> opened = co_await m_store->open(m_createDirs);
	if (!opened) co_return opened;
	const auto number = static_cast<xseg::PortNo>(m_role.portnoStart);
	m_buffers = std::make_unique<xseg::BufferPool>(m_reactor.segment(), number);
	const xseg::StatsSubject counted = runtime::statsOfRole(m_role.name);
	auto port = runtime::ServedPort::bind(m_reactor, *m_buffers, number, kOwnRequests, *this, &counted);
	if (!port) {
		co_await m_store->close();
		co_return tl::unexpected<Error>(port.error());
	}
	m_port = std::move(*port);
	co_return Result<void>{};
}

runtime::Task<Result<void>> Blocker::stop()
{
	m_stopping = true;
	if (m_port) m_port->pauseRequests(true);
	m_headroom.stop();
	m_waiting.clear(); // dropped: they fail back
	while (m_inflight > 0 || m_headroom.looking()) co_await m_quiet.wait();
	for (uint64_t ms = 0; m_port && !m_port->idle() && ms < kLastRepliesMs; ++ms) co_await m_reactor.sleepMs(1);
	// What waits in the ring is as good for the next blocker on this port: a restart is a pause, no error.
	if (m_port) m_port->port().leaveQueueToSuccessor();
	m_port.reset();
	co_await m_store->close();
	co_return Result<void>{};
}

void Blocker::onRequest(runtime::ServedPort &port, xseg::RequestRef request)
{
	const uint16_t op = request->op;
	if (op == static_cast<uint16_t>(Op::Ping)) return port.respond(std::move(request), 0);
	ARCHIPELAGO_ASSERT(m_free); // paused otherwise
	Slot &slot = *m_free;
	if (const auto wrong = fill(slot, op, request)) {
		request->serviced = 0;
		return port.respond(std::move(request), wireStatus(*wrong));
	}
	Slot *taken = takeSlot(std::move(request));
	if (taken->room != Room::None) taken->arrival = ++m_arrivals;
	begin(*taken);
}

/// The first free slot, which fill() has filled.
Blocker::Slot *Blocker::takeSlot(xseg::RequestRef request)
{
	Slot *slot = std::exchange(m_free, m_free->nextFree);
	++m_inflight;
	slot->request = std::move(request);
	if (!m_free) m_port->pauseRequests(true);
	return slot;
}

xseg::RequestRef Blocker::giveBack(Slot &slot)
{
	m_headroom.done(std::exchange(slot.taken, 0));
	if (!m_free && !m_stopping) m_port->pauseRequests(false);
	slot.nextFree = std::exchange(m_free, &slot);
	if (--m_inflight == 0) wakeStop();
	return std::move(slot.request);
}

/// Once, by the last that stop() waits for. In a turn of its own: it may end this peer and its store, and the store is
/// calling us.
void Blocker::wakeStop()
{
	if (m_stopping && m_inflight == 0 && !m_headroom.looking()) m_reactor.post([this] { m_quiet.wakeAll(); });
}

void Blocker::begin(Slot &slot)
{
	if (slot.room != Room::Needs || admit(slot)) return m_store->submit(slot);
	if (slot.op == Op::ObjWrite) return askForRoom(slot);
	park(slot);
}

/// A blocker asks nobody anything: whatever comes here is a mistake of its sender, and goes back when it is dropped.
void Blocker::onReply(runtime::ServedPort &, xseg::RequestRef) {}

/// Reads the request, once, into the slot. What is wrong with it, or nothing.
std::optional<ErrorCode> Blocker::fill(Slot &slot, uint16_t op, const xseg::RequestRef &request) const
{
	const Operation *what = operation(op);
	if (!what) return ErrorCode::Unsupported;
	const uint32_t block = request->data_blk, at = request->data_off, bytes = request->data_len, flags = request->flags;
	if (flags & ~static_cast<uint32_t>(kFlagFua)) return ErrorCode::Invalid;
	if ((what->payload == Payload::Needed && bytes == 0) || (what->payload == Payload::None && bytes != 0))
		return ErrorCode::Invalid;

	slot.op = what->op;
	slot.id = ObjectId();
	slot.name = {};
	slot.offset = request->offset;
	slot.fua = flags & kFlagFua;
	slot.room = Room::None;
	slot.data = {};
	slot.size = what->op == Op::ObjPunch ? request->size : 0;
	slot.serviced = 0;
	// Only a request that recovery took from a dead predecessor of ours and sent again: it may have been carried out.
	slot.asking = slot.probe = false;
	slot.mayExist = what->op == Op::ObjCreate && request->attempts > 0;
	if (bytes > 0) {
		const auto payload = m_reactor.segment().buffer(block, at, bytes);
		if (!payload) return ErrorCode::Invalid;
		slot.data = *payload;
	}
	switch (what->args) {
	case Args::Object: {
		const auto wrong = fillObject(slot, request, block, uint64_t{at} + bytes);
		slot.room = roomOf(slot);
		return wrong;
	}
	case Args::List:
		slot.list = request.args<ListArgs>();
		return isObjectKind(slot.list.kind) ? std::nullopt : std::optional(ErrorCode::Invalid);
	case Args::Volume: slot.id.volume = request.args<ObjectArgs>().id.volume; break;
	case Args::None: break;
	}
	return std::nullopt;
}

std::optional<ErrorCode> Blocker::fillObject(Slot &slot, const xseg::RequestRef &request, uint32_t block, uint64_t nameAt) const
{
	const auto args = request.args<ObjectArgs>();
	if (args.nameLength > 0) {
		if (args.nameLength > kMaxNameBytes || nameAt > UINT32_MAX) return ErrorCode::Invalid;
		const auto bytes = m_reactor.segment().buffer(block, static_cast<uint32_t>(nameAt), args.nameLength);
		if (!bytes) return ErrorCode::Invalid;
		std::memcpy(slot.nameBytes.data(), bytes->data(), bytes->size());
		slot.name = {slot.nameBytes.data(), bytes->size()};
	}
	slot.id = args.id;
	const uint64_t bytes = slot.op == Op::ObjPunch ? slot.size : slot.data.size();
	if (slot.op == Op::ObjPunch && bytes == 0) return ErrorCode::Invalid;
	if (!objectKey(slot.id, slot.name) || !withinObject(slot.id.kind, slot.offset, bytes)) return ErrorCode::Invalid;
	return std::nullopt;
}

void Blocker::done(Slot &slot)
{
	if (std::exchange(slot.asking, false)) {
		slot.op = Op::ObjWrite;
		// All of its room, or gone (which the write will tell).
		const bool needsNone = !slot.ok || slot.serviced >= kBlockBytes;
		return needsNone ? m_store->submit(slot) : park(slot);
	}
	const bool noRoom = !slot.ok && slot.error == ErrorCode::NoSpace && slot.room != Room::None;
	if (std::exchange(slot.probe, false)) {
		m_headroom.probed(!noRoom);
		if (!noRoom) m_headroom.look();
	}
	if (noRoom && m_fullPolicy == FullPolicy::Pause) {
		m_headroom.refusedBelow();
		return park(slot);
	}
	if (noRoom) setFull(true);
	answer(slot);
}

void Blocker::answer(Slot &slot)
{
	xseg::RequestRef request = giveBack(slot);
	request->serviced = slot.ok ? slot.serviced : 0;
	if (slot.ok && (slot.op == Op::ObjStat || slot.op == Op::ObjCapacity)) request->size = slot.size;
	if (slot.ok && slot.op == Op::ObjList) request.setArgs(slot.list);
	if (slot.ok && slot.op == Op::ObjCapacity) {
		CapacityReply reply;
		reply.reserveBytes = m_reserveBytes;
		reply.waitingWrites = static_cast<uint32_t>(m_waiting.size());
		reply.full = !m_waiting.empty() || m_headroom.refused() || slot.serviced < m_reserveBytes + m_shards * kBlockBytes;
		request.setArgs(reply);
	}
	m_port->respond(std::move(request), slot.ok ? 0 : wireStatus(slot.error));
	if (!m_waiting.empty()) admitWaiting(false); // there is a slot now
}

namespace {

/// Which kind of objects a blocker is for: whoever the mappers name as theirs.
Purpose purposeOf(const Config &config, const RoleConfig &role)
{
	bool data = false, maps = false;
	for (const RoleConfig &mapper : config.roles) {
		if (mapper.type != RoleType::Mapperd) continue;
		data |= mapper.blockerbPort == role.portnoStart;
		maps |= mapper.blockermPort == role.portnoStart;
	}
	if (data == maps) return Purpose::Any;
	return data ? Purpose::Data : Purpose::Maps;
}

} // namespace

std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role,
                                           std::unique_ptr<ObjectStore> store)
{
	return std::make_unique<Blocker>(context, role, std::move(store));
}

namespace {

FileStoreOptions storeOptions(const runtime::PeerContext &context, const RoleConfig &role)
{
	FileStoreOptions options;
	options.dir = role.archipDir;
	options.role = role.name;
	options.purpose = purposeOf(context.config, role);
	options.owner = thisHost();
	options.fdcache = roleOfShard(role, context.shard).fdcache;
	options.direct = role.direct;
	options.shard = context.shard;
	return options;
}

} // namespace

std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role)
{
	return makeBlocker(context, role, std::make_unique<FileStore>(context.reactor, storeOptions(context, role)));
}

std::vector<std::unique_ptr<runtime::Peer>> makeBlockerShards(std::span<const runtime::PeerContext> shards, const RoleConfig &role)
{
	FileStoreOptions first = storeOptions(shards.front(), role);
	const auto group = std::make_shared<StoreGroup>(first.dir, first.role, first.purpose, first.owner);
	std::vector<std::unique_ptr<runtime::Peer>> out;
	for (const runtime::PeerContext &shard : shards)
		out.push_back(makeBlocker(shard, role, std::make_unique<FileStore>(shard.reactor, storeOptions(shard, role), group)));
	return out;
}

} // namespace archipelago::store
