// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The fence of recovery, proved on the running kernel: a file that is locked (flock), registered as a fixed file in an
// io_uring and then closed keeps its lock after SIGKILL until the last direct write of that ring has ended. The death itself
// (pidfd) comes earlier: writes of the dead still land then.
//
// A round: a child submits direct writes of "old" and is killed. The parent sees the pidfd, takes the lock, writes "new" over
// the same places, and reads them again a second later. Not one may be "old". The control does the same without the lock and
// must lose writes. For that the device has to be slow for the child alone: a control group with an I/O limit, where we may
// make one (root; cgroup v1 or v2). Some rounds with the lock are done like that as well. Without such a group the control may
// lose nothing, because the device takes writes in order: the test then says so, and how many landed after the death.
//
//   xseg_alive_barrier        25 rounds; ARCHIPELAGO_SOAK=1: 500. Files in ARCHIPELAGO_TEST_DIR, else /var/tmp.
//                             Exit 77: no direct I/O or no io_uring here.
#include "xseg/fd.h"

#include <liburing.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using xseg::UniqueFd;

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kWrites = 64, kFiles = 4;
constexpr size_t kWriteBytes = 1u << 20, kPage = 4096;
constexpr auto kLateWritesLandWithin = std::chrono::seconds(1), kSlowWritesLandWithin = std::chrono::seconds(4);
constexpr size_t kSlowBytesPerSecond = 32u << 20; // a round's writes take two seconds
constexpr int kSkip = 77;

[[noreturn]] void fail(const char *what)
{
	std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
	std::exit(1);
}

struct Freeing {
	void operator()(void *memory) const { std::free(memory); }
};

/// A buffer for direct I/O, each word of it `value`.
std::unique_ptr<uint64_t, Freeing> bufferOf(uint64_t value)
{
	void *memory = nullptr;
	if (posix_memalign(&memory, kPage, kWriteBytes) != 0) fail("no memory");
	auto *words = static_cast<uint64_t *>(memory);
	std::fill_n(words, kWriteBytes / sizeof value, value);
	return std::unique_ptr<uint64_t, Freeing>(words);
}

void writeAll(int fd, uint64_t value)
{
	const auto buffer = bufferOf(value);
	for (unsigned i = 0; i < kWrites; ++i) {
		if (pwrite(fd, buffer.get(), kWriteBytes, off_t(i * kWriteBytes)) != ssize_t(kWriteBytes)) fail("write");
	}
}

/// How many of the writes show `value` in their last page. All reads at once: one after the other they would wait behind
/// the writes that are to be seen landing.
unsigned countLanded(int fd, uint64_t value)
{
	const auto pages = bufferOf(0);
	io_uring ring;
	if (io_uring_queue_init(kWrites, &ring, 0) != 0) fail("io_uring");
	for (unsigned i = 0; i < kWrites; ++i) {
		io_uring_prep_read(io_uring_get_sqe(&ring), fd, pages.get() + i * kPage / sizeof value, kPage,
		                   (i + 1) * kWriteBytes - kPage);
	}
	if (io_uring_submit_and_wait(&ring, kWrites) != int(kWrites)) fail("read");
	io_uring_queue_exit(&ring);
	unsigned landed = 0;
	for (unsigned i = 0; i < kWrites; ++i) landed += pages.get()[i * kPage / sizeof value] == value;
	return landed;
}

/// How many pages of the file are not `value` through and through.
unsigned countWrongPages(int fd, uint64_t value)
{
	const auto buffer = bufferOf(0);
	unsigned wrong = 0;
	for (unsigned i = 0; i < kWrites; ++i) {
		if (pread(fd, buffer.get(), kWriteBytes, off_t(i * kWriteBytes)) != ssize_t(kWriteBytes)) fail("read");
		for (size_t page = 0; page < kWriteBytes; page += kPage) {
			const uint64_t *words = buffer.get() + page / sizeof value;
			wrong += !std::all_of(words, words + kPage / sizeof value, [value](uint64_t word) { return word == value; });
		}
	}
	return wrong;
}

struct Room {
	std::string directory;
	std::string alive() const { return directory + "/alive"; }
	std::string file(unsigned n) const { return directory + "/data" + std::to_string(n); }

	Room()
	{
		const char *parent = std::getenv("ARCHIPELAGO_TEST_DIR");
		std::string name = std::string(parent && *parent ? parent : "/var/tmp") + "/xseg-barrier-XXXXXX";
		if (!mkdtemp(name.data())) fail("no room for the files of this test");
		directory = name;
	}
	~Room()
	{
		unlink(alive().c_str());
		for (unsigned i = 0; i < kFiles; ++i) unlink(file(i).c_str());
		rmdir(directory.c_str());
	}
};

bool writeText(const std::string &path, const std::string &text)
{
	const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
	return fd && write(fd.get(), text.data(), text.size()) == ssize_t(text.size());
}

/// A control group whose processes write slowly to the device that holds `directory`; false where none can be made.
class SlowGroup {
public:
	explicit SlowGroup(const std::string &directory)
	{
		struct stat status {};
		if (stat(directory.c_str(), &status) != 0) return;
		// The limit belongs to the whole disk: a partition's number is rounded down to it where that is needed.
		for (const unsigned minorNumber : {minor(status.st_dev), minor(status.st_dev) & ~15u}) {
			const std::string device = std::to_string(major(status.st_dev)) + ":" + std::to_string(minorNumber) + " ";
			const std::string name = "/xseg-barrier-" + std::to_string(getpid());
			if (make("/sys/fs/cgroup/blkio" + name, "/blkio.throttle.write_bps_device", device + std::to_string(kSlowBytesPerSecond))) return;
			if (make("/sys/fs/cgroup" + name, "/io.max", device + "wbps=" + std::to_string(kSlowBytesPerSecond))) return;
		}
	}
	~SlowGroup()
	{
		if (!m_path.empty()) rmdir(m_path.c_str());
	}
	SlowGroup(const SlowGroup &) = delete;
	SlowGroup &operator=(const SlowGroup &) = delete;

	explicit operator bool() const { return !m_path.empty(); }
	void enter() const
	{
		if (!writeText(m_path + "/cgroup.procs", std::to_string(getpid()))) _exit(1);
	}

private:
	bool make(const std::string &path, const char *file, const std::string &limit)
	{
		if (mkdir(path.c_str(), 0755) != 0) return false;
		if (writeText(path + file, limit)) m_path = path;
		else rmdir(path.c_str());
		return !m_path.empty();
	}
	std::string m_path;
};

UniqueFd openDirect(const std::string &path) { return UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600)); }

/// What a host does: lock, ring, fixed file, close. Then it writes, says so, and waits for its death. In the control nobody
/// waits for the lock of the last one, so each has its own.
[[noreturn]] void beTheVictim(const Room &room, unsigned file, uint64_t old, const std::string &aliveFile, const SlowGroup *slow,
                              int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (slow) slow->enter();
	const auto buffer = bufferOf(old);
	const UniqueFd data = openDirect(room.file(file));
	UniqueFd alive(open(aliveFile.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	if (!data || !alive || flock(alive.get(), LOCK_EX | LOCK_NB) != 0) _exit(1);
	io_uring ring;
	const int locked = alive.get();
	if (io_uring_queue_init(kWrites, &ring, 0) != 0 || io_uring_register_files(&ring, &locked, 1) != 0) _exit(kSkip);
	alive.reset();
	for (unsigned i = 0; i < kWrites; ++i) {
		io_uring_sqe *entry = io_uring_get_sqe(&ring);
		io_uring_prep_write(entry, data.get(), buffer.get(), kWriteBytes, i * kWriteBytes);
	}
	if (io_uring_submit(&ring) != int(kWrites) || write(ready, "x", 1) != 1) _exit(1);
	for (;;) pause();
}

struct Totals {
	unsigned rounds = 0, lostPages = 0, landedAfterDeath = 0;
	double longestLockMs = 0;
};

/// Kills one writer over `file` and leaves it holding `next`. With the fence: not before the lock is granted.
void round(const Room &room, unsigned file, uint64_t old, uint64_t next, bool fenced, const SlowGroup *slow, Totals &totals)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
	const UniqueFd out(ends[0]);
	UniqueFd in(ends[1]);
	const pid_t child = fork();
	if (child == 0) beTheVictim(room, file, old, fenced ? room.alive() : room.file(file), slow, in.get());
	in.reset();
	const UniqueFd process(int(syscall(SYS_pidfd_open, child, 0)));
	char byte;
	if (read(out.get(), &byte, 1) != 1) {
		int status = 0;
		waitpid(child, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == kSkip) {
			std::puts("skipped: no io_uring here");
			std::exit(kSkip);
		}
		fail("the writer did not get to writing");
	}
	const UniqueFd data = openDirect(room.file(file));
	kill(child, SIGKILL);
	pollfd died{.fd = process.get(), .events = POLLIN, .revents = 0};
	if (poll(&died, 1, 60'000) != 1) fail("the writer does not die");
	const auto death = Clock::now();
	const unsigned before = countLanded(data.get(), old);
	UniqueFd alive;
	if (fenced) {
		alive.reset(open(room.alive().c_str(), O_RDWR | O_CLOEXEC));
		if (flock(alive.get(), LOCK_EX) != 0) fail("lock");
		totals.longestLockMs = std::max(totals.longestLockMs, std::chrono::duration<double, std::milli>(Clock::now() - death).count());
		totals.landedAfterDeath += countLanded(data.get(), old) - before;
	}
	writeAll(data.get(), next);
	if (fdatasync(data.get()) != 0) fail("fdatasync");
	waitpid(child, nullptr, 0);
	++totals.rounds;
}

Totals kills(const Room &room, unsigned rounds, bool fenced, const SlowGroup *slow, uint64_t &value)
{
	const auto landWithin = slow ? kSlowWritesLandWithin : kLateWritesLandWithin;
	struct Written {
		unsigned file;
		uint64_t value;
		Clock::time_point when;
	};
	Totals totals;
	std::deque<Written> unchecked;
	const auto check = [&] {
		const Written written = unchecked.front();
		unchecked.pop_front();
		std::this_thread::sleep_until(written.when + landWithin); // the span in which an old write could land
		const unsigned wrong = countWrongPages(openDirect(room.file(written.file)).get(), written.value);
		totals.lostPages += wrong;
		if (wrong != 0 && fenced) std::printf("%u pages of new data were overwritten after the lock was granted\n", wrong);
	};
	for (unsigned i = 0; i < rounds; ++i) {
		if (unchecked.size() == kFiles) check();
		const uint64_t old = ++value, next = ++value;
		round(room, i % kFiles, old, next, fenced, slow, totals);
		unchecked.push_back({i % kFiles, next, Clock::now()});
	}
	while (!unchecked.empty()) check();
	return totals;
}

} // namespace

int main()
{
	const bool soak = std::getenv("ARCHIPELAGO_SOAK") != nullptr;
	const Room room;
	uint64_t value = 1;
	for (unsigned i = 0; i < kFiles; ++i) {
		const UniqueFd data = openDirect(room.file(i));
		if (!data && errno == EINVAL) {
			std::printf("skipped: no direct I/O in %s (set ARCHIPELAGO_TEST_DIR)\n", room.directory.c_str());
			return kSkip;
		}
		if (!data) fail("open");
		writeAll(data.get(), value);
		if (fsync(data.get()) != 0) fail("fsync");
	}

	const auto report = [](const char *what, const Totals &totals) {
		std::printf("%s: %u kills, %u pages lost, %u writes of 1 MiB landed after the death, lock granted within %.1f ms\n", what,
		            totals.rounds, totals.lostPages, totals.landedAfterDeath, totals.longestLockMs);
		return totals.lostPages;
	};
	const SlowGroup slow(room.directory);
	unsigned lost = report("with the lock", kills(room, soak ? 500 : 25, true, nullptr, value));
	bool slowed = false; // a limit may be taken and have no effect, on some virtual devices
	if (slow) {
		const Totals totals = kills(room, soak ? 24 : 3, true, &slow, value);
		lost += report("with the lock, slow device", totals);
		slowed = totals.longestLockMs > 500;
	}
	const Totals control = kills(room, slowed ? kFiles : soak ? 64 : 16, false, slowed ? &slow : nullptr, value);
	std::printf("without (control): %u kills, %u pages lost\n", control.rounds, control.lostPages);
	if (control.lostPages == 0)
		std::puts(slowed ? "the control must lose something: this test proves nothing"
		                 : "the device cannot be made slow here; the control lost nothing on this device, which takes writes in order");
	return lost == 0 && (control.lostPages != 0 || !slowed) ? 0 : 1;
}
