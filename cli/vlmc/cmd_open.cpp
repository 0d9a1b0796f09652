// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc open NAME, vlmc close NAME: the explicit, sticky open of this node. They print the original's words.
#include "cli/out/json.h"
#include "cli/out/text.h"
#include "cli/vlmc/commands.h"
#include "cli/vlmc/volume.h"

namespace archipelago::cli {

namespace {

struct Verb {
	const char *word;  ///< "open"
	const char *state; ///< of the volume afterwards
	const char *said;  ///< "Volume opened"
	void (dbus::VolumeProxy::*method)(dbus::Done<void>);
};
constexpr Verb kOpen{"open", "open", "Volume opened", &dbus::VolumeProxy::open};
constexpr Verb kClose{"close", "closed", "Volume closed", &dbus::VolumeProxy::close};

ExitOr run(Context &c, const Verb &verb)
{
	const std::string typed = c.args.operands.front();
	const auto name = existingName(typed);
	if (!name) return tl::unexpected<Failure>(name.error());
	const std::string what = std::string(verb.word) + " " + shellQuoted(typed);
	const auto done = c.session.ask<void>(what, [&](dbus::Bus &bus, auto answered) {
		dbus::VolumeProxy volume(bus, *name);
		(volume.*verb.method)(std::move(answered));
	});
	if (!done) return tl::unexpected<Failure>(volumeError(c.session, what, typed, done.error()));
	if (c.console.json()) {
		const QJsonObject item{{"name", *name}, {"state", verb.state}};
		c.console.data(toJson({.schema = "archipelago.volumes/1", .items = {item}, .warnings = {}, .more = {}}));
	} else if (!c.console.quiet()) {
		c.console.line(verb.said);
	}
	return 0;
}

} // namespace

ExitOr runOpen(Context &c) { return run(c, kOpen); }
ExitOr runClose(Context &c) { return run(c, kClose); }

} // namespace archipelago::cli
