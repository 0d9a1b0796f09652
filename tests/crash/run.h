// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Run: one recorded run of mixed work on a node, made from a seed: writes, reads, trims, flushes of several volumes at once,
// volumes that come and go, clean restarts, kills and power cuts at quiet and at busy moments. It checks on the way what a guest can see
// (reads; after a kill everything acknowledged is there) and leaves what the checker needs: the recording, the histories,
// and the moments at which something was promised.
//
// A Tamper breaks one rule of the protocol between mapper and stores, to see that the checker notices.
#pragma once

#include "tests/crash/history.h"
#include "tests/crash/node.h"

#include <random>

namespace archipelago::testing {

/// What a run consists of, in percent.
struct Work {
	unsigned creates = 4, removes = 4, restarts = 2, kills = 4, powerCuts = 2; ///< the rest is I/O
	unsigned flushes = 20, reads = 18, trims = 8, zeros = 6;                   ///< of the I/O; the rest are writes
};

struct Tamper {
	std::string rule;            ///< as MAP_FORMAT.md and the model name it
	std::string shows = "reads"; ///< what must stand in a problem
	Work work;                   ///< on which it shows
	using Faults = std::function<void(store::FaultStore &blocks, store::FaultStore &maps)>;
	Faults always;               ///< before each start
	Faults beforeClose;
	bool sameBoot = false;       ///< after a power cut the node believes that there was none
};

struct RunVolume {
	std::string name;
	History history;
	std::optional<Moment> createSent, created, removeSent, removed;
	xseg::PortNo session = 0; ///< 0: not attached
	bool live() const { return created && !removeSent; }
};

class Run {
public:
	Run(Rig &rig, uint64_t seed, const Tamper *tamper = nullptr);
	~Run();
	/// Does so many pieces of work. Stops at the first problem.
	void play(unsigned pieces);

	const store::Recording &recording() const { return m_recording; }
	const std::deque<RunVolume> &volumes() const { return m_volumes; }
	/// The power cuts of the run itself, by the moment before which they came: what was left of the disks.
	const std::map<Moment, Left> &powerCuts() const { return m_powerCuts; }
	/// When a flush, a restart, a creation was answered, and so on.
	const std::vector<Moment> &promises() const { return m_promises; }
	/// What a guest or operator saw that may not be.
	const std::vector<std::string> &problems() const { return m_problems; }
	/// A mapper that does early what others do after hours: small segments, many checkpoints, few epochs reserved.
	static mapper::MapperOptions mapperOptions();

	struct Counts {
		unsigned writes = 0, reads = 0, trims = 0, flushes = 0, creates = 0, removes = 0, restarts = 0, kills = 0, powerCuts = 0;
	};
	const Counts &counts() const { return m_counts; }

	static constexpr uint64_t kBlocks = 6;
	static constexpr uint64_t kVolumeBytes = kBlocks * kBlockBytes;

private:
	struct Sent {
		RunVolume *volume;
		Op op;
		uint64_t sector, sectors;
		bool fua;
		std::map<uint64_t, size_t> vouched; ///< flush
		std::vector<uint64_t> changed;      ///< sectors that it gives a new version
	};
	Moment now() const { return m_recording.size(); }
	uint64_t pick(uint64_t below) { return m_random() % below; }
	void promise() { m_promises.push_back(now()); }
	void problem(const std::string &text);
	void unlessCrashed(const std::string &text);
	void startNode();
	void settleNames();
	enum class After { Restart, Kill, PowerCut };
	void attachAll(After what);
	void look(RunVolume &volume, After what);
	RunVolume *anyLive();
	void someIo();
	bool range(Sent &sent);
	void wideRange(Sent &sent);
	bool taken(const Sent &sent) const;
	void send(Sent sent);
	void answered(const Sent &sent, const xseg::RequestRef &reply);
	void awaitAll();
	void createVolume();
	void removeVolume();
	void restart();
	void kill(After what);
	void losePower();

	Rig &m_rig;
	const Tamper *m_tamper;
	const Work m_work;
	std::mt19937_64 m_random;
	store::Recording m_recording;
	std::optional<Disks> m_disks;
	Medium m_medium;          ///< of the steps before m_applied
	Moment m_applied = 0;
	std::map<Moment, Left> m_powerCuts;
	uint8_t m_boots = 0;
	NodeClient m_client;
	std::optional<Node> m_node;
	std::deque<RunVolume> m_volumes;
	std::map<xseg::RequestIndex, Sent> m_sent;
	std::vector<Moment> m_promises;
	std::vector<std::string> m_problems;
	uint64_t m_versions = 0;
	Counts m_counts;
};

} // namespace archipelago::testing
