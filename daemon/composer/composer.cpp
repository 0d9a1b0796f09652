// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The control port, and who owns what: the composer owns volumes and sessions; a session refers to its volume, which
// stays until its last session is gone.
//
// VolAttach: a port is chosen and bound first (so that nothing has to be undone at the mapper when there is none), then the
// client's request goes on to the mapper as MapAttach, and comes back with the volume. VolList goes through in the same way.
// A volume that lives on another shard (base/shards.h) is not attached here: its client is told to ask there.
//
// Who dies: a client that is gone detaches nothing, so its sessions are looked for every kSweepMs, and when no port is free (the
// mapper sees by itself who is gone, so that no volume is in use for that long). A session whose mapper is gone is of no use to
// its client either; it ends as soon as nothing of it is in flight, and the client sees that its port is not bound any more.
// When this process dies its attachments at the mapper die with it: the mapper looks for them.
#include "daemon/composer/composer.h"

#include "daemon/base/text.h"
#include "daemon/composer/session.h"

#include <algorithm>
#include <map>
#include <random>

namespace archipelago::composer {

namespace {

using runtime::ServedPort;
using runtime::Task;

constexpr uint32_t kControlInflight = 64;
constexpr uint64_t kSweepMs = 2000;

class Composer : public runtime::Peer, private runtime::PortHandler, private SessionHost {
public:
	Composer(const runtime::PeerContext &context, const RoleConfig &role)
	    : m_reactor(context.reactor), m_shard(context.shard), m_role(roleOfShard(role, context.shard)),
	      m_mapper(static_cast<xseg::PortNo>(role.mapperPort + context.shard.index)), m_log(roleLogger(role.name)),
	      m_buffers(context.reactor.segment(), static_cast<xseg::PortNo>(m_role.portnoStart)),
	      m_contexts(context.reactor.segment().geometry().requests), m_sweep(context.reactor, [this] { sweep(); }),
	      m_removal(context.reactor, [this] { removeClosed(); })
	{
		std::random_device random;
		m_lastKey = uint64_t{random()} << 32 | random();
	}

	Task<Result<void>> start() override;
	Task<Result<void>> stop() override;
	uint32_t inflight() const override { return m_inflight; }

private:
	void onRequest(ServedPort &port, xseg::RequestRef request) override;
	void onReply(ServedPort &port, xseg::RequestRef request) override;
	void began() override;
	void ended() override;
	void closed(xseg::PortNo port, uint32_t handle) override;
	uint32_t zeros() override;
	IoContexts &contexts() override { return m_contexts; }
	spdlog::logger &log() override { return *m_log; }

	void attach(xseg::RequestRef request);
	Result<Session *> freeSession(uint32_t client);
	bool sweep();
	bool deadAreBusy(const VolumeId &volume);
	uint32_t mapperLife() const
	{
		return runtime::portLife(m_reactor.segment(), m_mapper);
	}
	void attached(xseg::RequestRef request);
	Result<void> openSession(Session &session, AttachReply &reply, std::string name);
	void pauseSessions(bool paused);
	void remove(xseg::PortNo port);
	void removeClosed();
	bool anyDetaching() const;
	Task<Result<void>> detachFromMapper(uint32_t handle);
	Task<void> letGo(uint32_t handle);

	runtime::Reactor &m_reactor;
	const Shard m_shard;
	const RoleConfig m_role;     ///< mapperPort: shard 0's, for what goes by name
	const xseg::PortNo m_mapper; ///< of our shard: where our volumes are
	std::shared_ptr<spdlog::logger> m_log;
	xseg::BufferPool m_buffers;
	std::map<VolumeId, std::unique_ptr<Volume>> m_volumes;
	std::map<xseg::PortNo, std::unique_ptr<Session>> m_sessions;
	IoContexts m_contexts; ///< after the sessions: it may hold requests of theirs
	std::unique_ptr<ServedPort> m_control;
	std::optional<runtime::Caller> m_caller;
	runtime::Timer m_sweep, m_removal;
	std::vector<xseg::PortNo> m_closed; ///< sessions that are over, to be removed
	uint64_t m_lastKey = 0;   ///< of a session; begins somewhere, so that no two lives of a composer give the same
	uint32_t m_zeros = XS_NO_BUFFER; ///< nobody writes to it, so it may be read for any number of writes at once
	uint32_t m_inflight = 0;  ///< client requests let in
	uint32_t m_attaching = 0, m_lettingGo = 0;
	bool m_paused = false, m_stopping = false;
	runtime::WaitList m_changed; ///< an attachment or a session ended; waited for by stop()
};

Task<Result<void>> Composer::start()
{
	const xseg::StatsSubject counted = runtime::statsOfRole(m_role.name);
	auto control = ServedPort::bind(m_reactor, m_buffers, static_cast<xseg::PortNo>(m_role.portnoStart), kControlInflight, *this, &counted);
	if (!control) co_return tl::unexpected<Error>(control.error().within(m_role.name));
	m_control = std::move(*control);
	m_caller.emplace(*m_control);
	m_sweep.startMs(kSweepMs);
	m_log->info("serves ports {}..{}", m_role.portnoStart, m_role.portnoEnd);
	co_return Result<void>{};
}

/// Drains and detaches. Whoever still sends gets E-PEER. Flushes nothing: closing a volume is the mapper's business.
Task<Result<void>> Composer::stop()
{
	m_stopping = true; // no new attachment; volumes stay until the end of this function
	m_sweep.cancel();
	while (m_attaching || m_lettingGo) co_await m_changed.wait();
	for (auto &entry : m_volumes) entry.second->freeze.freeze();
	for (auto &entry : m_volumes) co_await entry.second->freeze.drained();
	for (auto &entry : m_volumes) entry.second->freeze.refuseHeld();
	pauseSessions(true); // what comes now stays in the rings and fails back when they go
	while (anyDetaching() || m_lettingGo) co_await m_changed.wait();

	Result<void> first;
	for (auto &entry : m_sessions) {
		if (entry.second->mapperLost()) continue;
		const uint32_t handle = entry.second->handle();
		Result<void> detached = co_await detachFromMapper(handle);
		if (!detached && first) first = std::move(detached);
	}
	// Out of the handlers that woke us: ports and caller must not be destroyed under them.
	co_await m_reactor.sleepMs(0);
	m_sessions.clear();
	m_volumes.clear();
	m_caller.reset();
	m_control.reset();
	if (m_zeros != XS_NO_BUFFER) m_buffers.free(std::exchange(m_zeros, XS_NO_BUFFER));
	co_return std::move(first);
}

void Composer::onRequest(ServedPort &port, xseg::RequestRef request)
{
	switch (static_cast<Op>(request->op)) {
	case Op::Ping: return port.respond(std::move(request), 0);
	case Op::VolAttach: return attach(std::move(request));
	case Op::VolList:
		m_contexts[request.index()].begin(false);
		m_contexts[request.index()].step = IoContext::Step::List;
		request.alter(); // from here on it is nothing that a successor of ours could take up
		request->op = static_cast<uint16_t>(Op::CatList);
		return port.forward(std::move(request), static_cast<xseg::PortNo>(m_role.mapperPort));
	default:
		return runtime::respondControl(port, std::move(request),
		                               failure(ErrorCode::Unsupported, "vlmcd does not know this operation."));
	}
}

void Composer::onReply(ServedPort &port, xseg::RequestRef request)
{
	if (request->npath == 0) {
		m_caller->deliver(request);
		return;
	}
	if (m_contexts[request.index()].step == IoContext::Step::Attach) return attached(std::move(request));
	const auto code = errorFromWire(request->status);
	request->op = static_cast<uint16_t>(Op::VolList);
	port.respond(std::move(request), code ? wireStatus(*code) : 0);
}

// ---- attach

void Composer::attach(xseg::RequestRef request)
{
	const auto refuse = [&](Error error) {
		runtime::respondControl(*m_control, std::move(request), tl::unexpected<Error>(std::move(error)));
	};
	if (m_stopping) return refuse({ErrorCode::Peer, "Cannot attach: " + m_role.name + " is stopping."});
	auto args = request.args<AttachArgs>();
	const uint64_t nameBytes = request->size;
	if (args.holder > Holder::Tool || args.readOnly > 1 || args.onlyIfOpened > 1 || !nameBytes || nameBytes > kMaxNameBytes ||
	    nameBytes > request.data().size())
		return refuse({ErrorCode::Invalid, "Cannot attach: the request is malformed."});
	auto session = freeSession(request->path[0]);
	if (!session) return refuse(std::move(session.error()));

	IoContext &context = m_contexts[request.index()];
	context.begin(false);
	context.step = IoContext::Step::Attach;
	context.whole = (*session)->port().number();
	++m_attaching;
	args.shard = static_cast<uint8_t>(m_shard.index);
	args.shards = static_cast<uint8_t>(m_shard.count);
	request.setArgs(args);
	request->op = static_cast<uint16_t>(Op::MapAttach);
	m_control->forward(std::move(request), static_cast<xseg::PortNo>(m_role.mapperPort));
}

/// A session for the client of that path entry, on the lowest port that is free.
Result<Session *> Composer::freeSession(uint32_t client)
{
	Session::Origin origin;
	origin.key = ++m_lastKey ? m_lastKey : ++m_lastKey;
	origin.client = client;
	origin.mapperLife = mapperLife();
	for (uint32_t port = m_role.portnoStart + 1; port <= m_role.portnoEnd; ++port) {
		const auto number = static_cast<xseg::PortNo>(port);
		if (m_sessions.contains(number)) continue;
		auto session = Session::create(*this, m_reactor, m_buffers, number, origin);
		if (!session) return tl::unexpected<Error>(session.error().within("Cannot attach"));
		if (m_paused) (*session)->port().pauseRequests(true);
		return m_sessions.emplace(number, std::move(*session)).first->second.get();
	}
	if (sweep()) return failure(ErrorCode::Peer, "Cannot attach: ports of clients that died are just being freed. Try again.");
	const uint32_t limit = m_role.portnoEnd - m_role.portnoStart;
	return failure(ErrorCode::Limit, "Cannot attach: all " + std::to_string(limit) + " client ports of " + m_role.name +
	                                     " are in use. Disconnect clients, or raise portno_end of [" + m_role.name + "].");
}

void Composer::attached(xseg::RequestRef request)
{
	IoContext &context = m_contexts[request.index()];
	const auto number = static_cast<xseg::PortNo>(context.whole);
	context.step = IoContext::Step::None;
	--m_attaching;
	request->op = static_cast<uint16_t>(Op::VolAttach);
	const auto data = request.data();
	std::string name(reinterpret_cast<const char *>(data.data()), std::min<size_t>(data.size(), request->size));
	const auto code = errorFromWire(request->status);
	Session &session = *m_sessions.at(number);
	if (code) {
		remove(number);
		m_control->respond(std::move(request), wireStatus(*code)); // with the mapper's message
	} else if (request.args<AttachReply>().elsewhere) {
		remove(number);
		const auto reply = request.args<AttachReply>(); // whose volume it is, for the client
		const bool ours = shardOf(reply.volume, m_shard.count) == m_shard.index;
		const Result<void> told = ours ? Result<void>(failure(ErrorCode::Corrupt, "The mapper sends a client away from where its volume is."))
		                               : Result<void>();
		runtime::respondControl(*m_control, std::move(request), told);
	} else if (mapperLife() != session.origin().mapperLife) {
		remove(number); // a handle of a mapper that is gone is worth nothing
		const std::string text = "Cannot attach to " + printable(name) + ": mapperd has just stopped.";
		runtime::respondControl(*m_control, std::move(request), failure(ErrorCode::Peer, text));
	} else {
		auto reply = request.args<AttachReply>();
		const Result<void> opened = deadAreBusy(reply.volume) ? failure(ErrorCode::Peer, "Cannot attach to " + printable(name) +
		                                                                ": I/O of a client that died is still under way. Try again.")
		                                                      : openSession(session, reply, std::move(name));
		if (opened) {
			reply.sessionPort = number;
			reply.handle = 0;
			reply.key = session.origin().key;
			request.setArgs(reply);
		} else {
			runtime::spawn(letGo(reply.handle));
			remove(number);
		}
		runtime::respondControl(*m_control, std::move(request), opened);
	}
	m_changed.wakeAll();
}

Result<void> Composer::openSession(Session &session, AttachReply &reply, std::string name)
{
	if (reply.volume.isZero() || reply.blockShift != kBlockShift || reply.sizeBytes > kMaxVolumeBytes || reply.readOnly > 1 ||
	    shardOf(reply.volume, m_shard.count) != m_shard.index)
		return failure(ErrorCode::Corrupt, "Cannot attach " + name + ": the mapper describes a volume that cannot exist.");
	auto &volume = m_volumes[reply.volume];
	if (!volume) {
		volume = std::make_unique<Volume>();
		volume->id = reply.volume;
		volume->name = std::move(name);
	}
	volume->sizeBytes = reply.sizeBytes;
	++volume->sessions;
	BlockIo::Route route;
	route.mapper = m_mapper;
	route.blocker = static_cast<xseg::PortNo>(m_role.blockerPort);
	route.mapperLife = session.origin().mapperLife;
	route.handle = reply.handle;
	route.volume = volume->name;
	session.open(*volume, route, reply.readOnly == 1);
	return {};
}

// ---- sessions

void Composer::began()
{
	if (++m_inflight < m_role.nrOps || m_paused) return;
	m_paused = true;
	pauseSessions(true);
}

void Composer::ended()
{
	--m_inflight;
	// A quarter of slack, so that a busy role does not walk through its sessions for every request.
	if (!m_paused || m_inflight > m_role.nrOps - m_role.nrOps / 4) return;
	m_paused = false;
	pauseSessions(false);
}

void Composer::pauseSessions(bool paused)
{
	for (auto &entry : m_sessions) entry.second->port().pauseRequests(paused);
}

void Composer::closed(xseg::PortNo port, uint32_t handle)
{
	if (handle) runtime::spawn(letGo(handle));
	m_closed.push_back(port);
	if (!m_removal.active()) m_removal.startMs(0);
}

/// Not from within the session's own handler; and its answer may still wait for room in the client's ring.
void Composer::removeClosed()
{
	const auto idle = [this](xseg::PortNo port) { return m_sessions.at(port)->port().idle(); };
	const auto kept = std::partition(m_closed.begin(), m_closed.end(), [&idle](xseg::PortNo port) { return !idle(port); });
	std::for_each(kept, m_closed.end(), [this](xseg::PortNo port) { remove(port); });
	m_closed.erase(kept, m_closed.end());
	if (!m_closed.empty()) m_removal.startMs(1);
	m_changed.wakeAll();
}

/// Ends sessions that serve nobody any more. True when some of them are ending.
bool Composer::sweep()
{
	bool ending = false;
	for (auto &entry : m_sessions) {
		Session &session = *entry.second;
		const bool useless = session.mapperLost() || runtime::hasGone(m_reactor.segment(), session.origin().client);
		if (session.state() == Session::State::Open && useless) session.leave();
		ending |= session.state() == Session::State::Detaching || session.state() == Session::State::Closed;
	}
	if (!m_sweep.active()) m_sweep.startMs(kSweepMs);
	return ending;
}

/// A client that died has I/O under way on this volume. Whoever comes next has to wait for its end: nobody was told of those
/// writes, but ending late they would overwrite what the next one is told is written. This is for clients with other ports than
/// the dead one's: its successor starts only when all its requests are home (xseg/recovery.h), whether we have lived through that
/// or not. A successor of ours does not see such I/O of a client that died before: with a second kind of gateway it will have to.
bool Composer::deadAreBusy(const VolumeId &volume)
{
	bool busy = false;
	for (auto &entry : m_sessions) {
		Session &session = *entry.second;
		if (!session.volume() || session.volume()->id != volume || !runtime::hasGone(m_reactor.segment(), session.origin().client)) continue;
		if (session.state() == Session::State::Open) session.leave();
		busy |= session.inflight() != 0;
	}
	return busy;
}

/// Taken when it is needed for the first time, then kept.
uint32_t Composer::zeros()
{
	if (m_zeros != XS_NO_BUFFER) return m_zeros;
	const uint32_t buffer = m_buffers.allocate(kFillBytes);
	if (buffer == XS_NO_BUFFER) return buffer;
	const auto bytes = m_reactor.segment().buffer(buffer, 0, kFillBytes);
	if (!bytes) { // somebody wrote over the table of slabs
		m_buffers.free(buffer);
		return XS_NO_BUFFER;
	}
	std::memset(bytes->data(), 0, bytes->size());
	return m_zeros = buffer;
}

void Composer::remove(xseg::PortNo port)
{
	const auto at = m_sessions.find(port);
	Volume *volume = at->second->volume();
	m_sessions.erase(at);
	if (volume && --volume->sessions == 0 && !m_stopping) m_volumes.erase(volume->id);
}

bool Composer::anyDetaching() const
{
	for (const auto &entry : m_sessions)
		if (entry.second->state() != Session::State::Open) return true;
	return false;
}

Task<Result<void>> Composer::detachFromMapper(uint32_t handle)
{
	xseg::RequestRef request = co_await m_caller->acquire(0);
	request->op = static_cast<uint16_t>(Op::MapDetach);
	MapArgs args;
	args.handle = handle;
	request.setArgs(args);
	const xseg::RequestRef reply = co_await m_caller->call(std::move(request), m_mapper);
	Result<void> result = runtime::controlResult(reply, "Cannot detach a volume");
	if (!result && result.error().code == ErrorCode::Peer) result = {}; // it has gone, and the attachment with it
	co_return std::move(result);
}

/// Gives back an attachment that no session can use.
Task<void> Composer::letGo(uint32_t handle)
{
	++m_lettingGo;
	const Result<void> detached = co_await detachFromMapper(handle);
	if (!detached) m_log->warn("{}", detached.error().message);
	--m_lettingGo;
	m_changed.wakeAll();
}

} // namespace

std::unique_ptr<runtime::Peer> makeComposer(const runtime::PeerContext &context, const RoleConfig &role)
{
	return std::make_unique<Composer>(context, role);
}

} // namespace archipelago::composer
