// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What GetStats says, typed, and the arithmetic that every display of it needs: the difference of two replies, and the rows of
// one volume or role added up. Nothing here fails: numbers may be nonsense, and then so are the sums, but in their types.
#pragma once

#include "daemon/base/op_stats.h"
#include "dbus/client/values.h"

#include <array>

namespace archipelago::dbus {

struct OpStats {
	quint64 ops = 0, bytes = 0, errors = 0, ns = 0, inFlight = 0;
	std::array<uint64_t, kLatencyBuckets> latency{};

	void add(const OpStats &other);
	quint64 meanNs() const { return ops ? ns / ops : 0; }
	quint64 percentileNs(double share) const { return latencyPercentileNs(latency, share); }
	quint64 maxNs() const { return latencyMaxNs(latency); }
};
using ClassStats = std::array<OpStats, kOpClasses>; ///< by OpClass

struct PortStats {
	uint port = 0;
	quint64 generation = 0;
	QString kind, name, id; ///< "volume" or "role"
	bool bound = false;
	quint64 sinceUs = 0;
	ClassStats ops;

	static PortStats fromMap(const QVariantMap &map);
};

struct StatsSnapshot {
	quint64 timeUs = 0; ///< monotonic
	QList<PortStats> ports;
};

/// A volume, or a role with all its ports.
struct SubjectStats {
	QString kind, name, id;
	uint ports = 0;      ///< bound now
	quint64 sinceUs = 0; ///< the earliest
	ClassStats ops;

	const OpStats &of(OpClass c) const { return ops[static_cast<size_t>(c)]; }
	OpStats total() const; ///< of all classes
};

/// What happened between the two: a port that began anew meanwhile with all it has. In flight: now.
StatsSnapshot difference(const StatsSnapshot &now, const StatsSnapshot &before);
/// Added up by kind, name and id; sorted by these.
QList<SubjectStats> bySubject(const StatsSnapshot &snapshot);

} // namespace archipelago::dbus
