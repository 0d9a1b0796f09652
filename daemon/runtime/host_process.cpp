// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Start in order, stop in reverse; a single role whenever it is at rest.
#include "daemon/runtime/host_process.h"

#include <algorithm>

namespace archipelago::runtime {

std::string_view stateName(HostProcess::State state)
{
	switch (state) {
	case HostProcess::State::Stopped: return "stopped";
	case HostProcess::State::Starting: return "starting";
	case HostProcess::State::Up: return "up";
	case HostProcess::State::Stopping: return "stopping";
	}
	return "unknown";
}

HostProcess::HostProcess(PeerContext context, std::vector<std::string> roles, Factory factory, Observer observer)
    : m_context(std::move(context)), m_factory(std::move(factory)), m_observer(std::move(observer))
{
	for (auto &name : roles) m_roles.push_back(Role{std::move(name), nullptr, State::Stopped});
}

void HostProcess::set(Role &role, State state)
{
	role.state = state;
	m_observer(role.name, state);
}

HostProcess::Role *HostProcess::find(const std::string &name)
{
	for (Role &role : m_roles)
		if (role.name == name) return &role;
	return nullptr;
}

Task<Result<void>> HostProcess::startOne(Role &role)
{
	set(role, State::Starting);
	role.peer = m_factory(m_context, role.name);
	Result<void> started;
	if (role.peer)
		started = co_await role.peer->start();
	else
		started = failure(ErrorCode::Config, "Cannot start " + role.name + ": the configuration names no such role.");
	if (!started) role.peer.reset();
	set(role, started ? State::Up : State::Stopped);
	co_return std::move(started);
}

Task<Result<void>> HostProcess::stopOne(Role &role)
{
	set(role, State::Stopping);
	Result<void> stopped = co_await role.peer->stop();
	role.peer.reset();
	set(role, State::Stopped);
	if (!stopped) co_return tl::unexpected<Error>(stopped.error().within(role.name));
	co_return std::move(stopped);
}

Task<tl::expected<void, HostProcess::Failure>> HostProcess::start(std::vector<std::string> without)
{
	for (Role &role : m_roles) {
		if (std::find(without.begin(), without.end(), role.name) != without.end()) continue;
		Result<void> started = co_await startOne(role);
		if (!started) {
			const Result<void> stopped = co_await stop();
			(void)stopped; // the start's own error is the one to report
			Failure failed{role.name, started.error()};
			co_return tl::unexpected<Failure>(std::move(failed));
		}
	}
	co_return tl::expected<void, Failure>{};
}

Task<Result<void>> HostProcess::stop()
{
	Result<void> first;
	for (size_t i = m_roles.size(); i-- > 0;) {
		Role &role = m_roles[i];
		if (!role.peer) continue;
		// One that is being started or stopped on its own ends that first.
		while (role.state == State::Starting || role.state == State::Stopping) co_await m_context.reactor.sleepMs(1);
		if (!role.peer) continue;
		Result<void> stopped = co_await stopOne(role);
		if (!stopped && first) first = std::move(stopped);
	}
	co_return std::move(first);
}

Task<Result<void>> HostProcess::startRole(std::string name)
{
	Role *role = find(name);
	if (!role) co_return failure(ErrorCode::NotFound, "This host has no role " + name + ".");
	if (role->state == State::Up) co_return Result<void>{};
	if (role->state != State::Stopped) co_return failure(ErrorCode::Busy, name + " is just being started or stopped.");
	co_return co_await startOne(*role);
}

Task<Result<void>> HostProcess::stopRole(std::string name)
{
	Role *role = find(name);
	if (!role) co_return failure(ErrorCode::NotFound, "This host has no role " + name + ".");
	if (role->state == State::Stopped) co_return Result<void>{};
	if (role->state != State::Up) co_return failure(ErrorCode::Busy, name + " is just being started or stopped.");
	co_return co_await stopOne(*role);
}

std::vector<HostProcess::RoleStatus> HostProcess::status() const
{
	std::vector<RoleStatus> out;
	for (const Role &role : m_roles) out.push_back(RoleStatus{role.name, role.state, role.peer ? role.peer->inflight() : 0});
	return out;
}

} // namespace archipelago::runtime
