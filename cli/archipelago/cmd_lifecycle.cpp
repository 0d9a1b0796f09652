// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago start|stop|restart [ROLE]. One line a role on stderr as it happens, one result on stdout. A start is a success
// only when afterwards every role it was about is seen up; a failure says which role, why, what runs now and what to do.
#include "cli/archipelago/commands.h"
#include "cli/archipelago/role_watch.h"
#include "cli/archipelago/status.h"
#include "cli/out/text.h"
#include "daemon/base/text.h"

#include <algorithm>

namespace archipelago::cli {

namespace {

enum class Goal { Up, Down };

struct Act {
	std::string_view verb; ///< "start"
	Goal goal;
};
constexpr Act kStart{"start", Goal::Up}, kStop{"stop", Goal::Down}, kRestart{"restart", Goal::Up};

std::string object(const std::optional<std::string> &role) { return role ? shellQuoted(*role) : "archipelago"; }

QStringList roleList(const std::optional<std::string> &role)
{
	return role ? QStringList{QString::fromStdString(*role)} : QStringList{};
}

/// What the roles are in now, for a failure; empty when even that cannot be read.
std::string stateNow(Session &session)
{
	const auto status = readStatus(session, "show the status");
	return status ? "State now: " + statesInALine(status->peers) : std::string{};
}

tl::unexpected<Failure> failed(Context &c, Error error, std::string next)
{
	// Absent, refused or mistyped: the roles have nothing to do with it.
	const ErrorCode code = error.code;
	const bool untouched = code == ErrorCode::Invalid || code == ErrorCode::Denied || code == ErrorCode::NotFound ||
	                       c.session.interrupted();
	std::string state = untouched ? std::string{} : stateNow(c.session);
	return tl::unexpected<Failure>(Failure(std::move(error), std::move(state), std::move(next)));
}

std::string nextStep(const Act &act, ErrorCode code, const std::optional<std::string> &role)
{
	if (code == ErrorCode::Busy && act.verb != kStart.verb)
		return "disconnect the clients, or: archipelago " + std::string(act.verb) + " --force";
	if (code == ErrorCode::Busy && role)
		return "archipelago restart " + shellQuoted(*role) + ", or archipelago start --ok " + shellQuoted(*role);
	if (code == ErrorCode::NotFound) return "archipelago status";
	return {};
}

/// The job said it is done: is it so?
Result<void> reached(const Act &act, const std::string &what, const Status &status)
{
	for (const dbus::PeerInfo &peer : status.peers) {
		const bool up = peer.state == QLatin1String("up");
		if (act.goal == Goal::Up && !up) {
			const std::string why = peer.lastErrorMessage.isEmpty() ? "it is " + peer.state.toStdString()
			                                                        : peer.lastErrorMessage.toStdString();
			const auto code = errorFromSymbol(peer.lastErrorSymbol.toStdString()).value_or(ErrorCode::Peer);
			return failure(code, "Cannot " + what + ": " + peer.name.toStdString() + " is not up afterwards: " + why);
		}
		if (act.goal == Goal::Down && up)
			return failure(ErrorCode::Busy,
			               "Cannot " + what + ": " + peer.name.toStdString() + " still runs afterwards.");
	}
	return {};
}

std::string resultLine(const Act &act, const Status &status, const std::optional<std::string> &role)
{
	if (act.goal == Goal::Down) return object(role) + " stopped";
	if (role) return object(role) + " up";
	return "archipelago up: all " + std::to_string(status.peers.size()) + " roles";
}

ExitOr perform(Context &c, const Act &act, const Session::StartJob &call)
{
	const auto role = c.args.operand(0);
	const std::string what = std::string(act.verb) + " " + object(role);
	const auto bus = c.session.bus();
	if (!bus) return tl::unexpected<Failure>(cannot(what, bus.error()));
	RoleWatch watch(c.session, **bus);
	const auto job = c.session.job(what, call, [&watch](const dbus::JobInfo &info) { watch.follow(info); });
	if (!job) return failed(c, job.error(), nextStep(act, job.error().code, role));

	const auto status = readStatus(c.session, what, role);
	if (!status) return tl::unexpected<Failure>(status.error());
	if (auto really = reached(act, what, *status); !really) return failed(c, really.error(), {});
	if (c.console.json())
		printStatus(c.console, *status);
	else if (!c.console.quiet())
		c.console.line(resultLine(act, *status, role));
	return 0;
}

/// -f goes over clients that use volumes: a person is asked once.
tl::expected<void, Failure> confirmForce(Context &c, const Act &act)
{
	if (!c.args.has("--force")) return {};
	const std::string what = std::string(act.verb) + " " + object(c.args.operand(0));
	c.console.message("clients that use volumes are cut off: those that do not connect again by themselves see I/O errors");
	auto yes = c.session.confirm("Force " + printable(what) + "?");
	if (!yes) return tl::unexpected<Failure>(Failure(cannot(what, yes.error()), std::string(kNothingChanged), {}));
	return {};
}

dbus::StopOptions stopOptions(const Arguments &args)
{
	return {.force = args.has("--force"), .userOnly = args.has("--user")};
}

} // namespace

ExitOr runStart(Context &c)
{
	const dbus::StartOptions options{
		.createDirs = c.args.has("--create-dirs"), .userOnly = c.args.has("--user"), .ok = c.args.has("--ok")};
	return perform(c, kStart, [&](dbus::Bus &bus, dbus::JobEvents events) {
		dbus::ManagerProxy(bus).start(roleList(c.args.operand(0)), options, std::move(events));
	});
}

ExitOr runStop(Context &c)
{
	if (auto yes = confirmForce(c, kStop); !yes) return tl::unexpected<Failure>(yes.error());
	return perform(c, kStop, [&](dbus::Bus &bus, dbus::JobEvents events) {
		dbus::ManagerProxy(bus).stop(roleList(c.args.operand(0)), stopOptions(c.args), std::move(events));
	});
}

ExitOr runRestart(Context &c)
{
	if (auto yes = confirmForce(c, kRestart); !yes) return tl::unexpected<Failure>(yes.error());
	return perform(c, kRestart, [&](dbus::Bus &bus, dbus::JobEvents events) {
		dbus::ManagerProxy(bus).restart(roleList(c.args.operand(0)), stopOptions(c.args), std::move(events));
	});
}

} // namespace archipelago::cli
