// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Checkpoints under load, and the memory for chunks: what they write, that work goes on meanwhile, that the journal and the
// memory stay bounded, and what a failure leaves.
#include "tests/daemon/mapper/attached_volume.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = AttachedVolume::kSize;

Life::Options small()
{
	Life::Options options;
	options.limits.segmentBytes = 4096;
	options.limits.checkpointBytes = 8192;
	options.limits.journalBytes = 16384;
	return options;
}

bool isChunkWrite(const World::Seen &seen) { return seen.op == Op::ObjWriteFull && seen.id.kind == ObjectKind::Chunk; }
bool isHeaderWrite(const World::Seen &seen) { return seen.op == Op::ObjWriteFull && seen.id.kind == ObjectKind::Header; }
bool isVolumeSync(const World::Seen &seen) { return seen.op == Op::ObjSyncVolume; }
bool isReadOfChunk1(const World::Seen &seen)
{
	return seen.op == Op::ObjRead && seen.id.kind == ObjectKind::Chunk && seen.id.index == 1;
}

struct Bench : AttachedVolume {
	using AttachedVolume::AttachedVolume;

	Header header() const
	{
		const ObjectName object = ObjectName::header(volume, 2);
		return decodeHeader(object, *world.maps.read(diskName(object))).value();
	}
	uint64_t journalBytes() const
	{
		ListArgs args;
		args.kind = ObjectKind::Journal;
		uint64_t sum = 0;
		for (const Disk::Name &name : world.maps.list(args)) sum += world.maps.read(name)->size();
		return sum;
	}
	bool stopped() { return info().stopped; }
	/// Writes blocks from `next` on, until one fails or `done`.
	Result<void> writeUntil(uint32_t &next, const std::function<bool()> &done)
	{
		while (!done()) {
			Result<void> written = write(next, next + 1);
			if (!written) return written;
			++next;
		}
		return {};
	}
};

} // namespace

class TestCheckpoint : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void journal_isShortenedAgainAndAgain()
	{
		Bench bench(m_rig, small());
		uint64_t longest = 0;
		for (uint32_t block = 0; block < 1000; ++block) {
			QVERIFY(bench.write(block * 20, block + 1));
			longest = std::max(longest, bench.journalBytes());
		}
		QVERIFY2(longest <= 16384 + 4096, qPrintable(QString::number(longest)));
		QVERIFY(bench.header().firstSegment > 10);
		QVERIFY(bench.header().applied > 900);
		bench.life.until([&] { return bench.journalBytes() <= 8192 + 4096; });
		ListArgs args;
		args.kind = ObjectKind::Chunk;
		QVERIFY(bench.world.maps.list(args).size() <= 6); // old ones go, too
		QVERIFY(bench.reopen());
		for (uint32_t block = 0; block < 1000; ++block) QCOMPARE(bench.value(block * 20), block + 1);
		QCOMPARE(bench.info().allocatedBytes, 1000 * kBlockBytes);
	}

	/// While the chunks are being written writes go on, until the journal is full; then they wait, and none fails.
	void appends_waitForACheckpointThatLags()
	{
		Bench bench(m_rig, small());
		bench.world.hold = isChunkWrite;
		std::vector<std::shared_ptr<std::optional<Result<void>>>> writes;
		const auto ended = [&] {
			return size_t(std::ranges::count_if(writes, [](const auto &w) { return w->has_value(); }));
		};
		for (uint32_t block = 0; block < 200; ++block) {
			writes.push_back(bench.life.start(bench.life.client().write(bench.handle, block, 7)));
			bench.life.settle();
		}
		QVERIFY(bench.life.blockerm().held() > 0);
		QVERIFY(ended() > 100 && ended() < 190);
		QVERIFY(bench.journalBytes() <= 16384 + 4096);
		QCOMPARE(bench.value(0), 7u); // and the rest works
		bench.world.hold = nullptr;
		bench.life.blockerm().release();
		bench.life.until([&] { return ended() == writes.size(); });
		for (const auto &w : writes) QVERIFY((**w).has_value());
	}

	/// A record that came while the data was being synced is in memory, but not in the chunks: no COMMIT covers it.
	void chunks_areAsOfTheLastCommit()
	{
		Bench bench(m_rig, small());
		uint32_t next = 0;
		bench.world.hold = isVolumeSync; // of the checkpoint's flush
		QVERIFY(bench.writeUntil(next, [&] { return bench.life.blockerb().held() != 0; }));
		const uint32_t covered = next;
		for (const uint32_t block : {6000u, 6001u}) QVERIFY(bench.write(block, 9));
		QVERIFY(bench.trim(3, 2));
		bench.world.hold = nullptr;
		bench.life.blockerb().release();
		bench.life.until([&] { return bench.header().applied != 0; });

		const Header header = bench.header();
		QCOMPARE(header.chunks.size(), size_t(1));
		QCOMPARE(header.allocatedBytes, covered * kBlockBytes);
		const ObjectName chunk = ObjectName::chunk(bench.volume, header.chunks[0].epoch, 0);
		const auto entries = decodeChunk(chunk, header.chunks[0].crc, *bench.world.maps.read(diskName(chunk))).value();
		QVERIFY(!entries[6000].mapped() && !entries[6001].mapped());
		QVERIFY(entries[3].mapped() && entries[4].mapped());
		QCOMPARE(std::ranges::count_if(entries, &MapEntry::mapped), std::ptrdiff_t(covered));
		// Memory has them all.
		QCOMPARE(bench.value(6000), 9u);
		QCOMPARE(bench.value(3), 0u);
		QCOMPARE(bench.value(5), 6u);
	}

	void oldRecords_areCheckpointedByTime()
	{
		Life::Options options;
		options.limits.checkpointMs = 1;
		Bench bench(m_rig, options);
		QVERIFY(bench.write(1, 1));
		bench.life.until([&] { return bench.header().applied != 0; });
		QCOMPARE(bench.header().chunks.size(), size_t(1));
		const uint64_t writes = bench.header().writeCount;
		QVERIFY(bench.write(1, 2)); // in place: nothing to write down
		QVERIFY(bench.write(9000, 2));
		bench.life.until([&] { return bench.header().chunks.size() == 2; });
		QCOMPARE(bench.header().writeCount, writes + 1);
	}

	/// A chunk or a header that cannot be written: the volume goes on with the journal it has, and tries again.
	void failure_leavesEverythingAsItWas_data()
	{
		QTest::addColumn<bool>("header");
		QTest::addColumn<bool>("done");
		for (const bool header : {false, true})
			for (const bool done : {false, true})
				QTest::addRow("%s, %s", header ? "header" : "chunk", done ? "done" : "not done") << header << done;
	}
	void failure_leavesEverythingAsItWas()
	{
		QFETCH(bool, header);
		QFETCH(bool, done);
		for (const bool power : {false, true}) {
			World world;
			uint32_t next = 0;
			{
				Life life(m_rig, world, small());
				QVERIFY(life.wait(life.client().create("db", kSize)));
				const auto client = life.wait(life.client().attach("db"));
				world.hold = header ? isHeaderWrite : isChunkWrite;
				while (!life.blockerm().held()) QVERIFY(life.wait(life.client().write(client->handle, next++, 5)));
				world.failStep = world.steps;
				world.failCode = ErrorCode::NoSpace;
				world.failure = done ? World::Failure::DoneAllTheSame : World::Failure::NotDone;
				world.hold = nullptr;
				life.blockerm().release();
				for (uint32_t n = 0; n < 30; ++n) QVERIFY(life.wait(life.client().write(client->handle, next++, 5)));
				QCOMPARE(world.seen[world.failStep].op, Op::ObjWriteFull);
				QVERIFY(!life.wait(life.client().info("db"))->stopped);
				if (power) QVERIFY(life.wait(life.client().flush(client->handle)));
			}
			world.stopAfter = ~0ull;
			Life::Options options = small();
			if (power) {
				std::mt19937 random(4);
				world.maps.powerLoss(random);
				world.blocks.powerLoss(random);
				options.bootId = BootId{2};
			}
			Life life(m_rig, world, options);
			const auto client = life.wait(life.client().attach("db"));
			QVERIFY2(client, client ? "" : client.error().message.c_str());
			for (uint32_t block = 0; block < next; ++block)
				QCOMPARE(life.wait(life.client().read(client->handle, block)).value(), 5u);
			QCOMPARE(life.wait(life.client().info("db"))->allocatedBytes, next * kBlockBytes);
		}
	}

	/// A disk that never takes a chunk: the journal fills, writes that need it fail, everything else works; once it does again
	/// all is well.
	void failure_thatStaysIsSurfaced()
	{
		Bench bench(m_rig, small());
		bench.world.broken = isChunkWrite;
		uint32_t next = 0;
		const Result<void> failed = bench.writeUntil(next, [&next] { return next > 1000; });
		QVERIFY(failsWith(failed, ErrorCode::Io));
		QVERIFY(next > 50);
		QVERIFY(bench.journalBytes() <= 16384 + 4096);
		QVERIFY(!bench.stopped());
		QVERIFY(bench.write(0, 77)); // in place
		QVERIFY(bench.flush());
		QVERIFY(failsWith(bench.trim(1, 1), ErrorCode::Io));
		QCOMPARE(bench.value(1), 2u); // and is as it was
		bench.world.broken = nullptr;
		QVERIFY(bench.write(next, 1));
		QVERIFY(bench.trim(1, 1));
		QCOMPARE(bench.value(0), 77u);
		QCOMPARE(bench.value(1), 0u);
	}

	/// Epochs are reserved in the header too: one write of it at a time, and neither undoes the other's.
	void header_hasOneWriterAtATime()
	{
		Life::Options options = small();
		options.limits.epochsPerHeader = 2;
		Bench bench(m_rig, options);
		uint32_t next = 0;
		bench.world.hold = isChunkWrite;
		QVERIFY(bench.writeUntil(next, [&] { return bench.life.blockerm().held() != 0; }));
		bench.world.hold = isHeaderWrite;
		bench.life.blockerm().release();
		bench.life.until([&] { return bench.life.blockerm().held() != 0; });
		// Spends epochs until one must be reserved.
		std::vector<std::shared_ptr<std::optional<Result<void>>>> writes;
		for (uint32_t n = 0; n < 4; ++n) {
			const auto create = bench.life.start(bench.life.client().map(Op::MapWrite, bench.handle, 7000 + n));
			bench.life.settle();
			if (!create->has_value()) break;
			QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 7000 + n, (**create)->token, false)));
		}
		QCOMPARE(bench.life.blockerm().held(), size_t(1));
		bench.world.hold = nullptr;
		const uint64_t limit = bench.header().epochLimit;
		bench.life.blockerm().release();
		bench.life.until([&] { return bench.header().epochLimit > limit && bench.header().applied != 0; });
		QVERIFY(bench.write(next, 1));
		QVERIFY(bench.world.violations.empty());
	}

	void close_endsACheckpointFirst()
	{
		Bench bench(m_rig, small());
		uint32_t next = 0;
		bench.world.hold = isChunkWrite;
		QVERIFY(bench.writeUntil(next, [&] { return bench.life.blockerm().held() != 0; }));
		const auto left = bench.life.start(bench.life.client().detach(bench.handle));
		bench.life.settle();
		QVERIFY(!left->has_value());
		bench.world.hold = nullptr;
		bench.life.blockerm().release();
		bench.life.until([&] { return left->has_value(); });
		QCOMPARE(bench.journalBytes(), 0u);
		QVERIFY(bench.attach());
		for (uint32_t block = 0; block < next; ++block) QCOMPARE(bench.value(block), block + 1);
	}

	// ---- memory for chunks

	void memory_isBoundedOverAllVolumes()
	{
		Life::Options options;
		options.mapCacheBytes = 2 * ChunkBudget::kChunkBytes;
		Bench bench(m_rig, options);
		QVERIFY(bench.life.wait(bench.life.client().create("other", kSize)));
		const uint32_t other = bench.life.wait(bench.life.client().attach("other"))->handle;
		for (uint32_t chunk = 0; chunk < 3; ++chunk) {
			QVERIFY(bench.write(chunk * kChunkEntries, chunk + 1));
			QVERIFY(bench.life.wait(bench.life.client().write(other, chunk * kChunkEntries, chunk + 11)));
		}
		const auto reads = [&] {
			return std::ranges::count_if(bench.world.looked, [](const auto &seen) {
				return seen.op == Op::ObjRead && seen.id.kind == ObjectKind::Chunk;
			});
		};
		QCOMPARE(reads(), 0); // with changes they stay, however many there are
		QVERIFY(bench.life.wait(bench.life.client().detach(bench.handle)));
		QVERIFY(bench.life.wait(bench.life.client().detach(other)));
		QVERIFY(bench.attach());
		const uint32_t again = bench.life.wait(bench.life.client().attach("other"))->handle;
		for (int round = 0; round < 2; ++round) { // two fit: each is read once
			QCOMPARE(bench.value(0), 1u);
			QCOMPARE(bench.life.wait(bench.life.client().read(again, 0)).value(), 11u);
			QCOMPARE(reads(), 2);
		}
		for (uint32_t chunk = 0; chunk < 3; ++chunk) {
			QCOMPARE(bench.value(chunk * kChunkEntries), chunk + 1);
			QCOMPARE(bench.life.wait(bench.life.client().read(again, chunk * kChunkEntries)).value(), chunk + 11);
		}
		QVERIFY(reads() >= 6);
		// Closed, a volume has no share any more.
		QVERIFY(bench.life.wait(bench.life.client().detach(again)));
		const auto before = reads();
		for (uint32_t chunk : {0u, 1u, 0u, 1u, 0u, 1u}) QCOMPARE(bench.value(chunk * kChunkEntries), chunk + 1);
		QVERIFY(reads() <= before + 2);
	}

	/// A chunk that is needed until its record is written stays, also when others want its place.
	void memory_keepsWhatARecordWillSet()
	{
		Life::Options options;
		options.mapCacheBytes = 1;
		Bench bench(m_rig, options);
		for (uint32_t chunk = 0; chunk < 3; ++chunk) QVERIFY(bench.write(chunk * kChunkEntries, chunk + 1));
		QVERIFY(bench.reopen());
		QCOMPARE(bench.value(0), 1u);
		const auto create = bench.map(Op::MapWrite, 5);
		QVERIFY(create && create->placement == Placement::Create);
		for (uint32_t chunk : {1u, 2u, 1u, 2u}) QCOMPARE(bench.value(chunk * kChunkEntries), chunk + 1);
		QVERIFY(bench.life.wait(bench.life.client().record(bench.handle, 5, create->token, true)));
		QVERIFY(bench.map(Op::MapRead, 5)->id == create->id);
		QCOMPARE(bench.value(0), 1u);
	}

	void memory_otherChunksAreServedWhileOneIsRead()
	{
		Life::Options options;
		options.mapCacheBytes = 1;
		Bench bench(m_rig, options);
		for (uint32_t chunk = 0; chunk < 3; ++chunk) QVERIFY(bench.write(chunk * kChunkEntries, chunk + 1));
		QVERIFY(bench.reopen());
		bench.world.hold = isReadOfChunk1;
		const auto slow = bench.life.start(bench.life.client().read(bench.handle, kChunkEntries));
		const auto same = bench.life.start(bench.life.client().read(bench.handle, kChunkEntries + 1));
		bench.life.until([&] { return bench.life.blockerm().held() == 1; });
		for (uint32_t chunk : {0u, 2u, 0u, 2u}) QCOMPARE(bench.value(chunk * kChunkEntries), chunk + 1);
		QVERIFY(!slow->has_value());
		bench.world.hold = nullptr;
		bench.life.blockerm().release();
		bench.life.until([&] { return slow->has_value() && same->has_value(); });
		QCOMPARE((**slow).value(), 2u);
		QCOMPARE((**same).value(), 0u);
	}
};

QTEST_GUILESS_MAIN(TestCheckpoint)
#include "tst_checkpoint.moc"
