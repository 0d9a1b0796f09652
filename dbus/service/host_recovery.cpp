// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The lock is kept until everything is released: a successor that was started by hand waits as well.
#include "dbus/service/host_recovery.h"

#include "daemon/base/log.h"
#include "daemon/base/protocol.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>

#include <QFile>

namespace archipelago::service {

namespace {

constexpr int kFirstMs = 1, kLongestMs = 50;
constexpr qint64 kQuickMs = 1'000;

} // namespace

xseg::RecoveryOptions recoveryRules()
{
	xseg::RecoveryOptions options;
	options.policy = [](uint16_t op) { return isRepeatable(static_cast<Op>(op)) ? xseg::Verdict::Replay : xseg::Verdict::Fail; };
	return options;
}

HostRecovery::HostRecovery(const xseg::Segment &segment, const xseg::BellFds &bells, const QString &runDir, const QString &host,
                           const xseg::ProcessId &dead, QObject *parent) :
    QObject(parent), m_recovery(segment, bells, recoveryRules()), m_host(host),
    m_alivePath(runDir + QLatin1String("/hosts/") + host + QLatin1String(".alive")), m_dead(dead)
{
	m_since.start();
	m_recovery.fence(m_dead);
	m_timer.setSingleShot(true);
	m_timer.setInterval(0);
	connect(&m_timer, &QTimer::timeout, this, &HostRecovery::step);
	m_timer.start();
}

void HostRecovery::whenDone(std::function<void()> fn)
{
	if (m_finished)
		QMetaObject::invokeMethod(this, std::move(fn), Qt::QueuedConnection);
	else
		connect(this, &HostRecovery::done, this, std::move(fn));
}

QString HostRecovery::trouble() const
{
	if (m_finished || m_since.elapsed() < kQuickMs) return {};
	if (!m_locked)
		return QStringLiteral("Waiting until the kernel has finished the last writes of host %1; is the disk stuck? See: dmesg").arg(m_host);
	return QStringLiteral("Waiting for %1 requests that other peers still hold for host %2: a full store, or a disk that is stuck").arg(m_report.waiting).arg(m_host);
}

bool HostRecovery::lockGranted()
{
	if (m_locked) return true;
	if (!m_alive) m_alive.reset(open(QFile::encodeName(m_alivePath).constData(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
	// A lock file that cannot be opened proves nothing, so nothing is released.
	m_locked = m_alive && flock(m_alive.get(), LOCK_EX | LOCK_NB) == 0;
	return m_locked;
}

void HostRecovery::step()
{
	if (lockGranted()) m_report = m_recovery.release(m_dead);
	if (!m_locked || !m_report.complete()) {
		m_timer.start(std::clamp(m_timer.interval() * 2, kFirstMs, kLongestMs));
		return;
	}
	m_finished = true;
	m_alive.reset();
	roleLogger("service")->info("host {} (pid {}) recovered after {} ms: {} requests replayed, {} failed back, {} freed, {} slabs returned",
	                            m_host.toStdString(), m_dead.pid, m_since.elapsed(), m_report.replayed, m_report.failed,
	                            m_report.freed, m_report.slabs);
	emit done();
}

} // namespace archipelago::service
