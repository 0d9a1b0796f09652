// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Bells and ready bits: what wakes, what does not, and that no wake-up is lost between two threads; the spin budget.
#include "tests/xseg/segment_fixture.h"

#include <poll.h>

#include <atomic>
#include <thread>

using namespace xseg;
using namespace xseg::test;

namespace {

bool readable(int fd, int timeoutMs = 0)
{
	pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
	return poll(&entry, 1, timeoutMs) == 1;
}

void empty(int fd)
{
	uint64_t value = 0;
	[[maybe_unused]] const ssize_t got = read(fd, &value, sizeof value);
}

} // namespace

class WaiterTest : public QObject {
	Q_OBJECT

private slots:
	void announceSetsTheBit();
	void announceRingsOnlyWhoSleeps();
	void workBeforeSleepIsSeen();
	void ringWakesAndSticks();
	void ringSurvivesAnAnnounce();
	void takeReadyGoesRound();
	void watchedPortsAlone();
	void numbersFromSharedMemoryAreChecked();
	void noWakeUpIsLost();
	void spinStartsAtZero();
	void spinWhilePollingWorks();
	void spinBacksOff();
	void probeOutlastsThePartner();
	void spinForbidden();
};

void WaiterTest::announceSetsTheBit()
{
	const auto t = makeSegment();
	Waiter waiter(t.segment, t.bells, 2);
	QVERIFY(!waiter.anyReady());
	QVERIFY(!waiter.takeReady());
	announce(t.segment, t.bells, 2, 63);
	announce(t.segment, t.bells, 2, 63);
	QVERIFY(waiter.anyReady());
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(63));
	QVERIFY(!waiter.takeReady());
	waiter.mark(5);
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(5));
	Waiter other(t.segment, t.bells, 1);
	QVERIFY(!other.anyReady());
}

void WaiterTest::announceRingsOnlyWhoSleeps()
{
	const auto t = makeSegment();
	Waiter waiter(t.segment, t.bells, 0);
	announce(t.segment, t.bells, 0, 1);
	QVERIFY(!readable(waiter.eventFd())); // awake: no system call for it
	QVERIFY(waiter.takeReady());
	QVERIFY(waiter.prepareSleep());
	QVERIFY(!readable(waiter.eventFd()));
	announce(t.segment, t.bells, 0, 1);
	QVERIFY(readable(waiter.eventFd()));
	empty(waiter.eventFd());
	announce(t.segment, t.bells, 0, 2); // one ring per sleep
	QVERIFY(!readable(waiter.eventFd()));
	waiter.wake();
	QCOMPARE(t.segment.waiter(0).sleeps, quint64(1));
	QCOMPARE(t.segment.waiter(0).wakes, quint64(1));
}

void WaiterTest::workBeforeSleepIsSeen()
{
	const auto t = makeSegment();
	Waiter waiter(t.segment, t.bells, 0);
	announce(t.segment, t.bells, 0, 1);
	QVERIFY(!waiter.prepareSleep());
	waiter.wake();
	QVERIFY(waiter.takeReady());
	QVERIFY(waiter.prepareSleep());
	waiter.wake(); // timed out
	QCOMPARE(t.segment.waiter(0).sleeps, quint64(1));
	QCOMPARE(t.segment.waiter(0).wakes, quint64(0));
}

void WaiterTest::ringWakesAndSticks()
{
	const auto t = makeSegment();
	Waiter waiter(t.segment, t.bells, 0);
	QVERIFY(waiter.prepareSleep());
	ring(t.segment, t.bells, 0);
	QVERIFY(readable(waiter.eventFd()));
	empty(waiter.eventFd());
	waiter.wake();

	ring(t.segment, t.bells, 0); // while awake: remembered
	QVERIFY(!readable(waiter.eventFd()));
	QVERIFY(!waiter.prepareSleep());
	waiter.wake();
	QVERIFY(waiter.prepareSleep());
	waiter.wake();
}

void WaiterTest::ringSurvivesAnAnnounce()
{
	const auto t = makeSegment();
	Waiter waiter(t.segment, t.bells, 0);
	ring(t.segment, t.bells, 0);
	announce(t.segment, t.bells, 0, 1);
	QVERIFY(waiter.takeReady()); // the port's work is done, the ring has not been heard yet
	QVERIFY(!waiter.prepareSleep());
	waiter.wake();
}

void WaiterTest::takeReadyGoesRound()
{
	const auto t = makeSegment(
		{.ports = 130, .waiters = 1, .requests = 256, .ringSlotsLog2 = 5, .sizeBytes = 12u << 20});
	Waiter waiter(t.segment, t.bells, 0);
	for (const PortNo port : {PortNo(3), PortNo(70), PortNo(129)}) waiter.mark(port);
	std::vector<PortNo> order;
	for (int i = 0; i < 6; ++i) {
		const auto port = waiter.takeReady();
		QVERIFY(port);
		order.push_back(*port);
		waiter.mark(*port); // always busy
	}
	QCOMPARE(order, (std::vector<PortNo>{3, 70, 129, 3, 70, 129}));
}

void WaiterTest::numbersFromSharedMemoryAreChecked()
{
	const auto t = makeSegment();
	announce(t.segment, t.bells, 4, 1);
	announce(t.segment, t.bells, 0xffffffff, 1);
	announce(t.segment, t.bells, 0, 64);
	announce(t.segment, t.bells, 0, XS_NO_PORT);
	ring(t.segment, t.bells, 4);
	BellFds fewer;
	announce(t.segment, fewer, 0, 1); // a process that was given no bells
	Waiter waiter(t.segment, t.bells, 0);
	QVERIFY(!waiter.anyReady());
	for (uint64_t &word : t.segment.waiter(0).ready) word = ~uint64_t(0);
	for (int i = 0; i < 64; ++i) QVERIFY(waiter.takeReady());
	QVERIFY(!waiter.takeReady()); // bits of ports that do not exist are nothing
	t.segment.waiter(0).bell = 0xdeadbeef;
	QVERIFY(!waiter.prepareSleep()); // unheard of: awake is the safe answer
	waiter.wake();
}

/// Two threads hand a counter to and fro, sleeping in poll() for each message. A lost wake-up shows as a time-out.
void WaiterTest::noWakeUpIsLost()
{
	constexpr uint64_t kRounds = 2000;
	const auto t = makeSegment();
	std::array<std::atomic<uint64_t>, 2> mail{};
	std::atomic<int> lost = 0;
	const auto play = [&](uint32_t me) {
		Waiter waiter(t.segment, t.bells, me);
		for (uint64_t round = 1; round <= kRounds; ++round) {
			if (me == 0) {
				mail[1] = round;
				announce(t.segment, t.bells, 1, 1);
			}
			while (mail[me].load() != round) {
				if (waiter.prepareSleep() && !readable(waiter.eventFd(), 10'000)) {
					lost = 1;
					return;
				}
				waiter.wake();
				empty(waiter.eventFd());
				waiter.takeReady();
			}
			if (me == 1) {
				mail[0] = round;
				announce(t.segment, t.bells, 0, 0);
			}
		}
	};
	std::jthread other(play, 1);
	play(0);
	other.join();
	QCOMPARE(lost.load(), 0);
}

void WaiterTest::watchedPortsAlone()
{
	const auto t = makeSegment(
		{.ports = 130, .waiters = 1, .requests = 256, .ringSlotsLog2 = 5, .sizeBytes = 12u << 20});
	Waiter waiter(t.segment, t.bells, 0);
	waiter.watch(70);
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(70)); // for what a predecessor left
	announce(t.segment, t.bells, 0, 3);
	QVERIFY(!waiter.anyReady());
	QVERIFY(!waiter.takeReady());
	announce(t.segment, t.bells, 0, 70);
	QVERIFY(waiter.anyReady());
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(70));
	waiter.watch(5); // and with it the one that came too early
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(3));
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(5));
	QVERIFY(!waiter.takeReady());
}

void WaiterTest::spinStartsAtZero()
{
	SpinBudget spin(true);
	QCOMPARE(spin.nextNs(), quint64(0));
	QCOMPARE(spin.nextNs(), quint64(0));
	QVERIFY(spin.nextNs() > 0); // the first probe
}

void WaiterTest::spinWhilePollingWorks()
{
	SpinBudget spin(true);
	while (spin.nextNs() == 0) {}
	spin.hit();
	for (int i = 0; i < 100; ++i) {
		QCOMPARE(spin.nextNs(), quint64(20'000));
		spin.hit();
	}
}

void WaiterTest::spinBacksOff()
{
	SpinBudget spin(true);
	while (spin.nextNs() == 0) {}
	spin.hit();
	unsigned expected = 2;
	for (int fails = 1; fails < 14; ++fails) {
		QVERIFY(spin.nextNs() > 0);
		spin.missed();
		spin.missed(); // said twice, or without a poll before: counts once
		unsigned sleeps = 0;
		while (spin.nextNs() == 0) ++sleeps;
		QCOMPARE(sleeps, expected);
		expected = std::min(2 * expected, 1024u);
		spin.missed();
		for (unsigned i = 0; i < expected; ++i) QCOMPARE(spin.nextNs(), quint64(0));
		expected = std::min(2 * expected, 1024u);
	}
	QVERIFY(spin.nextNs() > 0);
	spin.hit();
	QCOMPARE(spin.nextNs(), quint64(20'000)); // forgiven at once
}

void WaiterTest::probeOutlastsThePartner()
{
	const auto probeAfter = [](uint64_t blockedNs) {
		SpinBudget spin(true);
		for (int i = 0; i < 100; ++i) spin.blockedFor(blockedNs);
		uint64_t probe = 0;
		while ((probe = spin.nextNs()) == 0) {}
		return probe;
	};
	QCOMPARE(probeAfter(0), quint64(10'000));
	QCOMPARE(probeAfter(30'000), quint64(70'000));
	QCOMPARE(probeAfter(90'000), quint64(190'000));
	QCOMPARE(probeAfter(100'000'000), quint64(200'000)); // never longer than this
}

void WaiterTest::spinForbidden()
{
	SpinBudget spin(false);
	for (int i = 0; i < 100; ++i) QCOMPARE(spin.nextNs(), quint64(0));
	spin.hit();
	QCOMPARE(spin.nextNs(), quint64(0));
}

QTEST_GUILESS_MAIN(WaiterTest)
#include "waiter_test.moc"
