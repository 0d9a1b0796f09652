// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A host is our own program, but its messages are checked like anybody's: a wrong type is an empty text, an unknown message
// is logged and left alone.
#include "dbus/service/host_handle.h"

#include "daemon/base/log.h"
#include "dbus/service/pidfd.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <cerrno>

#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QSocketNotifier>

namespace archipelago::service {

QString HostExit::text() const
{
	if (!known) return QStringLiteral("an unknown cause");
	if (!signalled) return QStringLiteral("exit status %1").arg(value);
	const char *name = sigabbrev_np(value);
	return name ? QStringLiteral("SIG") + QLatin1String(name) : QStringLiteral("signal %1").arg(value);
}

HostHandle::HostHandle(const QString &name, HostProcess process, QObject *parent) :
    QObject(parent), m_name(name), m_process(std::move(process)),
    m_readable(std::make_unique<QSocketNotifier>(m_process.channel.fd(), QSocketNotifier::Read)),
    m_died(std::make_unique<QSocketNotifier>(m_process.pidfd.get(), QSocketNotifier::Read))
{
	connect(m_readable.get(), &QSocketNotifier::activated, this, &HostHandle::readMessages);
	connect(m_died.get(), &QSocketNotifier::activated, this, &HostHandle::reap);
}

HostHandle::~HostHandle() = default;

void HostHandle::send(const char *type, const QString &role)
{
	QJsonObject message{{QStringLiteral("type"), QLatin1String(type)}};
	if (!role.isEmpty()) message.insert(QStringLiteral("role"), role);
	const QByteArray text = QJsonDocument(message).toJson(QJsonDocument::Compact);
	// A host that does not read its socket is stuck, and the deadline of whoever asked says so.
	if (const auto sent = m_process.channel.send({text.constData(), static_cast<size_t>(text.size())}); !sent)
		roleLogger("service")->debug("host {}: \"{}\" was not sent: {}", m_name.toStdString(), type, strerrordesc_np(sent.error().errnum));
}

void HostHandle::kill()
{
	// By pidfd: never somebody else who got the number.
	signalPidfd(m_process.pidfd, SIGKILL);
}

void HostHandle::readMessages()
{
	while (const auto message = m_process.channel.receive(false))
		handle(QJsonDocument::fromJson(QByteArray::fromStdString(message->text)).object());
	// Closed: the process is about to end, or it is broken. Either way its pidfd has the last word. (The notifier watches a
	// number that is free now, so it goes at once.)
	if (!m_process.channel.open()) m_readable->setEnabled(false);
}

void HostHandle::handle(const QJsonObject &message)
{
	const QString type = message.value(QLatin1String("type")).toString(), role = message.value(QLatin1String("role")).toString();
	if (type == QLatin1String("role")) {
		emit roleState(role, message.value(QLatin1String("state")).toString());
	} else if (type == QLatin1String("ready")) {
		emit ready();
	} else if (type == QLatin1String("stopped")) {
		emit stopped();
	} else if (type == QLatin1String("failed")) {
		const auto code = errorFromSymbol(message.value(QLatin1String("code")).toString().toStdString());
		emit failed(role, Error{code.value_or(ErrorCode::Failed), message.value(QLatin1String("message")).toString().toStdString()});
	} else if (type == QLatin1String("roleDone")) {
		const std::string code = message.value(QLatin1String("code")).toString().toStdString();
		const std::string text = message.value(QLatin1String("message")).toString().toStdString();
		if (code.empty()) return emit roleDone(role, std::nullopt);
		emit roleDone(role, Error{errorFromSymbol(code).value_or(ErrorCode::Failed), text});
	} else if (type == QLatin1String("status")) {
		const QJsonArray roles = message.value(QLatin1String("roles")).toArray();
		for (const QJsonValue &entry : roles) {
			const double count = entry.toObject().value(QLatin1String("inflight")).toDouble();
			emit inflight(entry.toObject().value(QLatin1String("name")).toString(), count > 0 && count < 1e9 ? static_cast<uint>(count) : 0);
		}
	} else {
		roleLogger("service")->warn("host {} sent a message of unknown type \"{}\"", m_name.toStdString(), type.toStdString());
	}
}

void HostHandle::reap()
{
	HostExit exit;
	if (m_process.ours) {
		siginfo_t info{};
		if (waitid(P_PIDFD, static_cast<id_t>(m_process.pidfd.get()), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) return;
		exit.signalled = info.si_code != CLD_EXITED;
		exit.value = info.si_status;
	} else
		exit.known = false;
	m_died->setEnabled(false);
	// Its last words may still be in the socket.
	if (m_process.channel.open()) readMessages();
	m_readable->setEnabled(false);
	emit ended(exit);
}

} // namespace archipelago::service
