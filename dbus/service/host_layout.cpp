// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A host's place in the start order is that of its first role.
#include "dbus/service/host_layout.h"

#include "daemon/base/text.h"

#include <algorithm>

namespace archipelago::service {

namespace {

QString text(std::string_view from)
{
	return QString::fromUtf8(from.data(), static_cast<qsizetype>(from.size()));
}

/// Where `host` stands: index of its first role in `roles`; behind them all when it has none.
size_t placeOf(const HostConfig &host, const Config &config)
{
	const auto first = std::ranges::find_if(config.roles, [&](const RoleConfig &role) {
		return std::ranges::find(host.roles, role.name) != host.roles.end();
	});
	return static_cast<size_t>(first - config.roles.begin());
}

PeerRole roleEntry(const RoleConfig &role, const QString &host)
{
	PeerRole out;
	out.name = text(role.name);
	out.type = text(roleTypeName(role.type));
	out.host = host;
	out.portStart = role.portnoStart;
	out.portEnd = role.portnoEnd;
	return out;
}

PeerRole gatewayEntry(const std::string &name, const Config &config, const QString &host)
{
	PeerRole out;
	out.name = text(name);
	out.type = text(roleTypeName(RoleType::Nbd)); // the one gateway there is
	out.host = host;
	out.portStart = config.nbd.portnoStart;
	out.portEnd = config.nbd.portnoEnd;
	out.gateway = true;
	return out;
}

} // namespace

const char *peerStateName(PeerState state)
{
	switch (state) {
	case PeerState::Stopped: return "stopped";
	case PeerState::Starting: return "starting";
	case PeerState::Up: return "up";
	case PeerState::Stuck: return "stuck";
	case PeerState::Stopping: return "stopping";
	case PeerState::Failed: return "failed";
	}
	return "failed";
}

QString PeerRole::ports() const
{
	return portStart == portEnd ? QString::number(portStart) : QStringLiteral("%1-%2").arg(portStart).arg(portEnd);
}

HostLayout HostLayout::of(const Config &config)
{
	std::vector<const HostConfig *> hosts;
	for (const HostConfig &host : config.hosts) hosts.push_back(&host);
	std::ranges::stable_sort(hosts, {}, [&](const HostConfig *host) { return placeOf(*host, config); });

	HostLayout out;
	for (const HostConfig *host : hosts) {
		const QString name = text(host->name);
		out.hosts.append(name);
		for (const RoleConfig &role : config.roles)
			if (std::ranges::find(host->roles, role.name) != host->roles.end()) out.roles.append(roleEntry(role, name));
		for (const std::string &role : host->roles)
			if (!config.role(role)) out.roles.append(gatewayEntry(role, config, name));
	}
	return out;
}

PeerRole *HostLayout::find(const QString &role)
{
	const auto found = std::ranges::find(roles, role, &PeerRole::name);
	return found == roles.end() ? nullptr : &*found;
}

QStringList HostLayout::rolesOf(const QString &host) const
{
	QStringList out;
	for (const PeerRole &role : roles)
		if (role.host == host) out.append(role.name);
	return out;
}

Result<QStringList> HostLayout::hostsOf(const QStringList &names) const
{
	QStringList wanted;
	for (const QString &name : names) {
		const auto found = std::ranges::find(roles, name, &PeerRole::name);
		if (found == roles.end()) {
			std::vector<std::string> known;
			for (const PeerRole &role : roles) known.push_back(role.name.toStdString());
			const std::vector<std::string_view> views(known.begin(), known.end());
			return failure(ErrorCode::NotFound, "There is no role " + inQuotes(name.toStdString()) + " in the configuration."
			                                        + didYouMean(name.toStdString(), views));
		}
		wanted.append(found->host);
	}
	QStringList out;
	for (const QString &host : hosts)
		if (wanted.contains(host)) out.append(host);
	return out;
}

} // namespace archipelago::service
