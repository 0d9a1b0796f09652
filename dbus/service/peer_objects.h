// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerObjects: one Peer object per configured role, following the supervisor's table. Main thread.
#pragma once

#include "dbus/service/object_tree.h"
#include "dbus/service/peer_supervisor.h"

#include <map>
#include <memory>

#include <QObject>

namespace archipelago::service {

class PeerObjects : public QObject {
	Q_OBJECT

public:
	PeerObjects(ObjectTree &tree, PeerSupervisor &supervisor);
	~PeerObjects() override;

private:
	void replaceAll();
	void follow(const QString &role, const QString &oldState, const QString &reason);

	ObjectTree &m_tree;
	PeerSupervisor &m_supervisor;
	std::map<QString, std::unique_ptr<ExportedObject>> m_objects;
};

} // namespace archipelago::service
