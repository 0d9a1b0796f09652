// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The ring alone, over plain memory: order, limits, laps, what a killed producer or consumer leaves behind, garbage, and
// several producer threads. (All interleavings with kills: tests/models/ring_model.py.)
#include "xseg/src/ring.h"

#include <QtTest>

#include <atomic>
#include <memory>
#include <random>
#include <thread>

using namespace xseg;

namespace {

constexpr uint32_t kLog2 = 5;
constexpr uint64_t kSlots = 1u << kLog2;

/// A ring with its memory, its consumer's head, and raw access for tests that break it.
struct TestRing {
	explicit TestRing(uint32_t log2 = kLog2)
	    : memory(sizeof(xs_ring) / 8 + (1u << log2)), shared(*reinterpret_cast<xs_ring *>(memory.data())),
	      ring(shared, log2)
	{
	}
	/// As if `position` entries had been through it.
	void startAt(uint64_t position)
	{
		shared.tail = shared.head = head = position;
		for (uint64_t p = position; p < position + kSlots; ++p)
			shared.slot[p % kSlots] = (2 * (p / kSlots)) << Ring::kRequestBits;
	}
	std::optional<uint32_t> pop()
	{
		const auto request = ring.peek(head);
		if (request) ring.clear(head);
		return request;
	}

	std::vector<uint64_t> memory;
	xs_ring &shared;
	Ring ring;
	uint64_t head = 0;
};

} // namespace

class RingTest : public QObject {
	Q_OBJECT

private slots:
	void zeroMemoryIsAnEmptyRing();
	void keepsOrder();
	void refusesWhenFull();
	void manyLaps_data();
	void manyLaps();
	void producerKilledBeforeItAdvancedTail();
	void consumerKilledBeforeItClearedSlot();
	void consumerKilledBeforeItBumpedHead();
	void consumerKilledThenSlotFilledAgain();
	void garbageSlotsAreSteppedOver();
	void garbageEverywhereEnds();
	void manyProducers();
};

void RingTest::zeroMemoryIsAnEmptyRing()
{
	TestRing r;
	QVERIFY(!r.pop());
	QVERIFY(r.ring.push(0)); // request 0 in lap 0: all bits but the ticket's are zero
	QCOMPARE(r.pop(), std::optional<uint32_t>(0));
	QVERIFY(!r.pop());
}

void RingTest::keepsOrder()
{
	TestRing r;
	for (uint32_t i = 0; i < 20; ++i) QVERIFY(r.ring.push(100 + i));
	for (uint32_t i = 0; i < 20; ++i) QCOMPARE(r.pop(), std::optional(100 + i));
	QVERIFY(!r.pop());
	QCOMPARE(r.ring.sharedHead(), uint64_t(20));
}

void RingTest::refusesWhenFull()
{
	TestRing r;
	for (uint32_t i = 0; i < kSlots; ++i) QVERIFY(r.ring.push(i));
	QVERIFY(!r.ring.push(1000));
	QCOMPARE(r.pop(), std::optional<uint32_t>(0));
	QVERIFY(r.ring.push(1001));
	QVERIFY(!r.ring.push(1002));
	for (uint32_t i = 1; i < kSlots; ++i) QCOMPARE(r.pop(), std::optional(i));
	QCOMPARE(r.pop(), std::optional<uint32_t>(1001));
	QVERIFY(!r.pop());
}

void RingTest::manyLaps_data()
{
	QTest::addColumn<quint64>("start");
	QTest::newRow("from zero") << quint64(0);
	const uint64_t lapsOfTicket = uint64_t(1) << 39;
	QTest::newRow("across the wrap of the ticket") << quint64((lapsOfTicket - 50) * kSlots);
	QTest::newRow("across the wrap of the position") << quint64(0 - 50 * kSlots);
}

void RingTest::manyLaps()
{
	QFETCH(quint64, start);
	TestRing r;
	r.startAt(start);
	uint32_t in = 0, out = 0;
	std::mt19937 random(1);
	while (out < 100 * kSlots) {
		for (auto n = random() % (kSlots + 1); n > 0 && r.ring.push(in); --n) ++in;
		for (auto n = random() % (kSlots + 1); n > 0; --n) {
			const auto request = r.pop();
			QCOMPARE(request.has_value(), out < in);
			if (request) QCOMPARE(*request, out++);
		}
		QVERIFY(in - out <= kSlots);
	}
}

void RingTest::producerKilledBeforeItAdvancedTail()
{
	TestRing r;
	QVERIFY(r.ring.push(1));
	r.shared.tail = 0; // the entry is there, the hint is not
	QVERIFY(r.ring.push(2));
	QCOMPARE(r.shared.tail, uint64_t(2));
	QCOMPARE(r.pop(), std::optional<uint32_t>(1));
	QCOMPARE(r.pop(), std::optional<uint32_t>(2));
}

void RingTest::consumerKilledBeforeItClearedSlot()
{
	TestRing r;
	QVERIFY(r.ring.push(1));
	QVERIFY(r.ring.peek(r.head));
	r.head = r.ring.sharedHead();                  // the successor
	QCOMPARE(r.pop(), std::optional<uint32_t>(1)); // sees it again; the state word tells it that it is stale
	QVERIFY(!r.pop());
}

void RingTest::consumerKilledBeforeItBumpedHead()
{
	TestRing r;
	QVERIFY(r.ring.push(1) && r.ring.push(2));
	QVERIFY(r.pop());
	r.shared.head = 0;
	r.head = r.ring.sharedHead();
	QCOMPARE(r.pop(), std::optional<uint32_t>(2));
	QVERIFY(!r.pop());
	QCOMPARE(r.ring.sharedHead(), uint64_t(2));
}

void RingTest::consumerKilledThenSlotFilledAgain()
{
	TestRing r;
	for (uint32_t i = 0; i < kSlots; ++i) QVERIFY(r.ring.push(i));
	QVERIFY(r.pop());
	r.shared.head = 0;
	QVERIFY(r.ring.push(99)); // into the slot that was cleared, while head still points at it
	r.head = r.ring.sharedHead();
	for (uint32_t i = 1; i < kSlots; ++i) QCOMPARE(r.pop(), std::optional(i));
	QCOMPARE(r.pop(), std::optional<uint32_t>(99)); // a consumer that cleared what it stepped over would have lost it
	QVERIFY(!r.pop());
}

void RingTest::garbageSlotsAreSteppedOver()
{
	TestRing r;
	for (uint32_t i = 0; i < 4; ++i) QVERIFY(r.ring.push(i));
	r.shared.slot[1] = 0xdeadbeefdeadbeef;
	r.shared.slot[2] = ~uint64_t(0);
	QCOMPARE(r.pop(), std::optional<uint32_t>(0));
	QCOMPARE(r.pop(), std::optional<uint32_t>(3));
	QVERIFY(!r.pop());
	// And the ring has healed.
	for (uint32_t i = 0; i < kSlots; ++i) QVERIFY(r.ring.push(i));
	for (uint32_t i = 0; i < kSlots; ++i) QCOMPARE(r.pop(), std::optional(i));
}

void RingTest::garbageEverywhereEnds()
{
	std::mt19937_64 random(2);
	for (int round = 0; round < 500; ++round) {
		TestRing r;
		for (uint64_t &word : r.memory) word = random();
		r.head = r.ring.sharedHead();
		for (uint32_t i = 0; i < 3 * kSlots; ++i) {
			r.ring.push(i);
			r.pop();
		}
	}
}

void RingTest::manyProducers()
{
	constexpr uint32_t kProducers = 3, kEach = 20000, kProducerShift = 20;
	TestRing r(9);
	std::vector<std::jthread> producers;
	for (uint32_t p = 0; p < kProducers; ++p) {
		producers.emplace_back([&r, p](std::stop_token stop) {
			for (uint32_t i = 0; i < kEach; ++i) {
				while (!r.ring.push(p << kProducerShift | i) && !stop.stop_requested()) std::this_thread::yield();
			}
		});
	}
	std::array<uint32_t, kProducers> next{};
	for (uint32_t received = 0; received < kProducers * kEach;) {
		const auto request = r.pop();
		if (!request) {
			std::this_thread::yield();
			continue;
		}
		const uint32_t producer = *request >> kProducerShift;
		QVERIFY(producer < kProducers);
		QCOMPARE(*request & ((1u << kProducerShift) - 1), next[producer]++); // each once, each producer's in its order
		++received;
	}
	producers.clear();
	QVERIFY(!r.pop());
	QCOMPARE(r.shared.tail, r.shared.head);
}

QTEST_GUILESS_MAIN(RingTest)
#include "ring_test.moc"
