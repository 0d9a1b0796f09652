// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ManagerProxy and VolumeProxy: the methods of dbus/interfaces/*.xml with C++ types. Values without state: cheap to make,
// they only refer to their Bus. Errors: those named here, and for each call those of Bus::call().
#pragma once

#include "dbus/client/job_watch.h"
#include "dbus/client/stats.h"

namespace archipelago::dbus {

struct StartOptions {
	bool createDirs = false; ///< make missing directories of the stores
	bool userOnly = false;   ///< only peers in user space (-u)
	bool ok = false;         ///< a named role that runs already is no error
};
struct StopOptions {
	bool force = false; ///< also while clients use volumes
	bool userOnly = false;
};
struct ListOptions {
	QString after;     ///< go on behind this name
	quint64 limit = 0; ///< 0 = all
};

class ManagerProxy {
public:
	explicit ManagerProxy(Bus &bus) : m_bus(bus) {}

	void info(Done<ManagerInfo> done);
	/// Manager, peers, volumes and jobs at once (GetManagedObjects, then the Manager's properties).
	void overview(Done<Overview> done);

	/// Empty list: everything. E-NOTFOUND (role), E-BUSY (runs already, or other hosts are alive), E-CONFIG (all diagnostics).
	void start(const QStringList &roles, const StartOptions &options, JobEvents events);
	/// E-BUSY: clients use volumes (who), unless forced.
	void stop(const QStringList &roles, const StopOptions &options, JobEvents events);
	void restart(const QStringList &roles, const StopOptions &options, JobEvents events);

	/// The job's result has path o and id s. E-INVALID (name, size), E-EXISTS, E-NOSPACE, E-PEER (not started).
	void createVolume(const QString &name, quint64 sizeBytes, JobEvents events);
	/// Sorted by name, bytewise; a volume that cannot be read is a row with `error`.
	void listVolumes(const ListOptions &options, Done<QList<VolumeInfo>> done);

	/// Of everything that counts. Never fails for want of peers: then there are no rows.
	void stats(Done<StatsSnapshot> done);

	/// Checks the service's file, or `text` when given. An empty list: nothing to say.
	void checkConfig(const std::optional<QString> &text, Done<QList<ConfigProblem>> done);

private:
	Bus &m_bus;
};

class VolumeProxy {
public:
	VolumeProxy(Bus &bus, const QString &name) : m_bus(bus), m_name(name), m_path(volumePath(name)) {}
	QString name() const { return m_name; }

	/// Read anew from the mapper. E-NOTFOUND.
	void info(Done<VolumeInfo> done);
	/// No rows when no client has used it since the peers were started. E-NOTFOUND.
	void stats(Done<StatsSnapshot> done);
	/// To trash. E-NOTFOUND, E-BUSY (open, or in use: by whom).
	void remove(JobEvents events);
	/// Sticky; succeeds when already open. E-NOTFOUND.
	void open(Done<void> done);
	/// E-NOTOPEN, E-BUSY (who uses it).
	void close(Done<void> done);

private:
	Bus &m_bus;
	QString m_name, m_path;
};

} // namespace archipelago::dbus
