// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// pid numbers are used again, so a pid alone proves nothing: the start time is compared when the file is read, and once more
// after the pidfd is open. From then on the pidfd is that process, whatever happens to the number.
#include "dbus/service/orphans.h"

#include "dbus/service/pidfd.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include <QDir>
#include <QFile>

namespace archipelago::service {

namespace {

QString hostsDir(const QString &runDir)
{
	return runDir + QLatin1String("/hosts");
}

/// Whether somebody holds the lock. A shared try of ours is gone at once; a host that starts meanwhile tries again.
bool locked(const QString &alivePath)
{
	const xseg::UniqueFd fd(open(QFile::encodeName(alivePath).constData(), O_RDONLY | O_CLOEXEC));
	return fd && flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

QByteArray bootId()
{
	QFile file(QStringLiteral("/proc/sys/kernel/random/boot_id"));
	return file.open(QIODevice::ReadOnly) ? file.readAll().trimmed() : QByteArray();
}

Orphan readPidFile(const QString &path)
{
	Orphan out;
	QFile file(path);
	if (!file.open(QIODevice::ReadOnly)) return out;
	const QList<QByteArray> fields = file.read(128).simplified().split(' ');
	if (fields.size() < 2) return out;
	const int pid = fields.at(0).toInt();
	const unsigned long long started = fields.at(1).toULongLong();
	out.killed = fields.size() == 3 && !fields.at(2).isEmpty() && fields.at(2) == bootId();
	if (pid <= 1 || started == 0 || startTimeOf(pid) != started) return out;
	out.killed = false;
	out.pid = pid;
	out.startTime = started;
	return out;
}

} // namespace

std::vector<Orphan> findOrphans(const QString &runDir)
{
	std::vector<Orphan> out;
	const QDir dir(hostsDir(runDir));
	const QStringList names = dir.entryList({QStringLiteral("*.alive"), QStringLiteral("*.pid")}, QDir::Files, QDir::Name);
	QStringList hosts;
	for (const QString &name : names) hosts.append(name.left(name.lastIndexOf(QLatin1Char('.'))));
	hosts.removeDuplicates();
	for (const QString &host : hosts) {
		const QString pidPath = dir.filePath(host + QLatin1String(".pid"));
		Orphan orphan = readPidFile(pidPath);
		const bool draining = locked(dir.filePath(host + QLatin1String(".alive")));
		if (orphan.pid == 0) QFile::remove(pidPath);
		if (orphan.pid == 0 && !draining && !orphan.killed) continue;
		orphan.host = host;
		out.push_back(orphan);
	}
	return out;
}

OrphanStopper::OrphanStopper(const QString &runDir, const Orphan &orphan, int timeoutMs, Done done, QObject *parent) :
    QObject(parent), m_runDir(runDir), m_orphan(orphan), m_timeoutMs(timeoutMs), m_done(std::move(done))
{
	m_deadline.setSingleShot(true);
	connect(&m_deadline, &QTimer::timeout, this, &OrphanStopper::overdue);
	m_lockPoll.setInterval(20);
	connect(&m_lockPoll, &QTimer::timeout, this, &OrphanStopper::checkLock);
}

void OrphanStopper::run()
{
	m_deadline.start(m_timeoutMs);
	if (m_orphan.pid != 0) m_pidfd = openPidfd(m_orphan.pid);
	if (!m_pidfd || startTimeOf(m_orphan.pid) != m_orphan.startTime) return ended();
	m_exit = std::make_unique<QSocketNotifier>(m_pidfd.get(), QSocketNotifier::Read);
	connect(m_exit.get(), &QSocketNotifier::activated, this, &OrphanStopper::ended);
	if (signalPidfd(m_pidfd, SIGTERM) != 0 && errno != ESRCH)
		finish(systemFailure(errno, "Cannot end host " + m_orphan.host.toStdString() + " (pid " + std::to_string(m_orphan.pid) + ")"));
}

/// The process is gone: what is left is the kernel's.
void OrphanStopper::ended()
{
	if (m_exit) m_exit->setEnabled(false);
	m_deadline.start(m_timeoutMs);
	m_lockPoll.start();
	checkLock();
}

void OrphanStopper::overdue()
{
	if (!m_lockPoll.isActive()) {
		m_killed = true;
		signalPidfd(m_pidfd, SIGKILL);
		return; // ended() follows
	}
	finish(failure(ErrorCode::Busy, "The last writes of host " + m_orphan.host.toStdString() + " have not ended after "
	                                       + std::to_string(m_timeoutMs / 1000) + " s. Is the disk stuck? Look at the kernel's log."));
}

void OrphanStopper::checkLock()
{
	if (locked(hostsDir(m_runDir) + QLatin1Char('/') + m_orphan.host + QLatin1String(".alive"))) return;
	if (m_killed) {
		return finish(failure(ErrorCode::Timeout, "Host " + m_orphan.host.toStdString() + " (pid " + std::to_string(m_orphan.pid)
		                                              + ") did not stop within " + std::to_string(m_timeoutMs / 1000)
		                                              + " s and was killed. What clients had flushed is safe."));
	}
	finish({});
}

void OrphanStopper::finish(Result<void> result)
{
	if (std::exchange(m_finished, true)) return;
	m_deadline.stop();
	m_lockPoll.stop();
	deleteLater();
	m_done(std::move(result));
}

} // namespace archipelago::service
