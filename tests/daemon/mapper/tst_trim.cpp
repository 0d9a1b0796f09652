// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// MapTrim and MapPunch: what they change and when, what waits for them and for whom they wait.
#include "tests/daemon/mapper/attached_volume.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = AttachedVolume::kSize;
constexpr uint32_t kBlocks = uint32_t(kSize / kBlockBytes);

bool isJournalWrite(const World::Seen &seen) { return seen.op == Op::ObjWrite && seen.id.kind == ObjectKind::Journal; }

/// A volume with an attached client.
struct Bench : AttachedVolume {
	using AttachedVolume::AttachedVolume;

	uint64_t allocated() { return info().allocatedBytes / kBlockBytes; }
	size_t objects() const
	{
		ListArgs args;
		args.kind = ObjectKind::Data;
		return world.blocks.list(args).size();
	}
	/// DROPs in the journal.
	size_t drops() const
	{
		ListArgs args;
		args.kind = ObjectKind::Journal;
		size_t count = 0;
		for (const Disk::Name &name : world.maps.list(args)) {
			const ObjectName object = ObjectName::journal(name.id.volume, name.id.epoch, name.id.index);
			const auto content = decodeSegment(object, *world.maps.read(name));
			if (!content || !*content) qFatal("journal");
			for (const auto &[sequence, change] : (**content).changes) count += !change.entry.mapped();
		}
		return count;
	}
};

} // namespace

class TestTrim : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void trim_readsZerosAtOnceAndGivesTheRoomBackAfterAFlush()
	{
		Bench bench(m_rig);
		for (uint32_t block = 10; block < 20; ++block) QVERIFY(bench.write(block, block));
		QVERIFY(bench.flush());
		QCOMPARE(bench.allocated(), 10u);
		QVERIFY(bench.trim(12, 5));
		for (uint32_t block = 10; block < 20; ++block)
			QCOMPARE(bench.value(block), block >= 12 && block < 17 ? 0u : block);
		QCOMPARE(bench.allocated(), 5u);
		QCOMPARE(bench.drops(), size_t(1)); // one for the run
		QCOMPARE(bench.objects(), size_t(10)); // power loss may still undo the trim
		QVERIFY(bench.flush());
		bench.life.until([&] { return bench.objects() == 5; });
	}

	/// The epoch is spent: the object of a block's second life has another name, whatever happened to the first one.
	void trim_thenWriteMakesAnotherObject()
	{
		Bench bench(m_rig);
		QVERIFY(bench.write(7, 1));
		const uint64_t first = bench.map(Op::MapRead, 7)->id.epoch;
		for (uint32_t round = 2; round < 6; ++round) {
			QVERIFY(bench.trim(7, 1));
			const auto create = bench.map(Op::MapWrite, 7);
			QVERIFY(create && create->placement == Placement::Create && create->id.epoch > first);
			QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 7, create->token, false)));
			QVERIFY(bench.write(7, round));
			QCOMPARE(bench.value(7), round);
		}
		QVERIFY(bench.flush());
		bench.life.until([&] { return bench.objects() == 1; });
		QCOMPARE(bench.value(7), 5u);
		QVERIFY(bench.world.violations.empty());
	}

	void trim_ofScatteredBlocksAndChunkBorders()
	{
		Bench bench(m_rig);
		for (uint32_t block : {0u, 2u, 3u, 8191u, 8192u, 16384u, kBlocks - 1}) QVERIFY(bench.write(block, block + 1));
		QVERIFY(bench.trim(0, kBlocks));
		for (uint32_t block : {0u, 2u, 3u, 8191u, 8192u, 16384u, kBlocks - 1}) QCOMPARE(bench.value(block), 0u);
		QCOMPARE(bench.allocated(), 0u);
		QCOMPARE(bench.drops(), size_t(6)); // a run ends with its chunk
		QVERIFY(bench.life.wait(bench.life.client().detach(bench.handle)));
		ListArgs args;
		args.kind = ObjectKind::Chunk;
		QVERIFY(bench.world.maps.list(args).empty()); // a chunk of nothing is not stored
		QCOMPARE(bench.objects(), size_t(0));
		QVERIFY(bench.attach());
		QCOMPARE(bench.value(8192), 0u);
		QVERIFY(bench.write(8192, 9));
		QCOMPARE(bench.value(8192), 9u);
	}

	void trim_ofWhatIsNotThereCostsNothing()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("huge", kMaxVolumeBytes)));
		const auto huge = life.wait(life.client().attach("huge"));
		const uint64_t steps = world.steps;
		QVERIFY(life.wait(life.client().trim(huge->handle, 0, uint32_t(kMaxVolumeBytes / kBlockBytes))));
		QCOMPARE(world.steps, steps);
	}

	void trim_ofStoredChunksReadsThem()
	{
		Bench bench(m_rig);
		for (uint32_t block : {5u, 8200u, 16400u}) QVERIFY(bench.write(block, block));
		QVERIFY(bench.reopen());
		QVERIFY(bench.trim(8000, 9000));
		QCOMPARE(bench.value(5), 5u);
		QCOMPARE(bench.value(8200), 0u);
		QCOMPARE(bench.value(16400), 0u);
	}

	void trim_waitsForACreateAndIsWaitedFor()
	{
		Bench bench(m_rig);
		QVERIFY(bench.write(8, 8));
		const auto create = bench.map(Op::MapWrite, 7);
		QVERIFY(create && create->placement == Placement::Create);
		const auto trim = bench.life.start(bench.life.client().trim(bench.handle, 6, 4));
		bench.life.settle();
		QVERIFY(!trim->has_value());
		QCOMPARE(bench.drops(), size_t(0));
		bench.world.hold = isJournalWrite;
		const auto record = bench.life.start(bench.life.client().record(bench.handle, 7, create->token, true));
		bench.life.until([&] { return bench.life.blockerm().held() == 1; });
		bench.life.blockerm().release();
		bench.life.until([&] { return record->has_value() && bench.life.blockerm().held() == 1; }); // the DROP
		// Writes of both wait, reads and other blocks do not.
		const auto write7 = bench.life.start(bench.life.client().map(Op::MapWrite, bench.handle, 7));
		const auto write8 = bench.life.start(bench.life.client().map(Op::MapWrite, bench.handle, 8));
		const auto punch8 = bench.life.start(bench.life.client().map(Op::MapPunch, bench.handle, 8));
		QVERIFY(bench.map(Op::MapRead, 8)->placement == Placement::Object);
		QVERIFY(bench.map(Op::MapWrite, 6)->placement == Placement::Create);
		bench.life.settle();
		QVERIFY(!trim->has_value() && !write7->has_value() && !write8->has_value() && !punch8->has_value());
		bench.world.hold = nullptr;
		bench.life.blockerm().release();
		bench.life.until([&] { return trim->has_value() && write7->has_value() && write8->has_value(); });
		QVERIFY((**trim).has_value());
		QVERIFY((**write7)->placement == Placement::Create && (**write7)->id.epoch > create->id.epoch);
		QVERIFY((**write8)->placement == Placement::Create);
		QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 8, (**write8)->token, false)));
		bench.life.until([&] { return punch8->has_value(); });
		QVERIFY((**punch8)->placement == Placement::Zero);
	}

	/// nr_ops trims wait for one block: the MapRecord that frees them must get in all the same.
	void trim_waitersDoNotStopTheMapper()
	{
		Life::Options options;
		options.nrOps = 16;
		Bench bench(m_rig, options);
		const auto create = bench.map(Op::MapWrite, 7);
		std::vector<std::shared_ptr<std::optional<Result<void>>>> trims;
		for (int n = 0; n < 60; ++n) trims.push_back(bench.life.start(bench.life.client().trim(bench.handle, 7, 1)));
		bench.life.settle();
		QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 7, create->token, true)));
		bench.life.until([&] { return std::ranges::all_of(trims, [](const auto &t) { return t->has_value(); }); });
		for (const auto &t : trims) QVERIFY((**t).has_value());
		QCOMPARE(bench.drops(), size_t(1));
	}

	/// Without a client that flushes: the list of objects to be removed is bounded.
	void trim_flushesWhenTooManyObjectsWait()
	{
		Life::Options options;
		options.limits.droppedObjects = 10;
		Bench bench(m_rig, options);
		for (uint32_t block = 0; block < 40; ++block) QVERIFY(bench.write(block, 1));
		QVERIFY(bench.trim(0, 9));
		bench.life.settle();
		QCOMPARE(bench.objects(), size_t(40));
		QVERIFY(bench.trim(9, 31));
		bench.life.until([&] { return bench.objects() == 0; });
	}

	/// Killed between DROP and COMMIT: the trim stays, and the next open removes the objects.
	void trim_thenKill()
	{
		World world;
		{
			Life life(m_rig, world);
			QVERIFY(life.wait(life.client().create("db", kSize)));
			const auto client = life.wait(life.client().attach("db"));
			for (uint32_t block : {1u, 2u, 3u}) QVERIFY(life.wait(life.client().write(client->handle, block, 5)));
			QVERIFY(life.wait(life.client().flush(client->handle)));
			QVERIFY(life.wait(life.client().trim(client->handle, 1, 2)));
		}
		world.stopAfter = ~0ull;
		Life life(m_rig, world);
		const auto client = life.wait(life.client().attach("db"));
		QCOMPARE(life.wait(life.client().read(client->handle, 1)).value(), 0u);
		QCOMPARE(life.wait(life.client().read(client->handle, 3)).value(), 5u);
		QCOMPARE(life.wait(life.client().info("db"))->allocatedBytes, kBlockBytes);
		ListArgs args;
		args.kind = ObjectKind::Data;
		life.until([&] { return world.blocks.list(args).size() == 1; });
	}

	void punch_saysWhatToPunch()
	{
		Bench bench(m_rig);
		QVERIFY(bench.map(Op::MapPunch, 7)->placement == Placement::Zero);
		QVERIFY(bench.write(7, 1));
		const auto where = bench.map(Op::MapPunch, 7);
		QVERIFY(where && where->placement == Placement::Object && where->id == bench.map(Op::MapRead, 7)->id);
		QVERIFY(!where->committed);
		QVERIFY(bench.flush());
		QVERIFY(bench.map(Op::MapPunch, 7)->committed);
		const auto create = bench.map(Op::MapWrite, 8);
		const auto punch = bench.life.start(bench.life.client().map(Op::MapPunch, bench.handle, 8));
		bench.life.settle();
		QVERIFY(!punch->has_value());
		QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 8, create->token, true)));
		bench.life.until([&] { return punch->has_value(); });
		QVERIFY((**punch)->placement == Placement::Object && (**punch)->id == create->id);
	}

	void refused_ranges()
	{
		Bench bench(m_rig);
		const uint64_t steps = bench.world.steps;
		for (const auto &[block, count] : std::initializer_list<std::pair<uint32_t, uint32_t>>{
				 {0, 0}, {0, kBlocks + 1}, {kBlocks, 1}, {kBlocks - 1, 2}, {1, ~0u}, {~0u, 1}, {~0u, ~0u}})
			QVERIFY(failsWith(bench.trim(block, count), ErrorCode::Invalid));
		for (uint32_t block : {kBlocks, ~0u}) QVERIFY(failsWith(bench.map(Op::MapPunch, block), ErrorCode::Invalid));
		QVERIFY(bench.trim(kBlocks - 1, 1));
		QVERIFY(failsWith(bench.life.wait(bench.life.client().trim(bench.handle + 1, 0, 1)), ErrorCode::Peer));
		AttachArgs args;
		args.holder = Holder::Nbd;
		args.readOnly = 1;
		const auto reader = bench.life.wait(bench.life.client().attach("db", args));
		QVERIFY(failsWith(bench.life.wait(bench.life.client().trim(reader->handle, 0, 1)), ErrorCode::ReadOnly));
		QVERIFY(failsWith(bench.life.wait(bench.life.client().map(Op::MapPunch, reader->handle, 0)), ErrorCode::ReadOnly));
		QCOMPARE(bench.world.steps, steps);
	}
};

QTEST_GUILESS_MAIN(TestTrim)
#include "tst_trim.moc"
