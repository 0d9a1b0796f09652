// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Peers have no methods: orders go through the Manager.
#include "dbus/service/peer_objects.h"

namespace archipelago::service {

namespace {

class PeerObject : public ExportedObject {
public:
	using ExportedObject::ExportedObject;
	void called(const MethodCall &) override { ARCHIPELAGO_ASSERT(!"a Peer has no methods"); }
};

/// What never changes while the object lives.
QVariantMap constantsOf(const PeerRole &role)
{
	return {
		{QStringLiteral("Name"), role.name},
		{QStringLiteral("Role"), role.type},
		{QStringLiteral("Host"), role.host},
		{QStringLiteral("Ports"), role.ports()},
	};
}

QVariantMap variablesOf(const PeerRole &role)
{
	return {
		{QStringLiteral("State"), QLatin1String(peerStateName(role.state))},
		{QStringLiteral("Pid"), role.pid},
		{QStringLiteral("Since"), role.sinceUs},
		{QStringLiteral("RequestsInFlight"), role.inflight},
		{QStringLiteral("LastError"), QVariant::fromValue(dbus::ErrorPair{role.errorSymbol, role.errorMessage})},
	};
}

} // namespace

PeerObjects::PeerObjects(ObjectTree &tree, PeerSupervisor &supervisor) : m_tree(tree), m_supervisor(supervisor)
{
	connect(&m_supervisor, &PeerSupervisor::layoutReplaced, this, &PeerObjects::replaceAll);
	connect(&m_supervisor, &PeerSupervisor::roleChanged, this, &PeerObjects::follow);
	replaceAll();
}

PeerObjects::~PeerObjects() = default;

void PeerObjects::replaceAll()
{
	// Roles that stay as they are keep their object: a reader of the tree sees no flicker.
	std::map<QString, std::unique_ptr<ExportedObject>> old = std::exchange(m_objects, {});
	for (const PeerRole &role : m_supervisor.layout().roles) {
		const QVariantMap constants = constantsOf(role), variables = variablesOf(role);
		auto kept = old.find(role.name);
		const auto same = [&](const char *key) { return kept->second->value(key) == constants.value(QLatin1String(key)); };
		if (kept != old.end() && same("Role") && same("Host") && same("Ports")) {
			kept->second->update(variables);
			m_objects.insert(old.extract(kept));
			continue;
		}
		if (kept != old.end()) old.erase(kept);
		QVariantMap all = constants;
		all.insert(variables);
		m_objects.emplace(role.name, std::make_unique<PeerObject>(m_tree, dbus::peerPath(role.name), dbus::kPeerInterface, all));
	}
}

void PeerObjects::follow(const QString &name, const QString &oldState, const QString &reason)
{
	const auto found = m_objects.find(name);
	const PeerRole *role = m_supervisor.role(name);
	if (found == m_objects.end() || !role) return;
	found->second->update(variablesOf(*role));
	const QString now = QLatin1String(peerStateName(role->state));
	if (now != oldState) found->second->emitSignal("StateChanged", {oldState, now, reason});
}

} // namespace archipelago::service
