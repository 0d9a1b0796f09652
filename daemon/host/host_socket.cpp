// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The file's mode (0600) and SO_PEERCRED both keep strangers out: whoever holds the segment can do anything to the volumes.
#include "daemon/host/host_socket.h"

#include "daemon/base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace archipelago::host {

namespace {

constexpr int kBacklog = 16;

} // namespace

Result<void> HostSocket::open()
{
	const auto address = xseg::SocketAddress::of(m_path);
	if (!address) return systemFailure(address.error().errnum, "Cannot make the socket " + m_path);
	m_socket.reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	if (!m_socket) return systemFailure(errno, "Cannot make a socket");
	unlink(m_path.c_str());
	const mode_t before = umask(0177); // before any role starts: no other thread makes files yet
	const int bound = bind(m_socket.get(), address->get(), sizeof address->address);
	const int why = errno;
	umask(before);
	if (bound != 0) return systemFailure(why, "Cannot make the socket " + m_path);
	if (listen(m_socket.get(), kBacklog) != 0) return systemFailure(errno, "Cannot listen on " + m_path);
	runtime::spawn(acceptAll());
	return {};
}

void HostSocket::close()
{
	if (!m_socket) return;
	unlink(m_path.c_str());
	shutdown(m_socket.get(), SHUT_RDWR); // ends acceptAll()
}

bool HostSocket::mayConnect(int fd)
{
	ucred who{};
	socklen_t length = sizeof who;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 && (who.uid == 0 || who.uid == geteuid());
}

runtime::Task<void> HostSocket::acceptAll()
{
	for (;;) {
		const int32_t fd = co_await m_reactor.accept(m_socket.get(), SOCK_CLOEXEC);
		if (fd == -ECONNABORTED || fd == -EINTR) continue;
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
			co_await m_reactor.sleepMs(100); // it stays in the backlog
			continue;
		}
		if (fd < 0) co_return; // closed
		xseg::FdChannel channel{xseg::UniqueFd(fd)};
		if (!mayConnect(fd)) continue;
		const Hello hello = m_hello();
		if (channel.send(hello.text, hello.fds)) m_connected(std::move(channel));
	}
}

} // namespace archipelago::host
