// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc stat [NAME...] [INTERVAL]: what clients did with volumes since the peers were started, or each interval until Ctrl-C:
// then a line for each volume and interval, written at once, good to be piped on.
#include "cli/out/json.h"
#include "cli/out/table.h"
#include "cli/out/text.h"
#include "cli/stats.h"
#include "cli/vlmc/commands.h"
#include "cli/vlmc/volume.h"
#include "daemon/base/sizes.h"

#include <ctime>

namespace archipelago::cli {

namespace {

constexpr std::string_view kNothingUsed = "no client has used a volume since the peers were started. Its address: vlmc info NAME";

struct Wanted {
	std::vector<std::string> names; ///< empty: whatever was used
	bool watch = false;
	int intervalMs = 1000;
	int count = 0; ///< 0: until interrupted
};

Result<Wanted> wantedBy(const Arguments &args)
{
	Wanted out;
	out.names = args.operands;
	auto interval = args.value("--interval");
	const auto count = args.value("--count");
	out.watch = args.has("--watch") || interval || count;
	// "vlmc stat db 1", as iostat and vmstat have it; a volume of such a name stands alone, or with --interval.
	if (!out.watch && out.names.size() > 1 && isNumber(out.names.back())) {
		interval = out.names.back();
		out.names.pop_back();
		out.watch = true;
	}
	if (interval) {
		const auto ms = parseInterval(*interval);
		if (!ms) return tl::unexpected<Error>(ms.error());
		out.intervalMs = *ms;
	}
	if (count) {
		const auto n = parseCount(*count);
		if (!n) return tl::unexpected<Error>(n.error());
		out.count = *n;
	}
	for (const std::string &name : out.names)
		if (const auto legal = existingName(name); !legal) return tl::unexpected<Error>(legal.error());
	return out;
}

bool isVolume(const dbus::SubjectStats &subject) { return subject.kind == QLatin1String("volume"); }

/// One row for each name, also for a volume that nobody has used; `subjects` may have several of one name, of which those
/// that are not in use are older volumes.
QList<dbus::SubjectStats> chosen(const QList<dbus::SubjectStats> &subjects, const std::vector<std::string> &names)
{
	QList<dbus::SubjectStats> out;
	if (names.empty()) {
		for (const dbus::SubjectStats &subject : subjects)
			if (isVolume(subject)) out.append(subject);
		return out;
	}
	for (const std::string &name : names) {
		dbus::SubjectStats found;
		found.kind = "volume";
		found.name = QString::fromStdString(name);
		for (const dbus::SubjectStats &subject : subjects)
			if (isVolume(subject) && subject.name == found.name && (found.id.isEmpty() || subject.ports > 0)) found = subject;
		out.append(found);
	}
	return out;
}

/// Of each volume as the mapper knows it now. E-NOTFOUND.
Result<dbus::StatsSnapshot> readNamed(Session &session, const std::vector<std::string> &names)
{
	dbus::StatsSnapshot all;
	for (const std::string &name : names) {
		const std::string what = "show the statistics of " + shellQuoted(name);
		auto one = session.ask<dbus::StatsSnapshot>(what, [&](dbus::Bus &bus, auto done) {
			dbus::VolumeProxy(bus, QString::fromStdString(name)).stats(std::move(done));
		});
		if (!one) return tl::unexpected<Error>(volumeError(session, what, name, one.error()));
		all.timeUs = one->timeUs;
		all.ports += one->ports;
	}
	return all;
}

// ---- since the start

QJsonObject totalsJson(const dbus::OpStats &stats)
{
	QJsonObject out = latencyJson(stats);
	out.insert("ops", jsonSize(stats.ops));
	out.insert("bytes", jsonSize(stats.bytes));
	out.insert("errors", jsonSize(stats.errors));
	out.insert("inFlight", jsonSize(stats.inFlight));
	out.insert("totalNs", jsonSize(stats.ns));
	QJsonArray histogram;
	for (size_t bucket = 0; bucket < kLatencyBuckets; bucket++) {
		if (stats.latency[bucket] == 0) continue;
		histogram.append(QJsonArray{jsonSize(latencyRange(bucket).beginNs), jsonSize(stats.latency[bucket])});
	}
	out.insert("histogram", histogram);
	return out;
}

void printTotalsJson(Console &console, const QList<dbus::SubjectStats> &volumes, quint64 timeUs)
{
	JsonDocument document{.schema = "archipelago.volume-stats/1", .items = {}, .warnings = {}, .more = {}};
	for (const dbus::SubjectStats &volume : volumes) {
		document.items.append(QJsonObject{{"name", volume.name},
		                                  {"id", volume.id.isEmpty() ? QJsonValue() : QJsonValue(volume.id)},
		                                  {"since", jsonTime(volume.sinceUs)},
		                                  {"inUse", volume.ports > 0},
		                                  {"ops", byClass(volume, totalsJson)}});
	}
	document.more.insert("timeUs", jsonSize(timeUs));
	console.data(toJson(document));
}

void printTotals(Console &console, const QList<dbus::SubjectStats> &volumes)
{
	const bool forPeople = console.stdoutIsTerminal();
	Table table({{"VOLUME", Align::Left, true}, {"OP"}, {"OPS", Align::Right}, {"BYTES", Align::Right}, {"ERRORS", Align::Right},
	             {"INFLIGHT", Align::Right}, {"MEAN", Align::Right}, {"P50", Align::Right}, {"P99", Align::Right},
	             {"P99.9", Align::Right}, {"MAX", Align::Right}});
	for (const dbus::SubjectStats &volume : volumes) {
		for (const OpClass c : kVolumeClasses) {
			const dbus::OpStats &stats = volume.of(c);
			// A person wants to see what there is, a script what it counts on.
			if (forPeople && stats.ops == 0 && stats.inFlight == 0) continue;
			const auto latency = [&](quint64 ns) { return latencyText(console, ns); };
			table.add({volume.name.toStdString(), std::string(opClassName(c)), std::to_string(stats.ops),
			           forPeople ? formatSize(stats.bytes) : std::to_string(stats.bytes),
			           Cell(std::to_string(stats.errors), stats.errors ? Style::Bad : Style::Plain), std::to_string(stats.inFlight),
			           latency(stats.meanNs()), latency(stats.percentileNs(0.5)), latency(stats.percentileNs(0.99)),
			           latency(stats.percentileNs(0.999)), latency(stats.maxNs())});
		}
	}
	if (table.rows() == 0 && forPeople) return console.message(kNothingUsed);
	console.data(table.render(console));
}

// ---- interval by interval

std::string timeNow(bool forPeople)
{
	const auto now = static_cast<uint64_t>(std::time(nullptr)) * 1'000'000;
	if (!forPeople) return timeRfc3339(now);
	const auto seconds = static_cast<time_t>(now / 1'000'000);
	std::tm parts{};
	char text[16];
	::localtime_r(&seconds, &parts);
	return {text, std::strftime(text, sizeof text, "%H:%M:%S", &parts)};
}

void printRatesJson(Console &console, const QList<dbus::SubjectStats> &volumes, double seconds)
{
	JsonDocument document{.schema = "archipelago.volume-rates/1", .items = {}, .warnings = {}, .more = {}};
	for (const dbus::SubjectStats &volume : volumes) {
		document.items.append(QJsonObject{{"name", volume.name},
		                                  {"id", volume.id.isEmpty() ? QJsonValue() : QJsonValue(volume.id)},
		                                  {"inUse", volume.ports > 0},
		                                  {"ops", byClass(volume, [&](const dbus::OpStats &s) { return rateJson(s, seconds); })}});
	}
	document.more.insert("seconds", seconds);
	document.more.insert("time", jsonText(timeNow(false)));
	console.data(toJson(document));
}

void printRates(Console &console, const QList<dbus::SubjectStats> &volumes, double seconds, bool titles)
{
	// Wide enough for what they usually hold: lines that come one by one still make columns.
	Table table({{"TIME", Align::Left, false, 8}, {"VOLUME", Align::Left, true, 12}, {"READ/S", Align::Right, false, 7},
	             {"READ", Align::Right, false, 10}, {"P50", Align::Right, false, 7}, {"P99", Align::Right, false, 7},
	             {"WRITE/S", Align::Right, false, 7}, {"WRITTEN", Align::Right, false, 10}, {"P50", Align::Right, false, 7},
	             {"P99", Align::Right, false, 7}, {"FLUSH/S", Align::Right}, {"TRIM/S", Align::Right}, {"EXTENTS/S", Align::Right},
	             {"ERRORS", Align::Right}, {"INFLIGHT", Align::Right}});
	if (!titles) table.withoutTitles();
	const std::string time = timeNow(console.stdoutIsTerminal());
	const auto rate = [seconds](quint64 n) { return seconds > 0 ? static_cast<double>(n) / seconds : 0; };
	for (const dbus::SubjectStats &volume : volumes) {
		const dbus::OpStats &read = volume.of(OpClass::Read), &write = volume.of(OpClass::Write), total = volume.total();
		const auto latency = [&](const dbus::OpStats &s, double share) { return latencyText(console, s.percentileNs(share)); };
		table.add({time, volume.name.toStdString(), rateText(console, rate(read.ops)), byteRateText(console, rate(read.bytes)),
		           latency(read, 0.5), latency(read, 0.99), rateText(console, rate(write.ops)),
		           byteRateText(console, rate(write.bytes)), latency(write, 0.5), latency(write, 0.99),
		           rateText(console, rate(volume.of(OpClass::Flush).ops)), rateText(console, rate(volume.of(OpClass::Trim).ops)),
		           rateText(console, rate(volume.of(OpClass::Extents).ops)),
		           Cell(std::to_string(total.errors), total.errors ? Style::Bad : Style::Plain), std::to_string(total.inFlight)});
	}
	console.data(table.render(console));
}

/// Without names: those in use, and what was used just before.
QList<dbus::SubjectStats> active(const QList<dbus::SubjectStats> &volumes)
{
	QList<dbus::SubjectStats> out;
	for (const dbus::SubjectStats &volume : volumes)
		if (volume.ports > 0 || volume.total().ops > 0) out.append(volume);
	return out;
}

ExitOr watch(Context &c, const Wanted &wanted)
{
	constexpr int kTitlesEvery = 20;
	auto before = readStats(c.session, "watch volumes");
	if (!before) return tl::unexpected<Failure>(before.error());
	bool told = false;
	int lines = 0;
	for (int n = 0; wanted.count == 0 || n < wanted.count; n++) {
		if (!c.session.pause(wanted.intervalMs)) return kExitInterrupted;
		auto now = readStats(c.session, "watch volumes");
		if (!now && c.session.interrupted()) return kExitInterrupted;
		if (!now) return tl::unexpected<Failure>(now.error());
		const Interval interval = between(*before, *now);
		before = std::move(now);
		QList<dbus::SubjectStats> volumes = chosen(interval.subjects, wanted.names);
		if (wanted.names.empty()) volumes = active(volumes);
		if (volumes.isEmpty() && !std::exchange(told, true)) c.console.message("no volume is in use now; waiting");
		if (c.console.json()) {
			printRatesJson(c.console, volumes, interval.seconds);
		} else if (!volumes.isEmpty()) {
			const bool again = c.console.stdoutIsTerminal() && lines >= kTitlesEvery;
			printRates(c.console, volumes, interval.seconds, lines == 0 || again);
			lines = again ? 1 : lines + static_cast<int>(volumes.size());
		}
		if (const auto written = flushed(c.console); !written) return tl::unexpected<Failure>(written.error());
	}
	return 0;
}

} // namespace

ExitOr runStat(Context &c)
{
	const auto wanted = wantedBy(c.args);
	if (!wanted) return tl::unexpected<Failure>(wanted.error());
	const bool named = !wanted->names.empty();
	// Also before watching: a name that is misspelt would be watched for ever.
	const auto stats = named ? readNamed(c.session, wanted->names) : readStats(c.session, "show statistics");
	if (!stats) return tl::unexpected<Failure>(stats.error());
	if (wanted->watch) return watch(c, *wanted);
	const QList<dbus::SubjectStats> volumes = chosen(dbus::bySubject(*stats), wanted->names);
	if (c.console.json())
		printTotalsJson(c.console, volumes, stats->timeUs);
	else
		printTotals(c.console, volumes);
	return 0;
}

} // namespace archipelago::cli
