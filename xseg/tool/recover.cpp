// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Order: service lock, alive locks, fence, release. The locks come before anything is changed: should a process that we take
// for dead be alive after all (another pid namespace), its lock is not granted and nothing happens to it. Which host a dead process was is not always known (its pid file may be its
// successor's, or gone), so all alive locks are waited for that no running host holds. They are given back at the end; a host
// that starts meanwhile waits for its lock, as it would for a dying predecessor.
#include "xseg/tool/recover.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

namespace xseg::tool {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kIoEndsWithin = 30s, kOthersAnswerWithin = 5s, kLookAgainAfter = 10ms;

tl::unexpected<Failure> failure(int errnum, std::string what) { return tl::unexpected(Failure{errnum, std::move(what)}); }

Result<UniqueFd> openLock(const fs::path &path, int flags)
{
	UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0640));
	if (!fd) return failure(errno, "cannot open " + path.string() + ": " + std::strerror(errno));
	return fd;
}

Result<UniqueFd> takeServiceLock(const fs::path &runDir)
{
	auto lock = openLock(runDir / "service.lock", O_RDWR | O_CREAT);
	if (!lock || flock(lock->get(), LOCK_EX | LOCK_NB) == 0) return lock;
	if (errno != EWOULDBLOCK) return failure(errno, "cannot lock the service's lock file");
	return failure(EBUSY, "archipelagod runs for " + runDir.string() + ": it recovers dead hosts by itself");
}

/// The process that NAME.pid speaks of ("PID START") still runs: then it is the one that holds NAME.alive.
bool hostRuns(const fs::path &alive)
{
	std::ifstream file(fs::path(alive).replace_extension(".pid"));
	ProcessId process;
	return (file >> process.pid >> process.startTime) && isRunning(process);
}

Result<std::vector<UniqueFd>> takeAliveLocks(const fs::path &runDir)
{
	std::vector<UniqueFd> locks;
	const auto until = Clock::now() + kIoEndsWithin;
	std::error_code error;
	for (const auto &entry : fs::directory_iterator(runDir / "hosts", error)) {
		if (entry.path().extension() != ".alive" || hostRuns(entry.path())) continue;
		auto lock = openLock(entry.path(), O_RDONLY);
		if (!lock) return tl::unexpected(lock.error());
		while (flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
			if (errno != EWOULDBLOCK) return failure(errno, "cannot lock " + entry.path().string());
			if (hostRuns(entry.path())) break; // it has started since
			if (Clock::now() > until)
				return failure(ETIMEDOUT, "the last I/O of host " + entry.path().stem().string() +
				                              " has not ended after 30 s. Is the disk stuck? Look at the kernel log.");
			std::this_thread::sleep_for(kLookAgainAfter);
		}
		locks.push_back(std::move(*lock));
	}
	return locks;
}

Recovered release(Recovery &recovery, const ProcessId &dead)
{
	Recovered sum{.process = dead, .ports = 0, .report = {}};
	for (const auto until = Clock::now() + kOthersAnswerWithin;; std::this_thread::sleep_for(kLookAgainAfter)) {
		const RecoveryReport report = recovery.release(dead);
		sum.ports = std::max(sum.ports, report.ports);
		sum.report.failed += report.failed;
		sum.report.freed += report.freed;
		sum.report.pushedAgain += report.pushedAgain;
		sum.report.slabs += report.slabs;
		sum.report.waiting = report.waiting;
		if (report.complete() || Clock::now() > until) return sum;
	}
}

} // namespace

Result<std::vector<Recovered>> recoverDead(const Source &source)
{
	const fs::path runDir = runDirOf(source.socket);
	const auto serviceLock = takeServiceLock(runDir);
	if (!serviceLock) return tl::unexpected(serviceLock.error());

	Recovery recovery(source.segment, source.bells, {});
	std::vector<ProcessId> dead;
	for (const ProcessId &owner : recovery.owners()) {
		if (!isRunning(owner)) dead.push_back(owner);
	}
	std::vector<Recovered> recovered;
	if (dead.empty()) return recovered;
	const auto aliveLocks = takeAliveLocks(runDir);
	if (!aliveLocks) return tl::unexpected(aliveLocks.error());
	for (const ProcessId &process : dead) recovery.fence(process);
	for (const ProcessId &process : dead) recovered.push_back(release(recovery, process));
	return recovered;
}

} // namespace xseg::tool
