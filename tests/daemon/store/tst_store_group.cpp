// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Several stores in one directory, as the shards of a blocker have it: one lock, nobody tidies up behind another's back, and a
// failed sync of one is heard by all. (On threads: tests/daemon/gateway/tst_shards.)
#include "daemon/base/log.h"
#include "store_bench.h"

#include <QtTest>

#include <filesystem>
#include <fstream>

using namespace archipelago;
using namespace archipelago::store;

namespace fs = std::filesystem;

class TestStoreGroup : public QObject {
	Q_OBJECT

	std::optional<Bench> m_bench;
	std::optional<ScratchDir> m_scratch;

	std::string dir() const { return m_scratch->path() + "/store"; }
	FileStoreOptions options(Shard shard) const
	{
		FileStoreOptions o;
		o.dir = dir();
		o.role = "blockerb";
		o.shard = shard;
		return o;
	}
	std::shared_ptr<StoreGroup> group() const { return std::make_shared<StoreGroup>(dir(), "blockerb", Purpose::Any, Owner()); }

private slots:
	void init()
	{
		m_bench.emplace();
		m_scratch.emplace();
	}
	void cleanup()
	{
		m_bench.reset();
		m_scratch.reset();
	}

	void theLockIsTheirsTogether()
	{
		const auto shared = group();
		FileStore first(m_bench->reactor(), options({0, 2}), shared), second(m_bench->reactor(), options({1, 2}), shared);
		FileStore stranger(m_bench->reactor(), options({}));
		QVERIFY(m_bench->await(first.open(true)));
		QVERIFY(m_bench->await(second.open(true)));
		const auto refused = m_bench->await(stranger.open(true));
		QVERIFY(!refused);
		QCOMPARE(refused.error().code, ErrorCode::Locked);
		Buffer data(4096, 'd'), in(4096);
		QCOMPARE(m_bench->run(first, Op::ObjCreate, dataObject(1, 1), data.all()), 0);
		QCOMPARE(m_bench->run(second, Op::ObjCreate, dataObject(1, 2), data.all()), 0);

		m_bench->await(first.close());
		FileStore other(m_bench->reactor(), options({}));
		QVERIFY(!m_bench->await(other.open(true))); // the second is still there
		QCOMPARE(m_bench->run(second, Op::ObjRead, dataObject(1, 2), in.all()), 0);
		QVERIFY(in.isAll('d'));
		m_bench->await(second.close());
		FileStore successor(m_bench->reactor(), options({}));
		QVERIFY(m_bench->await(successor.open(true)));
		QCOMPARE(m_bench->run(successor, Op::ObjRead, dataObject(1, 1), in.all()), 0);
		m_bench->await(successor.close());
	}

	void whoComesLaterLeavesTemporariesAlone()
	{
		const auto shared = group();
		FileStore first(m_bench->reactor(), options({0, 2}), shared), second(m_bench->reactor(), options({1, 2}), shared);
		QVERIFY(m_bench->await(first.open(true)));
		const std::string underWay = dir() + "/tmp/new.00000000000000aa";
		std::ofstream(underWay) << "being written by the first";
		QVERIFY(m_bench->await(second.open(true)));
		QVERIFY(fs::exists(underWay));
		// Both write aside at once, under names of their own.
		Buffer a(4096, 'a'), b(4096, 'b'), in(4096);
		Errand one(Op::ObjWriteFull, mapObject(ObjectKind::Header, 0, 1), a.all()), two(Op::ObjWriteFull, mapObject(ObjectKind::Header, 0, 2), b.all());
		first.submit(one);
		second.submit(two);
		m_bench->wait(one);
		m_bench->wait(two);
		QCOMPARE(one.error(), 0);
		QCOMPARE(two.error(), 0);
		QCOMPARE(m_bench->run(first, Op::ObjRead, mapObject(ObjectKind::Header, 0, 1), in.all()), 0);
		QVERIFY(in.isAll('a'));
		QCOMPARE(m_bench->run(second, Op::ObjRead, mapObject(ObjectKind::Header, 0, 2), in.all()), 0);
		QVERIFY(in.isAll('b'));
		m_bench->await(first.close());
		m_bench->await(second.close());
	}

	/// As for one store: who has something un-synced hears of it, once; who has nothing does not.
	void aFailingDeviceConcernsTheOtherShards()
	{
		StoreDir where(dir(), "test", Purpose::Any, Owner());
		QVERIFY(where.find(true));
		QVERIFY(where.tryLock());
		QVERIFY(where.enter(true));
		const auto log = roleLogger("test");
		SyncShare share;
		FdCache caches[2] = {{m_bench->reactor(), where, nullptr}, {m_bench->reactor(), where, nullptr}};
		SyncQueue queues[2] = {{m_bench->reactor(), caches[0], where}, {m_bench->reactor(), caches[1], where}};
		for (uint32_t n = 0; n < 2; ++n) {
			caches[n].start(16, 0, *log);
			queues[n].shareWith(share, n);
			queues[n].start(*log);
		}
		const auto sync = [&](uint32_t shard, uint8_t volume) {
			Errand errand(Op::ObjSyncVolume, dataObject(1, volume));
			errand.fn = [](runtime::Completion *self, int32_t result) {
				auto &op = *static_cast<StoreOp *>(self);
				result == 0 ? op.finish() : op.fail(ErrorCode::Io);
			};
			queues[shard].request(errand);
			m_bench->wait(errand);
			return errand.error();
		};
		const int io = static_cast<int>(ErrorCode::Io);
		QCOMPARE(sync(0, 1), 0); // what a predecessor left
		QCOMPARE(sync(1, 2), 0);
		queues[1].nameChanged(queues[1].volume(volumeId(2)), 7);
		queues[1].volume(volumeId(3)); // has nothing un-synced
		queues[0].failed("a sync of volume 1", EIO, &queues[0].volume(volumeId(1)));
		QCOMPARE(sync(1, 3), 0);
		QCOMPARE(sync(1, 2), io);
		QCOMPARE(sync(1, 2), 0);
		QCOMPARE(sync(0, 1), io);
		QCOMPARE(sync(0, 1), 0);
		// One file's own trouble is its volume's alone.
		queues[1].nameChanged(queues[1].volume(volumeId(2)), 7);
		queues[0].failed("a file that had no room", ENOSPC, &queues[0].volume(volumeId(1)));
		QCOMPARE(sync(1, 2), 0);
		QCOMPARE(sync(0, 1), io);
		QCOMPARE(share.failures(), uint64_t{1}); // nobody passes on what he was told
	}

	void aSyncCountsWhenThoseBesideItHaveEnded()
	{
		SyncShare share;
		bool done = false;
		const auto wait = [](SyncShare &s, runtime::Reactor &reactor, bool &out) -> runtime::Task<void> {
			co_await s.othersEnded(reactor, 1);
			out = true;
		};
		runtime::spawn(wait(share, m_bench->reactor(), done));
		QVERIFY(done); // nobody to wait for
		share.began(0);
		share.began(1); // our own does not count
		share.began(2);
		done = false;
		runtime::spawn(wait(share, m_bench->reactor(), done));
		share.began(3); // began later
		share.ended(0);
		bool turned = false;
		m_bench->reactor().post([&turned] { turned = true; });
		m_bench->reactor().runUntil([&] { return turned; });
		QVERIFY(!done);
		share.ended(2);
		m_bench->reactor().runUntil([&] { return done; });
	}
};

int main(int argc, char **argv)
{
	if (const auto held = holdStore(argc, argv)) return *held;
	TestStoreGroup test;
	return QTest::qExec(&test, argc, argv);
}
#include "tst_store_group.moc"
