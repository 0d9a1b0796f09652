// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A blocker whose store is full: what waits, what fails, what goes on, and that it ends by itself when there is room. The
// stores are small ones in memory, whose capacity is real; one refuses although it seems to have room, as a quota does.
#include "blocker_client.h"
#include "daemon/store/blocker.h"
#include "daemon/store/memory/memory_store.h"

#include <QtTest>

using namespace archipelago;
using namespace archipelago::store;

namespace {

constexpr uint64_t kMiB = 1u << 20;
constexpr xseg::PortNo kBlockerPort = 20;

/// Data is refused while `refuse`, whatever the capacity says.
class QuotaStore : public MemoryStore {
public:
	void submit(StoreOp &op) override
	{
		const bool data = op.op == Op::ObjCreate || op.op == Op::ObjWrite;
		if (data) ++tried;
		if (data && refuse) return op.fail(ErrorCode::NoSpace);
		if (data) order.push_back(op.id.index);
		MemoryStore::submit(op);
	}
	bool refuse = false;
	int tried = 0;
	std::vector<uint32_t> order;
};

int32_t status(ErrorCode code) { return wireStatus(code); }

} // namespace

class TestFullStore : public QObject {
	Q_OBJECT

private:
	std::optional<Bench> m_bench;
	std::optional<Config> m_config;
	std::optional<runtime::PeerContext> m_context;
	std::unique_ptr<runtime::Peer> m_blocker;
	std::optional<BlockerClient> m_client;

	void start(FullPolicy policy, std::unique_ptr<ObjectStore> store)
	{
		m_config->fullPolicy = policy;
		m_config->reserveBytes = 2 * kMiB;
		RoleConfig role;
		role.name = "blockerb";
		role.portnoStart = role.portnoEnd = kBlockerPort;
		role.nrOps = 16;
		m_blocker = makeBlocker(*m_context, role, std::move(store));
		QVERIFY(m_bench->await(m_blocker->start()));
	}
	int32_t create(uint32_t block, uint32_t bytes)
	{
		return m_client->call(m_client->object(Op::ObjCreate, dataObject(block), bytes))->status;
	}
	int32_t remove(uint32_t block) { return m_client->call(m_client->object(Op::ObjRemove, dataObject(block)))->status; }
	void send(Op op, uint32_t block, uint32_t bytes)
	{
		m_client->send(m_client->object(op, dataObject(block), bytes));
	}
	CapacityReply capacity()
	{
		const auto reply = m_client->call(m_client->request(Op::ObjCapacity));
		return reply->status == 0 ? reply.args<CapacityReply>() : CapacityReply{};
	}
	void waitFor(size_t replies)
	{
		m_bench->reactor().runUntil([&] { return m_client->replies.size() >= replies; });
	}
	/// Until so many wait for room.
	bool waiting(uint32_t writes)
	{
		for (int i = 0; i < 1000; ++i)
			if (capacity().waitingWrites == writes) return true;
		return false;
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

	/// 12 MiB, two blocks of 4 MiB in it, and no third that would leave less than 2 MiB.
	void writesThatNeedRoomWaitAndGoOn()
	{
		start(FullPolicy::Pause, std::make_unique<MemoryStore>(12 * kMiB));
		QCOMPARE(capacity().full, uint8_t{0});
		QCOMPARE(capacity().reserveBytes, 2 * kMiB);
		QCOMPARE(create(1, 4 << 20), 0);
		QCOMPARE(create(2, 4 << 20), 0);
		for (const uint32_t block : {3u, 4u, 5u}) send(Op::ObjCreate, block, 4 << 20);
		QVERIFY(waiting(3));
		QCOMPARE(capacity().full, uint8_t{1});
		QVERIFY(m_client->replies.empty());

		// Everything else goes on, also with more writers than the blocker has slots.
		for (uint32_t block = 6; block < 26; ++block) send(Op::ObjCreate, block, 64 << 10);
		QVERIFY(waiting(23));
		auto overwrite = m_client->object(Op::ObjWrite, dataObject(1), 8192, 4096);
		std::memset(overwrite.data().data(), 'o', 8192);
		QCOMPARE(m_client->call(std::move(overwrite))->status, 0);
		auto read = m_client->call(m_client->object(Op::ObjRead, dataObject(1), 512, 4096));
		QCOMPARE(read->status, 0);
		QCOMPARE(static_cast<char>(read.data()[0]), 'o');
		for (const ObjectKind kind : {ObjectKind::Chunk, ObjectKind::Journal})
			QCOMPARE(m_client->call(m_client->object(Op::ObjCreate, mapObject(kind, 1), 64 << 10))->status, 0);
		QCOMPARE(m_client->call(m_client->object(Op::ObjWriteFull, mapObject(ObjectKind::Header, 0), 512))->status, 0);
		QCOMPARE(m_client->call(m_client->object(Op::ObjSyncVolume, dataObject(1)))->status, 0);
		QVERIFY(m_client->replies.empty());

		// Room is made: those who waited first go first, by themselves.
		QCOMPARE(remove(1), 0);
		waitFor(1);
		QCOMPARE(m_client->replies.front()->status, 0);
		QCOMPARE(m_client->replies.front().args<ObjectArgs>().id.index, 3u);
		QVERIFY(waiting(22));
		QCOMPARE(remove(2), 0);
		QCOMPARE(remove(3), 0);
		waitFor(3);
		QCOMPARE(remove(4), 0);
		QCOMPARE(remove(5), 0);
		waitFor(23);
		std::vector<uint32_t> order;
		for (const auto &reply : m_client->replies) {
			QCOMPARE(reply->status, 0);
			order.push_back(reply.args<ObjectArgs>().id.index);
		}
		QVERIFY(std::ranges::is_sorted(order));
		QVERIFY(waiting(0));
		QCOMPARE(capacity().full, uint8_t{0});
	}

	/// Nobody waits for them any more, but whoever takes their sender's place would have to.
	void writesOfTheDeadDoNotWait()
	{
		start(FullPolicy::Pause, std::make_unique<MemoryStore>(12 * kMiB));
		QCOMPARE(create(1, 4 << 20), 0);
		QCOMPARE(create(2, 4 << 20), 0);
		for (const uint32_t block : {3u, 4u}) send(Op::ObjCreate, block, 4 << 20);
		QVERIFY(waiting(2));
		m_client.reset();
		m_client.emplace(*m_bench, kBlockerPort);
		send(Op::ObjCreate, 5, 4 << 20);
		m_bench->reactor().runUntil([&] { return capacity().waitingWrites == 1; });
		QVERIFY(m_client->replies.empty());
		QCOMPARE(remove(1), 0);
		waitFor(1);
		QCOMPARE(m_client->replies.front()->status, 0);
		for (const uint32_t block : {3u, 4u})
			QCOMPARE(m_client->call(m_client->object(Op::ObjStat, dataObject(block)))->status, status(ErrorCode::NotFound));
	}

	void withErrorTheyFail()
	{
		start(FullPolicy::Error, std::make_unique<MemoryStore>(12 * kMiB));
		QCOMPARE(create(1, 4 << 20), 0);
		QCOMPARE(create(2, 4 << 20), 0);
		QCOMPARE(create(3, 4 << 20), status(ErrorCode::NoSpace));
		QCOMPARE(create(4, 64 << 10), 0); // there is room for that
		QCOMPARE(capacity().full, uint8_t{1});
		QCOMPARE(capacity().waitingWrites, 0u);
		QCOMPARE(m_client->call(m_client->object(Op::ObjWrite, dataObject(1), 4 << 20))->status, 0);
		QCOMPARE(m_client->call(m_client->object(Op::ObjCreate, mapObject(ObjectKind::Chunk, 1), 1 << 20))->status, 0);
		QCOMPARE(remove(2), 0);
		QCOMPARE(create(3, 4 << 20), 0);
	}

	/// Twenty writes wait while the store refuses; one at a time tries.
	void aStoreThatRefusesIsProbed()
	{
		auto made = std::make_unique<QuotaStore>();
		QuotaStore &store = *made;
		start(FullPolicy::Pause, std::move(made));
		QCOMPARE(create(0, 4096), 0);
		store.refuse = true;
		store.order.clear();
		for (uint32_t block = 1; block <= 20; ++block) send(Op::ObjCreate, block, 4096);
		QVERIFY(waiting(20));
		const int before = store.tried;
		m_bench->reactor().runUntil([&] { return store.tried >= before + 2; });
		QVERIFY(store.tried <= before + 3);
		QVERIFY(waiting(20));
		QCOMPARE(capacity().full, uint8_t{1});
		store.refuse = false;
		waitFor(20);
		for (const auto &reply : m_client->replies) QCOMPARE(reply->status, 0);
		QVERIFY(std::ranges::is_sorted(store.order));
		QCOMPARE(store.order.size(), size_t{20});
	}

	void withErrorItIsToldAtOnce()
	{
		auto made = std::make_unique<QuotaStore>();
		QuotaStore &store = *made;
		start(FullPolicy::Error, std::move(made));
		store.refuse = true;
		QCOMPARE(create(1, 4096), status(ErrorCode::NoSpace));
		store.refuse = false;
		QCOMPARE(create(1, 4096), 0);
	}

	void stopFailsThemBack()
	{
		start(FullPolicy::Pause, std::make_unique<MemoryStore>(2 * kMiB + (256 << 10)));
		for (uint32_t block = 1; block <= 30; ++block) send(Op::ObjCreate, block, 256 << 10);
		QVERIFY(waiting(30));
		QCOMPARE(m_blocker->inflight(), 30u);
		QVERIFY(m_bench->await(m_blocker->stop()));
		m_blocker.reset();
		waitFor(30);
		for (const auto &reply : m_client->replies) {
			const auto code = errorFromWire(reply->status);
			QVERIFY(code && *code == ErrorCode::Peer);
		}
	}
};

QTEST_GUILESS_MAIN(TestFullStore)
#include "tst_full_store.moc"
