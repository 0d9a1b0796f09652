// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerSupervisor: what runs, and the only one who decides it. Owns the segment, the host processes and the table of roles;
// knows what state each is in and tells. Orders (start, stop, restart) are carried out one at a time by a PeerOrderRun with the
// steps offered here. What happens by itself is dealt with here: a host that dies is recovered (HostRecovery) and started again
// (Restarts), a role that hangs is shown as stuck.
//
// Nothing of this is on disk: when this process is killed the hosts go on, and a new service takes them over
// (supervisor_adoption.cpp). Main thread; what blocks runs aside.
#pragma once

#include "daemon/client/catalog_client.h"
#include "dbus/service/config_file.h"
#include "dbus/service/host_adoption.h"
#include "dbus/service/host_recovery.h"
#include "dbus/service/host_run.h"
#include "dbus/service/instance_state.h"
#include "dbus/service/peer_order.h"
#include "dbus/service/restarts.h"
#include "dbus/service/segment_link.h"

#include <deque>
#include <functional>
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

	/// Before the service shows itself: takes over who still runs from before, else reads which roles there will be. Blocks.
	void load();
	/// The end of the service: whoever waits for an answer is told while everybody still is there. Hosts go on.
	void letGo();
	/// At most one order at a time: E-BUSY through `hooks.done` while another is carried out; one of our own is waited for.
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
	/// Who is connected to a volume by NBD, in words; empty: nobody, or the gateway cannot be asked.
	void nbdClients(const std::string &name, std::function<void(std::string)> done);
	/// To look into; null while nothing runs.
	const xseg::Segment *segment() const { return m_link ? &m_link->segment() : nullptr; }

	// ---- steps, for PeerOrderRun
	QStringList runningHosts() const; ///< in start order
	bool runs(const QString &role) const;
	const std::vector<Orphan> &orphans() const { return m_facts.orphans; } ///< that live
	void setOrphans(std::vector<Orphan> orphans);
	void setActivity(Activity activity);
	void setStartError(const QString &error);
	/// Failed and crashed roles count as stopped from now on, and are not started again by themselves.
	void forgetFailures();
	/// What a fresh start needs to know: the configuration as it is now, and orphans().
	void readFresh(std::function<void(Result<ConfigFile>)> done);
	/// A new configuration, while nothing runs.
	void adopt(ConfigFile file);
	/// Something is to run: what does not is a failure.
	bool wantsAny() const { return !m_wanted.isEmpty(); }
	bool wants(const QString &host) const { return m_wanted.contains(host); }
	/// These hosts are to run, or not any more: whether one that dies is started again.
	void want(const QString &host, bool wanted);
	/// Roles that stay as they are when their host starts.
	void keepStopped(const QString &role, bool stopped);
	/// When its last life has been recovered, and in a new segment when there is none.
	void startHost(const QString &host, bool createDirs, std::function<void(Result<void>)> done);
	void stopHost(const QString &host, std::function<void(Result<void>)> done);
	/// One role of a running host. E-TIMEOUT: it did not drain in time; E-PEER: the host has ended.
	void changeRole(const QString &role, bool start, std::function<void(Result<void>)> done);
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
	void nextOrder();
	void setRole(PeerRole &role, PeerState state, const QString &reason = {}, const std::optional<Error> &error = {});
	void setStuck(const QString &role, bool stuck);
	void setHealth(const QString &role, const QString &problem);
	void tellCatalog();
	// supervisor_hosts.cpp
	SpawnRequest spawnRequest(const QString &host, bool createDirs, std::vector<xseg::UniqueFd> fds) const;
	QString logFileOf(const QString &host) const { return m_paths.logDir + QLatin1Char('/') + host + QLatin1String(".log"); }
	void withSegment(std::function<void(Result<void>)> next);
	void releaseSegment();
	void spawn(const QString &host, bool createDirs, std::function<void(Result<void>)> done);
	void hostSpawned(const QString &host, Result<HostProcess> spawned, std::function<void(Result<void>)> done);
	HostRun *watch(const QString &host, HostProcess process);
	void hostSaid(const QString &host, const QString &role, const QString &state);
	void hostUp(const QString &host);
	// supervisor_deaths.cpp
	void hostGone(const QString &host, const HostRun::End &end);
	void markGone(const QString &host, const HostRun::End &end);
	void recover(const QString &host, const xseg::ProcessId &dead);
	void tellRecoveries();
	void startAgain(const QString &host);
	void restartDue();
	// supervisor_adoption.cpp
	bool takeOver(const std::vector<Orphan> &living);
	void startKilled(const std::vector<Orphan> &orphans);
	bool takeOverSegment(std::vector<FoundHost> &found);
	void takeOverHost(FoundHost host);
	void recoverDeadOwners();
	QString hostOfOwner(const xseg::ProcessId &owner) const;

	SupervisorPaths m_paths;
	SupervisorTimeouts m_timeouts;
	ConfigFile m_file; ///< what runs now, or would
	InstanceFacts m_facts;
	std::unique_ptr<SegmentLink> m_link;
	std::map<QString, HostRun *> m_hosts; ///< running now; children of this
	std::map<QString, std::unique_ptr<HostRecovery>> m_recoveries; ///< hosts whose last life is still in the segment
	Restarts m_restarts;
	QStringList m_wanted, m_keptStopped;
	std::unique_ptr<PeerProbe> m_probe;
	std::deque<std::pair<PeerOrder, PeerOrderHooks>> m_waiting; ///< orders behind one of our own
	unsigned m_spawning = 0; ///< hosts that are being made, with descriptors of the segment
	bool m_orderRuns = false, m_orderIsOurs = false, m_catalogTold = false;
};

} // namespace archipelago::service
