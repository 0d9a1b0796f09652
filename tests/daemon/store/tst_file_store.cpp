// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore beyond what every store promises: descriptors and their limit, what a SIGKILL leaves, other people's files among
// the objects. Syncs: tst_syncs.cpp.
#include "file_store_rig.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <atomic>
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

} // namespace

class TestFileStore : public QObject, private FileStoreRig {
	Q_OBJECT

private slots:
	void init() { begin(); }
	void cleanup() { end(); }

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
