// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// GetConnectionUnixUser of the bus driver, never cached: a unique name is asked about once per mutation, and those are rare.
#include "dbus/service/authority.h"

#include <unistd.h>

#include <QDBusPendingCallWatcher>
#include <QDBusPendingReply>

namespace archipelago::service {

namespace {

struct ActionText {
	Action action;
	const char *what;
};
constexpr ActionText kActions[] = {
	{Action::PeerManage, "start and stop peers"},       {Action::VolumeCreate, "create volumes"},
	{Action::VolumeRemove, "remove volumes"},           {Action::VolumeMap, "open and close volumes"},
	{Action::JobCancelOthers, "cancel others' jobs"},
};

} // namespace

Authority::Authority(const QDBusConnection &bus, BusKind kind) : m_bus(bus), m_kind(kind) {}

bool Authority::allows(uint uid) const
{
	return uid == 0 || (m_kind == BusKind::Private && uid == geteuid());
}

Error Authority::refusal(Action action, uint uid) const
{
	std::string what;
	for (const ActionText &a : kActions)
		if (a.action == action) what = a.what;
	std::string who = "root may";
	if (m_kind == BusKind::Private && geteuid() != 0) who = "root and the user who started it (uid " + std::to_string(geteuid()) + ") may";
	return {ErrorCode::Denied, "You (uid " + std::to_string(uid) + ") may look but not " + what + ": in this instance only " + who
	                               + ". Run the command as such a user, for example with sudo."};
}

void Authority::identify(const MethodCall &call, std::function<void(uint uid)> known)
{
	QDBusMessage question = QDBusMessage::createMethodCall(QStringLiteral("org.freedesktop.DBus"), QStringLiteral("/org/freedesktop/DBus"),
	                                                       QStringLiteral("org.freedesktop.DBus"), QStringLiteral("GetConnectionUnixUser"));
	question << call.sender();
	auto *watcher = new QDBusPendingCallWatcher(m_bus.asyncCall(question), this);
	connect(watcher, &QDBusPendingCallWatcher::finished, this, [call, known = std::move(known)](QDBusPendingCallWatcher *w) {
		w->deleteLater();
		const QDBusPendingReply<uint> uid = *w;
		if (uid.isError()) return call.fail(Error{ErrorCode::Denied, "The bus does not say who you are: " + uid.error().message().toStdString()});
		known(uid.value());
	});
}

void Authority::require(Action action, const MethodCall &call, std::function<void(uint uid)> granted)
{
	identify(call, [this, action, call, granted = std::move(granted)](uint uid) {
		if (!allows(uid)) return call.fail(refusal(action, uid));
		granted(uid);
	});
}

} // namespace archipelago::service
