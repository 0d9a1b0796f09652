// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A host process for tests of the service: speaks daemon/base/host_protocol.h and serves the ports of its roles in a real
// segment, with a mapper whose catalog lives in memory, and misbehaves as it is told by STATEDIR/behaviour.json, read anew at
// each use:
//   {"fail": {"mapperd": ["E-LOCKED", "text"]},  the role refuses to start
//    "hang": "mapperd",                          never gets beyond starting it
//    "die": "mapperd",                           SIGKILLs itself while starting it
//    "ignoreStop": true,                         neither {"stop"} nor SIGTERM ends it
//    "noDrain": ["vlmcd"],                       the role does not end on {"stopRole"}
//    "dieOnDrain": true,                         SIGKILLs itself then
//    "frozen": ["mapperd"],                      the role takes requests and does not answer until it is thawed
//    "clients": {"web": 2},                      what the catalog says about volumes
//    "counted": "web",                           roles count 3 requests, 1 of them ended; port 1100 counts 7 reads of 4 KiB for
//                                                the volume that is created first, under this name
//    "scribble": 42}                             fills all counters with random bytes (this is the seed)
// One thread, poll(2).
#include "daemon/base/config.h"
#include "daemon/base/host_protocol.h"
#include "daemon/base/protocol.h"
#include "xseg/port.h"
#include "xseg/stats.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include <nlohmann/json.hpp>

using namespace archipelago;
using nlohmann::json;

namespace {

constexpr int kControlFd = 3;

json order;
std::vector<xseg::UniqueFd> orderFds;

void readOrder()
{
	std::string text(kHostMessageMax, '\0');
	alignas(cmsghdr) char control[CMSG_SPACE((XS_MAX_WAITERS + 1) * sizeof(int))];
	iovec part{text.data(), text.size()};
	msghdr header{};
	header.msg_iov = &part;
	header.msg_iovlen = 1;
	header.msg_control = control;
	header.msg_controllen = sizeof control;
	const ssize_t n = recvmsg(kControlFd, &header, MSG_CMSG_CLOEXEC);
	if (n <= 0) exit(3);
	order = json::parse(text.substr(0, static_cast<size_t>(n)));
	for (cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;
			std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			orderFds.emplace_back(fd);
		}
	}
}

json behaviour()
{
	std::ifstream file(order["stateDir"].get<std::string>() + "/behaviour.json");
	const json out = json::parse(file, nullptr, false);
	return out.is_object() ? out : json::object();
}

void say(const json &message)
{
	const std::string text = message.dump();
	[[maybe_unused]] const ssize_t n = send(kControlFd, text.data(), text.size(), MSG_NOSIGNAL);
}

std::string hostFile(const char *suffix)
{
	return order["runDir"].get<std::string>() + "/hosts/" + order["host"].get<std::string>() + suffix;
}

/// As the real one: the lock first, then the pid file.
xseg::UniqueFd claimFiles()
{
	mkdir((order["runDir"].get<std::string>() + "/hosts").c_str(), 0750);
	xseg::UniqueFd alive(open(hostFile(".alive").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
	if (flock(alive.get(), LOCK_EX) != 0) exit(4);
	std::ifstream stat("/proc/self/stat");
	std::string line;
	std::getline(stat, line);
	std::istringstream rest(line.substr(line.rfind(')') + 2));
	std::string field;
	for (int i = 0; i < 20; i++) rest >> field;
	std::ofstream(hostFile(".pid")) << getpid() << " " << field << "\n";
	return alive;
}

struct Role {
	std::string name;
	std::unique_ptr<xseg::BufferPool> buffers;
	std::unique_ptr<xseg::Port> port;
	std::vector<xseg::RequestRef> held; ///< while frozen
	void end()
	{
		held.clear();
		port.reset();
		buffers.reset();
	}
};

/// Volumes by name. Answers the requests of protocol.h to a mapper.
class Catalog {
public:
	int32_t answer(xseg::RequestRef &request)
	{
		const auto data = request.data();
		const std::string name(reinterpret_cast<const char *>(data.data()), std::min<size_t>(request->size, data.size()));
		const auto found = m_volumes.find(name);
		switch (static_cast<Op>(request->op)) {
		case Op::CatCreate: return create(request, name);
		case Op::CatList: return list(request);
		default: break;
		}
		if (found == m_volumes.end()) return refuse(request, ErrorCode::NotFound, "There is no volume " + name + ".");
		VolumeInfo &info = found->second;
		switch (static_cast<Op>(request->op)) {
		case Op::CatInfo: {
			const VolumeInfo now = current(info);
			std::memcpy(data.data(), &now, sizeof now);
			return 0;
		}
		case Op::CatRemove:
			if (info.openedExplicitly) return refuse(request, ErrorCode::Busy, name + " is open. Close it first: vlmc close " + name);
			m_volumes.erase(found);
			return 0;
		case Op::CatOpen: info.openedExplicitly = 1; return 0;
		case Op::CatClose:
			if (!info.openedExplicitly) return refuse(request, ErrorCode::NotOpen, name + " is not open.");
			info.openedExplicitly = 0;
			return 0;
		default: return wireStatus(ErrorCode::Unsupported);
		}
	}

private:
	static int32_t refuse(xseg::RequestRef &request, ErrorCode code, const std::string &message)
	{
		std::memcpy(request.data().data(), message.data(), message.size());
		request->serviced = message.size();
		return wireStatus(code);
	}
	static VolumeInfo current(VolumeInfo info)
	{
		const json clients = behaviour().value("clients", json::object());
		info.clients = clients.value(std::string(info.name, info.nameLength), 0u);
		return info;
	}
	int32_t create(xseg::RequestRef &request, const std::string &name)
	{
		if (m_volumes.contains(name)) return refuse(request, ErrorCode::Exists, "There is a volume " + name + " already.");
		auto args = request.args<CreateArgs>();
		VolumeInfo info;
		info.state = 1;
		info.sizeBytes = args.sizeBytes;
		info.createdNs = 1'700'000'000'000'000'000;
		info.volume.bytes.fill(static_cast<uint8_t>(++m_created));
		info.nameLength = static_cast<uint16_t>(name.size());
		std::memcpy(info.name, name.data(), name.size());
		m_volumes[name] = info;
		args.volume = info.volume;
		request.setArgs(args);
		return 0;
	}
	/// Two a page and in reverse order: paging and sorting are the reader's.
	int32_t list(xseg::RequestRef &request)
	{
		auto args = request.args<ListArgs>();
		std::vector<VolumeInfo> page;
		uint64_t i = 0;
		for (auto it = m_volumes.rbegin(); it != m_volumes.rend() && page.size() < 2; ++it)
			if (i++ >= args.cursor) page.push_back(current(it->second));
		args.cursor = args.cursor + page.size() < m_volumes.size() ? args.cursor + page.size() : 0;
		std::memcpy(request.data().data(), page.data(), page.size() * sizeof(VolumeInfo));
		request->serviced = page.size() * sizeof(VolumeInfo);
		request.setArgs(args);
		return 0;
	}

	std::map<std::string, VolumeInfo> m_volumes;
	int m_created = 0;
};

class FakeHost {
public:
	FakeHost(const xseg::Segment &segment, const xseg::BellFds &bells, const Config &config)
	    : m_segment(segment), m_bells(bells), m_config(config), m_waiter(segment, bells, order["waiter"].get<uint32_t>())
	{
		const json without = order.value("without", json::array());
		for (const HostConfig &host : config.hosts) {
			if (host.name != order["host"]) continue;
			for (const RoleConfig &role : config.roles)
				if (std::ranges::count(host.roles, role.name) && !std::ranges::count(without, json(role.name))) startRole(role.name);
			for (const std::string &name : host.roles)
				if (!config.role(name) && !std::ranges::count(without, json(name))) startRole(name);
		}
		say({{"type", "ready"}});
	}

	void run(int signalFd)
	{
		while (!m_stop) {
			serve();
			const bool sleep = m_waiter.prepareSleep();
			pollfd fds[] = {{m_waiter.eventFd(), POLLIN, 0}, {m_linkOpen ? kControlFd : -1, POLLIN, 0}, {signalFd, POLLIN, 0}};
			poll(fds, 3, sleep ? 20 : 0);
			m_waiter.wake();
			uint64_t count;
			if (fds[0].revents) [[maybe_unused]] const ssize_t n = ::read(m_waiter.eventFd(), &count, sizeof count);
			if (fds[1].revents) readLink();
			signalfd_siginfo info;
			if (fds[2].revents && ::read(signalFd, &info, sizeof info) == sizeof info) wantStop();
		}
		for (auto role = m_roles.rbegin(); role != m_roles.rend(); ++role) {
			say({{"type", "role"}, {"role", role->name}, {"state", "stopping"}});
			role->end();
			say({{"type", "role"}, {"role", role->name}, {"state", "stopped"}});
		}
		unlink(hostFile(".pid").c_str());
		say({{"type", "stopped"}});
	}

private:
	void startRole(const std::string &name)
	{
		const RoleConfig *config = m_config.role(name);
		const uint32_t port = config ? config->portnoStart : 0;
		const bool mapper = config && config->type == RoleType::Mapperd;
		const json how = behaviour();
		say({{"type", "role"}, {"role", name}, {"state", "starting"}});
		if (how.value("die", "") == name) raise(SIGKILL);
		while (behaviour().value("hang", "") == name) poll(nullptr, 0, 1000);
		if (const json fail = how.value("fail", json::object()); fail.contains(name)) {
			for (auto role = m_roles.rbegin(); role != m_roles.rend(); ++role)
				say({{"type", "role"}, {"role", role->name}, {"state", "stopped"}});
			say({{"type", "failed"}, {"role", name}, {"code", fail[name][0]}, {"message", fail[name][1]}});
			unlink(hostFile(".pid").c_str());
			exit(1);
		}
		Role role;
		role.name = name;
		if (port) {
			xseg::BindOptions options;
			options.waiter = m_waiter.index();
			role.buffers = std::make_unique<xseg::BufferPool>(m_segment, static_cast<xseg::PortNo>(port));
			auto bound = xseg::Port::bind(m_segment, m_bells, *role.buffers, static_cast<xseg::PortNo>(port), options);
			if (!bound) exit(5);
			role.port = std::move(*bound);
			if (how.contains("counted")) count(static_cast<xseg::PortNo>(port), 2, {}, name, 3, 1);
		}
		if (mapper && how.contains("counted")) {
			std::array<uint8_t, 16> first;
			first.fill(1); // Catalog::create()
			count(1100, 1, first, how["counted"].get<std::string>(), 7, 7);
		}
		if (how.contains("scribble")) scribble(how["scribble"]);
		if (mapper) m_mapper = name;
		m_roles.push_back(std::move(role));
		say({{"type", "role"}, {"role", name}, {"state", "up"}});
	}

	void count(xseg::PortNo port, uint32_t kind, const std::array<uint8_t, 16> &id, const std::string &label, uint64_t begun, uint64_t ops)
	{
		if (!xseg::beginStats(m_segment, port, {.kind = kind, .id = id, .label = label})) exit(8);
		xs_stat_class &reads = m_segment.stats(port).op[XS_STAT_READ];
		reads.begun += begun;
		reads.ops += ops;
		reads.bytes += ops * 4096;
		reads.ns += ops * 100'000;
		reads.hist[28] += ops;
	}
	/// Generations too: most of them even, so that what stands there is taken for a record.
	void scribble(uint64_t seed)
	{
		std::mt19937_64 random(seed);
		for (uint32_t port = 0; port < m_segment.geometry().ports; port++) {
			auto *words = reinterpret_cast<uint64_t *>(&m_segment.stats(static_cast<xseg::PortNo>(port)));
			for (size_t i = 0; i < sizeof(xs_stats) / sizeof(uint64_t); i++) words[i] = random();
			xs_stats &record = m_segment.stats(static_cast<xseg::PortNo>(port));
			record.kind = static_cast<uint32_t>(random() % 4);
			record.label_len = static_cast<uint32_t>(random() % 128);
			m_segment.port(static_cast<xseg::PortNo>(port)).stats_gen = random() & ~uint64_t(random() % 8 != 0);
		}
	}

	void serve()
	{
		while (m_waiter.takeReady()) {}
		const json frozen = behaviour().value("frozen", json::array());
		for (Role &role : m_roles) {
			if (!role.port) continue;
			while (auto request = role.port->accept()) role.held.push_back(std::move(request));
			if (std::ranges::count(frozen, json(role.name))) continue;
			for (auto &request : role.held) {
				const bool catalog = role.name == m_mapper && request->op != static_cast<uint16_t>(Op::Ping);
				const int32_t status = catalog ? m_catalog.answer(request) : 0;
				role.port->respond(request, status);
			}
			role.held.clear();
		}
	}

	void stopRole(const std::string &name)
	{
		if (std::ranges::count(behaviour().value("noDrain", json::array()), json(name))) return;
		if (behaviour().value("dieOnDrain", false)) raise(SIGKILL);
		say({{"type", "role"}, {"role", name}, {"state", "stopping"}});
		const auto found = std::ranges::find(m_roles, name, &Role::name);
		if (found != m_roles.end()) found->end();
		if (found != m_roles.end()) m_roles.erase(found);
		say({{"type", "role"}, {"role", name}, {"state", "stopped"}});
		say({{"type", "roleDone"}, {"role", name}, {"code", ""}, {"message", ""}});
	}

	void readLink()
	{
		char text[4096];
		const ssize_t n = recv(kControlFd, text, sizeof text, MSG_DONTWAIT);
		if (n <= 0) {
			m_linkOpen = false; // the data path goes on
			return;
		}
		const json message = json::parse(std::string(text, static_cast<size_t>(n)));
		if (message["type"] == "stop") wantStop();
		if (message["type"] == "stopRole") stopRole(message["role"]);
		if (message["type"] == "startRole") {
			startRole(message["role"]);
			say({{"type", "roleDone"}, {"role", message["role"]}, {"code", ""}, {"message", ""}});
		}
		if (message["type"] == "status") {
			json roles = json::array();
			for (const Role &role : m_roles) roles.push_back({{"name", role.name}, {"state", "up"}, {"inflight", role.held.size()}});
			say({{"type", "status"}, {"roles", roles}});
		}
	}
	void wantStop()
	{
		m_stop = !behaviour().value("ignoreStop", false);
	}

	const xseg::Segment &m_segment;
	const xseg::BellFds &m_bells;
	const Config &m_config;
	xseg::Waiter m_waiter;
	std::vector<Role> m_roles;
	std::string m_mapper;
	Catalog m_catalog;
	bool m_stop = false, m_linkOpen = true;
};

} // namespace

int main()
{
	sigset_t taken;
	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigprocmask(SIG_BLOCK, &taken, nullptr);
	const int signalFd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	readOrder();
	const xseg::UniqueFd alive = claimFiles();
	ConfigDefaults defaults;
	defaults.trial = order["trial"];
	defaults.runDir = order["runDir"];
	defaults.stateDir = order["stateDir"];
	const ParsedConfig parsed = parseConfig(order["config"].get<std::string>(), defaults);
	if (!parsed.ok()) return 6;
	auto segment = xseg::Segment::attach(std::move(orderFds.front()));
	if (!segment) return 7;
	xseg::BellFds bells;
	for (size_t i = 1; i < orderFds.size(); i++) bells.push_back(std::move(orderFds[i]));
	FakeHost host(*segment, bells, parsed.config);
	host.run(signalFd);
	return 0;
}
