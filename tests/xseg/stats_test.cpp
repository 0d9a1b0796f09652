// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A port's record of stats: begun anew for a new subject, continued for the same one, copied whole or not at all while
// somebody begins it, and harmless whatever stands in it.
#include "xseg/stats.h"

#include "segment_fixture.h"

#include <sys/mman.h>

#include <atomic>
#include <random>
#include <thread>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kPort = 5;

StatsSubject subject(uint8_t id, std::string_view label) { return {.kind = 1, .id = {id}, .label = label}; }

void countReads(const Segment &segment, uint64_t ops)
{
	xs_stat_class &reads = segment.stats(kPort).op[XS_STAT_READ];
	reads.begun += ops + 3; // three of them are never answered
	reads.ops += ops;
	reads.hist[7] += ops;
}

/// Pages of the stats table that have memory.
uint64_t backedPages(const Segment &segment)
{
	const Geometry &g = segment.geometry();
	const uint64_t first = g.offStats, last = g.offStats + g.ports * sizeof(xs_stats);
	uint64_t pages = 0;
	for (off_t at = off_t(first); at < off_t(last); at += 4096)
		if (lseek(segment.fd(), at, SEEK_DATA) == at) ++pages;
	return pages;
}

} // namespace

class StatsTest : public QObject {
	Q_OBJECT

private slots:
	void nobodyHasCountedYet()
	{
		const auto t = makeSegment();
		QVERIFY(statsUnused(t.segment, kPort));
		QVERIFY(!readStats(t.segment, kPort));
		QVERIFY(!readStats(t.segment, 64)); // no such port
		QVERIFY(!statsUnused(t.segment, 64));
		QVERIFY(!beginStats(t.segment, 64, subject(1, "db")));
		QCOMPARE(backedPages(t.segment), uint64_t(0)); // reading has touched nothing
	}

	void aRecordTakesMemoryOnlyWhenItIsUsed()
	{
		const auto t = makeSegment();
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		const uint64_t pages = backedPages(t.segment);
		QVERIFY(pages >= 1 && pages <= 2);
		QVERIFY(statsUnused(t.segment, kPort + 1)); // although it shares a page
	}

	void theSameSubjectGoesOn()
	{
		const auto t = makeSegment();
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		const auto begun = readStats(t.segment, kPort);
		QVERIFY(begun);
		QCOMPARE(begun->label, std::string("db"));
		QCOMPARE(begun->record.kind, 1u);
		QVERIFY(begun->record.since != 0);
		countReads(t.segment, 10);
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		const auto again = readStats(t.segment, kPort);
		QVERIFY(again);
		QCOMPARE(again->generation, begun->generation);
		QCOMPARE(again->record.since, begun->record.since);
		QCOMPARE(again->record.op[XS_STAT_READ].ops, uint64_t(10));
		QCOMPARE(again->record.op[XS_STAT_READ].begun, uint64_t(10)); // what its last owner had in hand is not in flight
		QCOMPARE(again->record.op[XS_STAT_READ].hist[7], uint64_t(10));
	}

	void anotherSubjectBeginsAtZero_data()
	{
		QTest::addColumn<uint>("kind");
		QTest::addColumn<uint>("id");
		QTest::addColumn<QByteArray>("label");
		QTest::newRow("id") << 1u << 2u << QByteArray("db");
		QTest::newRow("label") << 1u << 1u << QByteArray("dc");
		QTest::newRow("longer label") << 1u << 1u << QByteArray("db1");
		QTest::newRow("kind") << 2u << 1u << QByteArray("db");
	}
	void anotherSubjectBeginsAtZero()
	{
		QFETCH(uint, kind);
		QFETCH(uint, id);
		QFETCH(QByteArray, label);
		const auto t = makeSegment();
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		countReads(t.segment, 10);
		const uint64_t before = readStats(t.segment, kPort)->generation;
		QVERIFY(beginStats(t.segment, kPort, {.kind = kind, .id = {uint8_t(id)}, .label = std::string_view(label.data(), size_t(label.size()))}));
		const auto now = readStats(t.segment, kPort);
		QVERIFY(now);
		QVERIFY(now->generation > before);
		QCOMPARE(now->record.op[XS_STAT_READ].begun, uint64_t(0));
		QCOMPARE(now->record.op[XS_STAT_READ].ops, uint64_t(0));
		QCOMPARE(now->record.op[XS_STAT_READ].hist[7], uint64_t(0));
	}

	void whatIsTooLongForALabelIsCut()
	{
		const auto t = makeSegment();
		const std::string label(200, 'x');
		QVERIFY(beginStats(t.segment, kPort, subject(1, label)));
		QCOMPARE(readStats(t.segment, kPort)->label, std::string(XS_STAT_LABEL, 'x'));
		countReads(t.segment, 1);
		QVERIFY(beginStats(t.segment, kPort, subject(1, label)));
		QCOMPARE(readStats(t.segment, kPort)->record.op[XS_STAT_READ].ops, uint64_t(1)); // and is the same subject again
	}

	/// A writer that was killed between the two changes of the generation.
	void aHalfBegunRecordIsPassedOverAndBegunAnew()
	{
		const auto t = makeSegment();
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		countReads(t.segment, 10);
		t.segment.port(kPort).stats_gen |= 1;
		QVERIFY(!readStats(t.segment, kPort));
		QVERIFY(!statsAreAbout(t.segment, kPort, 1, {1}));
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		QCOMPARE(readStats(t.segment, kPort)->record.op[XS_STAT_READ].ops, uint64_t(0));
	}

	void whoChoosesAPortCanLook()
	{
		const auto t = makeSegment();
		QVERIFY(!statsAreAbout(t.segment, kPort, 1, {1}));
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		QVERIFY(statsAreAbout(t.segment, kPort, 1, {1}));
		QVERIFY(!statsAreAbout(t.segment, kPort, 1, {2}));
		QVERIFY(!statsAreAbout(t.segment, kPort, 2, {1}));
		QVERIFY(!statsAreAbout(t.segment, 64, 1, {1}));
		QVERIFY(!statsUnused(t.segment, kPort));
	}

	/// Every copy is of one generation: label and subject fit together, and the numbers are not those of the other.
	void aReaderNeverSeesHalfOfTwoSubjects()
	{
		const auto t = makeSegment();
		std::atomic<bool> stop = false;
		std::thread owner([&] {
			for (uint8_t i = 0; !stop; ++i) {
				const std::string label(1 + i % 90, char('a' + i % 26));
				if (!beginStats(t.segment, kPort, subject(i, label))) break;
				std::atomic_ref(t.segment.stats(kPort).op[XS_STAT_OTHER].hist[XS_HIST_BUCKETS - 1]).store(i + 1u, std::memory_order_relaxed);
			}
		});
		uint64_t seen = 0;
		for (int i = 0; i < 200'000 && seen < 2000; ++i) {
			const auto copy = readStats(t.segment, kPort);
			if (!copy) continue;
			++seen;
			const uint8_t id = copy->record.subject[0];
			const uint64_t last = copy->record.op[XS_STAT_OTHER].hist[XS_HIST_BUCKETS - 1];
			const bool whole = copy->label == std::string(1 + id % 90, char('a' + id % 26)) && (last == 0 || last == id + 1u);
			if (!whole) {
				stop = true;
				owner.join();
				QFAIL(qPrintable(QString("subject %1 with label %2 and %3").arg(id).arg(copy->label.c_str()).arg(last)));
			}
		}
		stop = true;
		owner.join();
		QVERIFY(seen > 0);
	}

	void anyBytesAreReadSafely()
	{
		const auto t = makeSegment();
		std::mt19937_64 random(20261122);
		unsigned accepted = 0;
		for (int round = 0; round < 500; ++round) {
			QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
			auto *words = reinterpret_cast<uint64_t *>(&t.segment.stats(kPort));
			for (size_t i = 0; i < sizeof(xs_stats) / 8; ++i) words[i] = random();
			if (round % 2) t.segment.stats(kPort).label_len = uint32_t(random() % 200);
			t.segment.port(kPort).stats_gen = random();
			const auto copy = readStats(t.segment, kPort);
			if (!copy) continue;
			++accepted;
			QVERIFY(copy->label.size() <= XS_STAT_LABEL);
			QVERIFY(copy->record.label_len <= XS_STAT_LABEL);
		}
		QVERIFY(accepted > 0); // else nothing was looked at
		t.segment.port(kPort).stats_gen = ~uint64_t(0);
		QVERIFY(beginStats(t.segment, kPort, subject(1, "db")));
		QCOMPARE(t.segment.port(kPort).stats_gen, uint64_t(2)); // never back to "unused"
	}
};

QTEST_GUILESS_MAIN(StatsTest)
#include "stats_test.moc"
