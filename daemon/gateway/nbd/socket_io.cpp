// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Try first, poll when there is nothing to do.
#include "daemon/gateway/nbd/socket_io.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace archipelago::gateway::nbd {

using runtime::Task;

Task<bool> receiveAll(runtime::Reactor &reactor, int fd, std::span<std::byte> to)
{
	while (!to.empty()) {
		const ssize_t n = ::recv(fd, to.data(), to.size(), MSG_DONTWAIT);
		if (n > 0) {
			to = to.subspan(static_cast<size_t>(n));
		} else if (n < 0 && errno == EAGAIN) {
			if (co_await reactor.pollFd(fd, POLLIN) < 0) co_return false;
		} else if (n == 0 || errno != EINTR) {
			co_return false;
		}
	}
	co_return true;
}

Task<bool> receiveAndDrop(runtime::Reactor &reactor, int fd, uint64_t bytes)
{
	std::array<std::byte, 4096> scratch;
	while (bytes) {
		const auto part = std::span(scratch).first(static_cast<size_t>(std::min<uint64_t>(bytes, scratch.size())));
		const bool received = co_await receiveAll(reactor, fd, part);
		if (!received) co_return false;
		bytes -= part.size();
	}
	co_return true;
}

Task<bool> sendAll(runtime::Reactor &reactor, int fd, std::span<const std::byte> from)
{
	while (!from.empty()) {
		const ssize_t n = ::send(fd, from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			from = from.subspan(static_cast<size_t>(n));
		} else if (errno == EAGAIN) {
			if (co_await reactor.pollFd(fd, POLLOUT) < 0) co_return false;
		} else if (errno != EINTR) {
			co_return false;
		}
	}
	co_return true;
}

bool hasHungUp(int fd)
{
	pollfd look{fd, 0, 0};
	return ::poll(&look, 1, 0) == 1 && (look.revents & POLLHUP);
}

} // namespace archipelago::gateway::nbd
