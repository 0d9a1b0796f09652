// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The verdict names the worst thing first and only that: an operator mends one thing at a time.
#include "dbus/service/instance_state.h"

#include <algorithm>

namespace archipelago::service {

namespace {

bool runs(const PeerRole &role)
{
	return isRunning(role.state);
}

QStringList namesOf(const HostLayout &layout, PeerState state)
{
	QStringList out;
	for (const PeerRole &role : layout.roles)
		if (role.state == state) out.append(role.name);
	return out;
}

/// "a", "a and b", "a, b and c"; with the verb that fits.
QString listed(const QStringList &names, const char *one, const char *many)
{
	if (names.size() == 1) return names.first() + QLatin1String(one);
	return names.mid(0, names.size() - 1).join(QLatin1String(", ")) + QLatin1String(" and ") + names.last() + QLatin1String(many);
}

QString crashVerdict(const InstanceFacts &facts)
{
	const QString host = facts.crashed.firstKey();
	const QStringList roles = facts.layout.rolesOf(host);
	QString down;
	if (!roles.isEmpty()) down = QLatin1String("; ") + listed(roles, " is down", " are down");
	const QString next = facts.restarting.value(host, QStringLiteral("Try: archipelago start"));
	return QStringLiteral("host %1 ended by %2%3. %4").arg(host, facts.crashed.first(), down, next);
}

} // namespace

QString describeOrphans(const std::vector<Orphan> &orphans)
{
	QStringList out;
	for (const Orphan &orphan : orphans) {
		out.append(orphan.pid ? QStringLiteral("host %1 (pid %2)").arg(orphan.host).arg(orphan.pid)
		                      : QStringLiteral("host %1 (dead, its last writes are still on their way)").arg(orphan.host));
	}
	return out.join(QLatin1String(", "));
}

QString instanceState(const InstanceFacts &facts)
{
	if (facts.activity == Activity::Starting) return QStringLiteral("starting");
	if (facts.activity == Activity::Stopping) return QStringLiteral("stopping");
	const auto &roles = facts.layout.roles;
	const auto up = std::ranges::count(roles, PeerState::Up, &PeerRole::state);
	if (facts.crashed.isEmpty() && facts.orphans.empty() && facts.problems.isEmpty()) {
		if (!roles.isEmpty() && up == roles.size()) return QStringLiteral("running");
		if (std::ranges::none_of(roles, runs)) return QStringLiteral("stopped");
	}
	return QStringLiteral("degraded");
}

QString instanceVerdict(const InstanceFacts &facts)
{
	if (facts.activity != Activity::None) return {};
	if (!facts.crashed.isEmpty()) return crashVerdict(facts);
	if (!facts.orphans.empty()) {
		return QStringLiteral("%1 of an earlier service still runs, out of this service's control. Try: archipelago stop, then archipelago start")
		    .arg(describeOrphans(facts.orphans));
	}
	const HostLayout &layout = facts.layout;
	if (const QStringList stuck = namesOf(layout, PeerState::Stuck); !stuck.isEmpty())
		return listed(stuck, " does not answer", " do not answer") + QStringLiteral(". Try: archipelago restart ") + stuck.first();
	if (!facts.problems.isEmpty()) return facts.problems.first();
	if (!facts.startError.isEmpty()) return QStringLiteral("The last start failed: ") + facts.startError;
	if (std::ranges::any_of(layout.roles, runs)) {
		const QStringList down = namesOf(layout, PeerState::Stopped) + namesOf(layout, PeerState::Failed);
		if (!down.isEmpty()) return listed(down, " is", " are") + QStringLiteral(" stopped. Try: archipelago start");
	}
	if (!facts.configError.isEmpty())
		return QStringLiteral("The configuration cannot be used, so nothing can be started. See: archipelago check-config");
	return {};
}

} // namespace archipelago::service
