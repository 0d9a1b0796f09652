// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeObjects: the volumes on the bus and what can be done with them. The mapper is the truth; an object is the snapshot
// of its last answer. Objects are there while the mapper can be asked: read when it comes up, kept in step by what goes
// through here and by every list, gone with the mapper. Calls go to the mapper by name, with or without an object, so a
// stale tree misleads nobody. Main thread.
#pragma once

#include "daemon/client/catalog_client.h"
#include "dbus/service/jobs.h"
#include "dbus/service/peer_supervisor.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <QObject>

namespace archipelago::service {

class VolumeObject;

class VolumeObjects : public QObject {
	Q_OBJECT

public:
	template <typename T> using Done = std::function<void(Result<T>)>;

	VolumeObjects(ObjectTree &tree, Authority &authority, Jobs &jobs, PeerSupervisor &supervisor);
	~VolumeObjects() override;

	// Methods of the Manager, their arguments not yet looked at.
	void create(const MethodCall &call);
	void list(const MethodCall &call);
	void resolve(const MethodCall &call);
	/// A method of Volume on volumes/LABEL.
	void called(const MethodCall &call);

private:
	void remove(const MethodCall &call, const std::string &name);
	void openOrClose(const MethodCall &call, const std::string &name, bool open);
	void withClients(Error error, const std::string &name, std::function<void(const Error &)> done);
	void getInfo(const MethodCall &call, const std::string &name);
	void getStats(const MethodCall &call, const std::string &name);

	void runCreate(Job &job, const std::string &name, uint64_t sizeBytes);
	void runRemove(Job &job, const std::string &name);
	void remember();
	void reopen();
	void refreshAll();
	/// Reads one volume and brings its object in step.
	void refresh(const std::string &name, Done<VolumeInfo> done);
	void takeList(const std::vector<VolumeInfo> &volumes);
	void put(const VolumeInfo &info);
	QVariantMap propertiesOf(const VolumeInfo &info) const;

	ObjectTree &m_tree;
	Authority &m_authority;
	Jobs &m_jobs;
	PeerSupervisor &m_supervisor;
	std::map<std::string, std::unique_ptr<VolumeObject>> m_objects; ///< by name, bytewise
	std::set<std::string> m_reopen; ///< opened explicitly when their mapper died
};

} // namespace archipelago::service
