// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// recvmsg and sendmsg with SCM_RIGHTS.
#include "xseg/fd_channel.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace xseg {
namespace {

constexpr size_t kMaxFds = XS_MAX_WAITERS + 2;

std::vector<UniqueFd> takeFds(msghdr &header)
{
	std::vector<UniqueFd> out;
	for (cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
		const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; ++i) {
			int fd = -1;
			std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
			out.emplace_back(fd);
		}
	}
	return out;
}

} // namespace

Result<SocketAddress> SocketAddress::of(const std::string &path)
{
	SocketAddress out;
	out.address.sun_family = AF_UNIX;
	std::string name = path;
	if (name.size() >= sizeof out.address.sun_path) {
		const size_t slash = path.rfind('/');
		if (slash == std::string::npos) return tl::unexpected(Failure{ENAMETOOLONG, "the name of the socket is too long: " + path});
		out.directory.reset(open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
		if (!out.directory) return tl::unexpected(Failure{errno, "cannot open the directory of " + path});
		name = "/proc/self/fd/" + std::to_string(out.directory.get()) + path.substr(slash);
		if (name.size() >= sizeof out.address.sun_path)
			return tl::unexpected(Failure{ENAMETOOLONG, "the name of the socket is too long: " + path});
	}
	std::memcpy(out.address.sun_path, name.data(), name.size());
	return out;
}

Result<FdChannel> FdChannel::connect(const std::string &path)
{
	const auto address = SocketAddress::of(path);
	if (!address) return tl::unexpected(address.error());
	UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	if (!socket) return tl::unexpected(Failure{errno, "cannot make a socket"});
	if (::connect(socket.get(), address->get(), sizeof address->address) != 0)
		return tl::unexpected(Failure{errno, "cannot connect to " + path});
	return FdChannel(std::move(socket));
}

std::optional<ChannelMessage> FdChannel::receive(bool wait)
{
	if (!m_socket) return std::nullopt;
	std::string text(kChannelMessageMax, '\0');
	alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
	iovec part{text.data(), text.size()};
	msghdr header{};
	header.msg_iov = &part;
	header.msg_iovlen = 1;
	header.msg_control = control;
	header.msg_controllen = sizeof control;
	ssize_t n;
	do n = recvmsg(m_socket.get(), &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
	ChannelMessage message{{}, n >= 0 ? takeFds(header) : std::vector<UniqueFd>{}};
	if (n <= 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		close();
		return std::nullopt;
	}
	text.resize(size_t(n));
	message.text = std::move(text);
	return message;
}

Result<void> FdChannel::send(std::string_view text, const std::vector<int> &fds)
{
	const auto failed = [](int errnum) { return tl::unexpected(Failure{errnum, "cannot send a message"}); };
	if (!m_socket) return failed(EPIPE);
	if (text.size() > kChannelMessageMax || fds.size() > kMaxFds) return failed(EMSGSIZE);
	const size_t bytes = fds.size() * sizeof(int);
	std::vector<char> control(CMSG_SPACE(bytes), 0);
	iovec part{const_cast<char *>(text.data()), text.size()};
	msghdr header{};
	header.msg_iov = &part;
	header.msg_iovlen = 1;
	if (!fds.empty()) {
		header.msg_control = control.data();
		header.msg_controllen = control.size();
		cmsghdr *rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(bytes);
		std::memcpy(CMSG_DATA(rights), fds.data(), bytes);
	}
	// Room for the whole message: with the default a long one would not fit. Best effort, the send tells.
	const int room = int(kChannelMessageMax);
	setsockopt(m_socket.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	ssize_t n;
	do n = sendmsg(m_socket.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0) return failed(errno);
	return {};
}

} // namespace xseg
