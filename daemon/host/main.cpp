// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archip-host: runs the roles of one host process. Started by the supervisor with one end of a socket pair, over which come
// the segment, the bells and the configuration (daemon/base/host_protocol.h). Ends on {"stop"}, SIGTERM or SIGINT, after
// draining; goes on when its supervisor dies. With `reactors` above 1 every role runs on each of so many threads
// (daemon/base/shards.h); this one, the first, is the host's own as well.
#include "daemon/base/config.h"
#include "daemon/base/log.h"
#include "daemon/composer/composer.h"
#include "daemon/gateway/nbd/server.h"
#include "daemon/host/host_files.h"
#include "daemon/host/host_socket.h"
#include "daemon/mapper/mapper.h"
#include "daemon/runtime/host_process.h"
#include "daemon/runtime/reactor_thread.h"
#include "daemon/runtime/sharded_peer.h"
#include "daemon/store/blocker.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>

#include <nlohmann/json.hpp>

namespace archipelago::host {

namespace {

using nlohmann::json;
using runtime::HostProcess;
using runtime::Task;

/// The first message, checked.
struct StartOrder {
	std::string host, configText, configFile, runDir, stateDir;
	std::vector<std::string> without;
	uint32_t waiter = 0;
	bool trial = false, createDirs = false;
	std::vector<xseg::UniqueFd> fds;
};

Result<StartOrder> readOrder(xseg::ChannelMessage message)
{
	const json in = json::parse(message.text, nullptr, false);
	const auto broken = [](const char *what) { return failure(ErrorCode::Failed, std::string("The supervisor's start message ") + what + "."); };
	if (!in.is_object() || in.value("type", json()) != json("start")) return broken("is not one");
	StartOrder order;
	for (auto [key, to] : {std::pair{"host", &order.host}, {"config", &order.configText}, {"configFile", &order.configFile},
	                       {"runDir", &order.runDir}, {"stateDir", &order.stateDir}}) {
		const auto it = in.find(key);
		if (it == in.end() || !it->is_string()) return broken("lacks a text it needs");
		*to = it->get<std::string>();
	}
	const auto flag = [&in](const char *key) { const auto it = in.find(key); return it != in.end() && it->is_boolean() && it->get<bool>(); };
	order.trial = flag("trial");
	order.createDirs = flag("createDirs");
	for (const json &role : in.value("without", json::array()))
		if (role.is_string()) order.without.push_back(role.get<std::string>());
	const auto waiter = in.find("waiter");
	if (waiter == in.end() || !waiter->is_number_unsigned()) return broken("names no waiter");
	order.waiter = waiter->get<uint32_t>();
	if (message.fds.size() < 2 || order.waiter >= message.fds.size() - 1) return broken("came without its descriptors");
	order.fds = std::move(message.fds);
	return order;
}

/// Roles of this host in start order: as in `roles`, gateways behind them.
std::vector<std::string> rolesOf(const Config &config, const std::string &host)
{
	std::vector<std::string> out;
	for (const HostConfig &h : config.hosts) {
		if (h.name != host) continue;
		for (const RoleConfig &role : config.roles)
			if (std::find(h.roles.begin(), h.roles.end(), role.name) != h.roles.end()) out.push_back(role.name);
		for (const std::string &name : h.roles)
			if (!config.role(name)) out.push_back(name);
	}
	return out;
}

std::unique_ptr<runtime::Peer> makePeer(const runtime::PeerContext &context, const std::string &name)
{
	if (name == "nbd") return gateway::nbd::makeNbdGateway(context);
	const RoleConfig *role = context.config.role(name);
	if (!role) return nullptr;
	switch (role->type) {
	case RoleType::FileBlocker: return store::makeBlocker(context, *role);
	case RoleType::Mapperd: return mapper::makeMapper(context, *role);
	case RoleType::Vlmcd: return composer::makeComposer(context, *role);
	case RoleType::Nbd: break;
	}
	return nullptr;
}

/// The parts of a role on all shards of this host; empty when the configuration names no such role.
std::vector<std::unique_ptr<runtime::Peer>> makeShards(std::span<const runtime::PeerContext> shards, const std::string &name)
{
	if (name == "nbd") return gateway::nbd::makeNbdGatewayShards(shards);
	const RoleConfig *role = shards.front().config.role(name);
	if (role && role->type == RoleType::FileBlocker) return store::makeBlockerShards(shards, *role);
	std::vector<std::unique_ptr<runtime::Peer>> out;
	for (const runtime::PeerContext &shard : shards)
		if (auto peer = makePeer(shard, name)) out.push_back(std::move(peer));
	return out;
}

/// A role on all reactors, as one peer.
std::unique_ptr<runtime::Peer> makeRole(const std::vector<runtime::Reactor *> &reactors, const runtime::PeerContext &context,
                                        const std::string &name)
{
	const auto count = static_cast<uint32_t>(reactors.size());
	if (count == 1) return makePeer(context, name);
	std::vector<runtime::PeerContext> shards;
	for (uint32_t index = 0; index < count; ++index) {
		runtime::PeerContext shard(*reactors[index], context.config);
		shard.runDir = context.runDir;
		shard.trial = context.trial;
		shard.createDirs = context.createDirs;
		shard.shard = {index, count};
		shards.push_back(std::move(shard));
	}
	auto peers = makeShards(shards, name);
	if (peers.empty()) return nullptr;
	return std::make_unique<runtime::ShardedPeer>(reactors, std::move(peers));
}

/// A volume mounted on its own node must not deadlock under memory pressure: our writes are what frees memory. Each of these
/// needs privileges that a trial may lack; without them everything works, only less safely under pressure.
void hardenAgainstMemoryPressure(spdlog::logger &log)
{
#ifdef PR_SET_IO_FLUSHER
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) log.debug("no PR_SET_IO_FLUSHER: {}", std::strerror(errno));
#endif
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) log.debug("memory is not locked: {}", std::strerror(errno));
	std::ofstream("/proc/self/oom_score_adj") << "-900\n";
}

/// Sent to a supervisor that may be dead or hang: then it is dropped, the data path does not wait for it.
void tell(xseg::FdChannel &link, const json &message)
{
	[[maybe_unused]] const auto sent = link.send(message.dump(-1, ' ', false, json::error_handler_t::replace));
}

class Host {
public:
	/// `reactors`: one for each shard; the first is that of this thread, on which everything here happens.
	Host(xseg::FdChannel link, StartOrder order, std::vector<runtime::Reactor *> reactors, const Config &config, int signalFd)
	    : m_link(std::make_shared<xseg::FdChannel>(std::move(link))), m_order(std::move(order)), m_reactors(std::move(reactors)),
	      m_reactor(*m_reactors.front()), m_log(roleLogger("host")), m_signalFd(signalFd),
	      m_process(context(config), rolesOf(config, m_order.host),
	                [this](const runtime::PeerContext &context, const std::string &role) { return makeRole(m_reactors, context, role); },
	                [this](const std::string &role, HostProcess::State state) {
		                tell(*m_link, {{"type", "role"}, {"role", role}, {"state", std::string(runtime::stateName(state))}});
	                }),
	      m_socket(m_reactor, hostFile(m_order.runDir, m_order.host, ".sock"), [this] { return hello(); },
	               [this](xseg::FdChannel channel) { runtime::spawn(watch(std::make_shared<xseg::FdChannel>(std::move(channel)))); })
	{
	}

	/// Exit status of the process.
	int run()
	{
		runtime::spawn(main());
		m_reactor.run();
		return m_exit;
	}

private:
	runtime::PeerContext context(const Config &config)
	{
		runtime::PeerContext out(m_reactor, config);
		out.runDir = m_order.runDir;
		out.trial = m_order.trial;
		out.createDirs = m_order.createDirs;
		return out;
	}

	Task<void> main()
	{
		Result<void> claimed = co_await claimHostFiles(m_reactors, m_order.runDir, m_order.host);
		if (!claimed) {
			fail("", claimed.error());
			co_return;
		}
		if (const Result<void> listens = m_socket.open(); !listens) {
			releaseHostFiles(m_order.runDir, m_order.host);
			fail("", listens.error());
			co_return;
		}
		runtime::spawn(watchSignals());
		auto started = co_await m_process.start(m_order.without);
		if (!started) {
			m_socket.close();
			releaseHostFiles(m_order.runDir, m_order.host);
			fail(started.error().role, started.error().error);
			co_return;
		}
		m_started = true;
		m_log->info("host {} is up", m_order.host);
		tell(*m_link, {{"type", "ready"}});
		if (m_stopWanted)
			co_await stop();
		else
			runtime::spawn(watch(m_link));
	}

	void fail(const std::string &role, const Error &error)
	{
		m_log->error("{}{}{} [{}]", role, role.empty() ? "" : ": ", error.message, errorInfo(error.code).symbol);
		tell(*m_link, {{"type", "failed"}, {"role", role}, {"code", std::string(errorInfo(error.code).symbol)}, {"message", error.message}});
		m_exit = 1;
		m_reactor.stop();
	}

	Task<void> stop()
	{
		if (std::exchange(m_stopping, true)) co_return;
		const Result<void> stopped = co_await m_process.stop();
		m_socket.close();
		releaseHostFiles(m_order.runDir, m_order.host);
		if (stopped) {
			m_log->info("host {} has stopped", m_order.host);
			tell(*m_link, {{"type", "stopped"}});
			m_reactor.stop();
		} else
			fail("", stopped.error());
	}

	void requestStop()
	{
		m_stopWanted = true;
		if (m_started) runtime::spawn(stop());
	}

	Task<void> watchSignals()
	{
		for (;;) {
			const int32_t events = co_await m_reactor.pollFd(m_signalFd, POLLIN);
			if (events < 0) co_return;
			signalfd_siginfo info{};
			if (::read(m_signalFd, &info, sizeof info) == sizeof info) {
				m_log->info("signal {}: stopping", info.ssi_signo);
				requestStop();
			}
		}
	}

	/// Listens to whoever is connected until they go. A service that says so is our supervisor from then on.
	Task<void> watch(std::shared_ptr<xseg::FdChannel> from)
	{
		while (from->open()) {
			const int32_t events = co_await m_reactor.pollFd(from->fd(), POLLIN);
			if (events < 0) co_return;
			while (auto message = from->receive(false)) handle(from, *message);
		}
		if (from == m_link) m_log->info("the supervisor has gone; the data path goes on");
	}

	void handle(const std::shared_ptr<xseg::FdChannel> &from, const xseg::ChannelMessage &message)
	{
		const json in = json::parse(message.text, nullptr, false);
		const json type = in.is_object() ? in.value("type", json()) : json();
		const json role = in.is_object() ? in.value("role", json()) : json();
		if (type == json("adopt")) {
			m_log->info("another supervisor has taken over");
			m_link = from;
			// What happened between its hello and now.
			for (const auto &now : m_process.status())
				tell(*m_link, {{"type", "role"}, {"role", now.name}, {"state", std::string(runtime::stateName(now.state))}});
		} else if (from != m_link) {
			m_log->warn("somebody who is not the supervisor sent a message: ignored");
		} else if (type == json("stop")) {
			requestStop();
		} else if ((type == json("stopRole") || type == json("startRole")) && role.is_string()) {
			runtime::spawn(changeRole(type == json("startRole"), role.get<std::string>()));
		} else if (type == json("status")) {
			tell(*m_link, {{"type", "status"}, {"roles", rolesNow()}});
		} else
			m_log->warn("the supervisor sent a message this version does not know");
	}

	json rolesNow() const
	{
		json roles = json::array();
		for (const auto &role : m_process.status())
			roles.push_back({{"name", role.name}, {"state", std::string(runtime::stateName(role.state))}, {"inflight", role.inflight}});
		return roles;
	}

	Task<void> changeRole(bool start, std::string role)
	{
		Result<void> done;
		if (m_stopping || !m_started)
			done = failure(ErrorCode::Busy, "Host " + m_order.host + " is being started or stopped.");
		else if (start)
			done = co_await m_process.startRole(role);
		else
			done = co_await m_process.stopRole(role);
		const std::string code = done ? std::string() : std::string(errorInfo(done.error().code).symbol);
		if (!done) m_log->error("{} [{}]", done.error().message, code);
		tell(*m_link, {{"type", "roleDone"}, {"role", role}, {"code", code}, {"message", done ? std::string() : done.error().message}});
	}

	HostSocket::Hello hello()
	{
		HostSocket::Hello out;
		const json text = {{"type", "hello"}, {"host", m_order.host}, {"pid", getpid()}, {"startTime", processStartTime(getpid())},
		                   {"version", ARCHIPELAGO_VERSION}, {"waiter", m_order.waiter}, {"config", m_order.configText},
		                   {"configFile", m_order.configFile}, {"up", m_started}, {"roles", rolesNow()}};
		out.text = text.dump(-1, ' ', false, json::error_handler_t::replace);
		out.fds.push_back(m_reactor.segment().fd());
		for (const xseg::UniqueFd &bell : m_reactor.bells()) out.fds.push_back(bell.get());
		return out;
	}

	std::shared_ptr<xseg::FdChannel> m_link; ///< the supervisor's
	StartOrder m_order;
	const std::vector<runtime::Reactor *> m_reactors;
	runtime::Reactor &m_reactor;
	std::shared_ptr<spdlog::logger> m_log;
	int m_signalFd;
	HostProcess m_process;
	HostSocket m_socket;
	bool m_started = false, m_stopWanted = false, m_stopping = false;
	int m_exit = 0;
};

int refuse(xseg::FdChannel &link, const Error &error)
{
	std::cerr << "archip-host: " << error.message << " [" << errorInfo(error.code).symbol << "]\n";
	tell(link, {{"type", "failed"}, {"role", ""}, {"code", std::string(errorInfo(error.code).symbol)}, {"message", error.message}});
	return 1;
}

int hostMain(int controlFd)
{
	// Taken through a signalfd by the reactor; blocked before any thread starts.
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, nullptr);
	signal(SIGPIPE, SIG_IGN);
	const xseg::UniqueFd signalFd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));

	xseg::FdChannel link{xseg::UniqueFd(controlFd)};
	auto first = link.receive(true);
	if (!first) {
		std::cerr << "archip-host: the supervisor sent nothing\n";
		return 1;
	}
	auto order = readOrder(std::move(*first));
	if (!order) return refuse(link, order.error());
	initLogging("archip-host " + order->host);

	ConfigDefaults defaults;
	defaults.trial = order->trial;
	defaults.runDir = order->runDir;
	defaults.stateDir = order->stateDir;
	const ParsedConfig parsed = parseConfig(order->configText, defaults);
	if (!parsed.ok()) return refuse(link, Error{ErrorCode::Config, order->configFile + " is not valid; see: archipelago check-config"});
	for (const RoleConfig &role : parsed.config.roles) setLogLevel(role.name, role.logLevel);
	setLogLevel("nbd", parsed.config.nbd.logLevel);
	setLogLevel("host", 2);
	hardenAgainstMemoryPressure(*roleLogger("host"));

	auto segment = xseg::Segment::attach(std::move(order->fds.front()));
	if (!segment) return refuse(link, Error{ErrorCode::Failed, "Cannot attach the segment: " + segment.error().what});
	xseg::BellFds bells;
	for (size_t i = 1; i < order->fds.size(); ++i) bells.push_back(std::move(order->fds[i]));
	order->fds.clear();
	if (bells.size() > segment->geometry().waiters) return refuse(link, Error{ErrorCode::Failed, "The supervisor sent more bells than the segment has waiters."});

	const uint32_t shards = parsed.config.reactors();
	if (uint64_t{order->waiter} + shards > bells.size())
		return refuse(link, Error{ErrorCode::Failed, "The supervisor sent " + std::to_string(bells.size()) + " bells, too few for " +
		                                                 std::to_string(shards) + " reactors from waiter " + std::to_string(order->waiter) + " on."});
	runtime::Reactor::Options options;
	options.waiter = order->waiter;
	auto reactor = runtime::Reactor::create(*segment, bells, options);
	if (!reactor) return refuse(link, reactor.error());
	std::vector<std::unique_ptr<runtime::ReactorThread>> threads;
	std::vector<runtime::Reactor *> reactors{reactor->get()};
	while (reactors.size() < shards) {
		++options.waiter;
		auto thread = runtime::ReactorThread::start(*segment, bells, options, "reactor-" + std::to_string(reactors.size()));
		if (!thread) return refuse(link, thread.error());
		reactors.push_back(&(*thread)->reactor());
		threads.push_back(std::move(*thread));
	}
	Host host(std::move(link), std::move(*order), std::move(reactors), parsed.config, signalFd.get());
	return host.run();
}

} // namespace

} // namespace archipelago::host

int main(int argc, char **argv)
{
	if (argc == 3 && std::string_view(argv[1]) == "--control-fd") {
		char *end = nullptr;
		const long fd = std::strtol(argv[2], &end, 10);
		if (end && !*end && fd >= 3 && fd < 1 << 20) return archipelago::host::hostMain(static_cast<int>(fd));
	}
	std::cerr << "archip-host runs the peers of Archipelago. It is started by archipelagod, not by hand.\n"
	             "To start Archipelago: archipelago start\n";
	return 2;
}
