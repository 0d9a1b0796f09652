// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// RoleWatch: says on stderr what happens while a job starts or stops roles: a line a role ("mapperd   up") and what the job
// says of itself ("host data runs nbd as well: they restart together"). It hears the signals themselves, because a job's
// message is a property that the next one overwrites, and is made before the call that makes the job, so that nothing is
// missed; what jobs said before it is known which is ours waits in m_early.
#pragma once

#include "cli/session.h"

#include <QDBusMessage>
#include <QSet>

namespace archipelago::cli {

class RoleWatch : public QObject {
	Q_OBJECT

public:
	RoleWatch(Session &session, dbus::Bus &bus);
	/// Which job is ours.
	void follow(const dbus::JobInfo &job);

private slots:
	void onJobChanged(const QString &interface, const QVariantMap &changed, const QStringList &,
	                  const QDBusMessage &message);
	void onStateChanged(const QString &from, const QString &to, const QString &reason, const QDBusMessage &message);

private:
	/// Each message once; the plain "starting ROLE" is left to the state lines.
	void jobSays(const QString &text);

	Session &m_session;
	QString m_job;                              ///< path of ours; empty = not known yet
	QList<std::pair<QString, QString>> m_early; ///< path and message
	QSet<QString> m_said;
	QString m_lastReason;
};

} // namespace archipelago::cli
