// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// recvmsg and sendmsg with descriptors. A truncated message or descriptor list is the end of the link, never half a message.
#include "daemon/host/control_link.h"

#include "daemon/base/host_protocol.h"
#include "xseg/abi.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include <nlohmann/json.hpp>

namespace archipelago::host {

namespace {

constexpr size_t kMaxFds = XS_MAX_WAITERS + 1;

std::vector<xseg::UniqueFd> takeFds(msghdr &header)
{
	std::vector<xseg::UniqueFd> out;
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

std::optional<ControlMessage> ControlLink::receive(bool wait)
{
	if (!m_socket) return std::nullopt;
	std::string text(kHostMessageMax, '\0');
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
	ControlMessage message{{}, n >= 0 ? takeFds(header) : std::vector<xseg::UniqueFd>{}};
	if (n <= 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		close();
		return std::nullopt;
	}
	text.resize(static_cast<size_t>(n));
	message.text = std::move(text);
	return message;
}

void ControlLink::send(const nlohmann::json &message)
{
	if (!m_socket) return;
	const std::string text = message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
	// The supervisor reads all the time; a full socket means that it hangs, and the data path does not wait for it.
	[[maybe_unused]] const ssize_t n = ::send(m_socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

} // namespace archipelago::host
