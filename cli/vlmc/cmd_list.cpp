// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc list [GLOB]. A volume that cannot be read is a row that says so, never the end of the list. -q prints names alone,
// one a line, for scripts and completion.
#include "cli/out/json.h"
#include "cli/out/table.h"
#include "cli/out/text.h"
#include "cli/vlmc/commands.h"
#include "cli/vlmc/volume.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <fnmatch.h>

namespace archipelago::cli {

namespace {

using Volumes = QList<dbus::VolumeInfo>;

Volumes matching(const Volumes &all, const std::optional<std::string> &glob)
{
	if (!glob) return all;
	Volumes out;
	for (const dbus::VolumeInfo &volume : all)
		if (::fnmatch(glob->c_str(), volume.name.toUtf8().constData(), 0) == 0) out += volume;
	return out;
}

std::string cannotRead(const dbus::VolumeInfo &volume)
{
	return "cannot read " + shellQuoted(volume.name.toStdString()) + ": " + volume.error->message + " [" +
	       std::string(errorInfo(volume.error->code).symbol) + "]";
}

void printJson(Console &console, const Volumes &volumes)
{
	JsonDocument document{.schema = "archipelago.volumes/1", .items = {}, .warnings = {}, .more = {}};
	for (const dbus::VolumeInfo &volume : volumes) {
		document.items.append(volumeJson(volume));
		if (volume.error) document.warnings.append(jsonText(cannotRead(volume)));
	}
	console.data(toJson(document));
}

std::vector<Cell> row(const dbus::VolumeInfo &volume, bool forPeople)
{
	const std::string name = volume.name.toStdString();
	if (volume.error) {
		const std::string state = "error " + std::string(errorInfo(volume.error->code).symbol);
		return {name, "?", "?", "?", Cell(state, Style::Bad), "-"};
	}
	const auto size = [&](quint64 bytes) { return forPeople ? formatSize(bytes) : std::to_string(bytes); };
	return {name,
	        volume.kind.toStdString(),
	        size(volume.sizeBytes),
	        size(volume.allocatedBytes),
	        Cell(stateWord(volume), stateWord(volume) == "open" ? Style::Good : Style::Plain),
	        forPeople ? timeLocal(volume.createdUs) : timeRfc3339(volume.createdUs)};
}

void printTable(Console &console, const Volumes &volumes)
{
	Table table({{"NAME", Align::Left, true},
	             {"KIND"},
	             {"SIZE", Align::Right},
	             {"ALLOCATED", Align::Right},
	             {"STATE"},
	             {"CREATED"}});
	for (const dbus::VolumeInfo &volume : volumes) table.add(row(volume, console.stdoutIsTerminal()));
	console.data(table.render(console));
	for (const dbus::VolumeInfo &volume : volumes)
		if (volume.error) console.message(printable(cannotRead(volume)));
}

void sayEmpty(Console &console, const Volumes &all, const std::optional<std::string> &glob)
{
	if (!glob || all.isEmpty()) return console.message("no volumes yet. Create one: vlmc create NAME --size 10G");
	std::vector<std::string> names;
	for (const dbus::VolumeInfo &volume : all) names.push_back(volume.name.toStdString());
	const std::vector<std::string_view> views(names.begin(), names.end());
	console.message("no volume matches " + inQuotes(*glob) + "." + didYouMean(*glob, views));
}

} // namespace

ExitOr runList(Context &c)
{
	const auto glob = c.args.operand(0);
	const auto all = allVolumes(c.session, "list volumes");
	if (!all) return tl::unexpected<Failure>(all.error());
	const Volumes volumes = matching(*all, glob);
	if (c.console.json()) {
		printJson(c.console, volumes);
		return 0;
	}
	if (c.console.quiet()) {
		for (const dbus::VolumeInfo &volume : volumes) c.console.line(printable(volume.name.toStdString()));
		return 0;
	}
	if (volumes.isEmpty()) sayEmpty(c.console, *all, glob);
	// A script gets its line of titles in any case, a person no empty table.
	if (!volumes.isEmpty() || !c.console.stdoutIsTerminal()) printTable(c.console, volumes);
	return 0;
}

} // namespace archipelago::cli
