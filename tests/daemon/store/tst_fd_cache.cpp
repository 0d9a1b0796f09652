// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a miss of the descriptor cache costs: one open, told by the kernel (inotify), not by our own count; and whom it holds up:
// nobody. An open is held back in the kernel by a lease on the file: whoever opens it waits until the lease is given up, for as
// long as /proc/sys/fs/lease-break-time (45 s). A store that opened in its own thread would stand still that long.
#include "file_store_rig.h"

#include <QtTest>

#include <fcntl.h>
#include <sys/inotify.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <random>

using namespace archipelago;
using namespace archipelago::store;

namespace fs = std::filesystem;

namespace {

constexpr uint32_t kFiles = 4, kObjects = 64;
constexpr size_t kBytes = 4096;

std::string pathOf(const std::string &store, const ObjectId &id)
{
	const ObjectKey key = *objectKey(id, {});
	return store + "/" + directoryPath(directoryOf(key)) + "/" + fileName(key);
}

/// Opens of files below a directory, by whoever.
class OpensSeen {
public:
	explicit OpensSeen(const std::string &dir) : m_fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC))
	{
		for (unsigned n = 0; n < kHashDirectories; ++n)
			ARCHIPELAGO_ASSERT(inotify_add_watch(m_fd.get(), (dir + "/" + directoryPath(static_cast<uint8_t>(n))).c_str(), IN_OPEN) >= 0);
	}
	/// By name of the file, since the last call.
	std::map<std::string, unsigned> take()
	{
		std::map<std::string, unsigned> out;
		alignas(inotify_event) std::array<char, 64 << 10> buffer;
		ssize_t got = 0;
		while ((got = ::read(m_fd.get(), buffer.data(), buffer.size())) > 0) {
			for (ssize_t at = 0; at < got;) {
				const auto *event = reinterpret_cast<const inotify_event *>(buffer.data() + at);
				ARCHIPELAGO_ASSERT(!(event->mask & IN_Q_OVERFLOW));
				if (event->len > 0) ++out[event->name];
				at += static_cast<ssize_t>(sizeof *event + event->len);
			}
		}
		return out;
	}
	unsigned count()
	{
		unsigned sum = 0;
		for (const auto &[name, opens] : take()) sum += opens;
		return sum;
	}

private:
	xseg::UniqueFd m_fd;
};

/// Whoever opens the file waits until letGo().
class HeldOpen {
public:
	explicit HeldOpen(const std::string &path)
	    : m_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), m_held(fcntl(m_fd.get(), F_SETLEASE, F_WRLCK) == 0)
	{
	}
	/// Nobody else may have it open; and not every filesystem has leases.
	bool held() const { return m_held; }
	/// Somebody waits, in the kernel.
	bool somebodyWaits() const { return fcntl(m_fd.get(), F_GETLEASE) != F_WRLCK; }
	void letGo() { m_fd.reset(); }

private:
	xseg::UniqueFd m_fd;
	bool m_held;
};

/// Reads an object again and again, `depth` at a time, so that its descriptor is never out of use.
class Busy {
public:
	Busy(FileStore &store, uint32_t object, unsigned depth) : m_store(store)
	{
		for (unsigned n = 0; n < depth; ++n) m_reads.push_back(std::make_unique<Read>(*this, object));
	}
	void start()
	{
		for (auto &read : m_reads) m_store.submit(*read);
	}
	void stop() { m_stopping = true; }
	bool stopped() const { return m_out == 0; }
	uint64_t rounds() const { return m_rounds; }

private:
	struct Read : Errand {
		Busy &owner;
		Buffer memory{kBytes};
		Read(Busy &o, uint32_t object) : Errand(Op::ObjRead, dataObject(object)), owner(o)
		{
			data = memory.all();
			++owner.m_out;
			done = [](StoreOp &ended) {
				Busy &self = static_cast<Read &>(ended).owner;
				++self.m_rounds;
				self.m_stopping ? void(--self.m_out) : self.m_store.submit(ended);
			};
		}
	};
	FileStore &m_store;
	uint32_t m_out = 0;
	uint64_t m_rounds = 0;
	bool m_stopping = false;
	std::vector<std::unique_ptr<Read>> m_reads;
};

} // namespace

class TestFdCache : public QObject, FileStoreRig {
	Q_OBJECT

	Buffer m_data{kBytes, 'd'};
	std::deque<Errand> m_errands; ///< must be there until they are back, also when a test fails

	int read(uint32_t object) { return run(Op::ObjRead, dataObject(object), m_data.all()); }
	Errand &submit(Op op, uint32_t object)
	{
		m_errands.emplace_back(op, dataObject(object), m_data.all());
		m_store->submit(m_errands.back());
		return m_errands.back();
	}
	/// All that were submitted.
	void waitForAll()
	{
		for (Errand &errand : m_errands) m_bench->wait(errand);
		for (const Errand &errand : m_errands) QCOMPARE(errand.error(), 0);
	}

private slots:
	void initTestCase() { std::signal(SIGIO, SIG_IGN); } // tells the holder of a lease that somebody waits
	/// A store with kObjects objects, none of them open.
	void init()
	{
		begin();
		open(kFiles);
		for (uint32_t n = 0; n < kObjects; ++n) QCOMPARE(run(Op::ObjCreate, dataObject(n), m_data.all()), 0);
		close();
		open(kFiles);
	}
	void cleanup()
	{
		close();
		m_errands.clear();
		end();
	}

	void aMissIsOneOpenAndAHitIsNone()
	{
		OpensSeen opens(dir());
		for (uint32_t n = 0; n < kObjects; ++n) QCOMPARE(read(n), 0);
		const auto seen = opens.take();
		QCOMPARE(seen.size(), size_t{kObjects});
		for (const auto &[file, times] : seen) QVERIFY2(times == 1, file.c_str());
		for (int round = 0; round < 10; ++round)
			for (uint32_t n = kObjects - kFiles; n < kObjects; ++n) QCOMPARE(read(n), 0);
		QCOMPARE(opens.count(), 0u);
	}

	/// Beside a list that is kept as the cache should keep it: the least recently used goes first.
	void noMoreOpensThanTheLeastRecentlyUsedNeeds()
	{
		const unsigned seed = qEnvironmentVariableIsSet("ARCHIPELAGO_SEED") ? qEnvironmentVariable("ARCHIPELAGO_SEED").toUInt()
		                                                                    : std::random_device()();
		qInfo("ARCHIPELAGO_SEED=%u", seed);
		std::mt19937 random(seed);
		std::list<uint32_t> recent;
		OpensSeen opens(dir());
		unsigned misses = 0;
		for (int i = 0; i < 1000; ++i) {
			const auto n = static_cast<uint32_t>(random() % (kFiles + 3));
			const auto found = std::ranges::find(recent, n);
			misses += found == recent.end();
			if (found != recent.end()) recent.erase(found);
			recent.push_front(n);
			if (recent.size() > kFiles) recent.pop_back();
			QCOMPARE(read(n), 0);
		}
		QVERIFY(misses > 100 && misses < 900);
		QCOMPARE(opens.count(), misses);
	}

	void allWhoWantAnObjectShareItsOpen()
	{
		OpensSeen opens(dir());
		for (int i = 0; i < 32; ++i) submit(Op::ObjRead, 7);
		waitForAll();
		QCOMPARE(opens.count(), 1u);
		for (uint32_t n = 8; n < kObjects; ++n) // far more than there are descriptors
			for (int i = 0; i < 3; ++i) submit(Op::ObjRead, n);
		waitForAll();
		QCOMPARE(opens.count(), kObjects - 8);
	}

	void aSlowOpenHoldsUpNobodyElse()
	{
		QCOMPARE(read(1), 0);
		HeldOpen held(pathOf(dir(), dataObject(0)));
		if (!held.held()) QSKIP("no leases on this filesystem");
		const Errand &slow = submit(Op::ObjRead, 0), &behind = submit(Op::ObjWrite, 0);
		QCOMPARE(read(1), 0); // a hit
		QVERIFY(!slow.back);
		QTRY_VERIFY(held.somebodyWaits());
		for (uint32_t n = 2; n < kObjects; ++n) QCOMPARE(read(n), 0); // misses
		QCOMPARE(m_bench->run(*m_store, Op::ObjWrite, dataObject(1), m_data.all()), 0);
		QCOMPARE(m_bench->run(*m_store, Op::ObjSync, dataObject(1)), 0);
		QCOMPARE(m_bench->run(*m_store, Op::ObjCreate, dataObject(kObjects), m_data.all()), 0);
		QVERIFY(!slow.back && !behind.back); // it was slow all the time
		QVERIFY(held.somebodyWaits());
		held.letGo();
		waitForAll();
	}

	/// More of them than the kernel has workers for a ring unless it is told otherwise (four for each CPU).
	void manySlowOpensHoldUpNobodyElse()
	{
		close();
		open(kObjects);
		QCOMPARE(m_bench->run(*m_store, Op::ObjSyncAll, {}), 0); // of what a predecessor left: from now on each object by itself
		std::deque<HeldOpen> held;
		for (uint32_t n = 1; n < kObjects / 2; ++n) held.emplace_back(pathOf(dir(), dataObject(n)));
		if (!held[0].held()) QSKIP("no leases on this filesystem");
		for (uint32_t n = 1; n < kObjects / 2; ++n) submit(Op::ObjRead, n);
		QCOMPARE(read(0), 0);
		QTRY_VERIFY(held[0].somebodyWaits());
		for (uint32_t n = kObjects / 2; n < kObjects; ++n) QCOMPARE(read(n), 0);
		QCOMPARE(m_bench->run(*m_store, Op::ObjWrite, dataObject(0), m_data.all()), 0);
		QCOMPARE(m_bench->run(*m_store, Op::ObjSync, dataObject(0)), 0); // has a worker do it
		QVERIFY(std::ranges::none_of(m_errands, &Errand::back));
		for (HeldOpen &one : held) one.letGo();
		waitForAll();
	}

	/// In use without a break by two readers each, as many objects as there are descriptors: one more gets its turn all the same.
	void whoIsAlwaysInUseMakesWay()
	{
		std::vector<std::unique_ptr<Busy>> busy;
		for (uint32_t n = 0; n < kFiles; ++n) busy.push_back(std::make_unique<Busy>(*m_store, n, 2));
		for (auto &one : busy) one->start();
		const auto rounds = [&] {
			uint64_t least = UINT64_MAX;
			for (const auto &one : busy) least = std::min(least, one->rounds());
			return least;
		};
		m_bench->reactor().runUntil([&] { return rounds() > 10; });
		for (uint32_t n = 10; n < 13; ++n) submit(Op::ObjRead, n);
		submit(Op::ObjCreate, kObjects);
		const auto served = [&] { return std::ranges::all_of(m_errands, &Errand::back); };
		const uint64_t begin = rounds();
		m_bench->reactor().runUntil([&] { return served() || rounds() > begin + 2000; });
		const bool inTime = served();
		const uint64_t now = rounds();
		m_bench->reactor().runUntil([&] { return rounds() > now + 100; }); // who made way gets its turn again
		for (auto &one : busy) one->stop();
		m_bench->reactor().runUntil([&] { return std::ranges::all_of(busy, [](const auto &one) { return one->stopped(); }); });
		waitForAll();
		QVERIFY2(inTime, "they waited for as long as the others went on");
	}
};

QTEST_GUILESS_MAIN(TestFdCache)
#include "tst_fd_cache.moc"
