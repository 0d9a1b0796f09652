// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ControlLink: the host's end of the socket to its supervisor (daemon/base/host_protocol.h). The supervisor may die at any
// time: then nothing is received any more, sending is silently dropped, and the host goes on.
#pragma once

#include "daemon/base/errors.h"
#include "xseg/fd.h"

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace archipelago::host {

struct ControlMessage {
	std::string text;
	std::vector<xseg::UniqueFd> fds;
};

class ControlLink {
public:
	explicit ControlLink(xseg::UniqueFd socket) : m_socket(std::move(socket)) {}

	int fd() const { return m_socket.get(); }
	bool open() const { return static_cast<bool>(m_socket); }
	/// One message; `wait` false: nothing when none is there. Closes the link at its end or when it makes no sense.
	std::optional<ControlMessage> receive(bool wait);
	void send(const nlohmann::json &message);
	void close() { m_socket.reset(); }

private:
	xseg::UniqueFd m_socket;
};

} // namespace archipelago::host
