// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Errors of the disks, and the end of a mapper whose clients live on: what stops a volume and what does not, what a stopped
// one answers and says, and how it comes back.
#include "tests/daemon/mapper/attached_volume.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = AttachedVolume::kSize;

bool isJournal(const World::Seen &seen) { return seen.id.kind == ObjectKind::Journal && seen.op != Op::ObjList; }
bool isRecordWrite(const World::Seen &seen) { return isJournal(seen) && seen.op == Op::ObjWrite; }
bool isSegmentCreation(const World::Seen &seen) { return isJournal(seen) && seen.op == Op::ObjCreate; }
bool isVolumeSync(const World::Seen &seen) { return seen.op == Op::ObjSyncVolume; }
bool isChunk1(const World::Seen &seen) { return seen.id.kind == ObjectKind::Chunk && seen.id.index == 1; }
bool isBlock1(const World::Seen &seen) { return seen.id.kind == ObjectKind::Data && seen.id.index == 1 && !isVolumeSync(seen); }

struct Bench : AttachedVolume {
	using AttachedVolume::AttachedVolume;

	std::string health() { return life.wait(life.client().health()).value(); }
	/// The next request of this kind fails.
	void failNext(bool (*which)(const World::Seen &), ErrorCode code, const std::function<void()> &request)
	{
		world.hold = which;
		request();
		life.until([&] { return life.blockerb().held() + life.blockerm().held() != 0; });
		world.failStep = world.steps;
		world.failCode = code;
		world.hold = nullptr;
		life.blockerb().release();
		life.blockerm().release();
	}
	bool everythingFails(ErrorCode code)
	{
		return failsWith(read(1), code) && failsWith(read(5), code) && failsWith(write(1, 9), code) &&
		       failsWith(write(6, 9), code) && failsWith(flush(), code) &&
		       failsWith(life.wait(life.client().trim(handle, 1, 1)), code) &&
		       failsWith(life.wait(life.client().map(Op::MapPunch, handle, 1)), code);
	}
};

} // namespace

class TestStopping : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void failedSync_stopsTheVolumeAndSaysWhy()
	{
		Bench bench(m_rig);
		QVERIFY(bench.life.wait(bench.life.client().create("other", kSize)));
		const uint32_t other = bench.life.wait(bench.life.client().attach("other"))->handle;
		QVERIFY(bench.write(1, 1));
		QVERIFY(bench.health().empty() && !bench.info().stopped);
		bench.world.failStep = bench.world.steps;
		QVERIFY(failsWith(bench.flush(), ErrorCode::Io));
		QVERIFY(bench.everythingFails(ErrorCode::Io));

		const VolumeInfo info = bench.info();
		QVERIFY(info.stopped == 1 && info.error == wireStatus(ErrorCode::Io) && info.sizeBytes == kSize);
		const std::string health = bench.health();
		QVERIFY2(health.starts_with("db\tE-IO\tVolume db has stopped: sync of the data of volume "), health.c_str());
		QVERIFY(health.find("role blockerb answers E-IO") != health.npos);
		QVERIFY(health.ends_with("vlmc close db, vlmc open db\n"));
		QCOMPARE(std::ranges::count(health, '\n'), std::ptrdiff_t(1));
		QVERIFY(bench.life.wait(bench.life.client().health(1024)).value() == health);
		// The others go on.
		QVERIFY(bench.life.wait(bench.life.client().write(other, 1, 2)));
		QVERIFY(bench.life.wait(bench.life.client().flush(other)));

		QVERIFY(bench.reopen());
		QCOMPARE(bench.read(1).value(), 1u);
		QVERIFY(bench.write(6, 6) && bench.flush());
		QVERIFY(bench.health().empty() && !bench.info().stopped && !bench.info().error);
	}

	void stopped_untilNobodyHoldsIt()
	{
		Bench bench(m_rig);
		QVERIFY(bench.life.wait(bench.life.client().named(Op::CatOpen, "db")));
		QVERIFY(bench.write(1, 1));
		bench.world.failStep = bench.world.steps;
		QVERIFY(failsWith(bench.flush(), ErrorCode::Io));
		QVERIFY(!bench.reopen()); // still open explicitly
		QVERIFY(bench.info().stopped);
		QVERIFY(failsWith(bench.life.wait(bench.life.client().named(Op::CatClose, "db")), ErrorCode::Io)); // not cleanly
		QVERIFY(!bench.info().stopped && bench.health().empty());
		QVERIFY(bench.attach());
		QCOMPARE(bench.read(1).value(), 1u);
	}

	/// What waits for a Create, for the journal or for a flush does not wait for ever.
	void stop_endsWhatWaits()
	{
		Bench bench(m_rig);
		QVERIFY(bench.write(1, 1));
		Client &client = bench.life.client();
		const auto create = bench.life.wait(client.map(Op::MapWrite, bench.handle, 7));
		QVERIFY(create && create->placement == Placement::Create);
		const auto write = bench.life.start(client.map(Op::MapWrite, bench.handle, 7));
		const auto punch = bench.life.start(client.map(Op::MapPunch, bench.handle, 7));
		const auto trim = bench.life.start(client.trim(bench.handle, 0, 20)); // has block 1, waits for 7
		const auto behind = bench.life.start(client.map(Op::MapWrite, bench.handle, 1));
		std::shared_ptr<std::optional<Result<void>>> first, second;
		bench.failNext(isVolumeSync, ErrorCode::Io, [&] {
			first = bench.life.start(client.flush(bench.handle));
			second = bench.life.start(client.flush(bench.handle));
		});
		bench.life.until([&] {
			return first->has_value() && second->has_value() && write->has_value() && punch->has_value() &&
			       trim->has_value() && behind->has_value();
		});
		QVERIFY(failsWith(**first, ErrorCode::Io) && failsWith(**second, ErrorCode::Io));
		QVERIFY(failsWith(**write, ErrorCode::Io) && failsWith(**punch, ErrorCode::Io));
		QVERIFY(failsWith(**trim, ErrorCode::Io) && failsWith(**behind, ErrorCode::Io));
		QVERIFY(failsWith(bench.life.wait(client.record(bench.handle, 7, create->token, true)), ErrorCode::Io));
		QVERIFY(bench.reopen());
		QCOMPARE(bench.read(1).value(), 1u);
	}

	void failedRecord_stopsTheVolume_data()
	{
		QTest::addColumn<int>("code");
		QTest::addColumn<int>("answer");
		QTest::addRow("E-IO") << int(ErrorCode::Io) << int(ErrorCode::Io);
		QTest::addRow("E-PEER, outcome unknown") << int(ErrorCode::Peer) << int(ErrorCode::Io);
		QTest::addRow("E-NOSPACE within the room there was") << int(ErrorCode::NoSpace) << int(ErrorCode::NoSpace);
	}
	void failedRecord_stopsTheVolume()
	{
		QFETCH(int, code);
		QFETCH(int, answer);
		Bench bench(m_rig);
		QVERIFY(bench.write(1, 1) && bench.flush());
		std::shared_ptr<std::optional<Result<void>>> write;
		bench.failNext(isRecordWrite, ErrorCode(code),
		               [&] { write = bench.life.start(bench.life.client().write(bench.handle, 2, 2)); });
		bench.life.until([&] { return write->has_value(); });
		QVERIFY(failsWith(**write, ErrorCode(answer)));
		QVERIFY(bench.everythingFails(ErrorCode(answer)));
		QCOMPARE(bench.info().error, wireStatus(ErrorCode(answer)));
		QVERIFY(bench.health().find("its journal cannot be written: ") != std::string::npos);
		QVERIFY(bench.reopen());
		QCOMPARE(bench.read(1).value(), 1u);
		QCOMPARE(bench.read(2).value(), 0u);
		QVERIFY(bench.write(2, 3));
	}

	/// A full disk: what needs room in the journal fails, and nothing else does.
	void noRoom_forTheJournal()
	{
		Bench bench(m_rig);
		std::shared_ptr<std::optional<Result<void>>> write;
		bench.failNext(isSegmentCreation, ErrorCode::NoSpace,
		               [&] { write = bench.life.start(bench.life.client().write(bench.handle, 2, 2)); });
		bench.life.until([&] { return write->has_value(); });
		QVERIFY(failsWith(**write, ErrorCode::NoSpace));
		QVERIFY(!bench.info().stopped && bench.health().empty());
		QCOMPARE(bench.read(2).value(), 0u);
		QVERIFY(bench.flush());
		QVERIFY(bench.write(2, 3)); // there is room again
		QCOMPARE(bench.read(2).value(), 3u);
		QVERIFY(bench.flush());
		QVERIFY(bench.world.violations.empty()); // under another name than the first attempt's
		QVERIFY(bench.reopen());
		QCOMPARE(bench.read(2).value(), 3u);
	}

	/// One object of the map that the disk cannot read: its range fails, everything else works.
	void brokenChunk_failsItsRangeOnly()
	{
		Bench bench(m_rig);
		for (uint32_t block : {1u, kChunkEntries, 2 * kChunkEntries}) QVERIFY(bench.write(block, block));
		QVERIFY(bench.reopen());
		bench.world.broken = isChunk1;
		QVERIFY(failsWith(bench.read(kChunkEntries), ErrorCode::Io));
		QVERIFY(failsWith(bench.write(kChunkEntries + 3, 1), ErrorCode::Io));
		QVERIFY(failsWith(bench.trim(kChunkEntries, 1), ErrorCode::Io));
		QCOMPARE(bench.read(1).value(), 1u);
		QVERIFY(bench.write(1, 5) && bench.write(2, 6) && bench.flush());
		QCOMPARE(bench.read(2 * kChunkEntries).value(), 2 * kChunkEntries);
		QVERIFY(!bench.info().stopped);
		bench.world.broken = nullptr;
		QCOMPARE(bench.read(kChunkEntries).value(), kChunkEntries);
	}

	void brokenBlock_failsAlone()
	{
		Bench bench(m_rig);
		bench.world.broken = isBlock1;
		QVERIFY(failsWith(bench.write(1, 1), ErrorCode::Io));
		QCOMPARE(bench.read(1).value(), 0u);
		QVERIFY(bench.write(2, 2) && bench.flush());
		bench.world.broken = nullptr;
		QVERIFY(bench.write(1, 3) && bench.flush());
		QCOMPARE(bench.read(1).value(), 3u);
		bench.world.broken = isBlock1;
		QVERIFY(failsWith(bench.read(1), ErrorCode::Io) && failsWith(bench.write(1, 4), ErrorCode::Io));
		QCOMPARE(bench.read(2).value(), 2u);
		QVERIFY(!bench.info().stopped);
	}

	void failedHeader_ofAnOpen()
	{
		for (const auto failure : {World::Failure::NotDone, World::Failure::DoneAllTheSame}) {
			Bench bench(m_rig);
			QVERIFY(bench.write(1, 1));
			QVERIFY(bench.life.wait(bench.life.client().detach(bench.handle)));
			bench.world.failure = failure;
			bench.world.failStep = bench.world.steps; // closed cleanly: the header is all that an open writes
			QVERIFY(!bench.attach());
			QVERIFY(bench.world.seen.back().id.kind == ObjectKind::Header);
			QVERIFY(bench.attach());
			QCOMPARE(bench.read(1).value(), 1u);
		}
	}

	/// A mapper that was killed and started again, while its client lives and knows nothing of it.
	void handles_ofAnEarlierLife()
	{
		World world;
		std::vector<uint32_t> old;
		for (int round = 0; round < 5; ++round) {
			world.stopAfter = ~0ull;
			Life life(m_rig, world);
			if (round == 0) QVERIFY(life.wait(life.client().create("db", kSize)));
			std::vector<uint32_t> handles;
			for (int n = 0; n < 3; ++n) handles.push_back(life.wait(life.client().attach("db"))->handle);
			for (const uint32_t handle : old) {
				QVERIFY(std::ranges::find(handles, handle) == handles.end());
				for (Op op : {Op::MapRead, Op::MapWrite, Op::MapPunch})
					QVERIFY(failsWith(life.wait(life.client().map(op, handle, 1)), ErrorCode::Peer));
				QVERIFY(failsWith(life.wait(life.client().flush(handle)), ErrorCode::Peer));
				QVERIFY(failsWith(life.wait(life.client().trim(handle, 1, 1)), ErrorCode::Peer));
				QVERIFY(failsWith(life.wait(life.client().record(handle, 1, 1, true)), ErrorCode::Peer));
				QVERIFY(life.wait(life.client().detach(handle)));
			}
			QCOMPARE(life.wait(life.client().info("db"))->clients, 3u); // whom that has not hurt
			old.insert(old.end(), handles.begin(), handles.end());
		}
	}
};

QTEST_GUILESS_MAIN(TestStopping)
#include "tst_stopping.moc"
