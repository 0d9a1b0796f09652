// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The Manager at the root of the tree: the instance as a whole, and the orders to its peers. Its State, Verdict and
// NbdSocket follow the supervisor's; StateChanged is emitted after the property changed. Main thread.
#pragma once

#include "dbus/service/jobs.h"
#include "dbus/service/peer_supervisor.h"
#include "dbus/service/volume_objects.h"

#include <QObject>

namespace archipelago::service {

class ManagerObject : public QObject, private ExportedObject {
	Q_OBJECT

public:
	ManagerObject(ObjectTree &tree, Authority &authority, Jobs &jobs, PeerSupervisor &supervisor, VolumeObjects &volumes);

private:
	void called(const MethodCall &call) override;
	void order(const MethodCall &call, PeerOrder::Verb verb);
	void checkConfig(const MethodCall &call);
	void follow();

	Authority &m_authority;
	Jobs &m_jobs;
	PeerSupervisor &m_supervisor;
	VolumeObjects &m_volumes;
};

} // namespace archipelago::service
