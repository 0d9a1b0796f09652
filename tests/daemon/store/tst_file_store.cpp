// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore beyond what every store promises: descriptors and their limit, which syncs a flush costs, a failed sync, what a
// SIGKILL leaves, other people's files among the objects.
#include "daemon/base/log.h"
#include "store_bench.h"

#include <QtTest>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <new>

using namespace archipelago;
using namespace archipelago::store;

namespace fs = std::filesystem;

namespace {

std::atomic<uint64_t> allocations = 0;

} // namespace

// Counted for readAndWriteAllocateNothing(); new[] and the nothrow forms end here too.
void *operator new(size_t bytes)
{
	++allocations;
	if (void *p = std::malloc(bytes)) return p;
	throw std::bad_alloc();
}
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, size_t) noexcept { std::free(p); }

namespace {

unsigned openDescriptors()
{
	return static_cast<unsigned>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

/// The descriptor under which this process has the object's file open; -1: it has not.
int descriptorOf(const ObjectId &id)
{
	const std::string file = fileName(*objectKey(id, {}));
	for (const auto &entry : fs::directory_iterator("/proc/self/fd")) {
		std::error_code gone;
		const fs::path target = fs::read_symlink(entry.path(), gone);
		if (!gone && target.filename() == file) return std::stoi(entry.path().filename().string());
	}
	return -1;
}

} // namespace

class TestFileStore : public QObject {
	Q_OBJECT

private:
	std::optional<Bench> m_bench;
	ScratchDir m_scratch;
	std::unique_ptr<FileStore> m_store;

	std::string dir() const { return m_scratch.path() + "/objects"; }
	void open(uint32_t fdcache = 4096, bool direct = true)
	{
		FileStoreOptions options;
		options.dir = dir();
		options.fdcache = fdcache;
		options.direct = direct;
		m_store = std::make_unique<FileStore>(m_bench->reactor(), options);
		const auto opened = m_bench->await(m_store->open(true));
		QVERIFY2(opened, opened ? "" : opened.error().message.c_str());
	}
	void close()
	{
		m_bench->await(m_store->close());
		m_store.reset();
	}
	int run(Op op, const ObjectId &id, std::span<std::byte> data = {}, uint64_t at = 0)
	{
		return m_bench->run(*m_store, op, id, data, at);
	}
	int syncVolume(uint8_t volume)
	{
		ObjectId id;
		id.volume = volumeId(volume);
		return run(Op::ObjSyncVolume, id);
	}
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
	void init() { m_bench.emplace(); }
	void cleanup()
	{
		if (m_store) close();
		m_bench.reset();
		if (!fs::exists(dir())) return;
		for (const auto &entry : fs::recursive_directory_iterator(dir()))
			if (!entry.is_directory() && entry.path().filename() != "identity") fs::remove(entry.path());
	}

	// ---- descriptors

	void fewDescriptorsAreEnough_data()
	{
		QTest::addColumn<bool>("direct");
		QTest::newRow("direct") << true;
		QTest::newRow("buffered") << false;
	}
	void fewDescriptorsAreEnough()
	{
		QFETCH(bool, direct);
		constexpr uint32_t kFiles = 4, kObjects = 100;
		open(kFiles, direct);
		for (const Op op : {Op::ObjCreate, Op::ObjWrite, Op::ObjWriteFull, Op::ObjRead}) {
			std::vector<std::unique_ptr<Buffer>> memory;
			std::vector<std::unique_ptr<Errand>> errands;
			for (uint32_t n = 0; n < kObjects; ++n) {
				memory.push_back(std::make_unique<Buffer>(512, op == Op::ObjRead ? 0 : static_cast<int>(n)));
				errands.push_back(std::make_unique<Errand>(op, dataObject(n), memory.back()->all()));
				m_store->submit(*errands.back());
				QVERIFY(m_store->openFiles() <= kFiles);
			}
			m_bench->reactor().runUntil([&] {
				// Looked at in every turn.
				if (m_store->openFiles() > kFiles) qFatal("%u files open, %u allowed", m_store->openFiles(), kFiles);
				return std::all_of(errands.begin(), errands.end(), [](const auto &e) { return e->back; });
			});
			for (const auto &errand : errands) QCOMPARE(errand->error(), 0);
			for (uint32_t n = 0; n < kObjects; ++n) QVERIFY(memory[n]->isAll(static_cast<int>(n)));
		}
		QVERIFY(m_store->openFiles() > 0);
		QCOMPARE(syncVolume(1), 0); // most of the dirty ones are closed by now
	}

	void nothingLeaks()
	{
		open(64);
		close();
		m_bench->reactor(); // the ring keeps its own reference to the lock, no descriptor
		const unsigned before = openDescriptors();
		open(64);
		Buffer data(4096, 'd');
		for (uint32_t n = 0; n < 200; ++n) {
			QCOMPARE(run(n % 2 ? Op::ObjCreate : Op::ObjWriteFull, dataObject(n), data.all()), 0);
			QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), static_cast<int>(ErrorCode::Exists));
			QCOMPARE(run(Op::ObjRead, dataObject(n, 2), data.all()), static_cast<int>(ErrorCode::NotFound));
			if (n % 3 == 0) QCOMPARE(run(Op::ObjRemove, dataObject(n)), 0);
			if (n > 0) QCOMPARE(run(Op::ObjRead, dataObject(1), data.all()), 0);
		}
		listAll(*m_bench, *m_store, ObjectKind::Data, VolumeId{}, 1000);
		close();
		QCOMPARE(openDescriptors(), before);
		QVERIFY(fs::is_empty(dir() + "/tmp"));
	}

	void openFilesAreReused()
	{
		open(8);
		Buffer data(4096, 'd');
		for (uint32_t n = 0; n < 20; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), 0);
		QCOMPARE(m_store->openFiles(), 8u);
		QVERIFY(descriptorOf(dataObject(19)) >= 0);
		QVERIFY(descriptorOf(dataObject(0)) < 0);
		QCOMPARE(run(Op::ObjRead, dataObject(12), data.all()), 0); // the oldest but for this use
		QCOMPARE(run(Op::ObjRead, dataObject(0), data.all()), 0);
		QVERIFY(descriptorOf(dataObject(12)) >= 0);
		QVERIFY(descriptorOf(dataObject(13)) < 0);
	}

	/// Not even the time of the last access, which a filesystem writes for the first read after a write.
	void readsDoNotWrite()
	{
		open(1);
		Buffer data(4096, 'd');
		for (const bool reopened : {false, true}) {
			if (!reopened) QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
			const int fd = descriptorOf(dataObject(1));
			QVERIFY(fd >= 0);
			const timespec longAgo{.tv_sec = 1, .tv_nsec = 0};
			const timespec times[] = {longAgo, {.tv_sec = 0, .tv_nsec = UTIME_OMIT}};
			QCOMPARE(futimens(fd, times), 0);
			QCOMPARE(run(Op::ObjRead, dataObject(1), data.all()), 0);
			struct stat now{};
			QCOMPARE(fstat(fd, &now), 0);
			QCOMPARE(now.st_atim.tv_sec, longAgo.tv_sec);
			QCOMPARE(fcntl(fd, F_GETFL) & O_DIRECT, m_store->direct() ? O_DIRECT : 0);
			QCOMPARE(run(Op::ObjCreate, dataObject(2 + reopened), data.all()), 0); // takes the only descriptor
			QVERIFY(descriptorOf(dataObject(1)) < 0);
			QCOMPARE(run(Op::ObjRead, dataObject(1), data.all()), 0);
		}
	}

	void readAndWriteAllocateNothing()
	{
		open();
		Buffer data(4096, 'd');
		for (uint32_t n = 0; n < 32; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), 0);
		std::vector<std::unique_ptr<Errand>> errands;
		for (uint32_t n = 0; n < 32; ++n)
			errands.push_back(std::make_unique<Errand>(n % 2 ? Op::ObjRead : Op::ObjWrite, dataObject(n), data.all()));
		for (int round = 0; round < 10; ++round) {
			const uint64_t before = allocations;
			for (auto &errand : errands) {
				errand->back = false;
				m_store->submit(*errand);
			}
			for (auto &errand : errands) m_bench->wait(*errand);
			if (round > 0) QCOMPARE(allocations - before, uint64_t{0}); // the first makes the objects dirty, the loop warm
		}
		for (auto &errand : errands) QCOMPARE(errand->error(), 0);
	}

	void tooFewDescriptorsOfTheProcess()
	{
		open(64);
		Buffer data(512, 'd'), in(512);
		for (uint32_t n = 0; n < 60; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), data.all()), 0);
		close();
		open(64);
		rlimit before{};
		QVERIFY(getrlimit(RLIMIT_NOFILE, &before) == 0);
		// Room for about ten more, at numbers the process has not used yet.
		const rlimit tight{openDescriptors() + 10, before.rlim_max};
		QVERIFY(setrlimit(RLIMIT_NOFILE, &tight) == 0);
		int failed = 0;
		for (uint32_t n = 0; n < 60; ++n) failed += run(Op::ObjRead, dataObject(n), in.all()) != 0;
		QVERIFY(setrlimit(RLIMIT_NOFILE, &before) == 0);
		QCOMPARE(failed, 0);
		QVERIFY(m_store->openFiles() < 60);
	}

	void claimsAddUp()
	{
		rlimit before{};
		QVERIFY(getrlimit(RLIMIT_NOFILE, &before) == 0);
		const rlimit low{256, before.rlim_max};
		QVERIFY(setrlimit(RLIMIT_NOFILE, &low) == 0);
		rlimit now{};
		{
			FdClaim first, second;
			QCOMPARE(first.claim(1000, 100), 1000u);
			QCOMPARE(second.claim(500, 100), 500u);
			QVERIFY(getrlimit(RLIMIT_NOFILE, &now) == 0);
			QVERIFY(now.rlim_cur >= 1700);
		}
		QVERIFY(setrlimit(RLIMIT_NOFILE, &before) == 0);
	}

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

	// ---- files of others, files of a crash

	void foreignFilesAreLeftAlone()
	{
		open();
		Buffer data(4096, 'd');
		const ObjectId header = mapObject(ObjectKind::Header, 0);
		QCOMPARE(run(Op::ObjCreate, header, data.all()), 0);
		const uint8_t directory = directoryOf(*objectKey(header, {}));
		const fs::path place = dir() + "/" + directoryPath(directory);
		const std::string volume = fileName(*objectKey(header, {})).substr(2, 32);
		const std::vector<std::string> foreign = {"n.%61", ".hidden", "h." + volume + ".000000000000000G",
		                                          "d." + volume + ".0000000000000001.00000000x", "new.0000000000000000", "h."};
		for (const std::string &name : foreign) std::ofstream(place / name) << "mine";
		fs::create_directory(place / ("h." + volume + ".0000000000000007"));
		fs::create_symlink("/etc/passwd", place / ("h." + volume + ".0000000000000008"));
		// The right name in the wrong directory.
		const fs::path elsewhere = dir() + "/" + directoryPath(static_cast<uint8_t>(directory + 1));
		std::ofstream(elsewhere / ("h." + volume + ".0000000000000009")) << "lost";

		const auto listed = listAll(*m_bench, *m_store, ObjectKind::Header, VolumeId{}, 4096);
		QCOMPARE(listed.size(), size_t{1});
		QVERIFY(listed[0].first == header);
		// A link is not followed, wherever it points.
		QVERIFY(run(Op::ObjRead, mapObject(ObjectKind::Header, 0, 1, 8), data.all()) != 0);
		QVERIFY(run(Op::ObjWrite, mapObject(ObjectKind::Header, 0, 1, 8), data.all()) != 0);
		for (const std::string &name : foreign) QVERIFY(fs::exists(place / name));
		fs::remove_all(place / ("h." + volume + ".0000000000000007"));
	}

	void leftoversOfACrashGo()
	{
		open();
		close();
		std::ofstream(dir() + "/tmp/new.0000000000000000") << "half an object";
		std::ofstream(dir() + "/tmp/new.00000000000000ff") << "another";
		std::ofstream(dir() + "/tmp/mine.txt") << "not ours";
		open();
		QVERIFY(!fs::exists(dir() + "/tmp/new.0000000000000000"));
		QVERIFY(!fs::exists(dir() + "/tmp/new.00000000000000ff"));
		QVERIFY(fs::exists(dir() + "/tmp/mine.txt"));
		Buffer data(512, 'd');
		QCOMPARE(run(Op::ObjWriteFull, dataObject(1), data.all()), 0);
	}

	void removedFilesGiveTheirSpaceBack()
	{
		open();
		Buffer data(1 << 20, 'd');
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all()), 0);
		QVERIFY(descriptorOf(dataObject(1)) >= 0);
		QCOMPARE(run(Op::ObjRemove, dataObject(1)), 0);
		QVERIFY(descriptorOf(dataObject(1)) < 0);
		QCOMPARE(m_store->openFiles(), 0u);
	}

	void aFailedCreateLeavesNothing()
	{
		open();
		Buffer data(4096, 'd');
		// Files end at 1 MiB here: the write behind it fails, after the file was made.
		rlimit before{};
		QVERIFY(getrlimit(RLIMIT_FSIZE, &before) == 0);
		const rlimit small{1 << 20, before.rlim_max};
		signal(SIGXFSZ, SIG_IGN);
		QVERIFY(setrlimit(RLIMIT_FSIZE, &small) == 0);
		const int failed = run(Op::ObjCreate, dataObject(1), data.all(), 2 << 20);
		QVERIFY(setrlimit(RLIMIT_FSIZE, &before) == 0);
		QVERIFY(failed != 0);
		QCOMPARE(run(Op::ObjStat, dataObject(1)), static_cast<int>(ErrorCode::NotFound));
		QCOMPARE(run(Op::ObjCreate, dataObject(1), data.all(), 2 << 20), 0);
	}

	void filesystemsWithoutDirectIo()
	{
		struct statfs info{};
		if (statfs("/dev/shm", &info) != 0) QSKIP("no /dev/shm");
		std::string pattern = "/dev/shm/archipelago-test-XXXXXX";
		QVERIFY(mkdtemp(pattern.data()));
		{
			FileStoreOptions options;
			options.dir = pattern;
			FileStore store(m_bench->reactor(), options);
			const auto opened = m_bench->await(store.open(true));
			QVERIFY(opened);
			Buffer data(700, 'd'), in(700);
			QCOMPARE(m_bench->run(store, Op::ObjCreate, dataObject(1), data.all(), 100), 0);
			QCOMPARE(m_bench->run(store, Op::ObjRead, dataObject(1), in.all(), 100), 0);
			QVERIFY(in.isAll('d'));
			QCOMPARE(m_bench->run(store, Op::ObjSyncAll, {}), 0);
			m_bench->await(store.close());
		}
		fs::remove_all(pattern);
	}

	// ---- kill

	void whatWasAcknowledgedSurvivesAKill()
	{
		open();
		close();
		QProcess child;
		child.start(QCoreApplication::applicationFilePath(), {"--hold-store", QString::fromStdString(dir()), "--write", "100000"});
		QVERIFY(child.waitForStarted());
		QByteArray output;
		while (output.count('\n') < 60) {
			QVERIFY(child.waitForReadyRead());
			output += child.readAllStandardOutput();
		}
		child.kill(); // in the middle of its work
		QVERIFY(child.waitForFinished());
		output += child.readAllStandardOutput();

		open(); // waits until the ring of the dead process is gone
		QList<QByteArray> lines = output.left(output.lastIndexOf('\n')).split('\n');
		QCOMPARE(lines.takeFirst(), QByteArray("open"));
		QVERIFY(lines.size() >= 50);
		for (const QByteArray &line : lines) {
			const uint32_t n = line.toUInt();
			Buffer in(4096);
			QCOMPARE(run(Op::ObjRead, dataObject(n), in.all()), 0);
			QVERIFY(in.isAll(static_cast<int>(n % 251 + 1)));
		}
	}
};

int main(int argc, char **argv)
{
	if (const auto held = holdStore(argc, argv)) return *held;
	QCoreApplication app(argc, argv);
	TestFileStore test;
	return QTest::qExec(&test, argc, argv);
}
#include "tst_file_store.moc"
