// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The buckets of the latency histogram: without gaps, with the promised error; percentiles beside those of the sorted values;
// and any counts at all, because they come from shared memory.
#include "base_test.h"

#include "daemon/base/op_stats.h"

#include "daemon/base/protocol.h"

#include <algorithm>
#include <random>
#include <vector>

using namespace archipelago;

namespace {

constexpr uint64_t kMicrosecond = 1000, kSecond = 1'000'000'000;

/// As the value would be told.
uint64_t told(uint64_t ns)
{
	std::vector<uint64_t> counts(kLatencyBuckets);
	counts[latencyBucket(ns)] = 1;
	return latencyPercentileNs(counts, 0.5);
}

} // namespace

class TestOpStats : public QObject {
	Q_OBJECT
private slots:
	void bucketsFollowEachOtherWithoutGaps()
	{
		uint64_t next = 0;
		for (size_t bucket = 0; bucket < kLatencyBuckets; ++bucket) {
			const LatencyRange range = latencyRange(bucket);
			QCOMPARE(range.beginNs, next);
			QVERIFY(range.endNs > range.beginNs);
			QCOMPARE(latencyBucket(range.beginNs), bucket);
			QCOMPARE(latencyBucket(range.endNs - 1), bucket);
			next = range.endNs;
		}
		QCOMPARE(next, UINT64_MAX);
		QCOMPARE(latencyBucket(UINT64_MAX), kLatencyBuckets - 1);
	}

	void aValueIsToldWithinAnEighth()
	{
		std::mt19937_64 random(seed());
		std::uniform_real_distribution<double> power(std::log2(1.1 * kMicrosecond), std::log2(100.0 * kSecond));
		for (int i = 0; i < 100'000; ++i) {
			const auto ns = static_cast<uint64_t>(std::exp2(power(random)));
			const double error = std::abs(static_cast<double>(told(ns)) - static_cast<double>(ns)) / static_cast<double>(ns);
			QVERIFY2(error <= 0.125, qPrintable(QString("%1 ns is told as %2 ns").arg(ns).arg(told(ns))));
		}
	}

	void whatIsOutOfRangeIsToldAsTheEdge()
	{
		QCOMPARE(told(0), uint64_t(512));
		QCOMPARE(told(1023), uint64_t(512));
		QCOMPARE(told(UINT64_MAX), uint64_t(1) << 37);
	}

	void percentilesAreThoseOfTheValues()
	{
		std::mt19937_64 random(seed());
		std::lognormal_distribution<double> latency(11.5, 1.4); // a median of 100 us with a long tail
		std::vector<uint64_t> values, counts(kLatencyBuckets);
		for (int i = 0; i < 20'000; ++i) {
			values.push_back(static_cast<uint64_t>(latency(random)) + 1024);
			++counts[latencyBucket(values.back())];
		}
		std::ranges::sort(values);
		for (const double share : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
			const auto exact = static_cast<double>(values[static_cast<size_t>(std::ceil(share * 20'000)) - 1]);
			const auto approximate = static_cast<double>(latencyPercentileNs(counts, share));
			QVERIFY2(std::abs(approximate - exact) <= 0.125 * exact,
			         qPrintable(QString("p%1: %2 instead of %3").arg(100 * share).arg(approximate).arg(exact)));
		}
		QVERIFY(latencyMaxNs(counts) >= values.back());
		QVERIFY(static_cast<double>(latencyMaxNs(counts)) <= 1.25 * static_cast<double>(values.back()));
	}

	void nothingCountedIsZero()
	{
		QCOMPARE(latencyPercentileNs({}, 0.5), uint64_t(0));
		QCOMPARE(latencyMaxNs({}), uint64_t(0));
		QCOMPARE(latencyTotal(std::vector<uint64_t>(kLatencyBuckets)), uint64_t(0));
	}

	void anyCountsHaveAnAnswer()
	{
		const std::vector<uint64_t> full(kLatencyBuckets, UINT64_MAX);
		QCOMPARE(latencyTotal(full), UINT64_MAX);
		QCOMPARE(latencyMaxNs(full), uint64_t(1) << 37);
		for (const double share : {-1.0, 0.0, 0.5, 1.0, 7.0}) QVERIFY(latencyPercentileNs(full, share) <= uint64_t(1) << 37);
		std::vector<uint64_t> longer(kLatencyBuckets + 500);
		longer.back() = 3; // a bucket that does not exist
		QCOMPARE(latencyTotal(longer), uint64_t(0));
		QCOMPARE(latencyMaxNs(longer), uint64_t(0));
		QCOMPARE(latencyPercentileNs(longer, 0.5), uint64_t(0));
	}

	void everyOperationHasAClass()
	{
		QCOMPARE(opClassOf(Op::VolRead), OpClass::Read);
		QCOMPARE(opClassOf(Op::VolWrite), OpClass::Write);
		QCOMPARE(opClassOf(Op::VolFlush), OpClass::Flush);
		QCOMPARE(opClassOf(Op::VolTrim), OpClass::Trim);
		QCOMPARE(opClassOf(Op::VolZero), OpClass::Trim);
		QCOMPARE(opClassOf(Op::VolExtents), OpClass::Extents);
		QCOMPARE(opClassOf(Op::MapExtents), OpClass::Extents);
		QCOMPARE(opClassOf(Op::Ping), OpClass::Other);
		for (unsigned op = 0; op < 65536; ++op) QVERIFY(static_cast<size_t>(opClassOf(static_cast<Op>(op))) < kOpClasses);
		QCOMPARE(opClassName(OpClass::Trim), std::string_view("trim"));
		QCOMPARE(opClassName(OpClass::Extents), std::string_view("extents"));
	}

private:
	static uint64_t seed()
	{
		const uint64_t value = qEnvironmentVariableIsSet("ARCHIPELAGO_SEED") ? qEnvironmentVariable("ARCHIPELAGO_SEED").toULongLong()
		                                                                     : std::random_device()();
		qInfo("ARCHIPELAGO_SEED=%llu", static_cast<unsigned long long>(value));
		return value;
	}
};

QTEST_GUILESS_MAIN(TestOpStats)
#include "test_op_stats.moc"
