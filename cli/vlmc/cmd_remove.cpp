// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc remove NAME...: to the trash. All names are looked up before the first is removed, so that a typing error removes
// nothing; on a terminal it asks once, with what it is about to do. Names are never patterns. Silent in a pipe.
#include "cli/out/json.h"
#include "cli/out/text.h"
#include "cli/vlmc/commands.h"
#include "cli/vlmc/volume.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <algorithm>

namespace archipelago::cli {

namespace {

struct Doomed {
	std::string typed;
	QString name;
	std::optional<dbus::VolumeInfo> info; ///< none: it is there but cannot be read, which is a reason to remove it
};

/// Whether a volume that answers so can still be removed.
bool isUnreadable(ErrorCode code)
{
	return code == ErrorCode::Corrupt || code == ErrorCode::Io || code == ErrorCode::Missing;
}

Result<std::vector<Doomed>> lookUp(Context &c)
{
	std::vector<Doomed> out;
	for (const std::string &typed : c.args.operands) {
		if (std::ranges::any_of(out, [&](const Doomed &d) { return d.typed == typed; })) continue;
		const auto name = existingName(typed);
		if (!name) return tl::unexpected<Error>(name.error());
		const std::string what = "remove " + shellQuoted(typed);
		auto info = c.session.ask<dbus::VolumeInfo>(
			what, [&](dbus::Bus &bus, auto done) { dbus::VolumeProxy(bus, *name).info(std::move(done)); });
		Doomed doomed{typed, *name, std::nullopt};
		if (info && !info->error)
			doomed.info = *info;
		else if (!info && !isUnreadable(info.error().code))
			return tl::unexpected<Error>(volumeError(c.session, what, typed, info.error()));
		out.push_back(std::move(doomed));
	}
	return out;
}

Result<void> confirm(Context &c, const std::vector<Doomed> &doomed)
{
	if (!c.session.wouldAsk()) return {};
	for (const Doomed &d : doomed) {
		std::string line = printable(d.typed) + ": ";
		if (d.info)
			line += printable(d.info->kind.toStdString()) + ", " + formatSize(d.info->sizeBytes) + ", " +
			        formatSize(d.info->allocatedBytes) + " allocated.";
		else
			line += "cannot be read.";
		c.console.raw(line + " Moves to the trash.\n");
	}
	const std::string object = doomed.size() == 1 ? printable(doomed.front().typed)
	                                              : "these " + std::to_string(doomed.size()) + " volumes";
	return c.session.confirm("Remove " + object + "?");
}

std::string namesOf(const std::vector<Doomed> &doomed, size_t from, size_t to)
{
	std::string out;
	for (size_t i = from; i < to; i++) out += (i == from ? "" : ", ") + shellQuoted(doomed[i].typed);
	return out;
}

} // namespace

ExitOr runRemove(Context &c)
{
	const auto doomed = lookUp(c);
	if (!doomed) return tl::unexpected<Failure>(doomed.error());
	if (auto yes = confirm(c, *doomed); !yes)
		return tl::unexpected<Failure>(Failure(cannot("remove " + namesOf(*doomed, 0, doomed->size()), yes.error()),
		                                       std::string(kNothingChanged), {}));

	JsonDocument document{.schema = "archipelago.volumes/1", .items = {}, .warnings = {}, .more = {}};
	for (size_t i = 0; i < doomed->size(); i++) {
		const Doomed &d = (*doomed)[i];
		const std::string what = "remove " + shellQuoted(d.typed);
		const auto job = c.session.job(what, [&](dbus::Bus &bus, dbus::JobEvents events) {
			dbus::VolumeProxy(bus, d.name).remove(std::move(events));
		});
		if (!job) {
			std::string state;
			if (doomed->size() > 1)
				state = (i == 0 ? "Nothing was removed" : "Removed: " + namesOf(*doomed, 0, i)) +
				        ". Not removed: " + namesOf(*doomed, i, doomed->size()) + ".";
			return tl::unexpected<Failure>(Failure(volumeError(c.session, what, d.typed, job.error()), state, {}));
		}
		document.items.append(QJsonObject{{"name", d.name}, {"state", "removed"}});
		c.console.chat("removed " + shellQuoted(d.typed));
	}
	if (c.console.json()) c.console.data(toJson(document));
	return 0;
}

} // namespace archipelago::cli
