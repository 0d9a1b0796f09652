// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// HostRecovery: what a host that died has left in a segment in which others go on (xseg/recovery.h), step by step:
//
//   at once            fence: nobody sends to its ports any more, what it held is in no pool
//   the alive lock     is granted when the last direct I/O of the dead process has ended; nothing of its buffers is used before
//   then               release, again and again until living peers have given back what they held for it
//   done               its ports are free: a successor may start
//
// Nothing blocks: lock and release are tried again by a timer. Killed half-way, the next service begins anew. Main thread.
#pragma once

#include "xseg/fd.h"
#include "xseg/recovery.h"

#include <functional>

#include <QElapsedTimer>
#include <QObject>
#include <QString>
#include <QTimer>

namespace archipelago::service {

/// Replays what may be carried out twice (daemon/base/protocol.h), fails the rest back.
xseg::RecoveryOptions recoveryRules();

class HostRecovery : public QObject {
	Q_OBJECT

public:
	/// Segment and bells outlive it.
	HostRecovery(const xseg::Segment &segment, const xseg::BellFds &bells, const QString &runDir, const QString &host,
	             const xseg::ProcessId &dead, QObject *parent);

	/// Called once, never from here; at once when it is over already.
	void whenDone(std::function<void()> fn);
	/// What it waits for, for people; empty while it is quick.
	QString trouble() const;

signals:
	void done();

private:
	void step();
	bool lockGranted();

	xseg::Recovery m_recovery;
	QString m_host, m_alivePath;
	xseg::ProcessId m_dead;
	xseg::UniqueFd m_alive;
	bool m_locked = false, m_finished = false;
	xseg::RecoveryReport m_report; ///< of the last release()
	QElapsedTimer m_since;
	QTimer m_timer;
};

} // namespace archipelago::service
