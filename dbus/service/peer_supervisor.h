// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerSupervisor: what runs. Owns the segment, the host processes and the table of roles; knows what state each is in and
// tells. Orders (start, stop, restart) are carried out one at a time by a PeerOrderRun with the steps offered here; what
// happens by itself (a host that dies, a role that hangs) is dealt with here.
//
// Nothing of this is on disk: when this process is killed the hosts go on, and a new service finds them as orphans. Main
// thread; what blocks runs aside.
#pragma once

#include "daemon/client/catalog_client.h"
#include "dbus/service/config_file.h"
#include "dbus/service/host_run.h"
#include "dbus/service/instance_state.h"
#include "dbus/service/peer_order.h"
#include "dbus/service/segment_link.h"

#include <map>
#include <memory>

#include <QObject>

namespace archipelago::service {

class PeerProbe;

struct SupervisorPaths {
	QString configFile, runDir, stateDir, logDir;
	QString hostProgram; ///< archip-host
	bool trial = false;

	ConfigDefaults configDefaults() const;
};

class PeerSupervisor : public QObject {
	Q_OBJECT

public:
	PeerSupervisor(const SupervisorPaths &paths, const SupervisorTimeouts &timeouts);
	~PeerSupervisor() override;

	/// Before the service shows itself: the roles there will be, and who still runs from before. Blocks.
	void load();
	/// The end of the service: whoever waits for an answer is told while everybody still is there. Hosts go on.
	void letGo();
	/// At most one order at a time: E-BUSY through `hooks.done` while another is carried out.
	void submit(const PeerOrder &order, PeerOrderHooks hooks);

	const SupervisorPaths &paths() const { return m_paths; }
	const HostLayout &layout() const { return m_facts.layout; }
	const PeerRole *role(const QString &name) const;
	QString state() const { return instanceState(m_facts); }
	QString verdict() const { return instanceVerdict(m_facts); }
	/// Where NBD clients connect; empty when no role serves them.
	QString nbdSocket() const;

	/// The way to the mapper. E-PEER: it does not run (what to do). Call requestSent() after using it.
	Result<client::CatalogClient> catalog();
	/// The mapper can be asked: true also while it is stuck (then answers may take until their deadline).
	bool catalogAvailable() const;
	void requestSent();

	// ---- steps, for PeerOrderRun
	QStringList runningHosts() const; ///< in start order
	/// Something died in the segment and left it as it was: no new host may join it.
	bool segmentTainted() const { return m_tainted; }
	const std::vector<Orphan> &orphans() const { return m_facts.orphans; } ///< that live
	void setOrphans(std::vector<Orphan> orphans);
	void setActivity(Activity activity);
	void setStartError(const QString &error);
	/// Failed and crashed roles count as stopped from now on.
	void forgetFailures();
	/// What a fresh start needs to know: the configuration as it is now, and orphans().
	void readFresh(std::function<void(Result<ConfigFile>)> done);
	/// A new configuration, while nothing runs.
	void adopt(ConfigFile file);
	void makeSegment(std::function<void(Result<void>)> done);
	void releaseSegment();
	bool hasSegment() const { return m_link != nullptr; }
	void startHost(const QString &host, bool createDirs, std::function<void(Result<void>)> done);
	void stopHost(const QString &host, std::function<void(Result<void>)> done);
	int stopTimeoutMs() const { return m_timeouts.stopMs; }

signals:
	/// Roles came or went: everything about them is void.
	void layoutReplaced();
	void roleChanged(const QString &role, const QString &oldState, const QString &reason);
	/// State or verdict may read differently.
	void stateChanged();
	void catalogChanged(bool available);

private:
	friend class PeerProbe;
	SpawnRequest spawnRequest(const QString &host, bool createDirs, std::vector<xseg::UniqueFd> fds) const;
	QString logFileOf(const QString &host) const { return m_paths.logDir + QLatin1Char('/') + host + QLatin1String(".log"); }
	void hostSpawned(const QString &host, Result<SpawnedHost> spawned, std::function<void(Result<void>)> done);
	void hostSaid(const QString &host, const QString &role, const QString &state);
	void hostGone(const QString &host, const HostRun::End &end);
	void setRole(PeerRole &role, PeerState state, const QString &reason = {}, const std::optional<Error> &error = {});
	void setStuck(const QString &role, bool stuck);
	void tellCatalog();

	SupervisorPaths m_paths;
	SupervisorTimeouts m_timeouts;
	ConfigFile m_file; ///< what runs now, or would
	InstanceFacts m_facts;
	std::unique_ptr<SegmentLink> m_link;
	std::map<QString, HostRun *> m_hosts; ///< running now; children of this
	std::unique_ptr<PeerProbe> m_probe;
	bool m_tainted = false, m_orderRuns = false, m_catalogTold = false;
};

} // namespace archipelago::service
