// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Authority: who may change things. Reads need no permission and never come here. Every mutation does, with the action it is
// (named as a polkit action will be); the caller's uid comes from the bus, which cannot be lied to.
//
//   private or session bus   root and the service's own uid may do everything, others nothing
//   system bus               uid 0 only
//
// Main thread; the question to the bus is asynchronous. What the caller wants to change may have changed when `granted`
// runs: whoever asks checks existence and state there, not before.
#pragma once

#include "dbus/service/object_tree.h"

#include <QObject>

namespace archipelago::service {

enum class Action { PeerManage, VolumeCreate, VolumeRemove, VolumeMap, JobCancelOthers };

class Authority : public QObject {
	Q_OBJECT

public:
	enum class BusKind { Private, System };
	Authority(const QDBusConnection &bus, BusKind kind);

	/// Runs `granted` with the caller's uid, or answers the call with AccessDenied.
	void require(Action action, const MethodCall &call, std::function<void(uint uid)> granted);
	/// The caller's uid alone, for decisions that depend on it; AccessDenied when the caller is gone.
	void identify(const MethodCall &call, std::function<void(uint uid)> known);
	/// Whether `uid` may; the rule behind require().
	bool allows(uint uid) const;
	/// The refusal, with what to do.
	Error refusal(Action action, uint uid) const;

private:
	QDBusConnection m_bus;
	BusKind m_kind;
};

} // namespace archipelago::service
