// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago top: which volumes are at work and how fast they are, and what each role has to do for it. Redrawn on a
// terminal; printed, once or picture by picture, everywhere else. All of it are differences of two reads of the counters.
#include "cli/archipelago/commands.h"
#include "cli/out/json.h"
#include "cli/out/screen.h"
#include "cli/out/table.h"
#include "cli/stats.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>

namespace archipelago::cli {

namespace {

struct SortKey {
	char key;
	std::string_view name;
	/// Larger comes first; null: by name.
	double (*value)(const dbus::OpStats &);
};
constexpr SortKey kSortKeys[] = {
	{'i', "iops", [](const dbus::OpStats &s) { return static_cast<double>(s.ops); }},
	{'b', "bytes", [](const dbus::OpStats &s) { return static_cast<double>(s.bytes); }},
	{'l', "latency", [](const dbus::OpStats &s) { return static_cast<double>(s.percentileNs(0.99)); }},
	{'u', "queue", [](const dbus::OpStats &s) { return static_cast<double>(s.inFlight); }},
	{'n', "name", nullptr},
};

struct Wanted {
	int intervalMs = 1000;
	int count = 0; ///< 0: until the end
	bool screen = false;
	const SortKey *sort = &kSortKeys[0];
};

bool screenIsPossible(const Console &console)
{
	const char *term = std::getenv("TERM");
	return console.stdoutIsTerminal() && term && *term && std::string_view(term) != "dumb";
}

Result<Wanted> wantedBy(const Arguments &args, const Console &console)
{
	Wanted out;
	if (const auto text = args.value("--interval")) {
		const auto ms = parseInterval(*text);
		if (!ms) return tl::unexpected<Error>(ms.error());
		out.intervalMs = *ms;
	}
	if (const auto text = args.value("--count")) {
		const auto n = parseCount(*text);
		if (!n) return tl::unexpected<Error>(n.error());
		out.count = *n;
	}
	if (const auto text = args.value("--sort")) {
		const auto *found = std::ranges::find(kSortKeys, *text, &SortKey::name);
		if (found == std::end(kSortKeys))
			return failure(ErrorCode::Invalid, "--sort is iops, bytes, latency, queue or name, not " + inQuotes(*text) + ".");
		out.sort = found;
	}
	const bool batch = args.has("--batch") || args.has("--once") || console.json();
	out.screen = !batch && screenIsPossible(console);
	const bool endless = out.screen || args.has("--batch") || args.has("--count");
	if (args.has("--once") || !endless) out.count = 1;
	return out;
}

/// What is shown at a time.
struct Picture {
	dbus::ManagerInfo manager;
	double seconds = 0;
	QList<dbus::SubjectStats> volumes, roles; ///< in use, or used just before; sorted
};

void sort(QList<dbus::SubjectStats> &subjects, const SortKey &by)
{
	// They come sorted by name.
	if (by.value)
		std::ranges::stable_sort(subjects, std::greater<>(), [&by](const dbus::SubjectStats &s) { return by.value(s.total()); });
}

class Watch {
public:
	explicit Watch(Session &session) : m_session(session) {}

	Result<void> begin()
	{
		auto first = readStats(m_session, "watch the instance");
		if (!first) return tl::unexpected<Error>(first.error());
		m_before = std::move(*first);
		return {};
	}
	Result<Picture> next()
	{
		auto manager = m_session.ask<dbus::ManagerInfo>(
			"watch the instance", [](dbus::Bus &bus, auto done) { dbus::ManagerProxy(bus).info(std::move(done)); });
		if (!manager) return tl::unexpected<Error>(manager.error());
		auto now = readStats(m_session, "watch the instance");
		if (!now) return tl::unexpected<Error>(now.error());
		const Interval interval = between(m_before, *now);
		m_before = std::move(*now);
		Picture out{.manager = std::move(*manager), .seconds = interval.seconds, .volumes = {}, .roles = {}};
		for (const dbus::SubjectStats &subject : interval.subjects)
			if (subject.ports > 0 || subject.total().ops > 0)
				(subject.kind == QLatin1String("volume") ? out.volumes : out.roles).append(subject);
		return out;
	}

private:
	Session &m_session;
	dbus::StatsSnapshot m_before;
};

QJsonObject subjectJson(const dbus::SubjectStats &subject, double seconds)
{
	QJsonObject out{{"name", subject.name}, {"ports", jsonSize(subject.ports)}};
	if (!subject.id.isEmpty()) out.insert("id", subject.id);
	QJsonObject ops = byClass(subject, [seconds](const dbus::OpStats &s) { return rateJson(s, seconds); });
	ops.insert("other", rateJson(subject.of(OpClass::Other), seconds));
	out.insert("ops", ops);
	out.insert("all", rateJson(subject.total(), seconds));
	return out;
}

void printJson(Console &console, const Picture &picture)
{
	JsonDocument document{.schema = "archipelago.top/1", .items = {}, .warnings = {}, .more = {}};
	for (const dbus::SubjectStats &volume : picture.volumes) document.items.append(subjectJson(volume, picture.seconds));
	QJsonArray roles;
	for (const dbus::SubjectStats &role : picture.roles) roles.append(subjectJson(role, picture.seconds));
	document.more = {{"roles", roles}, {"seconds", picture.seconds}, {"state", picture.manager.state}, {"verdict", picture.manager.verdict}};
	console.data(toJson(document));
}

std::string volumeTable(const Console &console, const Picture &picture)
{
	Table table({{"VOLUME", Align::Left, true, 12}, {"IOPS", Align::Right, false, 6}, {"READ/S", Align::Right, false, 6},
	             {"WRITE/S", Align::Right}, {"READ", Align::Right, false, 10}, {"WRITTEN", Align::Right, false, 10},
	             {"P50", Align::Right, false, 7}, {"P99", Align::Right, false, 7}, {"QUEUE", Align::Right}, {"ERRORS", Align::Right}});
	const auto rate = [&](quint64 n) { return picture.seconds > 0 ? static_cast<double>(n) / picture.seconds : 0; };
	for (const dbus::SubjectStats &volume : picture.volumes) {
		const dbus::OpStats all = volume.total(), &read = volume.of(OpClass::Read), &write = volume.of(OpClass::Write);
		table.add({volume.name.toStdString(), rateText(console, rate(all.ops)), rateText(console, rate(read.ops)),
		           rateText(console, rate(write.ops)), byteRateText(console, rate(read.bytes)), byteRateText(console, rate(write.bytes)),
		           latencyText(console, all.percentileNs(0.5)), latencyText(console, all.percentileNs(0.99)),
		           std::to_string(all.inFlight), Cell(std::to_string(all.errors), all.errors ? Style::Bad : Style::Plain)});
	}
	return table.render(console);
}

std::string roleTable(const Console &console, const Picture &picture)
{
	Table table({{"ROLE", Align::Left, true, 12}, {"PORTS", Align::Right}, {"OPS/S", Align::Right, false, 6},
	             {"BYTES", Align::Right, false, 10}, {"MEAN", Align::Right, false, 7}, {"P50", Align::Right, false, 7},
	             {"P99", Align::Right, false, 7}, {"QUEUE", Align::Right}, {"ERRORS", Align::Right}});
	const auto rate = [&](quint64 n) { return picture.seconds > 0 ? static_cast<double>(n) / picture.seconds : 0; };
	for (const dbus::SubjectStats &role : picture.roles) {
		const dbus::OpStats all = role.total();
		table.add({role.name.toStdString(), std::to_string(role.ports), rateText(console, rate(all.ops)),
		           byteRateText(console, rate(all.bytes)), latencyText(console, all.meanNs()), latencyText(console, all.percentileNs(0.5)),
		           latencyText(console, all.percentileNs(0.99)), std::to_string(all.inFlight),
		           Cell(std::to_string(all.errors), all.errors ? Style::Bad : Style::Plain)});
	}
	return table.render(console);
}

/// What there is to be done where there is nothing to be seen; empty otherwise.
std::string_view advice(const Picture &picture)
{
	if (!picture.volumes.isEmpty()) return {};
	if (picture.manager.state == QLatin1String("stopped")) return "Nothing runs. Try: archipelago start";
	return "No volume is in use. A client connects to the address that this shows: vlmc info NAME";
}

std::string text(const Console &console, const Picture &picture)
{
	std::string out;
	const std::string_view hint = advice(picture);
	if (console.stdoutIsTerminal() && !hint.empty()) (out += hint) += '\n';
	// A script gets its titles in any case, a person no empty table.
	if (!console.stdoutIsTerminal() || !picture.volumes.isEmpty()) out += volumeTable(console, picture);
	if (!console.stdoutIsTerminal() || !picture.roles.isEmpty()) (out += '\n') += roleTable(console, picture);
	return out;
}

std::string titleLine(const Console &console, const Picture &picture, const Wanted &wanted)
{
	const std::time_t now = std::time(nullptr);
	std::tm parts{};
	char clock[16];
	::localtime_r(&now, &parts);
	std::string out = "archipelago " + printable(picture.manager.state.toStdString()) + "  ";
	out.append(clock, std::strftime(clock, sizeof clock, "%H:%M:%S", &parts));
	out = console.styled(out, Style::Bold) + "  by " + std::string(wanted.sort->name) + "   keys: i b l u n sort, space, q\n";
	const QString verdict = picture.manager.verdict;
	if (!verdict.isEmpty()) out += console.styled(printable(verdict.toStdString()), Style::Warning) + "\n";
	return out + "\n";
}

/// Until 'q', or until one of the sort keys or space asks for another picture. False: it was 'q'.
bool obeyKeys(Screen &screen, Wanted &wanted)
{
	while (const char key = screen.key()) {
		if (key == 'q') return false;
		const auto *found = std::ranges::find(kSortKeys, key, &SortKey::key);
		if (found != std::end(kSortKeys)) wanted.sort = found;
	}
	return true;
}

ExitOr live(Context &c, Wanted wanted)
{
	Watch watch(c.session);
	if (const auto begun = watch.begin(); !begun) return tl::unexpected<Failure>(begun.error());
	Screen screen(c.console);
	for (int n = 0; wanted.count == 0 || n < wanted.count; n++) {
		// The first picture comes soon, so that nobody looks at nothing.
		constexpr int kFirstMs = 200;
		if (!c.session.pause(n == 0 ? std::min(kFirstMs, wanted.intervalMs) : wanted.intervalMs, screen.keysFd())) return kExitInterrupted;
		if (!obeyKeys(screen, wanted)) return 0;
		auto picture = watch.next();
		if (!picture && c.session.interrupted()) return kExitInterrupted;
		if (!picture) return tl::unexpected<Failure>(picture.error());
		sort(picture->volumes, *wanted.sort);
		const std::string lines = titleLine(c.console, *picture, wanted) + text(c.console, *picture);
		if (const int errnum = screen.draw(lines)) return tl::unexpected<Failure>(systemFailure(errnum, "Cannot draw").value());
	}
	return 0;
}

ExitOr print(Context &c, const Wanted &wanted)
{
	Watch watch(c.session);
	if (const auto begun = watch.begin(); !begun) return tl::unexpected<Failure>(begun.error());
	for (int n = 0; wanted.count == 0 || n < wanted.count; n++) {
		if (!c.session.pause(wanted.intervalMs)) return kExitInterrupted;
		auto picture = watch.next();
		if (!picture && c.session.interrupted()) return kExitInterrupted;
		if (!picture) return tl::unexpected<Failure>(picture.error());
		sort(picture->volumes, *wanted.sort);
		if (c.console.json()) {
			printJson(c.console, *picture);
		} else {
			if (n > 0) c.console.line("");
			c.console.data(text(c.console, *picture));
			if (const auto hint = advice(*picture); !hint.empty() && !c.console.stdoutIsTerminal()) c.console.message(hint);
		}
		if (const auto written = flushed(c.console); !written) return tl::unexpected<Failure>(written.error());
	}
	return 0;
}

} // namespace

ExitOr runTop(Context &c)
{
	const auto wanted = wantedBy(c.args, c.console);
	if (!wanted) return tl::unexpected<Failure>(wanted.error());
	return wanted->screen ? live(c, *wanted) : print(c, *wanted);
}

} // namespace archipelago::cli
