// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FdChannel: whole messages with file descriptors over a SOCK_SEQPACKET socket. This is how a segment travels: from the
// supervisor to a host, and from a host to a new supervisor or a tool.
#pragma once

#include "xseg/segment.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xseg {

inline constexpr size_t kChannelMessageMax = 1u << 20;

/// The address of a socket file. A path that is too long for one goes through its directory, which stays open meanwhile: keep
/// this until bind() or connect() is done.
struct SocketAddress {
	sockaddr_un address{};
	UniqueFd directory;
	/// Errors: ENAMETOOLONG (the name alone), and those of opening the directory.
	static Result<SocketAddress> of(const std::string &path);
	const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&address); }
};

struct ChannelMessage {
	std::string text;
	std::vector<UniqueFd> fds;
};

class FdChannel {
public:
	FdChannel() = default;
	explicit FdChannel(UniqueFd socket) : m_socket(std::move(socket)) {}
	/// Connects to a listening SOCK_SEQPACKET socket of the file system. Errors: errno of socket() and connect().
	static Result<FdChannel> connect(const std::string &path);

	int fd() const { return m_socket.get(); }
	bool open() const { return static_cast<bool>(m_socket); }
	/// One message; `wait` false: nothing when none is there. Closes the channel at its end, and when a message was truncated:
	/// never half a message.
	std::optional<ChannelMessage> receive(bool wait);
	/// Never blocks. Errors: EMSGSIZE, EAGAIN (the socket is full), EPIPE and others: the other side is gone.
	Result<void> send(std::string_view text, const std::vector<int> &fds = {});
	void close() { m_socket.reset(); }

private:
	UniqueFd m_socket;
};

} // namespace xseg
