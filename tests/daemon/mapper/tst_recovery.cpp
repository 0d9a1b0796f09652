// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Crashes: the world stops after every single step of a busy life of a volume, by a kill or by a power cut, and once more in
// the middle of the recovery from that; once with the limits of a real mapper, once with tight ones, so that checkpoints,
// evictions and changes of segment are among the steps. What clients were promised is compared with what they read
// (crash_runs.h).
//
// The same with one failing step instead of a crash: errors may stop the volume, but break no promise.
#include "tests/daemon/mapper/crash_runs.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = kCrashVolumeBytes;
constexpr BootId kSecondBoot{2};

// A sanitizer makes each life many times slower: a fifth of the steps, which is enough for what it looks for.
#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t kSparse = 5;
#else
constexpr uint64_t kSparse = 1;
#endif

#define VERIFY_WELL(text, where)                                                                                       \
	do {                                                                                                               \
		const std::string wrong = (text);                                                                              \
		QVERIFY2(wrong.empty(), qPrintable(QString("%1: %2").arg(where, QString::fromStdString(wrong))));              \
	} while (false)

} // namespace

class TestRecovery : public QObject {
	Q_OBJECT
	Rig m_rig;

	enum Limits { Real, Tight };

	/// Blocks 0 and 8192, in a session of their own.
	static bool writeTwoChunks(Life &life)
	{
		const Result<AttachReply> attached = life.wait(life.client().attach("db"));
		return attached && life.wait(life.client().write(attached->handle, 0, 1)) &&
		       life.wait(life.client().write(attached->handle, 8192, 2)) &&
		       life.wait(life.client().detach(attached->handle));
	}

	void sweep(Limits limits, Cut first, Cut second, uint64_t recoverySteps, uint64_t stride)
	{
		const unsigned seed = qEnvironmentVariableIntValue("ARCHIPELAGO_TEST_SEED");
		uint64_t crashes = 0;
		for (uint64_t step = 0;; step += stride * kSparse) {
			CrashRun run(m_rig, seed + static_cast<unsigned>(step), limits == Tight);
			const bool crashed = run.crash(step);
			const QString where = QString("step %1, seed %2").arg(step).arg(seed);
			run.cut(first);
			for (uint64_t n = 0; n < recoverySteps; ++n) {
				run.crashInRecovery(n);
				run.cut(second);
			}
			VERIFY_WELL(run.recover(), where);
			run.cut(Cut::Power);
			VERIFY_WELL(run.recover(), where + ", shown before");
			VERIFY_WELL(run.goOn(), where + ", going on");
			run.cut(Cut::Power);
			VERIFY_WELL(run.recover(), where + ", after a clean stop");
			++crashes;
			if (!crashed) break;
		}
		QVERIFY(crashes > 40 / (stride * kSparse));
		qInfo("%llu crashes", static_cast<unsigned long long>(crashes));
	}

private slots:
	void kill_afterEveryStep() { sweep(Real, Cut::Kill, Cut::Kill, 0, 1); }
	void power_afterEveryStep() { sweep(Real, Cut::Power, Cut::Kill, 0, 1); }
	void kill_thenPowerInRecovery() { sweep(Real, Cut::Kill, Cut::Power, 6, 3); }
	void tight_killAfterEveryStep() { sweep(Tight, Cut::Kill, Cut::Kill, 0, 1); }
	void tight_powerAfterEveryStep() { sweep(Tight, Cut::Power, Cut::Kill, 0, 1); }
	void tight_killThenKillsInRecovery() { sweep(Tight, Cut::Kill, Cut::Kill, 8, 5); }
	void tight_killThenPowerInRecovery() { sweep(Tight, Cut::Kill, Cut::Power, 6, 5); }
	void tight_powerThenPowerInRecovery() { sweep(Tight, Cut::Power, Cut::Power, 6, 5); }

	/// The sweeps are about what they say: there are checkpoints, of several segments, and chunks that are read again.
	void tight_hasWhatItIsAbout()
	{
		CrashRun run(m_rig, 1, true);
		QVERIFY(!run.crash(~0ull));
		const auto count = [&run](Op op, ObjectKind kind) {
			return std::ranges::count_if(run.world.seen, [=](const auto &s) { return s.op == op && s.id.kind == kind; });
		};
		QVERIFY(count(Op::ObjCreate, ObjectKind::Journal) > 6);   // segments
		QVERIFY(count(Op::ObjWriteFull, ObjectKind::Header) > 8); // two opens, two closes, a creation; the rest checkpoints
		QVERIFY(count(Op::ObjRemove, ObjectKind::Data) > 10);     // of trimmed blocks
		uint64_t reads = 0;
		for (const auto &seen : run.world.looked) reads += seen.op == Op::ObjRead && seen.id.kind == ObjectKind::Chunk;
		QVERIFY(reads > 0);
	}

	/// One step fails, done or not, and the world goes on; then everything ends by a kill or a power cut.
	void error_atEveryStep_data()
	{
		QTest::addColumn<int>("how");
		QTest::addColumn<int>("failure");
		QTest::addColumn<int>("code");
		for (const Cut how : {Cut::Kill, Cut::Power})
			for (const auto failure : {World::Failure::NotDone, World::Failure::DoneAllTheSame})
				for (const ErrorCode code : {ErrorCode::Io, ErrorCode::NoSpace})
					QTest::addRow("%s, %s, %s", how == Cut::Kill ? "kill" : "power",
					              failure == World::Failure::NotDone ? "not done" : "done",
					              code == ErrorCode::Io ? "E-IO" : "E-NOSPACE")
						<< int(how) << int(failure) << int(code);
	}
	void error_atEveryStep()
	{
		QFETCH(int, how);
		QFETCH(int, failure);
		QFETCH(int, code);
		bool reached = true;
		// Each fourth step: the rows of one kind of failure have all of them between them.
		const uint64_t first = 2 * (ErrorCode(code) == ErrorCode::Io) + (Cut(how) == Cut::Kill);
		for (uint64_t step = first; reached; step += 4 * kSparse) {
			CrashRun run(m_rig, static_cast<unsigned>(step), true);
			run.world.failStep = step;
			run.world.failure = World::Failure(failure);
			run.world.failCode = ErrorCode(code);
			run.crash(~0ull);
			reached = run.world.steps > step;
			run.world.failStep = ~0ull;
			run.cut(Cut(how));
			const QString where = QString("step %1").arg(step);
			VERIFY_WELL(run.recover(), where);
			run.cut(Cut::Power);
			VERIFY_WELL(run.recover(), where + ", shown before");
			VERIFY_WELL(run.goOn(), where + ", going on");
		}
	}

	/// Records that are there on another boot may be there without their data.
	void power_keepsNoUncommittedRecord()
	{
		World world;
		{
			Life life(m_rig, world);
			QVERIFY(life.wait(life.client().create("db", kSize)));
			const Result<AttachReply> attached = life.wait(life.client().attach("db"));
			QVERIFY(attached);
			QVERIFY(life.wait(life.client().write(attached->handle, 1, 11)));
			QVERIFY(life.wait(life.client().flush(attached->handle)));
			QVERIFY(life.wait(life.client().write(attached->handle, 2, 22)));
		}
		world.maps.syncAll(); // the record of block 2 happened to reach the disk
		std::mt19937 random(3);
		world.blocks.powerLoss(random);
		world.stopAfter = ~0ull;
		Life::Options options;
		options.bootId = kSecondBoot;
		Life life(m_rig, world, options);
		const Result<AttachReply> attached = life.wait(life.client().attach("db"));
		QVERIFY(attached);
		QCOMPARE(life.wait(life.client().read(attached->handle, 1)).value(), 11u);
		QCOMPARE(life.wait(life.client().read(attached->handle, 2)).value(), 0u);
		const Result<VolumeInfo> info = life.wait(life.client().info("db"));
		QVERIFY(info);
		QCOMPARE(info->allocatedBytes, kBlockBytes);
	}

	/// A flush after the restart covers overwrites that a killed mapper left unsynced, although no record speaks of them.
	void kill_thenFlushCoversItsOverwrites()
	{
		World world;
		{
			Life life(m_rig, world);
			QVERIFY(life.wait(life.client().create("db", kSize)));
			const Result<AttachReply> attached = life.wait(life.client().attach("db"));
			QVERIFY(attached);
			QVERIFY(life.wait(life.client().write(attached->handle, 1, 11)));
			QVERIFY(life.wait(life.client().flush(attached->handle)));
			QVERIFY(life.wait(life.client().write(attached->handle, 1, 12))); // in place
		}
		world.stopAfter = ~0ull;
		world.seen.clear();
		Life life(m_rig, world);
		const Result<AttachReply> attached = life.wait(life.client().attach("db"));
		QVERIFY(attached);
		const auto isSyncAll = [](const World::Seen &seen) { return seen.op == Op::ObjSyncAll; };
		QVERIFY(std::ranges::any_of(world.seen, isSyncAll)); // only that covers what another process wrote
		QCOMPARE(life.wait(life.client().read(attached->handle, 1)).value(), 12u);
		QVERIFY(life.stop());
		world.seen.clear();
		Life next(m_rig, world);
		QVERIFY(next.wait(next.client().attach("db")));
		QVERIFY(std::ranges::none_of(world.seen, isSyncAll)); // closed cleanly: nothing to make up for
	}

	/// After a clean close there are exactly: name, header, chunks, data.
	void close_leavesNothingBehind()
	{
		World world;
		Life::Options options;
		options.limits = tightLimits();
		Life life(m_rig, world, options);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		Promises promises;
		for (int n = 0; n < 5; ++n) QVERIFY(session(life, promises));
		QVERIFY(life.stop());
		const auto mapped = std::ranges::count_if(promises, [](const auto &p) { return p.second.values.back() != 0; });
		const auto count = [](const Disk &disk, ObjectKind kind) {
			ListArgs args;
			args.kind = kind;
			return disk.list(args).size();
		};
		QCOMPARE(count(world.maps, ObjectKind::Name), size_t(1));
		QCOMPARE(count(world.maps, ObjectKind::Header), size_t(1));
		QCOMPARE(count(world.maps, ObjectKind::Journal), size_t(0));
		std::set<uint32_t> chunks;
		for (const auto &[block, promise] : promises)
			if (promise.values.back()) chunks.insert(block >> kChunkShift);
		QCOMPARE(count(world.maps, ObjectKind::Chunk), chunks.size());
		QCOMPARE(count(world.blocks, ObjectKind::Data), size_t(mapped));
	}

	/// A map that names an object or a chunk which is not there is damage, and said to be: never zeros.
	void missing_chunkIsAnError()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		QVERIFY(writeTwoChunks(life));
		ListArgs args;
		args.kind = ObjectKind::Chunk;
		for (const Disk::Name &name : world.maps.list(args))
			if (name.id.index == 1) world.maps.remove(name);
		const Result<AttachReply> attached = life.wait(life.client().attach("db"));
		QVERIFY(attached); // chunks are read when they are needed
		const Result<uint32_t> there = life.wait(life.client().read(attached->handle, 0));
		QVERIFY(there && *there != 0);
		const Result<uint32_t> gone = life.wait(life.client().read(attached->handle, 8192));
		QVERIFY(!gone && gone.error().code == ErrorCode::Missing);
		const Result<MapReply> write = life.wait(life.client().map(Op::MapWrite, attached->handle, 8192));
		QVERIFY(!write && write.error().code == ErrorCode::Missing);
	}

	void damaged_headerOrChunkIsRefused()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		QVERIFY(writeTwoChunks(life));
		ListArgs args;
		args.kind = ObjectKind::Chunk;
		(*world.maps.edit(world.maps.list(args)[0]))[1000] ^= std::byte{1};
		Result<AttachReply> attached = life.wait(life.client().attach("db"));
		QVERIFY(attached);
		const Result<uint32_t> value = life.wait(life.client().read(attached->handle, 0));
		QVERIFY(!value && value.error().code == ErrorCode::Corrupt);
		QVERIFY(life.wait(life.client().detach(attached->handle)));

		args.kind = ObjectKind::Header;
		(*world.maps.edit(world.maps.list(args)[0]))[50] ^= std::byte{1};
		const uint64_t steps = world.steps;
		attached = life.wait(life.client().attach("db"));
		QVERIFY(!attached && attached.error().code == ErrorCode::Corrupt);
		QVERIFY(QString::fromStdString(attached.error().message).startsWith("Cannot open volume db: object h."));
		QCOMPARE(world.steps, steps);
	}
};

QTEST_GUILESS_MAIN(TestRecovery)
#include "tst_recovery.moc"
