// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The ABI header means the same bytes in C11 and in C++20, and the bytes that version 3 promised: the numbers below are
// written out, because a change of any of them is a new ABI version and not an edit.
#include "xseg/abi.h"

#include "abi_layout.h"

#include <QtTest>

#include <cstddef>

extern "C" {
extern const xs_u64 abiAsC[];
extern const size_t abiAsCCount;
}

namespace {

constexpr xs_u64 kAbiAsCpp[] = {ABI_LAYOUT};

} // namespace

class AbiTest : public QObject {
	Q_OBJECT

private slots:
	void cAndCppAgree();
	void versionThreeIsFrozen();
	void linesAreWhereTheyShouldBe();
};

void AbiTest::cAndCppAgree()
{
	QCOMPARE(abiAsCCount, std::size(kAbiAsCpp));
	for (size_t i = 0; i < abiAsCCount; ++i) QCOMPARE(abiAsC[i], kAbiAsCpp[i]);
}

void AbiTest::versionThreeIsFrozen()
{
	QCOMPARE(XS_ABI_MAJOR, 3);
	QCOMPARE(sizeof(xs_hdr), size_t(152));
	QCOMPARE(offsetof(xs_hdr, nr_ports), size_t(64));
	QCOMPARE(offsetof(xs_hdr, off_data), size_t(144));
	QCOMPARE(offsetof(xs_waiter, ready), size_t(128));
	QCOMPARE(offsetof(xs_port, owner), size_t(32));
	QCOMPARE(offsetof(xs_port, stats_gen), size_t(40));
	QCOMPARE(offsetof(xs_port, submitted), size_t(64));
	QCOMPARE(sizeof(xs_stats), size_t(6016));
	QCOMPARE(offsetof(xs_stats, op), size_t(256));
	QCOMPARE(sizeof(xs_stat_class), size_t(960));
	QCOMPARE(offsetof(xs_stat_class, hist), size_t(80));
	QCOMPARE(offsetof(xs_ring, head), size_t(128));
	QCOMPARE(offsetof(xs_req, home), size_t(16));
	QCOMPARE(offsetof(xs_req, args), size_t(80));
	QCOMPARE(QByteArray(reinterpret_cast<const char *>(&kAbiAsCpp[std::size(kAbiAsCpp) - 3]), 8),
	         QByteArray("AXSEG001"));
}

/// Words that different processes write must not share a cache line (nor the pair of lines that is fetched together).
void AbiTest::linesAreWhereTheyShouldBe()
{
	constexpr size_t kLine = 64;
	QVERIFY(offsetof(xs_ring, head) - offsetof(xs_ring, tail) >= 2 * kLine);
	QVERIFY(sizeof(xs_ring) - offsetof(xs_ring, head) >= 2 * kLine);
	QCOMPARE(offsetof(xs_req, data_blk), kLine);
	QCOMPARE(offsetof(xs_req, path), 2 * kLine);
	QCOMPARE(offsetof(xs_req, cookie), 3 * kLine);
	QVERIFY(offsetof(xs_waiter, ready) - offsetof(xs_waiter, bell) >= 2 * kLine);
}

QTEST_GUILESS_MAIN(AbiTest)
#include "abi_test.moc"
