// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Lock first, then the pid file: whoever reads a pid file checks the lock, so a stale one is harmless.
#include "daemon/host/host_files.h"

#include "daemon/runtime/reactor_thread.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace archipelago::host {

namespace {

/// pid of a pid file whose process still exists and started when the file says; 0 otherwise.
int livingPid(const std::string &path)
{
	std::ifstream file(path);
	int pid = 0;
	unsigned long long started = 0;
	if (!(file >> pid >> started) || pid <= 0) return 0;
	return processStartTime(pid) == started ? pid : 0;
}

/// A second descriptor of the lock goes into the ring, for as long as the ring lives. On the reactor's thread.
runtime::Task<Result<void>> holdForever(runtime::Reactor &reactor, int lock)
{
	xseg::UniqueFd copy(fcntl(lock, F_DUPFD_CLOEXEC, 3));
	if (!copy) co_return systemFailure(errno, "Cannot duplicate the alive lock");
	Result<runtime::HeldFile> held = reactor.hold(std::move(copy));
	if (!held) co_return tl::unexpected<Error>(held.error());
	held->abandon();
	co_return Result<void>{};
}

} // namespace

std::string hostFile(const std::string &runDir, const std::string &host, const char *suffix)
{
	return runDir + "/hosts/" + host + suffix;
}

unsigned long long processStartTime(int pid)
{
	std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
	std::string line;
	if (!std::getline(file, line)) return 0;
	// The name (field 2) may hold anything, but ends at the last ')'.
	const size_t end = line.rfind(')');
	if (end == std::string::npos) return 0;
	std::istringstream rest(line.substr(end + 1));
	std::string field;
	for (int i = 3; i <= 22; ++i)
		if (!(rest >> field)) return 0;
	return std::strtoull(field.c_str(), nullptr, 10);
}

runtime::Task<Result<void>> claimHostFiles(std::vector<runtime::Reactor *> reactors, const std::string &runDir, const std::string &host)
{
	runtime::Reactor &reactor = *reactors.front();
	const std::string dir = runDir + "/hosts";
	if (mkdir(dir.c_str(), 0750) != 0 && errno != EEXIST) co_return systemFailure(errno, "Cannot make " + dir);
	const std::string alivePath = hostFile(runDir, host, ".alive"), pidPath = hostFile(runDir, host, ".pid");
	xseg::UniqueFd alive(open(alivePath.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
	if (!alive) co_return systemFailure(errno, "Cannot open " + alivePath);
	for (uint64_t waitedMs = 0, step = 2; flock(alive.get(), LOCK_EX | LOCK_NB) != 0; waitedMs += step, step = std::min<uint64_t>(step * 2, 200)) {
		if (errno != EWOULDBLOCK) co_return systemFailure(errno, "Cannot lock " + alivePath);
		if (const int pid = livingPid(pidPath))
			co_return failure(ErrorCode::Busy, "Host " + host + " runs already as process " + std::to_string(pid) +
			                                       ". To end it: archipelago stop");
		if (waitedMs > 30'000)
			co_return failure(ErrorCode::Busy, "The last writes of a dead host " + host +
			                                       " have not ended after 30 s. Is the disk stuck? Look at the kernel log, then start again.");
		co_await reactor.sleepMs(step);
	}
	for (runtime::Reactor *each : reactors) {
		std::function<runtime::Task<Result<void>>()> job = [each, fd = alive.get()] { return holdForever(*each, fd); };
		Result<void> held = co_await runtime::runOn(reactor, *each, std::move(job));
		if (!held) co_return std::move(held);
	}
	alive.reset();

	std::string boot;
	std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
	const std::string text = std::to_string(getpid()) + " " + std::to_string(processStartTime(getpid())) + " " + boot + "\n";
	const std::string temporary = pidPath + ".new";
	xseg::UniqueFd pidFile(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
	if (!pidFile || ::write(pidFile.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
	    rename(temporary.c_str(), pidPath.c_str()) != 0)
		co_return systemFailure(errno, "Cannot write " + pidPath);
	co_return Result<void>{};
}

void releaseHostFiles(const std::string &runDir, const std::string &host)
{
	unlink(hostFile(runDir, host, ".pid").c_str());
}

} // namespace archipelago::host
