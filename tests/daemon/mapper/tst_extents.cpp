// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// MapExtents: what it says after writes and trims, during them, after a crash; how far it looks; and what it refuses.
#include "tests/daemon/mapper/attached_volume.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = AttachedVolume::kSize;
constexpr uint32_t kBlocks = uint32_t(kSize / kBlockBytes);

/// Runs as a text: "m3 h5".
QString shown(const std::vector<BlockRun> &runs)
{
	QStringList out;
	for (const BlockRun &run : runs) out << QString("%1%2").arg(QChar(run.mapped == 1 ? 'm' : 'h')).arg(run.blocks);
	return out.join(' ');
}

struct Bench : AttachedVolume {
	using AttachedVolume::AttachedVolume;

	bool write(uint32_t block) { return life.wait(life.client().write(handle, block, block + 1)).has_value(); }
	QString extents(uint32_t block, uint32_t count, uint32_t room = 64)
	{
		const auto runs = life.wait(life.client().extents(handle, block, count, room));
		return runs ? shown(*runs) : QString(errorInfo(runs.error().code).symbol.data());
	}
};

} // namespace

class TestExtents : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void runsOfWhatWasWrittenAndTrimmed()
	{
		Bench bench(m_rig);
		QCOMPARE(bench.extents(0, 100), "h100");
		for (const uint32_t block : {3u, 4u, 5u, 9u}) QVERIFY(bench.write(block));
		QCOMPARE(bench.extents(0, 100), "h3 m3 h3 m1 h90");
		QCOMPARE(bench.extents(4, 1), "m1");
		QCOMPARE(bench.extents(4, 6), "m2 h3 m1");
		QVERIFY(bench.trim(4, 1));
		QCOMPARE(bench.extents(0, 10), "h3 m1 h1 m1 h3 m1");
		QVERIFY(bench.trim(0, kBlocks));
		QCOMPARE(bench.extents(0, 10), "h10");
	}

	/// Mapped or not, a run goes on in the next chunk; a call looks at no more blocks than a chunk has.
	void acrossChunksAndNoFurtherThanAChunk()
	{
		Bench bench(m_rig);
		QVERIFY(bench.write(kChunkEntries - 1));
		QVERIFY(bench.write(kChunkEntries));
		QCOMPARE(bench.extents(kChunkEntries - 3, 6), "h2 m2 h2");
		QCOMPARE(bench.extents(kChunkEntries + 1, kBlocks - kChunkEntries - 1), QString("h%1").arg(kChunkEntries));
		QCOMPARE(bench.extents(kBlocks - 1, 1), "h1");
	}

	void asFarAsThereIsRoom()
	{
		Bench bench(m_rig);
		for (const uint32_t block : {1u, 3u, 4u}) QVERIFY(bench.write(block));
		QCOMPARE(bench.extents(0, 8, 1), "h1");
		QCOMPARE(bench.extents(0, 8, 3), "h1 m1 h1");
		QCOMPARE(bench.extents(0, 8, 4), "h1 m1 h1 m2");
	}

	/// Chunks that are not in memory are loaded: after a close, and with a cache that keeps nothing.
	void chunksAreLoaded()
	{
		Life::Options options;
		options.mapCacheBytes = 1;
		Bench bench(m_rig, options);
		for (const uint32_t block : {2u, kChunkEntries, 2 * kChunkEntries + 7}) QVERIFY(bench.write(block));
		QVERIFY(bench.reopen());
		QCOMPARE(bench.extents(0, kChunkEntries), QString("h2 m1 h%1").arg(kChunkEntries - 3));
		QCOMPARE(bench.extents(kChunkEntries - 1, kChunkEntries), QString("h1 m1 h%1").arg(kChunkEntries - 2));
		QCOMPARE(bench.extents(2 * kChunkEntries, 9), "h7 m1 h1");
	}

	/// As a read: a first write shows when it is recorded, and nobody waits for it.
	void aFirstWriteShowsWithItsRecord()
	{
		Bench bench(m_rig);
		const auto where = bench.map(Op::MapWrite, 5);
		QVERIFY(where && where->placement == Placement::Create);
		QCOMPARE(bench.extents(5, 1), "h1");
		QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 5, where->token, true)));
		QCOMPARE(bench.extents(5, 1), "m1");
	}

	void afterAKill()
	{
		World world;
		{
			Life life(m_rig, world);
			QVERIFY(life.wait(life.client().create("db", kSize)));
			const auto attached = life.wait(life.client().attach("db"));
			QVERIFY(attached && life.wait(life.client().write(attached->handle, 7, 1)));
		}
		world.stopAfter = ~0ull;
		Life life(m_rig, world);
		const auto attached = life.wait(life.client().attach("db"));
		QVERIFY(attached);
		const auto runs = life.wait(life.client().extents(attached->handle, 6, 3));
		QVERIFY(runs);
		QCOMPARE(shown(*runs), "h1 m1 h1");
	}

	void whatNobodyShouldAsk()
	{
		Bench bench(m_rig);
		QCOMPARE(bench.extents(0, 0), "E-INVALID");
		QCOMPARE(bench.extents(kBlocks, 1), "E-INVALID");
		QCOMPARE(bench.extents(kBlocks - 1, 2), "E-INVALID");
		QCOMPARE(bench.extents(1, ~0u), "E-INVALID");
		QCOMPARE(bench.extents(~0u, ~0u), "E-INVALID");
		QCOMPARE(bench.extents(0, 1, 0), "E-INVALID"); // no room
		bench.handle += 77;
		QCOMPARE(bench.extents(0, 1), "E-PEER");
	}

	/// A volume that has stopped says so.
	void aStoppedVolume()
	{
		Bench bench(m_rig);
		QVERIFY(bench.write(1));
		bench.world.failStep = bench.world.steps; // the sync of its data
		QVERIFY(!bench.flush());
		QCOMPARE(bench.extents(0, 4), "E-IO");
	}
};

QTEST_APPLESS_MAIN(TestExtents)
#include "tst_extents.moc"
