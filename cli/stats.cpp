// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See stats.h.
#include "cli/stats.h"

#include "cli/out/json.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace archipelago::cli {

namespace {

constexpr double kShortestSeconds = 0.1, kLongestSeconds = 3600;

/// Three significant digits, without zeros at the end.
std::string threeDigits(double value)
{
	char text[32];
	const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	std::snprintf(text, sizeof text, "%.*f", decimals, value);
	std::string out = text;
	if (out.find('.') != std::string::npos) {
		out.erase(out.find_last_not_of('0') + 1);
		if (out.back() == '.') out.pop_back();
	}
	return out;
}

std::optional<double> number(const std::string &text)
{
	double value = 0;
	const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
	if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
	return value;
}

/// Bytes of any rate that can be; what is not a number can only come from nonsense.
quint64 whole(double value) { return value > 0 && value < 9e18 ? static_cast<quint64>(std::llround(value)) : 0; }

double perSecond(quint64 count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

} // namespace

bool isNumber(const std::string &text) { return number(text).has_value(); }

Result<int> parseInterval(const std::string &text)
{
	double seconds = 0;
	if (const auto bare = number(text)) {
		seconds = *bare;
	} else {
		const auto ms = parseDurationMs(text);
		if (!ms) return tl::unexpected<Error>(ms.error());
		seconds = static_cast<double>(*ms) / 1000;
	}
	if (seconds < kShortestSeconds || seconds > kLongestSeconds)
		return failure(ErrorCode::Invalid, "An interval is 0.1 to 3600 seconds, not " + inQuotes(text) + ".");
	return static_cast<int>(std::lround(seconds * 1000));
}

Result<int> parseCount(const std::string &text)
{
	int value = 0;
	const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
	if (error == std::errc() && end == text.data() + text.size() && value >= 1) return value;
	return failure(ErrorCode::Invalid, "--count is a number of intervals from 1 on, not " + inQuotes(text) + ".");
}

std::string latencyText(const Console &console, quint64 ns)
{
	if (!console.stdoutIsTerminal()) return std::to_string(ns);
	if (ns == 0) return "-";
	if (ns < 1000) return std::to_string(ns) + " ns";
	const auto value = static_cast<double>(ns);
	if (value < 999.5e3) return threeDigits(value / 1e3) + " µs";
	if (value < 999.5e6) return threeDigits(value / 1e6) + " ms";
	return threeDigits(value / 1e9) + " s";
}

std::string rateText(const Console &console, double rate)
{
	char text[32];
	if (!console.stdoutIsTerminal()) {
		std::snprintf(text, sizeof text, "%.1f", rate);
		return text;
	}
	if (rate < 999.5) return threeDigits(rate);
	if (rate < 999.5e3) return threeDigits(rate / 1e3) + "k";
	return threeDigits(rate / 1e6) + "M";
}

std::string byteRateText(const Console &console, double rate)
{
	return console.stdoutIsTerminal() ? formatSize(whole(rate)) + "/s" : std::to_string(whole(rate));
}

QJsonObject latencyJson(const dbus::OpStats &stats)
{
	const bool counted = stats.ops != 0;
	const auto ns = [counted](quint64 value) { return counted ? jsonSize(value) : QJsonValue(); };
	return {{"meanNs", ns(stats.meanNs())},
	        {"p50Ns", ns(stats.percentileNs(0.5))},
	        {"p99Ns", ns(stats.percentileNs(0.99))},
	        {"p999Ns", ns(stats.percentileNs(0.999))},
	        {"maxNs", ns(stats.maxNs())}};
}

QJsonObject rateJson(const dbus::OpStats &stats, double seconds)
{
	QJsonObject out = latencyJson(stats);
	out.insert("opsPerSecond", perSecond(stats.ops, seconds));
	out.insert("bytesPerSecond", jsonSize(whole(perSecond(stats.bytes, seconds))));
	out.insert("errors", jsonSize(stats.errors));
	out.insert("inFlight", jsonSize(stats.inFlight));
	return out;
}

Result<dbus::StatsSnapshot> readStats(Session &session, const std::string &what)
{
	return session.ask<dbus::StatsSnapshot>(
		what, [](dbus::Bus &bus, auto done) { dbus::ManagerProxy(bus).stats(std::move(done)); });
}

Interval between(const dbus::StatsSnapshot &before, const dbus::StatsSnapshot &now)
{
	Interval out;
	out.seconds = now.timeUs > before.timeUs ? static_cast<double>(now.timeUs - before.timeUs) / 1e6 : 0;
	out.subjects = dbus::bySubject(dbus::difference(now, before));
	return out;
}

Result<void> flushed(Console &console)
{
	if (const int errnum = console.flush()) return systemFailure(errnum, "Cannot write to standard output");
	return {};
}

} // namespace archipelago::cli
