// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Restarts: which hosts that ended by themselves are to be started again, and when. The first try is at once; one that follows
// at once waits longer each time, up to half a minute, and never gives up: an operator's disk may be back at any moment. A host
// that stayed up for a fifth of a second is as good as new. Main thread.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include <QElapsedTimer>
#include <QString>
#include <QStringList>
#include <QTimer>

namespace archipelago::service {

class Restarts {
public:
	/// `due`: there is something to start, see take().
	explicit Restarts(std::function<void()> due) : m_due(std::move(due)) {}

	/// The host ended, or a try to start it failed. How long it will wait, in ms.
	int ended(const QString &host);
	/// It is up.
	void up(const QString &host);
	/// Somebody stopped it on purpose.
	void forget(const QString &host) { m_hosts.erase(host); }
	void clear() { m_hosts.clear(); }

	/// The next one that is due now; empty when none is. It counts as being started from then on.
	QString take();
	bool knows(const QString &host) const { return m_hosts.contains(host); }
	/// Failed tries so far; 0 for the first.
	int tries(const QString &host) const;
	/// Until the next try, rounded up; 0: now.
	int secondsLeft(const QString &host) const;

private:
	struct Host {
		int tries = 0;
		bool due = false;
		QTimer timer;
		QElapsedTimer upSince; ///< invalid while it is down
	};
	std::function<void()> m_due;
	std::map<QString, std::unique_ptr<Host>> m_hosts;
};

} // namespace archipelago::service
