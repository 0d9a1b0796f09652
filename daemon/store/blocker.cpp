// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The blocker peer. What a request may say is in kOperations; everything else is E-INVALID or E-UNSUPPORTED before the store
// hears of it. Fields of shared memory are copied once, the copies are checked and used; a name is copied too, because it
// becomes a file name while its sender can still write to it.
#include "daemon/store/blocker.h"

#include "daemon/runtime/served_port.h"
#include "daemon/store/file/file_store.h"
#include "daemon/store/headroom.h"
#include "daemon/store/object_key.h"

#include <algorithm>
#include <array>
#include <deque>

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
/// A store that is full and has room in turns is told of so often.
constexpr uint64_t kTellEachNs = 5'000'000'000;

class Blocker final : public runtime::Peer, runtime::PortHandler {
public:
	Blocker(const runtime::PeerContext &context, const RoleConfig &role, std::unique_ptr<ObjectStore> store);
	~Blocker() override;

	runtime::Task<Result<void>> start() override;
	runtime::Task<Result<void>> stop() override;
	uint32_t inflight() const override { return m_inflight + static_cast<uint32_t>(m_waiting.size()); }

private:
	/// What a request may do about room.
	enum class Room : uint8_t {
		None,  ///< metadata: what the reserve is for; and what needs none
		Frees, ///< a punch: never asked, but it may be refused (pieces of zeros at its ends)
		Needs,
	};
	struct Slot : StoreOp {
		Blocker *blocker = nullptr;
		Slot *nextFree = nullptr;
		xseg::RequestRef request;
		std::array<char, kMaxNameBytes> nameBytes;
		uint64_t arrival = 0; ///< data only: its place among those who wait
		uint64_t taken = 0;   ///< of the headroom
		Room room = Room::None;
		bool asking = false;  ///< finding out whether its block has all of its room
		bool probe = false;   ///< goes although the store had no room for another
	};
	struct Waiting {
		xseg::RequestRef request;
		uint64_t arrival;
	};

	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;
	std::optional<ErrorCode> fill(Slot &slot, uint16_t op, const xseg::RequestRef &request) const;
	std::optional<ErrorCode> fillObject(Slot &slot, const xseg::RequestRef &request, uint32_t block, uint64_t nameAt) const;
	static Room roomOf(const StoreOp &op);
	void begin(Slot &slot);
	void done(Slot &slot);
	void answer(Slot &slot);
	Slot *takeSlot(xseg::RequestRef request);
	xseg::RequestRef giveBack(Slot &slot);
	void wakeStop();
	// ---- a full store
	bool admit(Slot &slot);
	void askForRoom(Slot &slot);
	void park(Slot &slot);
	void admitWaiting(bool justLooked);
	bool admitFirst(bool justLooked);
	void setFull(bool full);

	runtime::Reactor &m_reactor;
	const RoleConfig m_role;
	const FullPolicy m_fullPolicy;
	const uint64_t m_reserveBytes;
	const bool m_createDirs;
	std::shared_ptr<spdlog::logger> m_log;
	std::unique_ptr<ObjectStore> m_store;
	Headroom m_headroom;
	std::deque<Waiting> m_waiting; ///< for room, in order of arrival
	uint64_t m_arrivals = 0;
	bool m_full = false;           ///< as last told to the log
	uint64_t m_fullToldNs = 0;
	std::unique_ptr<Slot[]> m_slots;
	Slot *m_free = nullptr;
	uint32_t m_inflight = 0;
	bool m_stopping = false;
	runtime::WaitList m_quiet; ///< stop() waits here for m_inflight == 0
	std::unique_ptr<xseg::BufferPool> m_buffers;
	std::unique_ptr<runtime::ServedPort> m_port; ///< last: unbinds first
};

Blocker::Blocker(const runtime::PeerContext &context, const RoleConfig &role, std::unique_ptr<ObjectStore> store)
    : m_reactor(context.reactor), m_role(role), m_fullPolicy(context.config.fullPolicy),
      m_reserveBytes(context.config.reserveBytes), m_createDirs(context.createDirs), m_log(roleLogger(role.name)),
      m_store(std::move(store)), m_headroom(context.reactor, *m_store, context.config.reserveBytes, [this] { admitWaiting(true); }),
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
	auto port = runtime::ServedPort::bind(m_reactor, *m_buffers, number, kOwnRequests, *this);
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
		reply.full = !m_waiting.empty() || m_headroom.refused() || slot.serviced < m_reserveBytes + kBlockBytes;
		request.setArgs(reply);
	}
	m_port->respond(std::move(request), slot.ok ? 0 : wireStatus(slot.error));
	if (!m_waiting.empty()) admitWaiting(false); // there is a slot now
}

// ---- a full store

Blocker::Room Blocker::roomOf(const StoreOp &op)
{
	const bool data = op.id.kind == ObjectKind::Data, content = op.id.kind == ObjectKind::Content;
	if (op.op == Op::ObjPunch && data) return Room::Frees;
	const bool writes = op.op == Op::ObjCreate || op.op == Op::ObjWrite || op.op == Op::ObjWriteFull;
	return writes && (data || content) ? Room::Needs : Room::None;
}

/// Nobody overtakes those who wait.
bool Blocker::admit(Slot &slot)
{
	const uint64_t bytes = Headroom::cost(slot.data.size(), slot.op != Op::ObjWrite);
	if (!m_waiting.empty() || !m_headroom.take(bytes)) return false;
	slot.taken = bytes;
	return true;
}

/// A block whose file has all of its room can be written when there is none left.
void Blocker::askForRoom(Slot &slot)
{
	slot.asking = true;
	slot.op = Op::ObjStat;
	m_store->submit(slot);
}

/// The request waits, its slot does not.
void Blocker::park(Slot &slot)
{
	const uint64_t arrival = slot.arrival;
	Waiting waiting{giveBack(slot), arrival};
	if (m_stopping) return; // dropped: it fails back
	const auto behind = std::find_if(m_waiting.begin(), m_waiting.end(), [=](const Waiting &w) { return w.arrival > arrival; });
	m_waiting.insert(behind, std::move(waiting));
	m_headroom.lookUnlessSoon();
}

/// After a look, and when a slot is free again. Only the former can say that there is no room.
void Blocker::admitWaiting(bool justLooked)
{
	if (m_stopping) return wakeStop();
	while (!m_waiting.empty() && m_free && admitFirst(justLooked)) {}
	if (!m_waiting.empty() && !m_headroom.looking()) m_headroom.lookLater();
}

/// False: it, or those behind it, have to go on waiting.
bool Blocker::admitFirst(bool justLooked)
{
	Slot &slot = *m_free;
	xseg::RequestRef &first = m_waiting.front().request;
	// Read and checked anew: it is its sender's memory.
	if (const auto wrong = fill(slot, first->op, first)) {
		xseg::RequestRef refused = std::move(first);
		m_waiting.pop_front();
		m_port->respond(std::move(refused), wireStatus(*wrong));
		return true;
	}
	const uint64_t bytes = slot.room == Room::Needs ? Headroom::cost(slot.data.size(), slot.op != Op::ObjWrite) : 0;
	const bool probe = m_headroom.refused();
	const bool room = probe ? m_headroom.takeAsProbe(bytes) : m_headroom.take(bytes);
	if (!room && !justLooked) return false;
	if (!room && m_fullPolicy == FullPolicy::Pause) {
		setFull(true);
		return false;
	}
	const uint64_t arrival = m_waiting.front().arrival;
	xseg::RequestRef request = std::move(first);
	m_waiting.pop_front();
	setFull(!room);
	if (!room) {
		request->serviced = 0;
		m_port->respond(std::move(request), wireStatus(ErrorCode::NoSpace));
		return true;
	}
	Slot *taken = takeSlot(std::move(request));
	taken->arrival = arrival;
	taken->taken = bytes;
	taken->probe = probe;
	m_store->submit(*taken);
	return !probe; // those behind a probe wait for its end
}

void Blocker::setFull(bool full)
{
	const uint64_t now = runtime::Reactor::nowNs();
	if (full == m_full || now - m_fullToldNs < kTellEachNs) return;
	m_full = full;
	m_fullToldNs = now;
	if (!full)
		m_log->warn("{}: there is room for data again", m_role.name);
	else
		m_log->error("{}: {} is full: no more than {} MiB are free, and these are kept for metadata (RESERVE). Writes that need room {}. "
		             "Make room on its file system or enlarge it.", m_role.name,
		             m_role.archipDir.empty() ? "the store" : m_role.archipDir, m_reserveBytes >> 20,
		             m_fullPolicy == FullPolicy::Pause ? "wait and go on by themselves then" : "fail with E-NOSPACE");
}

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

std::unique_ptr<runtime::Peer> makeBlocker(const runtime::PeerContext &context, const RoleConfig &role)
{
	FileStoreOptions options;
	options.dir = role.archipDir;
	options.role = role.name;
	options.purpose = purposeOf(context.config, role);
	options.owner = thisHost();
	options.fdcache = role.fdcache;
	options.direct = role.direct;
	return makeBlocker(context, role, std::make_unique<FileStore>(context.reactor, std::move(options)));
}

} // namespace archipelago::store
