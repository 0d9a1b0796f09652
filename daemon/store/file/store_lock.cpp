// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// flock and the record of who holds it.
#include "daemon/store/file/store_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>

#include <fmt/format.h>

namespace archipelago::store {

namespace {

std::string bootId()
{
	std::ifstream in("/proc/sys/kernel/random/boot_id");
	std::string id;
	std::getline(in, id);
	return id;
}

struct ProcessState {
	char state = 0; ///< 0: no such process
	uint64_t started = 0;
};

ProcessState processState(int64_t pid)
{
	std::ifstream in(fmt::format("/proc/{}/stat", pid));
	std::string line;
	std::getline(in, line);
	// "pid (comm) state ppid ...": comm may hold anything, also ')' and spaces. started is field 22, state field 3.
	const size_t end = line.rfind(')');
	if (end == std::string::npos || end + 2 >= line.size()) return {};
	ProcessState process;
	process.state = line[end + 2];
	size_t at = end + 2;
	for (int field = 3; field < 22; ++field) {
		at = line.find(' ', at);
		if (at == std::string::npos) return {};
		++at;
	}
	std::from_chars(line.data() + at, line.data() + line.size(), process.started);
	return process;
}

template <typename T> T number(std::string_view text)
{
	T value = 0;
	const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
	return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

} // namespace

LockHolder LockHolder::self(const Owner &owner, std::string_view role)
{
	LockHolder me;
	me.pid = getpid();
	me.started = processState(me.pid).started;
	me.boot = bootId();
	me.host = owner.host;
	me.hostName = owner.hostName;
	me.role = role;
	return me;
}

std::string LockHolder::format() const
{
	return fmt::format("pid {}\nstarted {}\nboot {}\nhost {} {}\nrole {}\n", pid, started, boot, host.empty() ? "-" : host,
	                   hostName.empty() ? "-" : hostName, role);
}

LockHolder LockHolder::parse(std::string_view text)
{
	LockHolder holder;
	while (!text.empty()) {
		const size_t end = std::min(text.find('\n'), text.size());
		const std::string_view line = text.substr(0, end);
		text.remove_prefix(std::min(end + 1, text.size()));
		const size_t space = line.find(' ');
		if (space == std::string_view::npos) continue;
		const std::string_view key = line.substr(0, space), value = line.substr(space + 1);
		if (key == "pid") holder.pid = number<int64_t>(value);
		if (key == "started") holder.started = number<uint64_t>(value);
		if (key == "boot") holder.boot = value;
		if (key == "role") holder.role = value;
		if (key == "host") {
			const size_t gap = std::min(value.find(' '), value.size());
			holder.host = value.substr(0, gap);
			holder.hostName = value.substr(std::min(gap + 1, value.size()));
		}
	}
	return holder;
}

bool LockHolder::onThisBoot() const { return !boot.empty() && boot == bootId(); }

bool LockHolder::alive() const
{
	if (pid <= 0 || !onThisBoot()) return false;
	const ProcessState process = processState(pid);
	return process.state != 0 && process.state != 'Z' && process.state != 'X' && process.started == started;
}

std::string LockHolder::describe() const
{
	if (pid <= 0) return "a process that left no name";
	const std::string who = role.empty() ? fmt::format("process {}", pid) : fmt::format("process {} (role {})", pid, role);
	return onThisBoot() ? who + " on this host" : fmt::format("{} on host {}", who, hostName);
}

Result<StoreLock> StoreLock::open(int dirFd)
{
	StoreLock lock;
	// Writable: an NFS client turns flock into a byte-range lock, which needs it.
	lock.m_fd.reset(openat(dirFd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640));
	if (!lock.m_fd) return systemFailure(errno, "its lock file cannot be opened");
	return lock;
}

Result<StoreLock::State> StoreLock::tryLock()
{
	if (flock(m_fd.get(), LOCK_EX | LOCK_NB) == 0) return State::Taken;
	if (errno != EWOULDBLOCK) return systemFailure(errno, "its lock file cannot be locked");
	const LockHolder who = holder();
	// No name yet: it has only just been locked, or the holder died before it could write one.
	if (who.pid <= 0) return State::Ending;
	// Of another boot or host we cannot see whether it lives; the lock says that it does.
	return who.alive() || !who.onThisBoot() ? State::Held : State::Ending;
}

void StoreLock::sign(const LockHolder &self)
{
	const std::string text = self.format();
	// Only messages depend on it: a failure (a full filesystem) must not keep the store closed.
	if (ftruncate(m_fd.get(), 0) != 0) return;
	[[maybe_unused]] const ssize_t n = pwrite(m_fd.get(), text.data(), text.size(), 0);
}

LockHolder StoreLock::holder() const
{
	std::array<char, 1024> text;
	const ssize_t n = pread(m_fd.get(), text.data(), text.size(), 0);
	return LockHolder::parse({text.data(), n > 0 ? static_cast<size_t>(n) : 0});
}

xseg::UniqueFd StoreLock::duplicate() const { return xseg::UniqueFd(fcntl(m_fd.get(), F_DUPFD_CLOEXEC, 0)); }

void StoreLock::unlock()
{
	if (!m_fd) return;
	[[maybe_unused]] const int emptied = ftruncate(m_fd.get(), 0);
	flock(m_fd.get(), LOCK_UN);
	m_fd.reset();
}

} // namespace archipelago::store
