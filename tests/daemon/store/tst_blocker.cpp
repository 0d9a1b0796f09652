// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The blocker behind a port of a real segment, both ends in this process: every operation in its clothes as a request, every
// nonsense a request can say, back-pressure, stop with work in hand, starts that fail.
#include "daemon/store/blocker.h"
#include "daemon/store/memory/memory_store.h"
#include "blocker_client.h"

#include <QtTest>

#include <deque>
#include <functional>
#include <set>

using namespace archipelago;
using namespace archipelago::store;

namespace {

constexpr xseg::PortNo kBlockerPort = 20;
using Client = BlockerClient;

/// Keeps operations until it is told to finish them.
class HoldingStore : public ObjectStore {
public:
	runtime::Task<Result<void>> open(bool) override
	{
		opened = true;
		co_return Result<void>{};
	}
	runtime::Task<void> close() override
	{
		ARCHIPELAGO_ASSERT(held.empty());
		opened = false;
		co_return;
	}
	void submit(StoreOp &op) override
	{
		held.push_back(&op);
		most = std::max(most, held.size());
		++seen;
	}
	void finishOne()
	{
		StoreOp *op = held.front();
		held.pop_front();
		op->serviced = op->data.size();
		op->finish();
	}
	std::deque<StoreOp *> held;
	size_t most = 0, seen = 0;
	bool opened = false;
};

int32_t status(ErrorCode code) { return wireStatus(code); }

} // namespace

class TestBlocker : public QObject {
	Q_OBJECT

private:
	std::optional<Bench> m_bench;
	std::optional<Config> m_config;
	std::optional<runtime::PeerContext> m_context;
	std::unique_ptr<runtime::Peer> m_blocker;
	std::optional<Client> m_client;
	HoldingStore *m_holding = nullptr;

	RoleConfig role(uint32_t nrOps = 16) const
	{
		RoleConfig r;
		r.name = "blockerb";
		r.portnoStart = r.portnoEnd = kBlockerPort;
		r.nrOps = nrOps;
		return r;
	}
	void start(std::unique_ptr<ObjectStore> store)
	{
		m_blocker = makeBlocker(*m_context, role(), std::move(store));
		const auto started = m_bench->await(m_blocker->start());
		QVERIFY2(started, started ? "" : started.error().message.c_str());
	}
	void startHolding()
	{
		auto store = std::make_unique<HoldingStore>();
		m_holding = store.get();
		start(std::move(store));
	}

private slots:
	void init()
	{
		m_bench.emplace();
		m_config.emplace();
		m_context.emplace(m_bench->reactor(), *m_config);
		m_client.emplace(*m_bench, kBlockerPort);
	}
	void cleanup()
	{
		m_client->replies.clear();
		if (m_blocker) QVERIFY(m_bench->await(m_blocker->stop()));
		m_blocker.reset();
		m_client.reset();
		m_context.reset();
		m_bench.reset();
	}

	void everyOperation()
	{
		start(std::make_unique<MemoryStore>());
		Client &c = *m_client;
		QCOMPARE(c.call(c.request(Op::Ping))->status, 0);

		const ObjectId id = dataObject(7);
		auto create = c.object(Op::ObjCreate, id, 8192, 4096);
		std::memset(create.data().data(), 'c', 8192);
		create = c.call(std::move(create));
		QCOMPARE(create->status, 0);
		QCOMPARE(create->serviced, uint64_t{8192});
		auto write = c.object(Op::ObjWrite, id, 512, 0);
		std::memset(write.data().data(), 'w', 512);
		write->flags = kFlagFua;
		QCOMPARE(c.call(std::move(write))->status, 0);
		auto read = c.call(c.object(Op::ObjRead, id, 16384));
		QCOMPARE(read->status, 0);
		QCOMPARE(read->serviced, uint64_t{12288});
		QCOMPARE(static_cast<char>(read.data()[0]), 'w');
		QCOMPARE(static_cast<char>(read.data()[512]), '\0');
		QCOMPARE(static_cast<char>(read.data()[4096]), 'c');
		QCOMPARE(static_cast<char>(read.data()[16383]), '\0');
		auto stat = c.call(c.object(Op::ObjStat, id));
		QCOMPARE(stat->status, 0);
		QCOMPARE(stat->size, uint64_t{12288});
		QCOMPARE(c.call(c.object(Op::ObjCreate, id))->status, status(ErrorCode::Exists));
		QCOMPARE(c.call(c.object(Op::ObjSync, id))->status, 0);
		QCOMPARE(c.call(c.object(Op::ObjSyncVolume, id))->status, 0);
		QCOMPARE(c.call(c.request(Op::ObjSyncAll))->status, 0);
		auto capacity = c.call(c.request(Op::ObjCapacity));
		QCOMPARE(capacity->status, 0);
		QVERIFY(capacity->size >= capacity->serviced && capacity->serviced > 0);
		auto punch = c.object(Op::ObjPunch, id, 0, 512);
		punch->size = 8192;
		QCOMPARE(c.call(std::move(punch))->status, 0);
		read = c.call(c.object(Op::ObjRead, id, 16384));
		QCOMPARE(static_cast<char>(read.data()[511]), 'w');
		QCOMPARE(static_cast<char>(read.data()[512]), '\0');
		QCOMPARE(static_cast<char>(read.data()[8703]), '\0');
		QCOMPARE(static_cast<char>(read.data()[8704]), 'c');
		QCOMPARE(read->serviced, uint64_t{12288});
		QCOMPARE(c.call(c.object(Op::ObjRemove, id))->status, 0);
		QCOMPARE(c.call(c.object(Op::ObjRead, id, 512))->status, status(ErrorCode::NotFound));

		auto name = c.named(Op::ObjWriteFull, "web-01", 128);
		std::memset(name.data().data(), 'n', 128);
		QCOMPARE(c.call(std::move(name))->status, 0);
		auto back = c.call(c.named(Op::ObjRead, "web-01", 128));
		QCOMPARE(back->status, 0);
		QCOMPARE(static_cast<char>(back.data()[127]), 'n');
		QCOMPARE(c.call(c.named(Op::ObjStat, "web-01"))->status, 0);
		QCOMPARE(c.call(c.named(Op::ObjStat, "web-02"))->status, status(ErrorCode::NotFound));
	}

	/// Recovery hands a dead blocker's requests to its successor: one that had created its object already writes it.
	void createsOfADeadPredecessorAreWritten()
	{
		start(std::make_unique<MemoryStore>());
		Client &c = *m_client;
		QCOMPARE(c.call(c.object(Op::ObjCreate, dataObject(1), 512))->status, 0);
		for (const bool again : {false, true}) {
			auto request = c.object(Op::ObjCreate, dataObject(1), 4096);
			std::memset(request.data().data(), 'c', 4096);
			xs_req *shared = &*request;
			c.send(std::move(request));
			shared->attempts = again; // as recovery leaves it; the blocker has not looked yet
			m_bench->reactor().runUntil([&] { return !c.replies.empty(); });
			QCOMPARE(c.replies.front()->status, again ? 0 : status(ErrorCode::Exists));
			c.replies.clear();
		}
		const auto read = c.call(c.object(Op::ObjRead, dataObject(1), 4096));
		QCOMPARE(static_cast<char>(read.data()[4095]), 'c');
	}

	void listingsGoOnWhereTheyEnded()
	{
		start(std::make_unique<MemoryStore>());
		Client &c = *m_client;
		for (uint32_t n = 0; n < 20; ++n) QCOMPARE(c.call(c.object(Op::ObjCreate, dataObject(n)))->status, 0);
		QCOMPARE(c.call(c.named(Op::ObjCreate, "other kind"))->status, 0);
		std::set<uint32_t> seen;
		ListArgs args;
		args.kind = ObjectKind::Data;
		int calls = 0;
		do {
			auto list = c.request(Op::ObjList, 512);
			list.setArgs(args);
			list = c.call(std::move(list));
			QCOMPARE(list->status, 0);
			for (uint64_t at = 0; at < list->serviced; at += sizeof(ListEntry)) {
				ListEntry entry;
				std::memcpy(&entry, list.data().data() + at, sizeof entry);
				seen.insert(entry.id.index);
			}
			args = list.args<ListArgs>();
			++calls;
		} while (args.cursor != 0);
		QCOMPARE(seen.size(), size_t{20});
		QCOMPARE(calls, 2);
	}

	/// Each of these must be refused before the store hears of it.
	void nonsense_data()
	{
		using Make = std::function<xseg::RequestRef(Client &)>;
		QTest::addColumn<Make>("make");
		QTest::addColumn<int>("expected");
		const int invalid = status(ErrorCode::Invalid), unsupported = status(ErrorCode::Unsupported);
		const auto row = [](const char *tag, int expected, Make make) { QTest::newRow(tag) << std::move(make) << expected; };
		const auto id = dataObject(1);

		for (const int op : {0, 2, 15, 28, 48, 64, 96, 65535})
			QTest::newRow(qPrintable(QString("operation %1").arg(op)))
			    << Make([op](Client &c) { return c.object(static_cast<Op>(op), dataObject(1), 512); }) << unsupported;
		row("read nothing", invalid, [=](Client &c) { return c.object(Op::ObjRead, id); });
		row("write nothing", invalid, [=](Client &c) { return c.object(Op::ObjWrite, id); });
		row("list into nothing", invalid, [](Client &c) { return c.request(Op::ObjList); });
		row("remove with data", invalid, [=](Client &c) { return c.object(Op::ObjRemove, id, 512); });
		row("punch nothing", invalid, [=](Client &c) { return c.object(Op::ObjPunch, id); });
		row("punch with data", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjPunch, id, 512);
			r->size = 512;
			return r;
		});
		row("punch across a block's end", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjPunch, id, 0, 4096);
			r->size = kBlockBytes;
			return r;
		});
		row("punch wraps", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjPunch, id, 0, 4096);
			r->size = ~uint64_t{0} - 100;
			return r;
		});
		row("unknown flag", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjWrite, id, 512);
			r->flags = 0x80000000u;
			return r;
		});
		row("behind a block's end", invalid, [=](Client &c) { return c.object(Op::ObjWrite, id, 512, kBlockBytes); });
		row("across a block's end", invalid, [=](Client &c) { return c.object(Op::ObjRead, id, 1024, kBlockBytes - 512); });
		row("offset wraps", invalid, [=](Client &c) { return c.object(Op::ObjRead, id, 1024, ~uint64_t{0} - 511); });
		row("behind a map object's end", invalid,
		    [](Client &c) { return c.object(Op::ObjWrite, mapObject(ObjectKind::Journal, 0), 512, 64 << 20); });
		row("more than the buffer", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjRead, id, 512);
			r->data_len = 4096;
			return r;
		});
		row("offset outside of the buffer", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjRead, id, 512);
			r->data_off = 0xfffffe00;
			return r;
		});
		row("no such buffer", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjRead, id, 512);
			r->data_blk = 0x7fffffff;
			return r;
		});
		row("no buffer at all", invalid, [=](Client &c) {
			auto r = c.object(Op::ObjRead, id);
			r->data_len = 512;
			return r;
		});
		row("kind of nothing", invalid, [=](Client &c) {
			ObjectId bad = id;
			bad.kind = static_cast<ObjectKind>(0xff);
			return c.object(Op::ObjRead, bad, 512);
		});
		row("reserved bytes", invalid, [=](Client &c) {
			ObjectId bad = id;
			bad.reserved[0] = 1;
			return c.object(Op::ObjRead, bad, 512);
		});
		row("volume zero", invalid, [=](Client &c) {
			ObjectId bad = id;
			bad.volume = {};
			return c.object(Op::ObjRead, bad, 512);
		});
		row("header with an index", invalid,
		    [](Client &c) { return c.object(Op::ObjRead, mapObject(ObjectKind::Header, 1), 512); });
		row("a name without one", invalid, [](Client &c) { return c.object(Op::ObjStat, nameObject()); });
		row("a block with a name", invalid, [=](Client &c) {
			auto r = c.named(Op::ObjStat, "x");
			auto args = r.args<ObjectArgs>();
			args.id = id;
			r.setArgs(args);
			return r;
		});
		row("name too long", invalid, [](Client &c) { return c.named(Op::ObjStat, std::string(83, 'n')); });
		row("name behind the buffer", invalid, [](Client &c) {
			auto r = c.named(Op::ObjStat, "name");
			r->data_off = 512;
			return r;
		});
		row("name half behind the buffer", invalid, [](Client &c) {
			auto r = c.named(Op::ObjStat, "name");
			r->data_off = 510;
			return r;
		});
		row("name position wraps", invalid, [](Client &c) {
			auto r = c.named(Op::ObjStat, "name");
			r->data_off = 0xffffffff;
			return r;
		});
		row("list of no kind", invalid, [](Client &c) {
			auto r = c.request(Op::ObjList, 512);
			ListArgs args;
			args.kind = static_cast<ObjectKind>(1);
			r.setArgs(args);
			return r;
		});
	}
	void nonsense()
	{
		startHolding();
		QFETCH(std::function<xseg::RequestRef(Client &)>, make);
		QFETCH(int, expected);
		const auto reply = m_client->call(make(*m_client));
		QCOMPARE(reply->status, expected);
		QCOMPARE(reply->serviced, uint64_t{0});
		QCOMPARE(m_holding->seen, size_t{0});
		QCOMPARE(m_blocker->inflight(), 0u);
	}

	/// The store's copy of a name is out of the sender's reach.
	void namesAreCopied()
	{
		startHolding();
		auto request = m_client->named(Op::ObjRemove, "name");
		char *shared = reinterpret_cast<char *>(m_bench->segment().buffer(request->data_blk, request->data_off, 4)->data());
		m_client->send(std::move(request));
		m_bench->reactor().runUntil([&] { return !m_holding->held.empty(); });
		std::memcpy(shared, "evil", 4);
		QCOMPARE(std::string(m_holding->held.front()->name), std::string("name"));
		m_holding->finishOne();
	}

	void noMoreThanNrOpsAtOnce()
	{
		startHolding();
		constexpr size_t kRequests = 200;
		for (uint32_t n = 0; n < kRequests; ++n) m_client->send(m_client->object(Op::ObjRead, dataObject(n), 512));
		m_bench->reactor().runUntil([&] { return m_holding->held.size() == 16; });
		// Three turns more: nothing else may arrive.
		int turns = 0;
		const uint64_t hook = m_bench->reactor().addTurnHook([&] { ++turns; });
		m_bench->reactor().runUntil([&] { return turns >= 3; });
		QCOMPARE(m_holding->held.size(), size_t{16});
		QCOMPARE(m_blocker->inflight(), 16u);
		while (m_client->replies.size() < kRequests) {
			if (!m_holding->held.empty()) m_holding->finishOne();
			const int before = turns;
			m_bench->reactor().runUntil([&] { return turns > before; });
		}
		m_bench->reactor().removeTurnHook(hook);
		QCOMPARE(m_holding->most, size_t{16});
		QCOMPARE(m_holding->seen, kRequests);
		for (const auto &reply : m_client->replies) QCOMPARE(reply->status, 0);
		QCOMPARE(m_blocker->inflight(), 0u);
	}

	void manyRequestsOnFiles()
	{
		ScratchDir scratch;
		FileStoreOptions options;
		options.dir = scratch.path() + "/objects";
		options.fdcache = 8;
		m_context->createDirs = true;
		start(std::make_unique<FileStore>(m_bench->reactor(), options));
		Client &c = *m_client;
		for (const Op op : {Op::ObjCreate, Op::ObjRead}) {
			for (uint32_t n = 0; n < 150; ++n) {
				auto r = c.object(op, dataObject(n), 4096);
				if (op == Op::ObjCreate) std::memset(r.data().data(), static_cast<int>(n), 4096);
				r->cookie[0] = n;
				c.send(std::move(r));
			}
			m_bench->reactor().runUntil([&] { return c.replies.size() == 150; });
			for (const auto &reply : c.replies) {
				QCOMPARE(reply->status, 0);
				const uint32_t n = reply.args<ObjectArgs>().id.index;
				for (const std::byte b : reply.data()) QCOMPARE(static_cast<uint32_t>(b), n);
			}
			c.replies.clear();
		}
	}

	void stopFinishesWhatIsInHand()
	{
		startHolding();
		for (uint32_t n = 0; n < 40; ++n) m_client->send(m_client->object(Op::ObjRead, dataObject(n), 512));
		m_bench->reactor().runUntil([&] { return m_holding->held.size() == 16; });
		bool stopped = false;
		runtime::spawn(stopping(*m_blocker, stopped));
		while (!m_holding->held.empty()) {
			QVERIFY(!stopped);
			QVERIFY(m_holding->opened);
			m_holding->finishOne();
		}
		m_bench->reactor().runUntil([&] { return stopped && m_client->replies.size() >= 16; });
		m_blocker.reset();
		QCOMPARE(m_client->replies.size(), size_t{16});
		// The others were never begun: they are the next blocker's.
		startHolding();
		while (m_client->replies.size() < 40) {
			m_bench->reactor().runUntil([&] { return !m_holding->held.empty() || m_client->replies.size() == 40; });
			while (!m_holding->held.empty()) m_holding->finishOne();
		}
		for (const auto &reply : m_client->replies) QCOMPARE(reply->status, 0);
	}

	void aTakenPortLeavesTheStoreFree()
	{
		ScratchDir scratch;
		RoleConfig taken = role();
		taken.archipDir = scratch.path() + "/objects";
		taken.portnoStart = kBlockerClientPort;
		m_context->createDirs = true;
		m_config->roles.push_back(taken);
		m_blocker = makeBlocker(*m_context, taken);
		const auto refused = m_bench->await(m_blocker->start());
		QVERIFY(!refused);
		QCOMPARE(refused.error().code, ErrorCode::Peer);
		taken.portnoStart = kBlockerPort;
		m_blocker = makeBlocker(*m_context, taken);
		const auto started = m_bench->await(m_blocker->start());
		QVERIFY2(started, started ? "" : started.error().message.c_str());
	}

	void aStoreThatDoesNotOpenIsNotServed()
	{
		ScratchDir scratch;
		RoleConfig missing = role();
		missing.archipDir = scratch.path() + "/missing";
		m_blocker = makeBlocker(*m_context, missing);
		const auto refused = m_bench->await(m_blocker->start());
		QVERIFY(!refused);
		QCOMPARE(refused.error().code, ErrorCode::NotFound);
		QVERIFY(refused.error().message.find("blockerb") != std::string::npos);
		QCOMPARE(m_client->call(m_client->request(Op::Ping))->status, status(ErrorCode::Peer));
	}

	/// Whose objects a blocker keeps follows from who asks it, and the store remembers.
	void exchangedDirectoriesAreNoticed()
	{
		ScratchDir scratch;
		RoleConfig data = role(), maps = role(), mapper;
		maps.name = "blockerm";
		maps.portnoStart = kBlockerPort + 5;
		mapper.type = RoleType::Mapperd;
		mapper.blockerbPort = data.portnoStart;
		mapper.blockermPort = maps.portnoStart;
		m_config->roles = {data, maps, mapper};
		m_context->createDirs = true;
		data.archipDir = scratch.path() + "/blocks";
		m_blocker = makeBlocker(*m_context, data);
		QVERIFY(m_bench->await(m_blocker->start()));
		QVERIFY(m_bench->await(m_blocker->stop()));
		maps.archipDir = data.archipDir;
		m_blocker = makeBlocker(*m_context, maps);
		const auto refused = m_bench->await(m_blocker->start());
		QVERIFY(!refused);
		QCOMPARE(refused.error().code, ErrorCode::Config);
	}

private:
	static runtime::Task<void> stopping(runtime::Peer &peer, bool &stopped)
	{
		const Result<void> result = co_await peer.stop();
		ARCHIPELAGO_ASSERT(result);
		stopped = true;
	}
};

QTEST_GUILESS_MAIN(TestBlocker)
#include "tst_blocker.moc"
