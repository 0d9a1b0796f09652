// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What `vlmc stat` and `archipelago top` share: intervals as they are typed, numbers of counters as they are shown, and rates.
#pragma once

#include "cli/session.h"

#include <array>

#include <QJsonObject>

namespace archipelago::cli {

/// "2", "0.5" (seconds) or a duration, "500ms": 100 ms to an hour. In ms. E-INVALID.
Result<int> parseInterval(const std::string &text);
/// Whether it is a bare number, as the last operand of `vlmc stat NAME 1`.
bool isNumber(const std::string &text);
/// --count: 1 or more. E-INVALID.
Result<int> parseCount(const std::string &text);

/// "850 ns", "12.3 µs", "4.56 ms", "1.2 s"; in a pipe nanoseconds. 0, when nothing was counted: "-", in a pipe 0.
std::string latencyText(const Console &console, quint64 ns);
/// "12.3k", in a pipe "12345.6".
std::string rateText(const Console &console, double perSecond);
/// "12.3 MiB/s", in a pipe bytes.
std::string byteRateText(const Console &console, double perSecond);

/// meanNs, p50Ns, p99Ns, p999Ns, maxNs; null when nothing was counted.
QJsonObject latencyJson(const dbus::OpStats &stats);
/// The same with opsPerSecond, bytesPerSecond, errors (in these seconds) and inFlight.
QJsonObject rateJson(const dbus::OpStats &stats, double seconds);
/// What clients do with a volume; "other" is for roles alone.
inline constexpr std::array kVolumeClasses{OpClass::Read, OpClass::Write, OpClass::Flush, OpClass::Trim, OpClass::Extents};
/// These, by name.
template <typename Make> QJsonObject byClass(const dbus::SubjectStats &subject, Make &&make)
{
	QJsonObject out;
	for (const OpClass c : kVolumeClasses) {
		const std::string_view name = opClassName(c);
		out.insert(QLatin1String(name.data(), static_cast<qsizetype>(name.size())), make(subject.of(c)));
	}
	return out;
}

/// All counters there are. `what` as for Session::ask().
Result<dbus::StatsSnapshot> readStats(Session &session, const std::string &what);

/// The counters of one interval.
struct Interval {
	double seconds = 0;
	QList<dbus::SubjectStats> subjects;
};
Interval between(const dbus::StatsSnapshot &before, const dbus::StatsSnapshot &now);

/// Writes what there is to be seen now. E-IO and the like: stdout does not take it.
Result<void> flushed(Console &console);

} // namespace archipelago::cli
