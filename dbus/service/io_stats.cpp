// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dbus/service/io_stats.h"

#include "daemon/client/catalog_client.h"

#include <algorithm>
#include <ctime>

namespace archipelago::service {

namespace {

uint64_t microseconds(clockid_t clock)
{
	timespec t{};
	clock_gettime(clock, &t);
	return static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_nsec) / 1000;
}

QString textOf(std::string_view bytes) { return QString::fromUtf8(bytes.data(), static_cast<qsizetype>(bytes.size())); }

dbus::OpRow rowOf(OpClass c, const client::OpCounts &counts)
{
	dbus::OpRow row{textOf(opClassName(c)), counts.ops, counts.bytes, counts.errors, counts.ns, counts.inflight, 0, {}};
	const auto counted = [](uint64_t n) { return n != 0; };
	const auto first = std::ranges::find_if(counts.latency, counted);
	if (first == counts.latency.end()) return row;
	const auto last = std::find_if(counts.latency.rbegin(), counts.latency.rend(), counted).base();
	row.firstBucket = static_cast<uint>(first - counts.latency.begin());
	row.counts = QList<quint64>(first, last);
	return row;
}

/// `since` in CLOCK_BOOTTIME to microseconds since the epoch; 0 for what cannot be.
quint64 sinceEpoch(uint64_t sinceNs, uint64_t bootUs, uint64_t epochUs)
{
	const uint64_t agoUs = bootUs > sinceNs / 1000 ? bootUs - sinceNs / 1000 : 0;
	return agoUs < epochUs ? epochUs - agoUs : 0;
}

} // namespace

QVariantList statsReply(const xseg::Segment *segment, const std::optional<VolumeId> &only)
{
	const uint64_t bootUs = microseconds(CLOCK_BOOTTIME), epochUs = microseconds(CLOCK_REALTIME);
	dbus::VariantMapList rows;
	if (segment) {
		for (const client::PortCounts &port : client::readCounters(*segment)) {
			const bool volume = port.kind == CounterKind::Volume;
			if (only && !(volume && port.volume == *only)) continue;
			dbus::OpRows ops;
			for (size_t c = 0; c < kOpClasses; ++c) {
				const client::OpCounts &counts = port.ops[c];
				if (counts.ops || counts.inflight) ops.append(rowOf(static_cast<OpClass>(c), counts));
			}
			rows.append({{QStringLiteral("Port"), uint(port.port)},
			             {QStringLiteral("Generation"), quint64(port.generation)},
			             {QStringLiteral("Kind"), volume ? QStringLiteral("volume") : QStringLiteral("role")},
			             {QStringLiteral("Name"), textOf(port.name)},
			             {QStringLiteral("Id"), volume ? QString::fromStdString(client::formatVolumeId(port.volume)) : QString()},
			             {QStringLiteral("Bound"), port.bound},
			             {QStringLiteral("Since"), sinceEpoch(port.sinceNs, bootUs, epochUs)},
			             {QStringLiteral("Ops"), QVariant::fromValue(ops)}});
		}
	}
	return {quint64(bootUs), QVariant::fromValue(rows)};
}

} // namespace archipelago::service
