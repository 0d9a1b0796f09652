// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Crash runs: a busy life of a volume that ends after any step, what its clients were promised, and whether it is kept.
//
//   after a kill     the last acknowledged value, or a later one                             [ack-before-record]
//   after power loss the last flushed value, or a later one       [journal-before-data] [commit-covers-all] [trust-uncommitted]
//   what a recovery has shown stays, also when the power goes right after it                 [recovery-no-sync]
//   no map names an object that is not there, no name is used twice                          [discard-removes-early]
#pragma once

#include "tests/daemon/mapper/mapper_life.h"

namespace archipelago::mapper::testing {

constexpr uint64_t kCrashVolumeBytes = 3 * kChunkSpan; ///< three chunks

/// What one block was promised: what was done to it, in the order in which it began (one at a time), and how far it got.
struct Promise {
	std::vector<uint32_t> values{0}; ///< written; 0: nothing yet, or trimmed
	size_t acknowledged = 0, flushed = 0;
	uint32_t next = 1;

	size_t beginWrite() { return values.push_back(next++), values.size() - 1; }
	size_t beginTrim() { return values.push_back(0), values.size() - 1; }
	/// The value was seen after a crash, so it stays. Empty: it is one that was promised.
	std::string settle(uint32_t value, bool power);
};
using Promises = std::map<uint32_t, Promise>;

/// A journal of small segments that is soon to be checkpointed, and memory for one chunk.
VolumeLimits tightLimits();

enum class Cut { Kill, Power };

class CrashRun {
public:
	CrashRun(archipelago::testing::Rig &rig, unsigned seed, bool tight) : m_rig(rig), m_random(seed), m_tight(tight)
	{
		world.syncSteps = tight ? 3 : 0;
	}

	World world;
	Promises promises;

	/// Create, then two sessions with a clean close between them; or until the world stops. False: it came to its end.
	bool crash(uint64_t afterSteps);
	/// As many random operations, in one session.
	bool crashAtRandom(uint64_t afterSteps, unsigned operations);
	void cut(Cut how);
	/// Opens the volume, and is killed `steps` steps later. Nothing it shows counts.
	void crashInRecovery(uint64_t steps);
	/// Opens the volume and compares; from now on what was seen is what must stay. Empty text: all is well.
	std::string recover();
	/// Goes on with the recovered volume, so that what recovery left is worked upon.
	std::string goOn();

	Life::Options options() const;
	std::mt19937 &random() { return m_random; }

private:
	archipelago::testing::Rig &m_rig;
	std::mt19937 m_random;
	bool m_tight;
	BootId m_boot{1};
	bool m_power = false;
};

/// One session of a client: attach, write, trim and flush side by side, leave. False when it could not even attach.
bool session(Life &life, Promises &promises);

} // namespace archipelago::mapper::testing
