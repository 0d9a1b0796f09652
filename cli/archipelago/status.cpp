// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See status.h.
#include "cli/archipelago/status.h"

#include "cli/out/json.h"
#include "cli/out/table.h"
#include "cli/out/text.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <ctime>

namespace archipelago::cli {

namespace {

using Level = Verdict::Level;

bool isDown(const dbus::PeerInfo &peer)
{
	return peer.state == QLatin1String("stopped") || peer.state == QLatin1String("failed");
}
bool isUp(const dbus::PeerInfo &peer) { return peer.state == QLatin1String("up"); }

std::string ended(std::string text)
{
	if (!text.empty() && text.back() != '.' && text.back() != ')') text += '.';
	return text;
}

/// Why a peer is not up, as far as it says.
std::string reason(const dbus::PeerInfo &peer)
{
	const std::string message = peer.lastErrorMessage.toStdString(), symbol = peer.lastErrorSymbol.toStdString();
	return message + (symbol.empty() ? "" : (message.empty() ? "[" : " [") + symbol + "]");
}

std::string degradedText(const Status &status, const dbus::PeerInfo &worst)
{
	if (const std::string said = status.manager.verdict.toStdString(); !said.empty()) return said;
	const std::string name = worst.name.toStdString(), why = reason(worst);
	std::string text = name + " is " + worst.state.toStdString() + (why.empty() ? "" : ": " + why);
	const bool passing = worst.state == QLatin1String("starting") || worst.state == QLatin1String("stopping");
	if (passing) return ended(text);
	return ended(text) + " Try: archipelago " + (isDown(worst) ? "start " : "restart ") + name;
}

Verdict judge(const Status &status)
{
	const auto &peers = status.peers;
	const auto up = std::ranges::count_if(peers, isUp);
	const auto &said = status.manager.verdict;
	const bool saysDegraded = status.manager.state == QLatin1String("degraded");
	const auto failed = std::ranges::find(peers, QLatin1String("failed"), &dbus::PeerInfo::state);
	// Degraded although no role runs and none failed: something runs that the service does not control, and it says so.
	const bool strangersRun = saysDegraded && failed == peers.end();
	if (std::ranges::all_of(peers, isDown) && !strangersRun) {
		std::string text = "stopped: ";
		if (!said.isEmpty())
			text += said.toStdString();
		else if (failed != peers.end())
			text += degradedText(status, *failed);
		else
			text += "nothing runs. Try: archipelago start";
		return {Level::Stopped, std::move(text)};
	}
	if (up == peers.size() && !saysDegraded) {
		const std::string all = peers.size() == 1 ? peers.front().name.toStdString() + " is up"
		                                          : "all " + std::to_string(up) + " roles are up";
		return {Level::Ok, "ok: " + all};
	}
	// The one that says why is worth more than one that merely follows from it.
	auto worst = std::ranges::find_if(peers, [](const auto &p) { return !isUp(p) && !p.lastErrorMessage.isEmpty(); });
	if (worst == peers.end()) worst = std::ranges::find_if_not(peers, isUp);
	if (worst != peers.end()) return {Level::Degraded, "degraded: " + degradedText(status, *worst)};
	return {Level::Degraded,
	        "degraded: " + (said.isEmpty() ? std::string("the service does not say why") : said.toStdString())};
}

Result<QList<dbus::PeerInfo>> onlyRole(const QList<dbus::PeerInfo> &peers, const std::string &what,
                                       const std::string &role)
{
	std::vector<std::string> names;
	for (const dbus::PeerInfo &peer : peers) {
		if (peer.name.toStdString() == role) return QList<dbus::PeerInfo>{peer};
		names.push_back(peer.name.toStdString());
	}
	const std::vector<std::string_view> views(names.begin(), names.end());
	return failure(ErrorCode::NotFound,
	               "Cannot " + what + ": there is no role " + inQuotes(role) + "." + didYouMean(role, views));
}

Style styleOf(const dbus::PeerInfo &peer)
{
	if (isUp(peer)) return Style::Good;
	return peer.state == QLatin1String("failed") || peer.state == QLatin1String("stuck") ? Style::Bad : Style::Warning;
}

std::string uptime(const dbus::PeerInfo &peer, bool forPeople)
{
	if (peer.sinceUs == 0) return "-";
	if (!forPeople) return timeRfc3339(peer.sinceUs);
	const auto now = static_cast<quint64>(std::time(nullptr)) * 1'000'000;
	return durationText(now > peer.sinceUs ? now - peer.sinceUs : 0);
}

QJsonObject peerJson(const dbus::PeerInfo &peer)
{
	QJsonObject out{
		{"name", peer.name}, {"role", peer.role}, {"host", peer.host}, {"state", peer.state}, {"ports", peer.ports}};
	out.insert("pid", peer.pid == 0 ? QJsonValue() : jsonSize(peer.pid));
	out.insert("since", jsonTime(peer.sinceUs));
	out.insert("requestsInFlight", jsonSize(peer.requestsInFlight));
	QJsonValue error;
	if (!peer.lastErrorSymbol.isEmpty())
		error = QJsonObject{{"code", peer.lastErrorSymbol}, {"message", peer.lastErrorMessage}};
	out.insert("error", error);
	return out;
}

} // namespace

Result<Status> readStatus(Session &session, const std::string &what, const std::optional<std::string> &role)
{
	auto overview = session.ask<dbus::Overview>(
		what, [](dbus::Bus &bus, auto done) { dbus::ManagerProxy(bus).overview(std::move(done)); });
	if (!overview) return tl::unexpected<Error>(overview.error());
	Status status{overview->manager, overview->peers, {}};
	if (role) {
		auto one = onlyRole(status.peers, what, *role);
		if (!one) return tl::unexpected<Error>(one.error());
		status.peers = *one;
		status.manager.state.clear(); // judged by the role alone
		status.manager.verdict.clear();
	}
	std::ranges::stable_sort(status.peers, {}, &dbus::PeerInfo::host);
	status.verdict = judge(status);
	return status;
}

std::string statesInALine(const QList<dbus::PeerInfo> &peers)
{
	std::string out;
	for (const dbus::PeerInfo &peer : peers) {
		out += (out.empty() ? "" : ", ") + peer.name.toStdString() + " " + peer.state.toStdString();
		if (!peer.lastErrorSymbol.isEmpty()) out += " (" + peer.lastErrorSymbol.toStdString() + ")";
	}
	return out;
}

void printStatus(Console &console, const Status &status)
{
	if (console.json()) {
		JsonDocument document{.schema = "archipelago.status/1", .items = {}, .warnings = {}, .more = {}};
		for (const dbus::PeerInfo &peer : status.peers) document.items.append(peerJson(peer));
		constexpr const char *kLevels[] = {"ok", "degraded", "stopped"};
		document.more.insert("level", kLevels[static_cast<int>(status.verdict.level)]);
		document.more.insert("verdict", jsonText(status.verdict.text));
		return console.data(toJson(document));
	}
	const bool forPeople = console.stdoutIsTerminal();
	Table table({{"ROLE"},
	             {"HOST"},
	             {"STATE"},
	             {"PID", Align::Right},
	             {"PORTS"},
	             {"INFLIGHT", Align::Right},
	             {forPeople ? "UPTIME" : "SINCE"},
	             {"NOTE", Align::Left, true}});
	std::string noteAbove;
	for (const dbus::PeerInfo &peer : status.peers) {
		std::string note = reason(peer);
		const bool repeated = forPeople && !note.empty() && note == noteAbove; // roles of one host share its fate
		noteAbove = note;
		table.add({peer.name.toStdString(), peer.host.toStdString(), Cell(peer.state.toStdString(), styleOf(peer)),
		           peer.pid == 0 ? std::string("-") : std::to_string(peer.pid), peer.ports.toStdString(),
		           isUp(peer) ? std::to_string(peer.requestsInFlight) : std::string("-"), uptime(peer, forPeople),
		           repeated ? std::string("as above") : std::move(note)});
	}
	console.data(table.render(console));
	constexpr Style kStyles[] = {Style::Good, Style::Warning, Style::Bad};
	console.line(console.styled(printable(status.verdict.text), kStyles[static_cast<int>(status.verdict.level)]));
}

} // namespace archipelago::cli
