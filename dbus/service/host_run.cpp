// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The deadline of a start begins anew with each role: a host with many roles may take longer than one with few, but none
// may hang. A host that has to wait for its predecessor's last writes says so itself after 30 s; the slack lets it.
#include "dbus/service/host_run.h"

namespace archipelago::service {

namespace {

constexpr int kFirstWordSlackMs = 5'000;
/// From the word "failed" or "stopped" to the end of the process.
constexpr int kExitMs = 5'000;

std::string seconds(int ms)
{
	return ms % 1000 ? std::to_string(ms) + " ms" : std::to_string(ms / 1000) + " s";
}

} // namespace

HostRun::HostRun(const QString &name, HostProcess process, const QString &logFile, const SupervisorTimeouts &timeouts, QObject *parent) :
    QObject(parent), m_handle(name, std::move(process), nullptr), m_logFile(logFile), m_timeouts(timeouts)
{
	m_deadline.setSingleShot(true);
	connect(&m_deadline, &QTimer::timeout, this, &HostRun::overdue);
	connect(&m_handle, &HostHandle::inflight, this, &HostRun::inflight);
	connect(&m_handle, &HostHandle::roleState, this, [this](const QString &role, const QString &state) {
		if (m_phase == Phase::Starting) m_deadline.start(m_timeouts.startMs);
		m_currentRole = role;
		emit roleState(role, state);
	});
	connect(&m_handle, &HostHandle::ready, this, [this] {
		if (m_phase != Phase::Starting) return;
		m_deadline.stop();
		m_phase = Phase::Up;
		if (const Done done = std::exchange(m_done, nullptr)) done({});
	});
	connect(&m_handle, &HostHandle::failed, this, [this](const QString &role, const Error &error) {
		m_failedRole = role;
		m_failure = error;
		m_deadline.start(kExitMs);
	});
	connect(&m_handle, &HostHandle::stopped, this, [this] {
		m_saidStopped = true;
		m_deadline.start(kExitMs);
	});
	m_changeDeadline.setSingleShot(true);
	connect(&m_changeDeadline, &QTimer::timeout, this, [this] {
		roleChangeEnded(failure(ErrorCode::Timeout, m_changing.toStdString() + " has not ended within " + seconds(m_changeDeadline.interval()) + "."));
	});
	connect(&m_handle, &HostHandle::roleDone, this, [this](const QString &role, const std::optional<Error> &error) {
		if (role != m_changing) return; // of a change that was given up
		if (error)
			roleChangeEnded(tl::unexpected<Error>(*error));
		else
			roleChangeEnded({});
	});
	connect(&m_handle, &HostHandle::ended, this, &HostRun::processEnded);
}

void HostRun::takeOver(bool up)
{
	m_phase = up ? Phase::Up : Phase::Starting;
	if (!up) m_deadline.start(m_timeouts.startMs + kFirstWordSlackMs);
	m_handle.sendAdopt();
}

void HostRun::changeRole(const QString &role, bool start, Done done)
{
	ARCHIPELAGO_ASSERT(!m_changed);
	m_changing = role;
	m_changed = std::move(done);
	m_changeDeadline.start(start ? m_timeouts.startMs : m_timeouts.drainMs);
	m_handle.sendRole(role, start);
}

void HostRun::roleChangeEnded(Result<void> result)
{
	m_changeDeadline.stop();
	m_changing.clear();
	if (const Done done = std::exchange(m_changed, nullptr)) done(std::move(result));
}

void HostRun::waitReady(Done done)
{
	m_done = std::move(done);
	m_deadline.start(m_timeouts.startMs + kFirstWordSlackMs);
}

void HostRun::stop(Done done)
{
	m_phase = Phase::Stopping;
	m_done = std::move(done);
	m_deadline.start(m_timeouts.stopMs);
	m_handle.sendStop();
}

void HostRun::overdue()
{
	m_killed = true;
	m_handle.kill(); // processEnded() follows
}

/// What to tell about an end; nothing when it ended as it was told to.
std::optional<Error> HostRun::errorOf(const HostExit &exit) const
{
	const std::string host = "host " + name().toStdString(), log = " Its log: " + m_logFile.toStdString();
	const std::string role = m_currentRole.isEmpty() ? host : m_currentRole.toStdString();
	if (m_failure) {
		const std::string failed = m_failedRole.isEmpty() ? host : m_failedRole.toStdString();
		return Error{m_failure->code, (m_phase == Phase::Starting ? "Cannot start " : "Trouble in ") + failed + ": " + m_failure->message};
	}
	if (m_saidStopped) return std::nullopt;
	if (m_killed && m_phase == Phase::Starting) {
		return Error{ErrorCode::Timeout, "Cannot start " + role + ": host " + name().toStdString() + " made no progress for "
		                                     + seconds(m_timeouts.startMs) + " and was killed." + log};
	}
	if (m_killed) {
		return Error{ErrorCode::Timeout, "Host " + name().toStdString() + " did not stop within " + seconds(m_timeouts.stopMs)
		                                     + " (last heard of: " + role + ") and was killed. What clients had flushed is safe." + log};
	}
	if (m_phase == Phase::Stopping && exit.clean()) return std::nullopt;
	const std::string how = host + " ended by " + exit.text().toStdString();
	if (m_phase == Phase::Starting) return Error{ErrorCode::Failed, "Cannot start " + role + ": " + how + "." + log};
	if (m_phase == Phase::Stopping) return Error{ErrorCode::Failed, "While stopping, " + how + "." + log};
	return Error{ErrorCode::Failed, how};
}

void HostRun::processEnded(const HostExit &exit)
{
	m_deadline.stop();
	End end{m_phase, exit, {}, errorOf(exit), true, {}};
	end.orderly = !exit.signalled && (m_failure || m_saidStopped || exit.clean());
	end.process = {.pid = pid(), .startTime = startTime()};
	if (m_phase == Phase::Starting) {
		end.failedRole = m_failure ? m_failedRole : m_currentRole;
		// A host that left by itself, cleanly, before it was ready: somebody ended it.
		if (!end.error) end.error = Error{ErrorCode::Cancelled, "Cannot start host " + name().toStdString() + ": it was ended from outside."};
	}
	const Done done = std::exchange(m_done, nullptr);
	emit gone(end);
	if (m_changed) roleChangeEnded(failure(ErrorCode::Peer, "Host " + name().toStdString() + " ended meanwhile."));
	if (!done) return;
	if (end.error)
		done(tl::unexpected<Error>(*end.error));
	else
		done({});
}

} // namespace archipelago::service
