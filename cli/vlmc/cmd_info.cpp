// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc info NAME. In a pipe the first line is the original's, "Volume NAME: size: BYTES"; then one "key<TAB>value" a line.
#include "cli/out/json.h"
#include "cli/out/text.h"
#include "cli/vlmc/commands.h"
#include "cli/vlmc/volume.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <QUrl>
#include <QUrlQuery>

namespace archipelago::cli {

namespace {

/// How long a guest waits for a data host that restarts before its reads and writes fail, in seconds.
constexpr const char *kReconnectDelay = "60";

/// A value in qemu's key=value,... lists.
std::string qemuValue(std::string_view text)
{
	std::string out;
	for (const char c : text) out += c == ',' ? std::string(",,") : std::string(1, c);
	return out;
}

/// "-blockdev driver=nbd,..." ready for a shell; empty when the volume has no NBD address.
std::string qemuOption(const dbus::VolumeInfo &volume)
{
	const QString socket = QUrlQuery(QUrl(volume.nbdUri)).queryItemValue("socket", QUrl::FullyDecoded);
	if (socket.isEmpty()) return {};
	const std::string list = "driver=nbd,node-name=archipelago0,server.type=unix,server.path=" +
	                         qemuValue(socket.toStdString()) + ",export=" + qemuValue(volume.name.toStdString()) +
	                         ",reconnect-delay=" + kReconnectDelay;
	return "-blockdev " + shellQuoted(list);
}

std::string holders(const dbus::VolumeInfo &volume)
{
	std::string out;
	if (volume.opened) out = "opened on this node";
	if (volume.clients > 0) {
		if (!out.empty()) out += ", ";
		out += std::to_string(volume.clients) + (volume.clients == 1 ? " client" : " clients");
	}
	return out.empty() ? "none" : out;
}

std::string percent(const dbus::VolumeInfo &volume)
{
	if (volume.sizeBytes == 0) return {};
	const double part = 100.0 * static_cast<double>(volume.allocatedBytes) / static_cast<double>(volume.sizeBytes);
	return " (" + std::to_string(static_cast<int>(part + 0.5)) + " %)";
}

struct Line {
	std::string_view key;
	std::string value;
};

std::vector<Line> lines(const dbus::VolumeInfo &volume, bool forPeople)
{
	const std::string exact = std::to_string(volume.sizeBytes);
	const std::string uri = volume.nbdUri.toStdString(), qemu = qemuOption(volume);
	return {
		{"size", forPeople ? formatSize(volume.sizeBytes) + " (" + exact + " bytes)" : exact},
		{"allocated",
	     forPeople ? formatSize(volume.allocatedBytes) + percent(volume) : std::to_string(volume.allocatedBytes)},
		{"state", stateWord(volume) + (volume.stoppedSymbol.isEmpty() ? "" : ": " + volume.stoppedText.toStdString() + " [" + volume.stoppedSymbol.toStdString() + "]")},
		{"holders", holders(volume)},
		{"created", forPeople ? timeLocal(volume.createdUs) : timeRfc3339(volume.createdUs)},
		{"id", volume.id.toStdString()},
		{"nbd", uri.empty() ? "-" : uri},
		{"qemu", qemu.empty() ? "-" : qemu},
	};
}

void printInfo(Console &console, const dbus::VolumeInfo &volume)
{
	if (console.json())
		return console.data(
			toJson({.schema = "archipelago.volumes/1", .items = {volumeJson(volume)}, .warnings = {}, .more = {}}));
	const bool terminal = console.stdoutIsTerminal();
	const std::string name = printable(volume.name.toStdString());
	if (terminal)
		console.line(console.styled(name, Style::Bold));
	else
		console.line("Volume " + name + ": size: " + std::to_string(volume.sizeBytes));
	if (console.quiet()) return;
	for (const auto &[key, value] : lines(volume, terminal)) {
		const std::string label(key);
		console.line(terminal ? "  " + label + std::string(11 - label.size(), ' ') + printable(value)
		                      : label + "\t" + printable(value));
	}
}

} // namespace

ExitOr runInfo(Context &c)
{
	const std::string typed = c.args.operands.front();
	const auto name = existingName(typed);
	if (!name) return tl::unexpected<Failure>(name.error());
	const std::string what = "show " + shellQuoted(typed);
	auto volume = c.session.ask<dbus::VolumeInfo>(
		what, [&](dbus::Bus &bus, auto done) { dbus::VolumeProxy(bus, *name).info(std::move(done)); });
	if (!volume) return tl::unexpected<Failure>(volumeError(c.session, what, typed, volume.error()));
	if (volume->error) return tl::unexpected<Failure>(cannot(what, *volume->error));
	printInfo(c.console, *volume);
	return 0;
}

} // namespace archipelago::cli
