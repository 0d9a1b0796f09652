// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// HostProcess: the roles of one process. Builds them in start order, starts each and waits for it; stops in reverse. A role that
// fails to start takes back those started before it: a host comes up with all of its roles or not at all. Later single roles
// may be drained and attached again, while the others go on.
#pragma once

#include "daemon/runtime/peer.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace archipelago::runtime {

class HostProcess {
public:
	enum class State { Stopped, Starting, Up, Stopping };
	/// Makes the peer of a role; null when the name means nothing (a broken configuration).
	using Factory = std::function<std::unique_ptr<Peer>(const PeerContext &context, const std::string &role)>;
	using Observer = std::function<void(const std::string &role, State state)>;
	struct RoleStatus {
		std::string name;
		State state;
		uint32_t inflight;
	};
	struct Failure {
		std::string role;
		Error error;
	};

	/// `roles` in start order.
	HostProcess(PeerContext context, std::vector<std::string> roles, Factory factory, Observer observer);

	/// Those in `without` stay stopped.
	Task<tl::expected<void, Failure>> start(std::vector<std::string> without = {});
	/// Always goes through all of them; the first error is reported.
	Task<Result<void>> stop();
	/// One role. Starting one that is up and stopping one that is stopped succeeds. E-NOTFOUND, E-BUSY (it is just being started
	/// or stopped), and what the peer says.
	Task<Result<void>> startRole(std::string name);
	Task<Result<void>> stopRole(std::string name);
	std::vector<RoleStatus> status() const;

private:
	struct Role {
		std::string name;
		std::unique_ptr<Peer> peer;
		State state = State::Stopped;
	};
	void set(Role &role, State state);
	Role *find(const std::string &name);
	Task<Result<void>> startOne(Role &role);
	Task<Result<void>> stopOne(Role &role);

	PeerContext m_context;
	Factory m_factory;
	Observer m_observer;
	std::vector<Role> m_roles;
};

std::string_view stateName(HostProcess::State state);

} // namespace archipelago::runtime
