// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// HostSocket: runDir/hosts/NAME.sock, the way in to a running host for a service that takes it over and for the xseg tool.
// Whoever connects and may (root, or the uid we run as) gets the hello message with the segment and all bells at once.
#pragma once

#include "daemon/runtime/reactor.h"
#include "xseg/fd_channel.h"

#include <functional>
#include <string>

namespace archipelago::host {

class HostSocket {
public:
	/// What a new connection is told, and what goes with it.
	struct Hello {
		std::string text;
		std::vector<int> fds;
	};
	using MakeHello = std::function<Hello()>;
	using Connected = std::function<void(xseg::FdChannel channel)>;

	HostSocket(runtime::Reactor &reactor, std::string path, MakeHello hello, Connected connected)
	    : m_reactor(reactor), m_path(std::move(path)), m_hello(std::move(hello)), m_connected(std::move(connected))
	{
	}
	/// Binds and listens; a socket file of a predecessor goes: the alive lock says that it is dead.
	Result<void> open();
	/// Nobody else can connect.
	void close();

private:
	runtime::Task<void> acceptAll();
	static bool mayConnect(int fd);

	runtime::Reactor &m_reactor;
	std::string m_path;
	MakeHello m_hello;
	Connected m_connected;
	xseg::UniqueFd m_socket;
};

} // namespace archipelago::host
