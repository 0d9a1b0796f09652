// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// HostRun: one host process from its start to its end, with deadlines. Turns what a host says and how it dies into one
// result for whoever started or stopped it.
//
//   Starting --ready--> Up --stop()--> Stopping --exit--> gone
//       |                |                 |
//       +-- failed, exit, deadline --------+--> gone        a passed deadline is SIGKILL, and E-TIMEOUT once it is dead
//
// gone() comes once, when the process has been waited for; then the result; then the run may be deleted. Main thread.
#pragma once

#include "dbus/service/host_handle.h"
#include "xseg/recovery.h"

#include <functional>
#include <optional>

#include <QTimer>

namespace archipelago::service {

struct SupervisorTimeouts {
	int startMs = 30'000; ///< without progress: from one role's message to the next
	int stopMs = 30'000;
	int drainMs = 5'000; ///< one role, while its host goes on
	int probeMs = 2'000;
	int stuckMs = 5'000;
};

class HostRun : public QObject {
	Q_OBJECT

public:
	enum class Phase { Starting, Up, Stopping };
	using Done = std::function<void(Result<void>)>;
	struct End {
		Phase during;
		HostExit exit;
		QString failedRole; ///< Starting only; may be empty
		std::optional<Error> error; ///< nothing: it ended as it was told to
		/// Left the segment as it should be: said its last word and went.
		bool orderly = true;
		xseg::ProcessId process; ///< as its ports name it
	};

	HostRun(const QString &name, HostProcess process, const QString &logFile, const SupervisorTimeouts &timeouts, QObject *parent);

	const QString &name() const { return m_handle.name(); }
	uint pid() const { return m_handle.pid(); }
	unsigned long long startTime() const { return m_handle.startTime(); }
	Phase phase() const { return m_phase; }
	/// A host of an earlier service: tells it who we are. `up`: it had said that it is ready.
	void takeOver(bool up);
	/// `done`: all roles are up, or why not (then the process is gone).
	void waitReady(Done done);
	/// Lets it drain. `done`: the process is gone; E-TIMEOUT when it had to be killed.
	void stop(Done done);
	/// Starts or drains one role while the others go on. One at a time. E-TIMEOUT: it has not drained in time and still drains;
	/// E-PEER: the host has ended meanwhile.
	void changeRole(const QString &role, bool start, Done done);
	void askStatus() { m_handle.askStatus(); }

signals:
	void roleState(const QString &role, const QString &state);
	void inflight(const QString &role, uint count);
	void gone(const archipelago::service::HostRun::End &end);

private:
	void overdue();
	void roleChangeEnded(Result<void> result);
	void processEnded(const HostExit &exit);
	std::optional<Error> errorOf(const HostExit &exit) const;

	HostHandle m_handle;
	QString m_logFile;
	SupervisorTimeouts m_timeouts;
	Phase m_phase = Phase::Starting;
	Done m_done;
	QTimer m_deadline;
	QString m_changing; ///< the role of changeRole()
	Done m_changed;
	QTimer m_changeDeadline;
	QString m_currentRole, m_failedRole;
	std::optional<Error> m_failure; ///< as the host put it
	bool m_killed = false, m_saidStopped = false;
};

} // namespace archipelago::service
