// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dbus/client/stats.h"

#include <map>
#include <tuple>

namespace archipelago::dbus {

namespace {

/// Within one generation numbers only rise; what does not is nonsense, and counts as nothing.
quint64 risen(quint64 now, quint64 before) { return now > before ? now - before : 0; }

OpStats statsOf(const OpRow &row)
{
	OpStats out{row.ops, row.bytes, row.errors, row.ns, row.inFlight, {}};
	for (qsizetype i = 0; i < row.counts.size(); i++) {
		const size_t bucket = row.firstBucket + static_cast<size_t>(i);
		if (bucket >= out.latency.size()) break;
		out.latency[bucket] = row.counts[i];
	}
	return out;
}

OpStats difference(const OpStats &now, const OpStats &before)
{
	OpStats out{risen(now.ops, before.ops), risen(now.bytes, before.bytes), risen(now.errors, before.errors),
	            risen(now.ns, before.ns), now.inFlight, {}};
	for (size_t i = 0; i < out.latency.size(); i++) out.latency[i] = risen(now.latency[i], before.latency[i]);
	return out;
}

} // namespace

void OpStats::add(const OpStats &other)
{
	ops += other.ops;
	bytes += other.bytes;
	errors += other.errors;
	ns += other.ns;
	inFlight += other.inFlight;
	for (size_t i = 0; i < latency.size(); i++) latency[i] += other.latency[i];
}

PortStats PortStats::fromMap(const QVariantMap &map)
{
	const auto value = [&map](const char *key) { return map.value(QLatin1String(key)); };
	PortStats out;
	out.port = value("Port").toUInt();
	out.generation = value("Generation").toULongLong();
	out.kind = value("Kind").toString();
	out.name = value("Name").toString();
	out.id = value("Id").toString();
	out.bound = value("Bound").toBool();
	out.sinceUs = value("Since").toULongLong();
	const auto rows = qdbus_cast<OpRows>(value("Ops"));
	for (const OpRow &row : rows)
		for (size_t c = 0; c < kOpClasses; c++)
			if (row.name.toStdString() == opClassName(static_cast<OpClass>(c))) out.ops[c] = statsOf(row);
	return out;
}

OpStats SubjectStats::total() const
{
	OpStats out;
	for (const OpStats &one : ops) out.add(one);
	return out;
}

StatsSnapshot difference(const StatsSnapshot &now, const StatsSnapshot &before)
{
	std::map<uint, const PortStats *> earlier;
	for (const PortStats &port : before.ports) earlier[port.port] = &port;
	StatsSnapshot out = now;
	for (PortStats &port : out.ports) {
		const auto found = earlier.find(port.port);
		if (found == earlier.end() || found->second->generation != port.generation) continue;
		for (size_t c = 0; c < kOpClasses; c++) port.ops[c] = difference(port.ops[c], found->second->ops[c]);
	}
	return out;
}

QList<SubjectStats> bySubject(const StatsSnapshot &snapshot)
{
	std::map<std::tuple<QString, QByteArray, QString>, SubjectStats> sums;
	for (const PortStats &port : snapshot.ports) {
		SubjectStats &sum = sums[{port.kind, port.name.toUtf8(), port.id}];
		sum.kind = port.kind;
		sum.name = port.name;
		sum.id = port.id;
		sum.ports += port.bound;
		if (sum.sinceUs == 0 || (port.sinceUs != 0 && port.sinceUs < sum.sinceUs)) sum.sinceUs = port.sinceUs;
		for (size_t c = 0; c < kOpClasses; c++) sum.ops[c].add(port.ops[c]);
	}
	QList<SubjectStats> out;
	for (auto &[key, sum] : sums) out.append(std::move(sum));
	return out;
}

} // namespace archipelago::dbus
