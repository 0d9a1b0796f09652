// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
//   nbd-floor SOCKET FILE            serves FILE with direct I/O
//   nbd-floor SOCKET DIRECTORY       serves its files, in the order of their names; no request may reach into two, and none flush
//   nbd-floor SOCKET --null BYTES    no storage
//
// Says "ready" on stdout when clients may connect; ends by a signal.
#include "tests/bench/nbd_floor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

using namespace archipelago::bench;

namespace {

int complain(const std::string &what)
{
	std::fprintf(stderr, "nbd-floor: %s: %s\n", what.c_str(), std::strerror(errno));
	return 1;
}

xseg::UniqueFd listenAt(const std::string &path)
{
	sockaddr_un address{};
	address.sun_family = AF_UNIX;
	path.copy(address.sun_path, sizeof address.sun_path - 1);
	xseg::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (::bind(fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) || ::listen(fd.get(), 128)) fd.reset();
	return fd;
}

/// False: errno says why not; EINVAL: there are none, or they have not all the same size.
bool openFiles(const std::filesystem::path &at, Storage &storage)
{
	std::vector<std::filesystem::path> paths;
	if (std::filesystem::is_directory(at))
		for (const auto &entry : std::filesystem::directory_iterator(at)) paths.push_back(entry.path());
	else
		paths.push_back(at);
	std::ranges::sort(paths);
	rlimit files{};
	if (!::getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		::setrlimit(RLIMIT_NOFILE, &files);
	}
	for (const auto &path : paths) {
		struct stat status {};
		storage.files.emplace_back(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
		if (!storage.files.back() || ::fstat(storage.files.back().get(), &status)) return false;
		const auto bytes = static_cast<uint64_t>(status.st_size);
		errno = EINVAL;
		if (!bytes || (storage.fileBytes && storage.fileBytes != bytes)) return false;
		storage.fileBytes = bytes;
		storage.sizeBytes += bytes;
	}
	return !storage.files.empty();
}

class Floor {
public:
	Floor(Storage storage, xseg::UniqueFd listener) : m_storage(std::move(storage)), m_listener(std::move(listener)) {}

	int run()
	{
		io_uring_params params{};
		params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
		if (const int failed = io_uring_queue_init_params(kRingEntries, &m_ring, &params); failed < 0) {
			errno = -failed;
			return complain("io_uring");
		}
		std::puts("ready");
		std::fflush(stdout);
		pollListener();
		for (;;) turn();
	}

private:
	void turn()
	{
		io_uring_submit_and_wait(&m_ring, 1);
		io_uring_cqe *cqe = nullptr;
		unsigned head = 0, seen = 0;
		io_uring_for_each_cqe(&m_ring, head, cqe)
		{
			++seen;
			auto *slot = reinterpret_cast<Slot *>(io_uring_cqe_get_data64(cqe));
			if (!slot)
				m_knocked = true;
			else if (slot->isPoll)
				slot->connection->receive();
			else
				slot->connection->completed(*slot, cqe->res);
		}
		io_uring_cq_advance(&m_ring, seen);
		for (auto &connection : m_connections) connection->endOfTurn();
		std::erase_if(m_connections, [](const auto &connection) { return connection->finished(); });
		if (m_knocked) accept();
	}

	void accept()
	{
		m_knocked = false;
		xseg::UniqueFd fd(::accept4(m_listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
		if (fd && floorHandshake(fd.get(), m_storage.sizeBytes))
			m_connections.push_back(std::make_unique<FloorConnection>(m_ring, m_storage, std::move(fd)));
		pollListener();
	}

	void pollListener()
	{
		io_uring_sqe *sqe = io_uring_get_sqe(&m_ring);
		io_uring_prep_poll_add(sqe, m_listener.get(), POLLIN);
		io_uring_sqe_set_data64(sqe, 0);
	}

	Storage m_storage;
	xseg::UniqueFd m_listener;
	io_uring m_ring{};
	bool m_knocked = false;
	std::vector<std::unique_ptr<FloorConnection>> m_connections;
};

} // namespace

int main(int argc, char **argv)
{
	const bool null = argc == 4 && std::string_view(argv[2]) == "--null";
	if (argc != 3 && !null) {
		std::fprintf(stderr, "usage: nbd-floor SOCKET FILE | nbd-floor SOCKET DIRECTORY | nbd-floor SOCKET --null BYTES\n");
		return 2;
	}
	Storage storage;
	if (null) {
		storage.sizeBytes = std::strtoull(argv[3], nullptr, 10);
	} else {
		if (!openFiles(argv[2], storage)) return complain(argv[2]);
	}
	xseg::UniqueFd listener = listenAt(argv[1]);
	if (!listener) return complain(argv[1]);
	Floor floor(std::move(storage), std::move(listener));
	return floor.run();
}
