// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The loop: timers in order, files, the helper thread, locks that live as long as the ring, waking from another thread.
#include "rig.h"

#include <QTemporaryDir>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <thread>

using namespace archipelago;
using namespace archipelago::runtime;
using archipelago::testing::Rig;

class TestReactor : public QObject {
	Q_OBJECT

	static Task<void> copyThrough(Reactor &reactor, int fd, std::string &out)
	{
		const std::string text = "four thousand volumes";
		const int32_t written = co_await reactor.write(fd, std::as_bytes(std::span(text)), 100);
		const int32_t synced = co_await reactor.fdatasync(fd);
		std::string back(text.size() + 10, 'x');
		const int32_t got = co_await reactor.read(fd, std::as_writable_bytes(std::span(back)), 100);
		if (written == static_cast<int32_t>(text.size()) && synced == 0 && got == written) out = back.substr(0, static_cast<size_t>(got));
	}

private slots:
	void timersFireInOrderOfTheirTime()
	{
		Rig rig;
		std::vector<int> order;
		Timer c(*rig.reactor, [&] { order.push_back(3); rig.reactor->stop(); });
		Timer a(*rig.reactor, [&] { order.push_back(1); });
		Timer b(*rig.reactor, [&] { order.push_back(2); });
		Timer never(*rig.reactor, [&] { order.push_back(9); });
		c.startMs(30);
		a.startMs(10);
		b.startMs(20);
		never.startMs(5);
		never.cancel();
		rig.reactor->run();
		QCOMPARE(order, (std::vector<int>{1, 2, 3}));
		QVERIFY(!a.active() && !b.active() && !c.active());
	}

	void aTimerMayEndItself()
	{
		Rig rig;
		bool fired = false;
		std::unique_ptr<Timer> timer;
		timer = std::make_unique<Timer>(*rig.reactor, [&] { fired = true; timer.reset(); });
		timer->startMs(1);
		rig.reactor->runUntil([&] { return fired; });
		QVERIFY(!timer);
	}

	void filesAreReadAndWritten()
	{
		Rig rig;
		QTemporaryDir dir;
		const std::string path = dir.filePath("f").toStdString();
		const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		std::string out;
		rig.run(copyThrough(*rig.reactor, fd, out));
		QCOMPARE(out, std::string("four thousand volumes"));
		close(fd);
	}

	void errorsComeBackAsMinusErrno()
	{
		Rig rig;
		int32_t result = 0;
		auto go = [](Reactor &reactor, int32_t &out) -> Task<void> { out = co_await reactor.openat(AT_FDCWD, "/nonexistent/x", O_RDONLY, 0); };
		rig.run(go(*rig.reactor, result));
		QCOMPARE(result, -ENOENT);
	}

	void moreIoThanTheQueueHolds()
	{
		Rig rig;
		QTemporaryDir dir;
		const std::string path = dir.filePath("f").toStdString();
		const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		unsigned done = 0;
		auto one = [](Reactor &reactor, int file, unsigned &count, uint64_t at) -> Task<void> {
			const uint64_t value = at;
			const int32_t n = co_await reactor.write(file, std::as_bytes(std::span(&value, 1)), at * 8);
			if (n == 8) ++count;
		};
		for (uint64_t i = 0; i < 5000; ++i) spawn(one(*rig.reactor, fd, done, i));
		rig.reactor->runUntil([&] { return done == 5000; });
		QCOMPARE(lseek(fd, 0, SEEK_END), 40000);
		close(fd);
	}

	void theHelperThreadDoesNotStopTheLoop()
	{
		Rig rig;
		const int gate = eventfd(0, EFD_CLOEXEC); // the job blocks until the loop has proved that it runs
		int result = 0;
		auto go = [](Reactor &reactor, int fd, int &out) -> Task<void> {
			std::function<int()> job = [fd] {
				uint64_t n = 0;
				return ::read(fd, &n, sizeof n) == sizeof n ? 42 : -1;
			};
			out = co_await reactor.offload(std::move(job));
		};
		spawn(go(*rig.reactor, gate, result));
		Timer timer(*rig.reactor, [&] { const uint64_t one = 1; QCOMPARE(::write(gate, &one, sizeof one), ssize_t(sizeof one)); });
		timer.startMs(5);
		rig.reactor->runUntil([&] { return result != 0; });
		QCOMPARE(result, 42);
		close(gate);
	}

	void aHeldLockEndsWithTheRing()
	{
		QTemporaryDir dir;
		const std::string path = dir.filePath("alive").toStdString();
		const int probe = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		{
			Rig rig;
			xseg::UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
			QCOMPARE(flock(fd.get(), LOCK_EX | LOCK_NB), 0);
			auto held = rig.reactor->hold(std::move(fd));
			QVERIFY(held);
			QCOMPARE(flock(probe, LOCK_EX | LOCK_NB), -1); // no descriptor is left, the lock is
			QCOMPARE(errno, EWOULDBLOCK);
			rig.reactor->runUntil([n = 0]() mutable { return ++n > 3; });
			held->abandon(); // as if killed: nobody lets go of it
		}
		QCOMPARE(flock(probe, LOCK_EX), 0); // waits for the ring's end, which the kernel completes in the background
		close(probe);
	}

	void aHeldFileThatIsLetGoGivesItsPlaceBack()
	{
		QTemporaryDir dir;
		const std::string path = dir.filePath("lock").toStdString();
		Rig rig;
		const int probe = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		for (int round = 0; round < 40; ++round) { // more often than a ring has places
			xseg::UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
			QCOMPARE(flock(fd.get(), LOCK_EX), 0);
			auto held = rig.reactor->hold(std::move(fd));
			QVERIFY(held);
			QCOMPARE(flock(probe, LOCK_EX | LOCK_NB), -1);
			held->reset();
			QCOMPARE(flock(probe, LOCK_EX), 0); // the kernel lets go in its own time
			QCOMPARE(flock(probe, LOCK_UN), 0);
		}
		close(probe);
	}

	void anotherThreadWakesItWithinTheSafetyTime()
	{
		Rig rig;
		std::atomic<bool> woken = false;
		// A port nobody serves: the hint is consumed and ignored, but the loop must have turned.
		QElapsedTimer time;
		time.start();
		std::jthread other([&] {
			// Ring only when it is asleep, so that the bell path is the one that is taken.
			while (std::atomic_ref<uint32_t>(rig.segment->waiter(0).bell).load() == 0) std::this_thread::yield();
			woken = true;
			xseg::announce(*rig.segment, rig.bells, 0, 7);
		});
		rig.reactor->runUntil([&] { return woken.load(); });
		QVERIFY(time.elapsed() < 2000);
	}

	void postedWorkRunsOutsideOfItsCaller()
	{
		Rig rig;
		std::vector<int> order;
		rig.reactor->post([&] {
			rig.reactor->post([&] { order.push_back(2); rig.reactor->stop(); });
			order.push_back(1);
		});
		rig.reactor->run();
		QCOMPARE(order, (std::vector<int>{1, 2}));
	}
};

QTEST_APPLESS_MAIN(TestReactor)
#include "tst_reactor.moc"
