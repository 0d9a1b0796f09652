// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The gateway as a peer: accepts clients and gives each a coroutine that owns all it has, from its first byte to its last:
// handshake, then connection. Stop: no new clients; those that negotiate are cut off; those that transmit are answered
// what they have in flight, then closed. Nothing is flushed: what a client wants durable it has flushed. Sockets are not handed
// to a successor: a client has to connect again anyway when a gateway is killed, and does the same after a restart.
//
// With several shards (base/shards.h) shard 0 listens and negotiates, and opens the volume for that as it would for itself. Then it
// gives socket and agreement to the shard of the volume, which opens it too and serves the client on its own thread.
#include "daemon/gateway/nbd/server.h"

#include "daemon/gateway/nbd/connection.h"
#include "daemon/gateway/nbd/handshake.h"
#include "daemon/gateway/nbd/listener.h"
#include "daemon/runtime/reactor_thread.h"

#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <list>

namespace archipelago::gateway::nbd {

namespace {

using runtime::Task;

constexpr size_t kMaxClients = 200;
constexpr size_t kMaxNamed = 16;          ///< who asks for the clients is told so many
constexpr uint64_t kStallMs = 5000;       ///< a client that holds buffers and hardly moves is dropped after one to two of these, if others wait
constexpr uint64_t kAcceptRetryMs = 100;  ///< descriptors or memory are short
constexpr uint64_t kLeavingPollMs = 5;     ///< how often an open looks whether I/O of a lost connection has ended
constexpr uint64_t kLeavingPatienceMs = VolumeSessions::kOpenPatienceMs;
constexpr size_t kScratchBytes = 64 * 1024;

VolumeSessions::Options sessionOptions(const NbdConfig &config, Shard shard, std::function<std::string(std::string_view)> clients)
{
	VolumeSessions::Options options;
	const NbdConfig ours = nbdOfShard(config, shard);
	options.firstPort = static_cast<xseg::PortNo>(ours.portnoStart);
	options.lastPort = static_cast<xseg::PortNo>(ours.portnoEnd);
	options.composerPort = static_cast<xseg::PortNo>(config.composerPort);
	options.composerPortEnd = static_cast<xseg::PortNo>(config.composerPortEnd);
	options.shard = shard;
	options.holder = Holder::Nbd;
	options.onlyOpened = config.exports == NbdExports::Opened;
	options.clients = std::move(clients);
	return options;
}

/// Half of the segment's data for all shards: mapper and journal need buffers as well.
uint64_t budgetBytes(const xseg::Segment &segment, Shard shard) { return segment.geometry().dataBytes / 2 / shard.count; }

/// The largest request that can always be served: 32 MiB, less in a very small segment. A request whose ends are not aligned
/// to blocks costs up to half a block more than it is long (buffers are powers of two).
uint32_t maxRequestBytes(uint64_t budget)
{
	const uint64_t slack = kBlockBytes / 2;
	const uint64_t fits = budget > 2 * slack ? std::bit_floor(budget - slack) : slack / 2;
	return static_cast<uint32_t>(std::min<uint64_t>(fits, kMaximumRequest));
}

class NbdGateway : public runtime::Peer, private Exports {
public:
	explicit NbdGateway(const runtime::PeerContext &context)
	    : m_reactor(context.reactor), m_config(context.config.nbd), m_shard(context.shard), m_createDirs(context.createDirs),
	      m_log(roleLogger("nbd")),
	      m_volumes(m_reactor, *m_log, sessionOptions(m_config, m_shard, [this](std::string_view name) { return clientsOf(name); })),
	      m_budget(m_reactor, m_volumes.buffers(), budgetBytes(m_reactor.segment(), m_shard), kStallMs, [this] { dropStalled(); }),
	      m_scratch(kScratchBytes), m_connectionContext{m_reactor,
	                                                    m_budget,
	                                                    *m_log,
	                                                    m_scratch,
	                                                    m_dirty,
	                                                    context.config.ioTimeoutMs,
	                                                    maxRequestBytes(m_budget.limit())}
	{
	}

	Task<Result<void>> start() override;
	Task<Result<void>> stop() override;
	uint32_t inflight() const override { return m_volumes.inflight(); }
	/// The gateways of all shards, this one included, by shard. Before start().
	void setShards(std::vector<NbdGateway *> shards) { m_shards = std::move(shards); }

private:
	/// One client, from accept to the end.
	struct Client {
		xseg::UniqueFd fd;
		std::string label, volume;
		Connection *connection = nullptr; ///< while it transmits
	};
	/// A client on its way from shard 0, where it has negotiated, to the shard of its volume. Lives in shard 0's coroutine.
	struct Moving {
		xseg::UniqueFd fd;
		std::string label;
		Negotiated negotiated; ///< its volume: that of the new shard
		OpenVolume held;       ///< the volume as it is open in shard 0, and that thread's to touch
		VolumeId volume;
		std::string trouble; ///< why it is not served
	};

	Task<Result<OpenVolume>> open(std::string name) override;
	Task<Result<std::vector<std::string>>> list() override { return m_volumes.list(); }
	Task<void> acceptClients();
	void accepted(int fd);
	std::string clientsOf(std::string_view volume) const;
	Task<void> serve(std::list<Client>::iterator client);
	Task<void> transmit(Client &client, Negotiated &negotiated);
	Task<void> move(Client &client, Negotiated &negotiated, NbdGateway &to);
	Task<bool> takeOver(Moving &moving, NbdGateway &from);
	void endOfTurn();
	void dropStalled();

	runtime::Reactor &m_reactor;
	const NbdConfig &m_config;
	const Shard m_shard;
	std::vector<NbdGateway *> m_shards;
	bool m_createDirs;
	std::shared_ptr<spdlog::logger> m_log;
	VolumeSessions m_volumes;
	BufferBudget m_budget;
	std::vector<std::byte> m_scratch;
	std::vector<Connection *> m_dirty, m_ending;
	ConnectionContext m_connectionContext;
	std::optional<Listener> m_listener;
	std::list<Client> m_clients;
	uint64_t m_hook = 0;
	bool m_accepting = false, m_stopping = false, m_full = false;
	runtime::WaitList m_changed; ///< a client is gone, or accepting has ended
};

Task<Result<void>> NbdGateway::start()
{
	if (Result<void> bound = m_volumes.start(); !bound) co_return tl::unexpected<Error>(bound.error().within("nbd"));
	m_hook = m_reactor.addTurnHook([this] { endOfTurn(); });
	if (m_shard.index > 0) co_return Result<void>{}; // clients come from shard 0
	Listener::Options options;
	options.path = m_config.socket;
	options.mode = static_cast<mode_t>(m_config.mode);
	options.createDirs = m_createDirs;
	Result<Listener> listener = Listener::open(options);
	if (!listener) {
		const Result<void> stopped = co_await m_volumes.stop();
		(void)stopped; // nothing was open
		m_reactor.removeTurnHook(m_hook);
		co_return tl::unexpected<Error>(listener.error());
	}
	m_listener.emplace(std::move(*listener));
	m_accepting = true;
	runtime::spawn(acceptClients());
	m_log->info("listens on {}", m_config.socket);
	co_return Result<void>{};
}

Task<Result<void>> NbdGateway::stop()
{
	m_stopping = true;
	m_volumes.beginStop();
	if (m_listener) m_listener->shutdown();
	for (Client &client : m_clients) {
		if (client.connection)
			client.connection->stop();
		else
			::shutdown(client.fd.get(), SHUT_RDWR);
	}
	while (m_accepting || !m_clients.empty()) co_await m_changed.wait();
	if (m_listener) m_listener->close();
	m_listener.reset();
	Result<void> detached = co_await m_volumes.stop();
	m_reactor.removeTurnHook(m_hook);
	co_return std::move(detached);
}

/// A client that lost its connection connects again and sends again what was not answered, then goes on. What is in flight from
/// before must have ended by then: else an old copy of a write could land on top of a newer one that was acknowledged. Not for
/// ever: who waits is one of kMaxClients, and one stuck disk must not keep clients of other volumes out.
Task<Result<OpenVolume>> NbdGateway::open(std::string name)
{
	Result<OpenVolume> volume = co_await m_volumes.open(name);
	if (!volume) co_return std::move(volume);
	const auto leaving = [&volume](const Client &client) { return client.connection && client.connection->leavesBehind(*volume); };
	const uint64_t until = runtime::Reactor::nowNs() + kLeavingPatienceMs * 1'000'000u;
	while (std::ranges::any_of(m_clients, leaving)) {
		if (runtime::Reactor::nowNs() >= until)
			co_return failure(ErrorCode::Busy, "Cannot open " + name + ": I/O of a client that has left is still under way, and must "
			                                   "end first. Try again; if it never ends, is the store full, or the disk stuck? See: archipelago status");
		co_await m_reactor.sleepMs(kLeavingPollMs);
	}
	co_return std::move(volume);
}

Task<void> NbdGateway::acceptClients()
{
	while (!m_stopping) {
		const int32_t fd = co_await m_reactor.accept(m_listener->fd(), SOCK_CLOEXEC);
		if (fd >= 0) {
			accepted(fd);
		} else if (!m_stopping && fd != -EINTR && fd != -ECONNABORTED) {
			m_log->warn("cannot accept a client: {}", std::strerror(-fd));
			co_await m_reactor.sleepMs(kAcceptRetryMs);
		}
	}
	m_accepting = false;
	m_changed.wakeAll();
}

void NbdGateway::accepted(int fd)
{
	xseg::UniqueFd owned(fd);
	if (m_stopping) return;
	ucred peer{};
	socklen_t size = sizeof peer;
	if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return; // it is gone
	if (m_clients.size() >= kMaxClients) {
		if (!std::exchange(m_full, true))
			m_log->warn("refuses clients: {} are connected, the limit (now: pid {}, uid {})", kMaxClients, peer.pid, peer.uid);
		return;
	}
	m_full = false;
	Client client;
	client.fd = std::move(owned);
	client.label = "client " + std::to_string(peer.pid) + " (uid " + std::to_string(peer.uid) + ")";
	m_log->info("{} connected", client.label);
	m_clients.push_back(std::move(client));
	runtime::spawn(serve(std::prev(m_clients.end())));
}

/// "client 4711 (uid 0), client 4712 (uid 0)": those that transmit, the first of them by name.
std::string NbdGateway::clientsOf(std::string_view volume) const
{
	std::string text;
	size_t count = 0;
	for (const Client &client : m_clients) {
		if (client.volume.empty() || client.volume != volume || ++count > kMaxNamed) continue;
		text += (text.empty() ? "" : ", ") + client.label;
	}
	return count > kMaxNamed ? text + " and " + std::to_string(count - kMaxNamed) + " more" : text;
}

Task<void> NbdGateway::serve(std::list<Client>::iterator client)
{
	HandshakeLimits limits;
	limits.maxRequestBytes = m_connectionContext.maxRequestBytes;
	Result<Negotiated> negotiated = co_await handshake(m_reactor, client->fd.get(), *this, *m_log, limits);
	if (!negotiated && negotiated.error().code == ErrorCode::Cancelled)
		m_log->info("{}: {}", client->label, negotiated.error().message);
	else if (!negotiated)
		m_log->warn("{}: {}", client->label, negotiated.error().message);
	if (negotiated && !m_stopping) {
		m_log->info("{} uses {}", client->label, negotiated->name);
		client->volume = negotiated->name;
		const uint32_t shard = shardOf(negotiated->volume->volume(), m_shard.count);
		if (shard == m_shard.index)
			co_await transmit(*client, *negotiated);
		else
			co_await move(*client, *negotiated, *m_shards[shard]);
	}
	m_clients.erase(client);
	m_changed.wakeAll();
}

Task<void> NbdGateway::transmit(Client &client, Negotiated &negotiated)
{
	Connection::Terms terms;
	terms.volume = std::move(negotiated.volume);
	terms.dialect = negotiated.dialect;
	terms.label = client.label + " on " + negotiated.name;
	Connection connection(m_connectionContext, client.fd.get(), std::move(terms));
	client.connection = &connection;
	co_await connection.run();
	client.connection = nullptr;
}

/// Gives the client to the shard of its volume; comes back when it has been served. Until then it counts as ours.
Task<void> NbdGateway::move(Client &client, Negotiated &negotiated, NbdGateway &to)
{
	Moving moving;
	moving.fd = std::move(client.fd);
	moving.label = client.label;
	moving.volume = negotiated.volume->volume();
	moving.held = std::move(negotiated.volume);
	moving.negotiated = std::move(negotiated);
	std::function<Task<bool>()> job = [&moving, &to, this] { return to.takeOver(moving, *this); };
	if (!co_await runtime::runOn(m_reactor, to.m_reactor, std::move(job)))
		m_log->warn("{} is disconnected: {}", moving.label, moving.trouble);
}

/// Called by shard 0, on our thread. The volume stays open there until it is open here, so it does not close in between. False:
/// it cannot be opened here, or is another one now. A client that has left meanwhile is not served: what it has sent was never
/// answered, and one that came back since may be served already.
Task<bool> NbdGateway::takeOver(Moving &moving, NbdGateway &from)
{
	if (m_stopping) co_return true; // stop() may be over; otherwise it waits for this client
	m_clients.push_back(Client{std::move(moving.fd), moving.label, {}, nullptr});
	const auto client = std::prev(m_clients.end());
	Result<OpenVolume> volume = co_await open(moving.negotiated.name);
	from.m_reactor.postFromAnyThread([&moving] { moving.held.reset(); }); // before shard 0 goes on: mail keeps its order
	const bool good = volume && (*volume)->volume() == moving.volume;
	if (!good) moving.trouble = volume ? "The volume of that name is another one now." : std::move(volume.error().message);
	if (good && !m_stopping && !hasHungUp(client->fd.get())) {
		moving.negotiated.volume = std::move(*volume);
		co_await transmit(*client, moving.negotiated);
	}
	m_clients.erase(client);
	m_changed.wakeAll();
	co_return good || m_stopping;
}

/// Sends what this turn has brought. Answering may free room, room may let commands in that are answered at once: until
/// nothing is left. Each round uses up bytes that were received before, so this ends.
void NbdGateway::endOfTurn()
{
	for (;;) {
		m_budget.serve();
		if (m_dirty.empty()) return;
		m_ending.swap(m_dirty);
		for (Connection *connection : m_ending) connection->endOfTurn();
		m_ending.clear();
	}
}

void NbdGateway::dropStalled()
{
	for (Client &client : m_clients)
		if (client.connection && client.connection->stalled()) client.connection->evict();
}

} // namespace

std::unique_ptr<runtime::Peer> makeNbdGateway(const runtime::PeerContext &context)
{
	return std::make_unique<NbdGateway>(context);
}

std::vector<std::unique_ptr<runtime::Peer>> makeNbdGatewayShards(std::span<const runtime::PeerContext> shards)
{
	std::vector<std::unique_ptr<runtime::Peer>> out;
	std::vector<NbdGateway *> all;
	for (const runtime::PeerContext &shard : shards) {
		auto gateway = std::make_unique<NbdGateway>(shard);
		all.push_back(gateway.get());
		out.push_back(std::move(gateway));
	}
	for (NbdGateway *gateway : all) gateway->setShards(all);
	return out;
}

} // namespace archipelago::gateway::nbd
