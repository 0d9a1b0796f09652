// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Host processes that outlived an earlier service: runDir/hosts/NAME.pid (pid, start time, boot) and NAME.alive (locked by the
// host, and by the kernel until its last write is done). A process counts as that host when a process of that pid started at
// that time; a pid file of nobody is stale and goes away. One that an orderly end would have removed, of this boot, says that
// its host was killed. The alive file always stays: removing a lock file races with its next taker.
#pragma once

#include "daemon/base/errors.h"
#include "xseg/fd.h"

#include <functional>
#include <memory>
#include <vector>

#include <QObject>
#include <QSocketNotifier>
#include <QString>
#include <QTimer>

namespace archipelago::service {

struct Orphan {
	QString host;
	int pid = 0;                  ///< 0: the process is dead, only its last writes are still on their way
	unsigned long long startTime = 0; ///< clock ticks since boot (/proc/PID/stat, field 22)
	bool killed = false;              ///< it is dead, and was running when it died
};

/// Those that live, drain, or were killed; removes stale pid files. Reads a few small files.
std::vector<Orphan> findOrphans(const QString &runDir);

/// Ends one orphan: SIGTERM, which drains it; after `timeoutMs` SIGKILL; then waits for its alive lock. Main thread, nothing
/// blocks. Deletes itself after `done`.
class OrphanStopper : public QObject {
	Q_OBJECT

public:
	/// Errors: E-TIMEOUT (it is gone, but had to be killed), E-BUSY (its last writes do not end), E-DENIED (not ours to signal).
	using Done = std::function<void(Result<void>)>;
	OrphanStopper(const QString &runDir, const Orphan &orphan, int timeoutMs, Done done, QObject *parent);
	void run();

private:
	void ended();
	void overdue();
	void checkLock();
	void finish(Result<void> result);

	QString m_runDir;
	Orphan m_orphan;
	int m_timeoutMs;
	Done m_done;
	bool m_killed = false, m_finished = false;
	xseg::UniqueFd m_pidfd;
	std::unique_ptr<QSocketNotifier> m_exit;
	QTimer m_deadline, m_lockPoll;
};

} // namespace archipelago::service
