// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A whole node on three reactors in this process: file stores, mapper, composer and NBD server, each role on every thread. Volumes
// are served by the shard they belong to, whatever the first one has to do with them; names are one namespace; all of it stops
// and comes back.
#include "nbd_rig.h"

#include "daemon/composer/composer.h"
#include "daemon/mapper/mapper.h"
#include "daemon/runtime/reactor_thread.h"
#include "daemon/runtime/sharded_peer.h"
#include "daemon/store/blocker.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint32_t kShards = 3;
constexpr xseg::PortNo kData = 60, kMaps = 65, kMapper = 70, kVlmcd = 80;
constexpr uint32_t kPiece = 8192;

struct Node : Rig {
	QTemporaryDir directory;
	Config config;
	std::vector<std::unique_ptr<runtime::ReactorThread>> threads;
	std::vector<runtime::Reactor *> reactors{reactor.get()};
	std::vector<std::unique_ptr<runtime::Peer>> peers; ///< blockerb, blockerm, mapperd, vlmcd, nbd
	Actor service{*this, 1};
	/// NbdClient looks at its socket when the reactor turns, and answers of other threads do not turn this one.
	runtime::Timer tick{*reactor, [this] { tick.startMs(1); }};

	Node() : Rig(256u << 20)
	{
		tick.startMs(1);
		const auto role = [this](const char *name, RoleType type, uint32_t from, uint32_t to) {
			RoleConfig r;
			r.name = name;
			r.type = type;
			r.portnoStart = from;
			r.portnoEnd = to;
			r.archipDir = directory.filePath(name).toStdString();
			r.blockerbPort = r.blockerPort = kData;
			r.blockermPort = kMaps;
			r.mapperPort = kMapper;
			config.roles.push_back(r);
		};
		role("blockerb", RoleType::FileBlocker, kData, kData + kShards - 1);
		role("blockerm", RoleType::FileBlocker, kMaps, kMaps + kShards - 1);
		role("mapperd", RoleType::Mapperd, kMapper, kMapper + kShards - 1);
		role("vlmcd", RoleType::Vlmcd, kVlmcd, kVlmcd + 10 * kShards - 1);
		config.reserveBytes = 0;
		config.nbd.portnoStart = 20;
		config.nbd.portnoEnd = 20 + 10 * kShards - 1;
		config.nbd.composerPort = kVlmcd;
		config.nbd.composerPortEnd = kVlmcd + 10 * kShards - 1;
		config.nbd.exports = NbdExports::All;
		config.nbd.socket = directory.filePath("nbd.sock").toStdString();
		for (uint32_t n = 1; n < kShards; ++n) {
			runtime::Reactor::Options options;
			options.waiter = n;
			auto thread = runtime::ReactorThread::start(*segment, bells, options, "reactor-" + std::to_string(n));
			if (!thread) qFatal("%s", thread.error().message.c_str());
			reactors.push_back(&(*thread)->reactor());
			threads.push_back(std::move(*thread));
		}
		start();
	}
	~Node() { stop(); }

	void start()
	{
		std::vector<runtime::PeerContext> shards;
		for (uint32_t n = 0; n < kShards; ++n) {
			shards.emplace_back(*reactors[n], config);
			shards.back().createDirs = true;
			shards.back().shard = {n, kShards};
		}
		const auto add = [this](std::vector<std::unique_ptr<runtime::Peer>> parts) {
			peers.push_back(std::make_unique<runtime::ShardedPeer>(reactors, std::move(parts)));
			run(startPeer(*peers.back()));
		};
		const auto each = [&](auto make) {
			std::vector<std::unique_ptr<runtime::Peer>> parts;
			for (const auto &shard : shards) parts.push_back(make(shard));
			return parts;
		};
		add(store::makeBlockerShards(shards, config.roles[0]));
		add(store::makeBlockerShards(shards, config.roles[1]));
		add(each([this](const runtime::PeerContext &shard) { return mapper::makeMapper(shard, config.roles[2]); }));
		add(each([this](const runtime::PeerContext &shard) { return composer::makeComposer(shard, config.roles[3]); }));
		add(gateway::nbd::makeNbdGatewayShards(shards));
	}
	void stop()
	{
		while (!peers.empty()) {
			Result<void> stopped;
			run(stopPeer(*peers.back(), stopped));
			if (!stopped) qFatal("stop: %s", stopped.error().message.c_str());
			peers.pop_back();
		}
	}
	static runtime::Task<void> startPeer(runtime::Peer &peer)
	{
		const Result<void> started = co_await peer.start();
		if (!started) qFatal("start: %s", started.error().message.c_str());
	}
	static runtime::Task<void> stopPeer(runtime::Peer &peer, Result<void> &result) { result = co_await peer.stop(); }

	/// An operation by name at the first mapper; the reply, with `bytes` of room.
	xseg::RequestRef ask(Op op, const std::string &name, uint32_t bytes = kControlBytes, xseg::PortNo to = kMapper)
	{
		xseg::RequestRef request = service.make(op, bytes);
		std::memcpy(request.data().data(), name.data(), name.size());
		request->size = name.size();
		if (op == Op::CatCreate) request.setArgs(CreateArgs{.volume = {}, .sizeBytes = 16u << 20});
		service.submit(std::move(request), to);
		return service.reply();
	}
	int32_t statusOf(Op op, const std::string &name)
	{
		const auto reply = ask(op, name);
		return reply ? reply->status : -9999;
	}
	/// New volumes until each shard has one, by shard.
	std::map<uint32_t, std::string> spread()
	{
		std::map<uint32_t, std::string> out;
		for (int n = 0; n < 100 && out.size() < kShards; ++n) {
			const std::string name = "v" + std::to_string(n);
			const auto reply = ask(Op::CatCreate, name);
			if (!reply || reply->status != 0) qFatal("create");
			out.emplace(shardOf(reply->npath == 0 ? reply.args<CreateArgs>().volume : VolumeId{}, kShards), name);
		}
		return out;
	}
	std::map<std::string, VolumeInfo> list()
	{
		std::map<std::string, VolumeInfo> out;
		const auto reply = ask(Op::CatList, "", 64 * 1024);
		for (uint64_t at = 0; reply && at + sizeof(VolumeInfo) <= reply->serviced; at += sizeof(VolumeInfo)) {
			VolumeInfo info;
			std::memcpy(&info, reply.data().data() + at, sizeof info);
			out.emplace(std::string(info.name, info.nameLength), info);
		}
		return out;
	}
	uint64_t answered(xseg::PortNo port) { return std::atomic_ref(segment->port(port).responded).load(); }
	NbdClient connect() { return NbdClient(*this, config.nbd.socket); }
};

bool write(NbdClient &client, uint64_t cookie, uint64_t offset, const std::string &data)
{
	return client.send(Wire::command(1, cookie, offset, static_cast<uint32_t>(data.size())).bytes() + data) &&
	       client.receive(16) == Wire::reply(0, cookie).bytes();
}
std::string read(NbdClient &client, uint64_t cookie, uint64_t offset, uint32_t bytes)
{
	if (!client.send(Wire::command(0, cookie, offset, bytes)) || client.receive(16) != Wire::reply(0, cookie).bytes()) return "no reply";
	return client.receive(bytes);
}

} // namespace

class GatewayShardsTest : public QObject {
	Q_OBJECT

private slots:
	void eachVolumeIsServedByItsShard()
	{
		Node node;
		const auto where = node.spread();
		QCOMPARE(where.size(), size_t{kShards});
		for (const auto &[shard, name] : where) {
			NbdClient client = node.connect();
			QVERIFY(client.go(name));
			std::array<uint64_t, kShards> before{};
			for (uint32_t n = 0; n < kShards; ++n) before[n] = node.answered(static_cast<xseg::PortNo>(kData + n));
			for (uint64_t n = 0; n < 50; ++n) QVERIFY(write(client, n + 1, n * kPiece, pattern(kPiece, unsigned(n + shard))));
			for (uint64_t n = 0; n < 50; ++n) QCOMPARE(read(client, 100 + n, n * kPiece, kPiece), pattern(kPiece, unsigned(n + shard)));
			QVERIFY(client.send(Wire::command(3, 7, 0, 0)));
			QCOMPARE(client.receive(16), Wire::reply(0, 7).bytes());
			for (uint32_t n = 0; n < kShards; ++n) {
				const uint64_t done = node.answered(static_cast<xseg::PortNo>(kData + n)) - before[n];
				QVERIFY2(n == shard ? done >= 100 : done == 0, std::to_string(done).c_str());
			}
			// One client, although two shards have had to do with it; the other's hold goes once this one has its own.
			QVERIFY(turnUntil(node, [&, &volume = name] { return node.list().at(volume).clients == 1; }));
			QCOMPARE(node.statusOf(Op::CatRemove, name), wireStatus(ErrorCode::Busy));
		}
	}

	/// What it has sent was never answered, and whoever has its volume by now may have written anew.
	void whoLeavesOnTheWayToItsShardIsNotServed()
	{
		Node node;
		const auto where = node.spread();
		const std::string &name = where.at(1);
		NbdClient early = node.connect();
		QVERIFY(early.go(name));
		// Its shard cannot have opened the volume yet: the mapper that is asked by name is on this thread, and this thread is here.
		QVERIFY(early.send(Wire::command(1, 1, 0, kPiece).bytes() + pattern(kPiece, 1)));
		early.close();
		NbdClient client = node.connect();
		QVERIFY(client.go(name));
		QCOMPARE(read(client, 1, 0, kPiece), std::string(kPiece, '\0'));
		QVERIFY(write(client, 2, 0, pattern(kPiece, 2)));
		QCOMPARE(read(client, 3, 0, kPiece), pattern(kPiece, 2));
	}

	/// Hosts that were started with different numbers of reactors would look for a volume in different places.
	void aComposerWithAnotherNumberOfShardsIsRefused()
	{
		Node node;
		const auto where = node.spread();
		for (const unsigned shards : {0u, 1u, 2u, 16u})
			for (const auto &[shard, name] : where) {
				xseg::RequestRef request = node.service.make(Op::MapAttach, kControlBytes);
				std::memcpy(request.data().data(), name.data(), name.size());
				request->size = name.size();
				request.setArgs(AttachArgs{.holder = Holder::Tool, .shards = static_cast<uint8_t>(shards)});
				node.service.submit(std::move(request), kMapper);
				const auto reply = node.service.reply();
				QVERIFY(reply);
				QCOMPARE(reply->status, wireStatus(ErrorCode::Config));
				const std::string text(reinterpret_cast<const char *>(reply.data().data()), reply->serviced);
				QVERIFY2(text.find("the same number of reactors") != std::string::npos, text.c_str());
			}
	}

	void namesAreOneNamespace()
	{
		Node node;
		const auto where = node.spread();
		for (const auto &[shard, name] : where) {
			QCOMPARE(node.statusOf(Op::CatCreate, name), wireStatus(ErrorCode::Exists));
			QCOMPARE(node.statusOf(Op::CatClose, name), wireStatus(ErrorCode::NotOpen));
			QCOMPARE(node.statusOf(Op::CatOpen, name), 0);
			QCOMPARE(node.list().at(name).openedExplicitly, 1);
			QCOMPARE(node.statusOf(Op::CatRemove, name), wireStatus(ErrorCode::Busy));
			QCOMPARE(node.statusOf(Op::CatClose, name), 0);
			QCOMPARE(node.list().at(name).openedExplicitly, 0);
			QCOMPARE(node.statusOf(Op::CatRemove, name), 0);
			QCOMPARE(node.statusOf(Op::CatInfo, name), wireStatus(ErrorCode::NotFound));
			QCOMPARE(node.statusOf(Op::CatOpen, name), wireStatus(ErrorCode::NotFound));
			QCOMPARE(node.statusOf(Op::CatCreate, name), 0); // on whatever shard
			QCOMPARE(node.statusOf(Op::CatInfo, name), 0);
		}
		QCOMPARE(node.statusOf(Op::CatHealth, ""), 0);
		// Another shard's port knows no names: they would get past the locks of the first.
		const auto refused = node.ask(Op::CatOpen, where.at(1), kControlBytes, kMapper + 1);
		QVERIFY(refused);
		QCOMPARE(refused->status, wireStatus(ErrorCode::Invalid));
	}

	void operationsOnOneNameDoNotMeet()
	{
		Node node;
		const auto where = node.spread();
		// Many at once, in one queue: each sees the volume there or not, and nothing in between.
		unsigned sent = 0;
		for (int n = 0; n < 40; ++n)
			for (const auto &[shard, name] : where) {
				static constexpr Op kOps[] = {Op::CatRemove, Op::CatCreate, Op::CatOpen, Op::CatClose};
				xseg::RequestRef request = node.service.make(kOps[n % 4], kControlBytes);
				std::memcpy(request.data().data(), name.data(), name.size());
				request->size = name.size();
				if (kOps[n % 4] == Op::CatCreate) request.setArgs(CreateArgs{.volume = {}, .sizeBytes = 16u << 20});
				node.service.submit(std::move(request), kMapper);
				++sent;
			}
		for (unsigned n = 0; n < sent; ++n) {
			const auto reply = node.service.reply();
			QVERIFY(reply);
			const auto code = errorFromWire(reply->status);
			QVERIFY2(!code || *code == ErrorCode::NotOpen || *code == ErrorCode::NotFound || *code == ErrorCode::Exists || *code == ErrorCode::Busy,
			         std::to_string(reply->status).c_str());
		}
		for (const auto &[shard, name] : where) QCOMPARE(node.statusOf(Op::CatInfo, name), 0);
	}

	void allOfItStopsAndComesBack()
	{
		Node node;
		const auto where = node.spread();
		std::vector<NbdClient> clients;
		for (const auto &[shard, name] : where) {
			clients.push_back(node.connect());
			QVERIFY(clients.back().go(name));
			QVERIFY(write(clients.back(), 1, 4096, pattern(kPiece, shard)));
		}
		node.stop();
		for (NbdClient &client : clients) QVERIFY(client.atEnd());
		for (uint32_t port = 2; port < node.segment->geometry().ports; ++port)
			QCOMPARE(std::atomic_ref(node.segment->port(static_cast<xseg::PortNo>(port)).state).load(), uint32_t(XS_PORT_FREE));
		node.start();
		for (const auto &[shard, name] : where) {
			NbdClient client = node.connect();
			QVERIFY(client.go(name));
			QCOMPARE(read(client, 1, 4096, kPiece), pattern(kPiece, shard));
		}
	}
};

QTEST_APPLESS_MAIN(GatewayShardsTest)
#include "tst_shards.moc"
