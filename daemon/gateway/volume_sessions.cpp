// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Opening, sharing, listing and closing. An attachment that was granted is always given back, whatever fails afterwards.
#include "daemon/gateway/volume_sessions.h"

#include <algorithm>

namespace archipelago::gateway {

using runtime::Task;

namespace {

constexpr uint32_t kControlInflight = 64;
constexpr uint32_t kListBytes = 64 * 1024;
constexpr unsigned kAttachHops = 4; ///< the name may go to another volume between two of them
constexpr uint16_t kStateLive = 1;
constexpr uint64_t kWatchMs = 500;     ///< an idle session learns this late that its composer has gone
constexpr uint64_t kOpenRetryMs = 50;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr size_t kMaxListed = 1u << 16; ///< nobody picks from more, and a broken peer must not fill our memory

/// Errors that end by themselves: I/O waits for that rather than failing.
bool passes(ErrorCode code)
{
	switch (code) {
	case ErrorCode::Peer:
	case ErrorCode::Busy:
	case ErrorCode::Locked:
	case ErrorCode::NoSpace:
	case ErrorCode::Limit:
	case ErrorCode::Timeout:
	case ErrorCode::Cancelled: return true;
	default: return false;
	}
}

} // namespace

void OpenVolume::reset()
{
	if (VolumeSession *session = std::exchange(m_session, nullptr)) m_sessions->release(*session);
}

VolumeSessions::VolumeSessions(runtime::Reactor &reactor, spdlog::logger &log, const Options &options)
    : m_reactor(reactor), m_log(log), m_options(options), m_buffers(reactor.segment(), options.firstPort),
      m_table(reactor.segment().geometry().requests, nullptr), m_watch(reactor, [this] { watch(); })
{
}

VolumeSessions::~VolumeSessions() = default;

Result<void> VolumeSessions::start()
{
	auto control = runtime::ServedPort::bind(m_reactor, m_buffers, m_options.firstPort, kControlInflight, *this);
	if (!control) return tl::unexpected<Error>(control.error());
	m_control = std::move(*control);
	m_caller.emplace(*m_control);
	return {};
}

void VolumeSessions::beginStop()
{
	if (std::exchange(m_stopping, true)) return;
	m_giveUpNs = runtime::Reactor::nowNs() + kStopPatienceMs * kNsPerMs;
}

bool VolumeSessions::patienceIsOver() const { return m_stopping && runtime::Reactor::nowNs() >= m_giveUpNs; }

Task<Result<void>> VolumeSessions::stop()
{
	beginStop();
	while (!m_sessions.empty()) co_await m_closed.wait();
	co_await m_reactor.sleepMs(0); // out of the handler that woke us: its port goes now
	m_watch.cancel();
	m_caller.reset();
	m_control.reset();
	co_return std::move(m_closeResult);
}

uint32_t VolumeSessions::inflight() const
{
	uint32_t sum = 0;
	for (const auto &session : m_sessions) sum += session->inflight();
	return sum;
}

void VolumeSessions::onRequest(runtime::ServedPort &port, xseg::RequestRef request)
{
	if (static_cast<Op>(request->op) == Op::FrontClients && m_options.clients) return tellClients(port, std::move(request));
	const bool ping = static_cast<Op>(request->op) == Op::Ping;
	port.respond(std::move(request), ping ? 0 : wireStatus(ErrorCode::Unsupported));
}

void VolumeSessions::tellClients(runtime::ServedPort &port, xseg::RequestRef request)
{
	const uint64_t length = request->size;
	const auto data = request.data();
	if (length > kMaxNameBytes || length > data.size())
		return runtime::respondControl(port, std::move(request), failure(ErrorCode::Invalid, "That is no name of a volume."));
	const std::string name(reinterpret_cast<const char *>(data.data()), length);
	const std::string text = m_options.clients(name);
	const size_t bytes = std::min(text.size(), data.size());
	std::memcpy(data.data(), text.data(), bytes);
	request->serviced = bytes;
	port.respond(std::move(request), 0);
}

void VolumeSessions::onReply(runtime::ServedPort &, xseg::RequestRef request) { m_caller->deliver(request); }

// ---- open

Task<Result<OpenVolume>> VolumeSessions::open(std::string name)
{
	Result<AttachReply> attached = co_await attachPatiently(name);
	if (!attached) co_return tl::unexpected<Error>(attached.error());
	VolumeSession *shared = find(attached->volume);
	Result<VolumeSession *> session = shared ? Result<VolumeSession *>(shared) : create(name, *attached);
	OpenVolume opened;
	if (session) opened = OpenVolume(*this, **session);
	if (shared) shared->setSize(attached->sizeBytes);
	if (opened && !shared) co_return std::move(opened);

	// This attachment is not needed. `opened` holds the volume meanwhile, so that it does not close in between.
	const Result<void> detached = co_await detach(*attached);
	if (!detached) m_log.warn("{}: {}", name, detached.error().message);
	if (!session) co_return tl::unexpected<Error>(session.error().within("Cannot open " + name));
	co_return std::move(opened);
}

/// Composer or mapper may just be away.
Task<Result<AttachReply>> VolumeSessions::attachPatiently(std::string name)
{
	const uint64_t until = runtime::Reactor::nowNs() + kOpenPatienceMs * kNsPerMs;
	for (;;) {
		Result<AttachReply> attached = co_await attach(name, m_options.onlyOpened);
		const bool wait = !attached && attached.error().code == ErrorCode::Peer && runtime::Reactor::nowNs() < until;
		if (!wait || patienceIsOver()) co_return std::move(attached);
		co_await m_reactor.sleepMs(kOpenRetryMs);
	}
}

xseg::PortNo VolumeSessions::composerOf(uint32_t shard) const
{
	const uint32_t count = m_options.shard.count;
	if (count == 1) return m_options.composerPort;
	return static_cast<xseg::PortNo>(portsOfShard(m_options.composerPort, m_options.composerPortEnd, {shard, count}).first);
}

/// At the composer of the volume's shard, which is found out by asking our own.
Task<Result<AttachReply>> VolumeSessions::attach(std::string name, bool onlyIfOpened)
{
	uint32_t shard = m_options.shard.index;
	for (unsigned hops = 0; hops < kAttachHops; ++hops) {
		Result<AttachReply> attached = co_await attachAt(composerOf(shard), name, onlyIfOpened);
		if (!attached || !attached->elsewhere) co_return std::move(attached);
		const uint32_t there = shardOf(attached->volume, m_options.shard.count);
		if (there == shard)
			co_return failure(ErrorCode::Config, "Cannot open " + name + ": vlmcd runs with another number of reactors than this "
			                                     "gateway. Give all hosts the same number, then: archipelago restart");
		shard = there;
	}
	co_return failure(ErrorCode::Peer, "Cannot open " + name + ": its name changes hands all the time. Try again.");
}

Task<Result<AttachReply>> VolumeSessions::attachAt(xseg::PortNo composer, std::string name, bool onlyIfOpened)
{
	ARCHIPELAGO_ASSERT(!name.empty() && name.size() <= kMaxNameBytes);
	xseg::RequestRef request = co_await m_caller->acquire(kControlBytes);
	const auto data = request.data();
	std::memcpy(data.data(), name.data(), name.size());
	request->op = static_cast<uint16_t>(Op::VolAttach);
	request->size = name.size();
	AttachArgs args;
	args.holder = m_options.holder;
	args.onlyIfOpened = onlyIfOpened;
	request.setArgs(args);
	const xseg::RequestRef reply = co_await m_caller->call(std::move(request), composer);
	const Result<void> result = runtime::controlResult(reply, "Cannot open " + name);
	if (!result) co_return tl::unexpected<Error>(result.error());
	const auto attached = reply.args<AttachReply>();
	if (attached.blockShift != kBlockShift || attached.sizeBytes > kMaxVolumeBytes || attached.sizeBytes % VolumeShape::kAlignment) {
		co_return failure(ErrorCode::Corrupt, "Cannot open " + name + ": the composer describes a volume that cannot exist.");
	}
	co_return attached;
}

VolumeSession *VolumeSessions::find(const VolumeId &volume)
{
	for (const auto &session : m_sessions)
		if (!session->closing && session->state() != VolumeSession::State::Failed && session->volume() == volume) return session.get();
	return nullptr;
}

/// Of the free ports the one that has counted for this volume before, so that it goes on; else one without counters, so that
/// those of another volume stay; else the lowest.
std::optional<xseg::PortNo> VolumeSessions::choosePort(const VolumeId &volume) const
{
	std::vector<bool> taken(m_options.lastPort + 1u);
	for (const auto &session : m_sessions) taken[session->port()] = true;
	std::optional<xseg::PortNo> lowest, unused;
	for (uint32_t n = m_options.firstPort + 1u; n <= m_options.lastPort; ++n) {
		const auto port = static_cast<xseg::PortNo>(n);
		if (taken[port]) continue;
		if (xseg::statsAreAbout(m_reactor.segment(), port, static_cast<uint32_t>(CounterKind::Volume), volume.bytes)) return port;
		if (!lowest) lowest = port;
		if (!unused && xseg::statsUnused(m_reactor.segment(), port)) unused = port;
	}
	return unused ? unused : lowest;
}

/// A session of its own.
Result<VolumeSession *> VolumeSessions::create(std::string name, const AttachReply &attached)
{
	if (const auto port = choosePort(attached.volume)) {
		auto session = VolumeSession::bind(*this, m_reactor, m_buffers, *port, std::move(name), attached);
		if (!session) return tl::unexpected<Error>(session.error());
		m_sessions.push_back(std::move(*session));
		if (!m_watch.active()) m_watch.startMs(kWatchMs);
		return m_sessions.back().get();
	}
	return failure(ErrorCode::Limit, "all " + std::to_string(m_options.lastPort - m_options.firstPort) +
	                                     " client ports of this gateway are in use. Disconnect clients, or raise its portno_end.");
}

// ---- again

void VolumeSessions::watch()
{
	for (const auto &session : m_sessions) session->look();
	if (!m_sessions.empty()) m_watch.startMs(kWatchMs);
}

void VolumeSessions::attachAnew(VolumeSession &session) { runtime::spawn(bringBack(session)); }

/// The session stays meanwhile: close() waits for the end of this.
Task<void> VolumeSessions::bringBack(VolumeSession &session)
{
	co_await m_reactor.sleepMs(0); // out of the handler that found it out
	// The composer may have lost no more than its mapper: then it has our session still, and its port.
	const Result<void> detached = co_await detach(session.attachment());
	(void)detached; // whatever it says, that attachment is over
	ErrorCode told = ErrorCode::Peer;
	Error why{ErrorCode::Peer, "vlmcd did not come back before this gateway was stopped."};
	while (!session.closing && !patienceIsOver()) {
		if (const uint64_t delay = session.nextDelayMs()) co_await m_reactor.sleepMs(delay);
		Result<AttachReply> attached = co_await attach(session.name(), false);
		if (attached && attached->volume == session.volume() && attached->sizeBytes >= session.shape().sizeBytes) {
			session.resume(*attached);
			break;
		}
		if (!attached && passes(attached.error().code)) {
			if (std::exchange(told, attached.error().code) != attached.error().code)
				m_log.warn("volume {} still waits: {}", session.name(), attached.error().message);
			continue;
		}
		if (attached) {
			const bool other = attached->volume != session.volume();
			why = other ? Error{ErrorCode::NotFound, "The volume of that name is another one now."}
			            : Error{ErrorCode::Io, "The volume has become smaller meanwhile."};
			const Result<void> givenBack = co_await detach(*attached);
			if (!givenBack) m_log.warn("{}: {}", session.name(), givenBack.error().message);
		} else {
			why = std::move(attached.error());
		}
		break;
	}
	if (session.state() == VolumeSession::State::Away) session.giveUp(why);
	m_settled.wakeAll();
}

// ---- close

void VolumeSessions::release(VolumeSession &session)
{
	if (--session.users) return;
	ARCHIPELAGO_ASSERT(session.inflight() == 0);
	session.closing = true;
	runtime::spawn(close(session));
}

Task<void> VolumeSessions::close(VolumeSession &session)
{
	co_await m_reactor.sleepMs(0); // out of its handlers
	while (session.state() == VolumeSession::State::Away) co_await m_settled.wait();
	Result<void> detached;
	if (session.state() == VolumeSession::State::Attached) detached = co_await detach(session.attachment());
	if (!detached) {
		m_log.warn("{}", detached.error().message);
		if (m_closeResult) m_closeResult = std::move(detached);
	}
	std::erase_if(m_sessions, [&](const auto &s) { return s.get() == &session; });
	m_closed.wakeAll();
}

Task<Result<void>> VolumeSessions::detach(AttachReply attached)
{
	xseg::RequestRef request = co_await m_caller->acquire(0);
	request->op = static_cast<uint16_t>(Op::VolDetach);
	request.setArgs(VolumeArgs{.key = attached.key});
	const xseg::RequestRef reply = co_await m_caller->call(std::move(request), attached.sessionPort);
	Result<void> result = runtime::controlResult(reply, "Cannot detach a volume");
	if (!result && result.error().code == ErrorCode::Peer) result = {}; // it is gone, and our attachment with it
	co_return std::move(result);
}

// ---- list

Task<Result<std::vector<std::string>>> VolumeSessions::list()
{
	std::vector<std::string> names;
	uint64_t cursor = 0;
	do {
		xseg::RequestRef request = co_await m_caller->acquire(kListBytes);
		request->op = static_cast<uint16_t>(Op::VolList);
		ListArgs args;
		args.cursor = cursor;
		request.setArgs(args);
		const xseg::RequestRef reply = co_await m_caller->call(std::move(request), composerOf(m_options.shard.index));
		const Result<void> result = runtime::controlResult(reply, "Cannot list volumes");
		if (!result) co_return tl::unexpected<Error>(result.error());
		const auto data = reply.data();
		const uint64_t bytes = std::min<uint64_t>(reply->serviced, data.size());
		for (uint64_t at = 0; at + sizeof(VolumeInfo) <= bytes; at += sizeof(VolumeInfo)) {
			VolumeInfo info;
			std::memcpy(&info, data.data() + at, sizeof info);
			const bool offered = !info.error && info.state == kStateLive && (info.openedExplicitly || !m_options.onlyOpened);
			if (offered && info.nameLength <= kMaxNameBytes) names.emplace_back(info.name, info.nameLength);
		}
		cursor = reply.args<ListArgs>().cursor;
		if (!bytes) cursor = 0;
	} while (cursor && names.size() < kMaxListed);
	co_return std::move(names);
}

} // namespace archipelago::gateway
