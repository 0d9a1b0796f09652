// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See volume.h.
#include "cli/vlmc/volume.h"

#include "cli/out/json.h"
#include "daemon/base/text.h"

namespace archipelago::cli {

namespace {

/// Far below the bus's limit for one message, and one round trip for most installations.
constexpr quint64 kPage = 1000;

} // namespace

Result<QString> existingName(const std::string &typed)
{
	std::string_view rest = typed;
	while (!rest.empty())
		if (!takeCodePoint(rest)) return failure(ErrorCode::Invalid, "The name " + inQuotes(typed) + " is not UTF-8.");
	if (typed.empty()) return failure(ErrorCode::Invalid, "The name is empty.");
	return QString::fromStdString(typed);
}

std::string stateWord(const dbus::VolumeInfo &volume)
{
	if (volume.error) return "error";
	if (!volume.stoppedSymbol.isEmpty()) return "stopped";
	return volume.opened || volume.clients > 0 ? "open" : "closed";
}

QJsonObject volumeJson(const dbus::VolumeInfo &volume)
{
	QJsonObject out{{"name", volume.name}, {"state", jsonText(stateWord(volume))}};
	if (volume.error) {
		out.insert("error", jsonError(*volume.error));
		return out;
	}
	out.insert("id", volume.id);
	out.insert("kind", volume.kind);
	out.insert("sizeBytes", jsonSize(volume.sizeBytes));
	out.insert("allocatedBytes", jsonSize(volume.allocatedBytes));
	out.insert("created", jsonTime(volume.createdUs));
	out.insert("opened", volume.opened);
	out.insert("clients", jsonSize(volume.clients));
	if (!volume.stoppedSymbol.isEmpty())
		out.insert("stopped", QJsonObject{{"code", volume.stoppedSymbol}, {"message", volume.stoppedText}});
	out.insert("nbdUri", volume.nbdUri.isEmpty() ? QJsonValue() : QJsonValue(volume.nbdUri));
	return out;
}

Result<QList<dbus::VolumeInfo>> allVolumes(Session &session, const std::string &what)
{
	QList<dbus::VolumeInfo> all;
	for (;;) {
		const dbus::ListOptions options{.after = all.isEmpty() ? QString() : all.last().name, .limit = kPage};
		auto page = session.ask<QList<dbus::VolumeInfo>>(
			what, [&](dbus::Bus &bus, auto done) { dbus::ManagerProxy(bus).listVolumes(options, std::move(done)); });
		if (!page) return page;
		const bool last = static_cast<quint64>(page->size()) < kPage;
		// A service that does not go on behind `after` would keep us here for ever.
		const bool stuck = !page->isEmpty() && !all.isEmpty() && page->last().name == all.last().name;
		if (stuck) return failure(ErrorCode::Failed, "Cannot " + what + ": the service repeats a page of the list.");
		all += *page;
		if (last) return all;
	}
}

Error volumeError(Session &session, const std::string &what, const std::string &name, Error error)
{
	if (error.code != ErrorCode::NotFound) return error;
	std::string text = "Cannot " + what + ": there is no such volume.";
	if (const auto volumes = allVolumes(session, "list volumes")) {
		std::vector<std::string> names;
		for (const dbus::VolumeInfo &volume : *volumes) names.push_back(volume.name.toStdString());
		const std::vector<std::string_view> views(names.begin(), names.end());
		if (const std::string_view near = nearestWord(name, views); !near.empty())
			text += " Did you mean " + inQuotes(near) + "?";
	}
	return {ErrorCode::NotFound, std::move(text)};
}

} // namespace archipelago::cli
