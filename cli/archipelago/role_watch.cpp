// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See role_watch.h.
#include "cli/archipelago/role_watch.h"

#include "daemon/base/text.h"

#include <algorithm>

#include <QRegularExpression>

namespace archipelago::cli {

namespace {

/// Wide enough for the roles of the default configuration; longer names push their state out.
constexpr size_t kNameColumn = 10;

} // namespace

RoleWatch::RoleWatch(Session &session, dbus::Bus &bus) : m_session(session)
{
	QDBusConnection connection = bus.connection();
	const QString service = QLatin1String(dbus::kBusName);
	connection.connect(service, {}, QLatin1String(dbus::kPeerInterface), QStringLiteral("StateChanged"), this,
	                   SLOT(onStateChanged(QString, QString, QString, QDBusMessage)));
	connection.connect(service, {}, QLatin1String(dbus::kPropertiesInterface), QStringLiteral("PropertiesChanged"),
	                   {QLatin1String(dbus::kJobInterface)}, {}, this,
	                   SLOT(onJobChanged(QString, QVariantMap, QStringList, QDBusMessage)));
}

void RoleWatch::follow(const dbus::JobInfo &job)
{
	if (m_job.isEmpty()) {
		m_job = job.path;
		for (const auto &[path, text] : m_early)
			if (path == m_job) jobSays(text);
	}
	jobSays(job.message);
}

void RoleWatch::onJobChanged(const QString &, const QVariantMap &changed, const QStringList &,
                             const QDBusMessage &message)
{
	const QString text = changed.value(QStringLiteral("Message")).toString();
	if (text.isEmpty()) return;
	if (m_job.isEmpty())
		m_early.append({message.path(), text});
	else if (message.path() == m_job)
		jobSays(text);
}

void RoleWatch::jobSays(const QString &text)
{
	static const QRegularExpression kPlain(QStringLiteral("^(starting|stopping) \\S+$"));
	if (text.isEmpty() || m_said.contains(text) || kPlain.match(text).hasMatch()) return;
	m_said.insert(text);
	m_session.say(printable(text.toStdString()));
}

void RoleWatch::onStateChanged(const QString &, const QString &to, const QString &reason, const QDBusMessage &message)
{
	const bool passing = to == QLatin1String("starting") || to == QLatin1String("stopping");
	if (passing) return;
	const std::string label = message.path().section(QLatin1Char('/'), -1).toStdString();
	std::string line = printable(dbus::nameFromLabel(label).value_or(label));
	line += std::string(std::max(kNameColumn, line.size() + 1) - line.size(), ' ') + printable(to.toStdString());
	// Roles of one host share its fate: why is said once.
	if (!reason.isEmpty() && reason != m_lastReason) line += ": " + printable(reason.toStdString());
	m_lastReason = reason;
	m_session.say(line);
}

} // namespace archipelago::cli
