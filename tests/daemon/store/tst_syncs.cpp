// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: which syncs a flush costs, what a durable write covers, and who hears of a sync that failed.
#include "file_store_rig.h"

#include "daemon/base/log.h"

#include <unistd.h>

using namespace archipelago;
using namespace archipelago::store;

class TestSyncs : public QObject, private FileStoreRig {
	Q_OBJECT

private:
	int writeFua(Op op, const ObjectId &id, std::span<std::byte> data, uint64_t at = 0)
	{
		Errand errand(op, id, data, at);
		errand.fua = true;
		return m_bench->run(*m_store, errand);
	}
	/// What the syncs since the last call of this have cost: {files, filesystems}.
	std::pair<uint64_t, uint64_t> cost()
	{
		const SyncCounts now = m_store->syncCounts(), before = std::exchange(m_counted, now);
		return {now.files - before.files, now.filesystems - before.filesystems};
	}
	SyncCounts m_counted;
	using Cost = std::pair<uint64_t, uint64_t>;

	/// Puts something that cannot be synced in place of the file.
	static void spoil(int fd)
	{
		int ends[2];
		QVERIFY(pipe(ends) == 0);
		QVERIFY(dup2(ends[0], fd) >= 0);
		::close(ends[0]);
		::close(ends[1]);
	}
	void startCounting()
	{
		m_counted = {};
		QCOMPARE(run(Op::ObjSyncAll, {}), 0);
		QVERIFY(cost() == Cost(0, 1)); // what a predecessor may have left
	}

private slots:
	void init() { begin(); }
	void cleanup() { end(); }

	// ---- what a flush costs

	void syncsByNumber()
	{
		open();
		startCounting();
		Buffer data(4096, 'd');
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 0)); // nothing to sync
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(2, 0)); // the object and its directory
		for (uint32_t n = 2; n < 6; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 1)); // four objects, four directories: all at once

		QCOMPARE(run(Op::ObjWrite, dataObject(1), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(1, 0));
		QCOMPARE(run(Op::ObjWrite, dataObject(1), data.all()), 0);
		QCOMPARE(run(Op::ObjWrite, dataObject(2), data.all()), 0);
		QCOMPARE(run(Op::ObjWrite, dataObject(2), data.all(), 4096), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(2, 0));
		for (uint32_t n = 1; n < 4; ++n) QCOMPARE(run(Op::ObjWrite, dataObject(n), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 1));
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 0));
	}

	void syncsOfOneObject()
	{
		open();
		startCounting();
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
		QCOMPARE(run(Op::ObjSync, dataObject(1)), 0);
		QVERIFY(cost() == Cost(2, 0));
		QCOMPARE(run(Op::ObjSync, dataObject(1)), 0);
		QVERIFY(cost() == Cost(0, 0));
		QCOMPARE(run(Op::ObjRemove, dataObject(1)), 0);
		QCOMPARE(run(Op::ObjSync, dataObject(1)), 0); // the removal
		QVERIFY(cost() == Cost(1, 0));
		QCOMPARE(run(Op::ObjWriteFull, dataObject(1), data.all()), 0);
		QCOMPARE(run(Op::ObjSync, dataObject(1)), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 0)); // was durable when it came back
	}

	void volumesDoNotPayForEachOther()
	{
		open();
		startCounting();
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1, 1), data.all()), 0);
		QCOMPARE(run(Op::ObjCreate, dataObject(1, 2), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(2, 0));
		QCOMPARE(syncVolume(2), 0);
		QVERIFY(cost() == Cost(2, 0));
		// A sync of everything leaves nothing to anybody.
		for (uint32_t n = 2; n < 9; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n, static_cast<uint8_t>(n % 2 + 1)), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 1));
		QCOMPARE(syncVolume(2), 0);
		QVERIFY(cost() == Cost(0, 0));
	}

	void whatIsBeingWrittenStaysDirty()
	{
		open();
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
		startCounting();
		Errand write(Op::ObjWrite, dataObject(1), data.all());
		Errand sync(Op::ObjSyncVolume, dataObject(1));
		m_store->submit(write);
		m_store->submit(sync); // asked for before the write was complete: covers nothing
		m_bench->wait(write);
		m_bench->wait(sync);
		QVERIFY(cost() == Cost(0, 0));
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(1, 0));
	}

	void syncsShare()
	{
		open();
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
		startCounting();
		std::vector<std::unique_ptr<Errand>> syncs;
		QCOMPARE(run(Op::ObjWrite, dataObject(1), data.all()), 0);
		for (int n = 0; n < 20; ++n) {
			syncs.push_back(std::make_unique<Errand>(Op::ObjSyncVolume, dataObject(1)));
			m_store->submit(*syncs.back());
		}
		for (auto &sync : syncs) {
			QVERIFY(!sync->back); // also those that found nothing dirty: the first may still fail
		}
		for (auto &sync : syncs) {
			m_bench->wait(*sync);
			QCOMPARE(sync->error(), 0);
		}
		QVERIFY(cost() == Cost(1, 0));
	}

	void durableWrites()
	{
		open();
		if (!m_store->direct()) QSKIP("no direct I/O here");
		startCounting();
		Buffer data(4096, 'd');
		QCOMPARE(writeFua(Op::ObjCreate, dataObject(1), data.all()), 0);
		QVERIFY(cost() == Cost(1, 0)); // its directory; the data went with RWF_DSYNC
		QCOMPARE(writeFua(Op::ObjWrite, dataObject(1), data.all()), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 0));
		// A durable write says nothing about an earlier one.
		QCOMPARE(run(Op::ObjWrite, dataObject(1), data.all()), 0);
		QCOMPARE(writeFua(Op::ObjWrite, dataObject(1), data.all(), 4096), 0);
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(1, 0));
		// An empty create has no data to carry the promise.
		QCOMPARE(writeFua(Op::ObjCreate, dataObject(2), {}), 0);
		QVERIFY(cost() == Cost(2, 0));
		// Odd ones are synced after the write.
		QCOMPARE(writeFua(Op::ObjWrite, dataObject(1), data.part(0, 100), 3), 0);
		QVERIFY(cost() == Cost(1, 0));
	}

	void firstDurableWriteCoversThePredecessor()
	{
		open();
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0); // name and data may not be durable
		close();
		open();
		m_counted = {};
		QCOMPARE(writeFua(Op::ObjWrite, dataObject(1), data.all()), 0);
		QVERIFY(cost() == Cost(0, 1));
	}

	void closedDirtyFilesAreSynced()
	{
		open(2);
		Buffer data(4096, 'd');
		for (uint32_t n = 0; n < 3; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), 0);
		startCounting();
		for (uint32_t n = 0; n < 3; ++n) QCOMPARE(run(Op::ObjWrite, dataObject(n), data.all()), 0);
		QVERIFY(descriptorOf(dataObject(0)) < 0);
		QCOMPARE(run(Op::ObjSync, dataObject(0)), 0);
		QVERIFY(cost() == Cost(0, 1));
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 0));
	}

	// ---- a failed sync

	/// The volume of the file hears of it, once, whatever there is to sync then; the others go on.
	void aFailedSyncConcernsItsVolume()
	{
		open();
		startCounting();
		Buffer data(4096, 'd'), in(4096);
		QCOMPARE(run(Op::ObjCreate, dataObject(1, 1), data.all()), 0);
		QCOMPARE(run(Op::ObjCreate, dataObject(2, 2), data.all()), 0);
		QCOMPARE(run(Op::ObjSyncAll, {}), 0);
		const int io = static_cast<int>(ErrorCode::Io);
		for (const Op how : {Op::ObjSyncVolume, Op::ObjSync, Op::ObjSyncAll}) {
			QCOMPARE(run(Op::ObjWrite, dataObject(1, 1), data.all()), 0);
			QCOMPARE(run(Op::ObjWrite, dataObject(2, 2), data.all()), 0);
			const int file = descriptorOf(dataObject(1, 1)), kept = dup(file);
			spoil(file);
			QCOMPARE(run(how, dataObject(1, 1)), io);
			QVERIFY(dup2(kept, file) >= 0);
			::close(kept);
			QCOMPARE(syncVolume(2), 0);
			// A sync of everything was not volume 1's own: it has still to be told.
			if (how == Op::ObjSyncAll) {
				QCOMPARE(writeFua(Op::ObjWrite, dataObject(1, 1), data.part(0, 100)), io);
				QCOMPARE(syncVolume(1), io);
			}
			QCOMPARE(syncVolume(1), 0);
			QCOMPARE(run(Op::ObjSyncAll, {}), 0);
		}
		QCOMPARE(run(Op::ObjRead, dataObject(2, 2), in.all()), 0);
		QVERIFY(in.isAll('d'));
	}

	/// All who wait for the sync that fails hear of it; what it covered is synced with everything else the next time.
	void aFailedSyncIsToldToAllWhoShareIt()
	{
		open();
		startCounting();
		Buffer data(4096, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
		QCOMPARE(run(Op::ObjCreate, dataObject(1, 2), data.all()), 0);
		QCOMPARE(run(Op::ObjSyncAll, {}), 0);
		QCOMPARE(run(Op::ObjWrite, dataObject(1), data.all()), 0);
		QCOMPARE(run(Op::ObjWrite, dataObject(1, 2), data.all()), 0);
		spoil(descriptorOf(dataObject(1)));
		cost();
		Errand other(Op::ObjSyncVolume, dataObject(1, 2)), first(Op::ObjSyncVolume, dataObject(1)), second(Op::ObjSync, dataObject(1));
		m_store->submit(other); // alone; the two behind it share the next
		m_store->submit(first);
		m_store->submit(second);
		for (Errand *errand : {&other, &first, &second}) m_bench->wait(*errand);
		QCOMPARE(other.error(), 0);
		QCOMPARE(first.error(), static_cast<int>(ErrorCode::Io));
		QCOMPARE(second.error(), static_cast<int>(ErrorCode::Io));
		QVERIFY(cost() == Cost(2, 0));
		QCOMPARE(syncVolume(2), 0);
		QVERIFY(cost() == Cost(0, 1));
		QCOMPARE(syncVolume(1), 0);
		QVERIFY(cost() == Cost(0, 0));
	}

	/// E-IO may be the device's: whoever has something un-synced hears of it. While a predecessor's writes are un-synced,
	/// that is everybody, known here or not.
	void aFailingDeviceConcernsAllThatIsUnsynced()
	{
		StoreDir where(dir(), "test", Purpose::Any, Owner());
		QVERIFY(where.find(true));
		QVERIFY(where.tryLock());
		QVERIFY(where.enter(true));
		const auto log = roleLogger("test");
		FdCache cache(m_bench->reactor(), where, nullptr);
		cache.start(16, 0, *log);
		SyncQueue queue(m_bench->reactor(), cache, where);
		queue.start(*log);
		const auto sync = [&](uint8_t volume) {
			Errand errand(Op::ObjSyncVolume, dataObject(1, volume));
			errand.fn = [](runtime::Completion *self, int32_t result) {
				auto &op = *static_cast<StoreOp *>(self);
				result == 0 ? op.finish() : op.fail(ErrorCode::Io);
			};
			queue.request(errand);
			m_bench->wait(errand);
			return errand.error();
		};
		const int io = static_cast<int>(ErrorCode::Io);
		queue.failed("a predecessor's sync", EIO, nullptr);
		for (uint8_t volume = 1; volume <= 3; ++volume) {
			QCOMPARE(sync(volume), io);
			QCOMPARE(sync(volume), 0);
		}
		queue.nameChanged(queue.volume(volumeId(2)), 7);
		queue.volume(volumeId(3));
		queue.failed("a sync of volume 1", EIO, &queue.volume(volumeId(1)));
		QCOMPARE(sync(3), 0);
		QCOMPARE(sync(2), io);
		QCOMPARE(sync(2), 0);
		QCOMPARE(sync(1), io);
		QCOMPARE(sync(1), 0);
		queue.nameChanged(queue.volume(volumeId(2)), 7);
		queue.failed("a file that had no room", ENOSPC, &queue.volume(volumeId(1)));
		QCOMPARE(sync(2), 0);
		QCOMPARE(sync(1), io);
	}
};

QTEST_GUILESS_MAIN(TestSyncs)
#include "tst_syncs.moc"
