// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See crash_runs.h.
#include "tests/daemon/mapper/crash_runs.h"

#include <algorithm>

namespace archipelago::mapper::testing {

namespace {

/// Blocks of each writer: neighbours, chunk borders, the very end.
const std::vector<std::vector<uint32_t>> kBlocks{
	{0, 1, 8191}, {8192, 5, 8193}, {uint32_t(kCrashVolumeBytes / kBlockBytes - 1), 0x2000 + 77}};

runtime::Task<void> writeOne(Client &client, uint32_t handle, uint32_t block, Promises &promises)
{
	const size_t begun = promises[block].beginWrite();
	const uint32_t value = promises[block].values[begun];
	Result<void> written = co_await client.write(handle, block, value);
	if (written) promises[block].acknowledged = begun;
}

runtime::Task<void> trimSome(Client &client, uint32_t handle, uint32_t first, uint32_t count, Promises &promises)
{
	std::vector<size_t> begun;
	for (uint32_t n = 0; n < count; ++n) begun.push_back(promises[first + n].beginTrim());
	Result<void> trimmed = co_await client.trim(handle, first, count);
	if (!trimmed) co_return;
	for (uint32_t n = 0; n < count; ++n) promises[first + n].acknowledged = begun[n];
}

runtime::Task<void> flushAll(Client &client, uint32_t handle, Promises &promises)
{
	const Promises before = promises;
	Result<void> flushed = co_await client.flush(handle);
	if (!flushed) co_return;
	for (const auto &[block, promise] : before)
		promises[block].flushed = std::max(promises[block].flushed, promise.acknowledged);
}

/// One block after the other, four times, each write waited for; in between some of them are trimmed again.
runtime::Task<void> writer(Client &client, uint32_t handle, const std::vector<uint32_t> &blocks, Promises &promises,
                           unsigned &running)
{
	for (uint32_t round = 0; round < 4; ++round) {
		for (uint32_t n = 0; n < blocks.size(); ++n) {
			co_await writeOne(client, handle, blocks[n], promises);
			if ((round + n) % 4 == 3) co_await trimSome(client, handle, blocks[n], 1, promises);
		}
		if (blocks[0] == 0 && round == 1) co_await trimSome(client, handle, 0, 2, promises);
	}
	--running;
}

runtime::Task<void> flusher(Client &client, uint32_t handle, Promises &promises, unsigned &running)
{
	for (int round = 0; round < 6; ++round) co_await flushAll(client, handle, promises);
	--running;
}

/// One thing after the other, so that a range may be trimmed that others wrote.
runtime::Task<void> randomWork(Client &client, uint32_t handle, unsigned seed, unsigned operations, Promises &promises,
                               unsigned &running)
{
	std::mt19937 random(seed);
	const uint32_t starts[] = {0, 8188, 16380, uint32_t(kCrashVolumeBytes / kBlockBytes) - 8};
	for (unsigned n = 0; n < operations; ++n) {
		const auto block = static_cast<uint32_t>(starts[random() % 4] + random() % 8);
		const unsigned what = random() % 16;
		if (what < 9) {
			co_await writeOne(client, handle, block, promises);
		} else if (what < 13) {
			const uint32_t blocks = uint32_t(kCrashVolumeBytes / kBlockBytes);
			const auto count = static_cast<uint32_t>(1 + random() % 8);
			co_await trimSome(client, handle, block, std::min(count, blocks - block), promises);
		} else {
			co_await flushAll(client, handle, promises);
		}
	}
	--running;
}

} // namespace

std::string Promise::settle(uint32_t value, bool power)
{
	const size_t least = power ? flushed : acknowledged;
	const bool promised = std::find(values.begin() + static_cast<ptrdiff_t>(least), values.end(), value) != values.end();
	std::string wrong;
	if (!promised) {
		wrong = "reads " + std::to_string(value) + ", promised";
		for (size_t n = least; n < values.size(); ++n) wrong += " " + std::to_string(values[n]);
	}
	values = {value};
	acknowledged = flushed = 0;
	return wrong;
}

VolumeLimits tightLimits()
{
	VolumeLimits limits;
	limits.epochsPerHeader = 8;
	limits.segmentBytes = 4096;
	limits.checkpointBytes = 8192;
	limits.journalBytes = 16384;
	limits.droppedObjects = 10;
	return limits;
}

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

Life::Options CrashRun::options() const
{
	Life::Options options;
	options.bootId = m_boot;
	if (m_tight) {
		options.limits = tightLimits();
		options.mapCacheBytes = 1;
	}
	return options;
}

bool CrashRun::crash(uint64_t afterSteps)
{
	world.stopAfter = afterSteps;
	Life life(m_rig, world, options());
	(void)life.wait(life.client().create("db", kCrashVolumeBytes));
	session(life, promises);
	session(life, promises);
	return world.steps >= afterSteps;
}

bool CrashRun::crashAtRandom(uint64_t afterSteps, unsigned operations)
{
	world.stopAfter = world.steps + afterSteps;
	Life life(m_rig, world, options());
	(void)life.wait(life.client().create("db", kCrashVolumeBytes));
	const Result<AttachReply> attached = life.wait(life.client().attach("db"));
	if (attached) {
		unsigned running = 1;
		const auto seed = static_cast<unsigned>(m_random());
		runtime::spawn(randomWork(life.client(), attached->handle, seed, operations, promises, running));
		life.until([&running] { return running == 0; });
	}
	return world.steps >= world.stopAfter;
}

void CrashRun::cut(Cut how)
{
	if (how == Cut::Kill) return;
	world.blocks.powerLoss(m_random);
	world.maps.powerLoss(m_random);
	if (world.tampering.rule != BrokenRule::TrustUncommitted)
		for (size_t n = m_boot.size(); ++m_boot[--n] == 0;) {} // never one that was there before
	m_power = true;
}

void CrashRun::crashInRecovery(uint64_t steps)
{
	world.stopAfter = world.steps + steps;
	Life life(m_rig, world, options());
	(void)life.wait(life.client().attach("db"));
}

std::string CrashRun::recover()
{
	world.stopAfter = ~0ull;
	Life life(m_rig, world, options());
	Result<AttachReply> attached = life.wait(life.client().attach("db"));
	if (!attached) {
		// The only volume that may be missing is one whose creation was cut off.
		return attached.error().code == ErrorCode::NotFound && promises.empty() ? "" : attached.error().message;
	}
	std::string wrong;
	for (auto &[block, promise] : promises) {
		const Result<uint32_t> value = life.wait(life.client().read(attached->handle, block));
		std::string text = value ? promise.settle(*value, m_power) : value.error().message;
		if (wrong.empty() && !text.empty()) wrong = "block " + std::to_string(block) + ": " + text;
	}
	m_power = false;
	if (!wrong.empty()) return wrong;
	return world.violations.empty() ? "" : world.violations.front();
}

std::string CrashRun::goOn()
{
	world.stopAfter = ~0ull;
	Life life(m_rig, world, options());
	if (promises.empty() && !life.wait(life.client().create("db", kCrashVolumeBytes))) return ""; // it was there after all
	if (!session(life, promises)) return "cannot attach after recovery";
	for (auto &[block, promise] : promises)
		if (promise.acknowledged + 1 != promise.values.size()) return "a write failed after recovery";
	const Result<void> stopped = life.stop();
	return stopped ? "" : stopped.error().message;
}

} // namespace archipelago::mapper::testing
