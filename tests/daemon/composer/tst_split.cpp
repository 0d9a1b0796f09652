// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The arithmetic of split.h at every boundary, and what a client's range may be.
#include "daemon/composer/split.h"

#include <QtTest>

using namespace archipelago;
using namespace archipelago::composer;

class SplitTest : public QObject {
	Q_OBJECT

private slots:
	void piecesCoverTheRange_data()
	{
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<quint32>("length");
		QTest::addColumn<quint32>("count");
		const auto row = [](const char *name, uint64_t offset, uint32_t length, uint32_t count) {
			QTest::newRow(name) << quint64(offset) << length << count;
		};
		const auto block = static_cast<uint32_t>(kBlockBytes);
		row("inside", 4096, 4096, 1);
		row("a whole block", kBlockBytes, block, 1);
		row("up to the end of a block", kBlockBytes - 512, 512, 1);
		row("across by a sector each", kBlockBytes - 512, 1024, 2);
		row("a block, shifted", 512, block, 2);
		row("many", 512, 8 * block, 9);
		row("many, aligned", 0, 8 * block, 8);
		row("at the very end", kMaxVolumeBytes - 512, 512, 1);
		row("last two blocks", kMaxVolumeBytes - kBlockBytes - 512, block, 2);
	}
	void piecesCoverTheRange()
	{
		QFETCH(quint64, offset);
		QFETCH(quint32, length);
		QFETCH(quint32, count);
		QCOMPARE(pieceCount(offset, length), count);
		uint32_t at = 0, pieces = 0;
		while (at < length) {
			const Piece piece = pieceAt(offset, length, at);
			QVERIFY(piece.length > 0);
			QCOMPARE(piece.at, at);
			QCOMPARE((uint64_t{piece.block} << kBlockShift) + piece.offset, offset + at);
			QVERIFY(piece.offset + uint64_t{piece.length} <= kBlockBytes);
			at += piece.length;
			++pieces;
		}
		QCOMPARE(at, length);
		QCOMPARE(pieces, count);
	}
	void nothingIsNoPiece() { QCOMPARE(pieceCount(4096, 0), 0u); }

	void ranges_data()
	{
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<quint64>("size");
		QTest::addColumn<quint32>("dataOffset");
		QTest::addColumn<quint32>("dataLength");
		QTest::addColumn<bool>("ok");
		const auto row = [](const char *name, uint64_t offset, uint64_t size, uint32_t dataOffset, uint32_t dataLength, bool ok) {
			QTest::newRow(name) << quint64(offset) << quint64(size) << dataOffset << dataLength << ok;
		};
		constexpr uint64_t end = 1u << 20;
		row("first sector", 0, 512, 0, 512, true);
		row("all of it", 0, end, 0, end, true);
		row("last sector", end - 512, 512, 0, 512, true);
		row("part of a buffer", 512, 512, 3584, 512, true);
		row("empty", 0, 0, 0, 0, false);
		row("behind the end", end, 512, 0, 512, false);
		row("over the end", end - 512, 1024, 0, 1024, false);
		row("larger than the volume", 0, end + 512, 0, end + 512, false);
		row("offset not aligned", 1, 512, 0, 512, false);
		row("size not aligned", 0, 511, 0, 511, false);
		row("buffer not aligned", 0, 512, 8, 512, false);
		row("less data than size", 0, 1024, 0, 512, false);
		row("more data than size", 0, 512, 0, 1024, false);
		row("the sum wraps", UINT64_MAX - 511, 1024, 0, 1024, false);
		row("a size of all bits", 0, ~uint64_t{511}, 0, ~uint32_t{511}, false);
	}
	void ranges()
	{
		QFETCH(quint64, offset);
		QFETCH(quint64, size);
		QFETCH(quint32, dataOffset);
		QFETCH(quint32, dataLength);
		QFETCH(bool, ok);
		ClientRange range;
		range.offset = offset;
		range.size = size;
		range.dataOffset = dataOffset;
		range.dataLength = dataLength;
		const auto code = checkRange(range, 1u << 20, false);
		QCOMPARE(code.has_value(), !ok);
		if (code) QCOMPARE(*code, ErrorCode::Invalid);
	}
	void spansCoverTheRangeWithWholeBlocksInOne_data()
	{
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<quint64>("length");
		QTest::addColumn<QList<uint>>("blocks"); // of each span
		const auto row = [](const char *name, uint64_t offset, uint64_t length, QList<uint> blocks) {
			QTest::newRow(name) << quint64(offset) << quint64(length) << blocks;
		};
		row("a sector", 4096, 512, {0});
		row("a block", 3 * kBlockBytes, kBlockBytes, {1});
		row("a block but for its last sector", kBlockBytes, kBlockBytes - 512, {0});
		row("a block but for its first sector", kBlockBytes + 512, kBlockBytes - 512, {0});
		row("a block, shifted", 512, kBlockBytes, {0, 0});
		row("part, blocks, part", kBlockBytes - 512, 5 * kBlockBytes + 1024, {0, 5, 0});
		row("part, blocks", kBlockBytes - 512, 2 * kBlockBytes + 512, {0, 2});
		row("blocks, part", 0, 2 * kBlockBytes + 512, {2, 0});
		row("everything there can be", 0, kMaxVolumeBytes, {1u << 30});
		row("almost everything", 512, kMaxVolumeBytes - 1024, {0, (1u << 30) - 2, 0});
	}
	void spansCoverTheRangeWithWholeBlocksInOne()
	{
		QFETCH(quint64, offset);
		QFETCH(quint64, length);
		QFETCH(QList<uint>, blocks);
		uint64_t at = 0;
		for (const uint expected : blocks) {
			QVERIFY(at < length);
			const Span span = spanAt(offset, length, at);
			QCOMPARE(span.blocks, expected);
			QCOMPARE(span.block, uint32_t((offset + at) >> kBlockShift));
			if (expected) {
				QCOMPARE((offset + at) % kBlockBytes, uint64_t{0});
				QCOMPARE(span.length, expected * kBlockBytes);
			} else {
				QVERIFY(span.length > 0 && span.length < kBlockBytes);
				QCOMPARE((offset + at + span.length - 1) >> kBlockShift, uint64_t{span.block});
			}
			at += span.length;
		}
		QCOMPARE(at, uint64_t(length));
	}
	void spansKeepTheRulesOfRanges()
	{
		constexpr uint64_t end = 1u << 20;
		const auto code = [](uint64_t offset, uint64_t size) { return checkSpan(offset, size, end, false); };
		QVERIFY(!code(0, end));
		QVERIFY(!code(end - 512, 512));
		for (const auto &[offset, size] : {std::pair<uint64_t, uint64_t>{0, 0}, {end, 512}, {end - 512, 1024}, {0, end + 512}, {1, 512},
		                                   {0, 100}, {UINT64_MAX - 511, 1024}, {512, UINT64_MAX - 511}})
			QCOMPARE(code(offset, size).value(), ErrorCode::Invalid);
		QCOMPARE(checkSpan(0, 512, end, true).value(), ErrorCode::ReadOnly);
		QCOMPARE(checkSpan(end, 512, end, true).value(), ErrorCode::Invalid);
	}

	void readOnlyVolumesAreNotWritten()
	{
		ClientRange range;
		range.size = range.dataLength = 512;
		QVERIFY(!checkRange(range, 4096, true));
		range.write = true;
		QCOMPARE(checkRange(range, 4096, true).value(), ErrorCode::ReadOnly);
		range.offset = 4096; // what is wrong with the range itself comes first
		QCOMPARE(checkRange(range, 4096, true).value(), ErrorCode::Invalid);
	}
};

QTEST_APPLESS_MAIN(SplitTest)
#include "tst_split.moc"
