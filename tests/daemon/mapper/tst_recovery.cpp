// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Crashes: the world stops after every single step of a busy life of a volume, by a kill or by a power cut, and once more in
// the middle of the recovery from that. What clients were promised is kept beside, and compared with what they read:
//
//   after a kill     the last acknowledged value, or a later one                             [ack-before-record]
//   after power loss the last flushed value, or a later one       [journal-before-data] [commit-covers-all] [trust-uncommitted]
//   what a recovery has shown stays, also when the power goes right after it                 [recovery-no-sync]
//   no map names an object that is not there, no name is used twice
//
// The same with one failing step instead of a crash: errors may stop the volume, but break no promise.
#include "tests/daemon/mapper/mapper_life.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = 3 * kChunkSpan; // three chunks
constexpr BootId kFirstBoot{1}, kSecondBoot{2};

/// What one block was promised. Values count up from 1; 0 is a block that was never written.
struct Promise {
	uint32_t begun = 0, acknowledged = 0, flushed = 0;
};
using Promises = std::map<uint32_t, Promise>;

/// Blocks of each writer: neighbours, chunk borders, the very end.
const std::vector<std::vector<uint32_t>> kBlocks{
	{0, 1, 8191}, {8192, 5, 8193}, {uint32_t(kSize / kBlockBytes - 1), 0x2000 + 77}};

/// One block after the other, three times, each write waited for.
runtime::Task<void> writer(Client &client, uint32_t handle, const std::vector<uint32_t> &blocks, Promises &promises,
                           unsigned &running)
{
	for (int round = 0; round < 3; ++round) {
		for (uint32_t block : blocks) {
			Promise &promise = promises[block];
			const uint32_t value = ++promise.begun;
			Result<void> written = co_await client.write(handle, block, value);
			if (written) promise.acknowledged = value;
		}
	}
	--running;
}

runtime::Task<void> flusher(Client &client, uint32_t handle, Promises &promises, unsigned &running)
{
	for (int round = 0; round < 3; ++round) {
		const Promises before = promises;
		Result<void> flushed = co_await client.flush(handle);
		if (!flushed) continue;
		for (const auto &[block, promise] : before)
			promises[block].flushed = std::max(promises[block].flushed, promise.acknowledged);
	}
	--running;
}

/// One session of a client: attach, write and flush side by side, leave. False when it could not even attach.
bool session(Life &life, Promises &promises)
{
	const Result<AttachReply> attached = life.wait(life.client().attach("db"));
	if (!attached) return false;
	unsigned running = 0;
	for (const auto &blocks : kBlocks) {
		++running;
		runtime::spawn(writer(life.client(), attached->handle, blocks, promises, running));
	}
	++running;
	runtime::spawn(flusher(life.client(), attached->handle, promises, running));
	// A first write that fails at its client: its name must not be used again.
	const Result<MapReply> lost = life.wait(life.client().map(Op::MapWrite, attached->handle, 4));
	if (lost && lost->placement == Placement::Create)
		(void)life.wait(life.client().record(attached->handle, 4, lost->token, false));
	life.until([&running] { return running == 0; });
	(void)life.wait(life.client().detach(attached->handle));
	return true;
}

/// Everything a client does in the tests: create, then two sessions with a clean close between them.
void work(Life &life, Promises &promises)
{
	(void)life.wait(life.client().create("db", kSize));
	session(life, promises);
	session(life, promises);
}

enum class Cut { Kill, Power };

class Crashes {
public:
	Crashes(Rig &rig, unsigned seed) : m_rig(rig), m_random(seed) {}

	World world;
	Promises promises;

	/// Lives until the end of its work, or until the world stops. False: it came to its end.
	bool crash(uint64_t afterSteps)
	{
		world.stopAfter = afterSteps;
		Life life(m_rig, world, options());
		work(life, promises);
		return world.steps >= afterSteps;
	}
	void cut(Cut how)
	{
		if (how == Cut::Kill) return;
		world.blocks.powerLoss(m_random);
		world.maps.powerLoss(m_random);
		++m_boot.back(); // never one that was there before
		m_power = true;
	}
	/// Opens the volume, and is killed `steps` steps later. Nothing it shows counts.
	void crashInRecovery(uint64_t steps)
	{
		world.stopAfter = world.steps + steps;
		Life life(m_rig, world, options());
		(void)life.wait(life.client().attach("db"));
	}
	/// Opens the volume and compares; from now on what was seen is what must stay. Empty text: all is well.
	std::string recover()
	{
		world.stopAfter = ~0ull;
		Life life(m_rig, world, options());
		Result<AttachReply> attached = life.wait(life.client().attach("db"));
		if (!attached) {
			// The only volume that may be missing is one whose creation was cut off.
			return attached.error().code == ErrorCode::NotFound && promises.empty() ? "" : attached.error().message;
		}
		for (auto &[block, promise] : promises) {
			const Result<uint32_t> value = life.wait(life.client().read(attached->handle, block));
			if (!value) return "block " + std::to_string(block) + ": " + value.error().message;
			const uint32_t least = m_power ? promise.flushed : promise.acknowledged;
			if (*value < least || *value > promise.begun)
				return "block " + std::to_string(block) + " reads " + std::to_string(*value) + ", promised " +
				       std::to_string(least) + ".." + std::to_string(promise.begun);
			promise.begun = promise.acknowledged = promise.flushed = *value;
		}
		m_power = false;
		return world.violations.empty() ? "" : world.violations.front();
	}
	/// Goes on with the recovered volume, so that what recovery left is worked upon.
	std::string goOn()
	{
		world.stopAfter = ~0ull;
		Life life(m_rig, world, options());
		if (promises.empty() && !life.wait(life.client().create("db", kSize))) return ""; // it was there after all
		if (!session(life, promises)) return "cannot attach after recovery";
		for (auto &[block, promise] : promises)
			if (promise.acknowledged != promise.begun) return "a write failed after recovery";
		const Result<void> stopped = life.stop();
		return stopped ? "" : stopped.error().message;
	}

private:
	Life::Options options() const
	{
		Life::Options options;
		options.bootId = m_boot;
		return options;
	}

	Rig &m_rig;
	std::mt19937 m_random;
	BootId m_boot = kFirstBoot;
	bool m_power = false;
};

#define VERIFY_WELL(text, where)                                                                                       \
	do {                                                                                                               \
		const std::string wrong = (text);                                                                              \
		QVERIFY2(wrong.empty(), qPrintable(QString("%1: %2").arg(where, QString::fromStdString(wrong))));              \
	} while (false)

} // namespace

class TestRecovery : public QObject {
	Q_OBJECT
	Rig m_rig;

	void sweep(Cut first, Cut second, uint64_t recoverySteps, uint64_t stride)
	{
		const unsigned seed = qEnvironmentVariableIntValue("ARCHIPELAGO_TEST_SEED");
		uint64_t crashes = 0;
		for (uint64_t step = 0;; step += stride) {
			Crashes run(m_rig, seed + static_cast<unsigned>(step));
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
		QVERIFY(crashes > 20 / stride);
		qInfo("%llu crashes", static_cast<unsigned long long>(crashes));
	}

private slots:
	void kill_afterEveryStep() { sweep(Cut::Kill, Cut::Kill, 0, 1); }
	void power_afterEveryStep() { sweep(Cut::Power, Cut::Kill, 0, 1); }
	void kill_thenKillsInRecovery() { sweep(Cut::Kill, Cut::Kill, 8, 1); }
	void kill_thenPowerInRecovery() { sweep(Cut::Kill, Cut::Power, 6, 1); }
	void power_thenPowerInRecovery() { sweep(Cut::Power, Cut::Power, 6, 1); }

	/// One step fails, done or not, and the world goes on; then everything ends by a kill or a power cut.
	void error_atEveryStep()
	{
		for (const Cut how : {Cut::Kill, Cut::Power}) {
			for (const auto failure : {World::Failure::NotDone, World::Failure::DoneAllTheSame}) {
				bool reached = true;
				for (uint64_t step = 0; reached; ++step) {
					Crashes run(m_rig, static_cast<unsigned>(step));
					run.world.failStep = step;
					run.world.failure = failure;
					run.crash(~0ull);
					reached = run.world.steps > step;
					run.world.failStep = ~0ull;
					run.cut(how);
					const QString where = QString("step %1, %2")
					                          .arg(step)
					                          .arg(failure == World::Failure::NotDone ? "not done" : "done");
					VERIFY_WELL(run.recover(), where);
					run.cut(Cut::Power);
					VERIFY_WELL(run.recover(), where + ", shown before");
				}
			}
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
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		Promises promises;
		for (int n = 0; n < 5; ++n) QVERIFY(session(life, promises));
		QVERIFY(life.stop());
		const auto count = [](const Disk &disk, ObjectKind kind) {
			ListArgs args;
			args.kind = kind;
			return disk.list(args).size();
		};
		QCOMPARE(count(world.maps, ObjectKind::Name), size_t(1));
		QCOMPARE(count(world.maps, ObjectKind::Header), size_t(1));
		QCOMPARE(count(world.maps, ObjectKind::Journal), size_t(0));
		QCOMPARE(count(world.maps, ObjectKind::Chunk), size_t(3));
		QCOMPARE(count(world.blocks, ObjectKind::Data), promises.size());
	}

	/// A map that names an object or a chunk which is not there is damage, and said to be: never zeros.
	void missing_chunkIsAnError()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		Promises promises;
		QVERIFY(session(life, promises));
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
		Promises promises;
		QVERIFY(session(life, promises));
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
