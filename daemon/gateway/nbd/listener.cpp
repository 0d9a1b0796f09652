// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Order on open: directory, lock on it, what stands at the path, then bind, mode, listen. A kill at any point leaves at
// worst a socket file that nobody listens on, which the next start removes.
#include "daemon/gateway/nbd/listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace archipelago::gateway::nbd {

namespace {

// A client that finds the queue full is refused at once (EAGAIN on a unix socket), and all come back together after a restart.
constexpr int kBacklog = 4096;

tl::unexpected<Error> cannot(const std::string &path, ErrorCode code, const std::string &why)
{
	return failure(code, "Cannot listen on " + path + ": " + why);
}

tl::unexpected<Error> cannot(const std::string &path, int errnum, const std::string &what)
{
	return cannot(path, errorFromErrno(errnum), what + ": " + std::strerror(errnum) + ".");
}

Result<sockaddr_un> addressOf(const std::string &path)
{
	sockaddr_un address{};
	address.sun_family = AF_UNIX;
	if (path.empty() || path.front() != '/' || path.size() >= sizeof address.sun_path) {
		return cannot(path, ErrorCode::Config, "[nbd] socket must be an absolute path of at most 107 bytes.");
	}
	std::memcpy(address.sun_path, path.data(), path.size());
	return address;
}

/// The directory, open and locked.
Result<xseg::UniqueFd> lockDirectory(const std::string &path, bool create)
{
	const std::filesystem::path directory = std::filesystem::path(path).parent_path();
	if (create) {
		std::error_code error;
		if (std::filesystem::create_directories(directory, error))
			std::filesystem::permissions(directory, std::filesystem::perms(0750), error);
	}
	xseg::UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!fd && errno == ENOENT)
		return cannot(path, ErrorCode::NotFound, "the directory " + directory.string() +
		                                             " does not exist. Make it, or set [nbd] socket to a path elsewhere.");
	if (!fd) return cannot(path, errno, "the directory " + directory.string());
	if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
		return cannot(path, ErrorCode::Busy, "another server is just starting in " + directory.string() + ". Try again.");
	return fd;
}

/// Makes room at `path`: E-BUSY when somebody listens there.
Result<void> clearStale(const std::string &path, const sockaddr_un &address)
{
	struct stat info {};
	if (::lstat(path.c_str(), &info) != 0)
		return errno == ENOENT ? Result<void>() : Result<void>(cannot(path, errno, "cannot look at what is there"));
	if (!S_ISSOCK(info.st_mode))
		return cannot(path, ErrorCode::Config, "there is something else of that name. Remove it, or set [nbd] socket to another path.");
	// Never blocks: a full backlog is EAGAIN, and means that somebody listens.
	const xseg::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	if (!probe) return cannot(path, errno, "socket");
	const int r = ::connect(probe.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address);
	if (r != 0 && errno == ECONNREFUSED) {
		if (::unlink(path.c_str()) != 0 && errno != ENOENT) return cannot(path, errno, "cannot remove a stale socket");
		return {};
	}
	if (r != 0 && errno != EAGAIN) return cannot(path, errno, "cannot find out who listens there");
	std::string who = "another server";
	ucred peer{};
	socklen_t size = sizeof peer;
	if (r == 0 && ::getsockopt(probe.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0)
		who = "process " + std::to_string(peer.pid) + " (uid " + std::to_string(peer.uid) + ")";
	return cannot(path, ErrorCode::Busy, who + " listens there. Stop it, or set [nbd] socket to another path.");
}

} // namespace

Result<Listener> Listener::open(const Options &options)
{
	const std::string &path = options.path;
	const Result<sockaddr_un> address = addressOf(path);
	if (!address) return tl::unexpected<Error>(address.error());
	const Result<xseg::UniqueFd> directory = lockDirectory(path, options.createDirs);
	if (!directory) return tl::unexpected<Error>(directory.error());
	if (Result<void> cleared = clearStale(path, *address); !cleared) return tl::unexpected<Error>(cleared.error());

	Listener listener;
	listener.m_fd.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (!listener.m_fd) return cannot(path, errno, "socket");
	// The file is made with this mode less the umask; chmod then gives back what the umask took.
	if (::fchmod(listener.fd(), options.mode) != 0) return cannot(path, errno, "cannot set the mode");
	if (::bind(listener.fd(), reinterpret_cast<const sockaddr *>(&*address), sizeof *address) != 0)
		return cannot(path, errno, "bind");
	struct stat info {};
	const bool made = ::lstat(path.c_str(), &info) == 0;
	listener.m_path = path;
	listener.m_device = info.st_dev;
	listener.m_inode = info.st_ino;
	if (!made || ::chmod(path.c_str(), options.mode) != 0) return cannot(path, errno, "cannot set the mode");
	if (::listen(listener.fd(), kBacklog) != 0) return cannot(path, errno, "listen");
	return listener;
}

void Listener::shutdown() { ::shutdown(m_fd.get(), SHUT_RDWR); }

void Listener::close()
{
	if (!m_fd) return;
	struct stat info {};
	const bool ours = ::lstat(m_path.c_str(), &info) == 0 && info.st_dev == m_device && info.st_ino == m_inode;
	if (ours) ::unlink(m_path.c_str());
	m_fd.reset();
}

} // namespace archipelago::gateway::nbd
