// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A host is our own program, but its messages are checked like anybody's: a wrong type is an empty text, an unknown message
// is logged and left alone.
#include "dbus/service/host_handle.h"

#include "daemon/base/host_protocol.h"
#include "daemon/base/log.h"
#include "dbus/service/pidfd.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>

#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QSocketNotifier>

namespace archipelago::service {

QString HostExit::text() const
{
	if (!signalled) return QStringLiteral("exit status %1").arg(value);
	const char *name = sigabbrev_np(value);
	return name ? QStringLiteral("SIG") + QLatin1String(name) : QStringLiteral("signal %1").arg(value);
}

HostHandle::HostHandle(const QString &name, SpawnedHost spawned, QObject *parent) :
    QObject(parent), m_name(name), m_spawned(std::move(spawned)),
    m_readable(std::make_unique<QSocketNotifier>(m_spawned.socket.get(), QSocketNotifier::Read)),
    m_died(std::make_unique<QSocketNotifier>(m_spawned.pidfd.get(), QSocketNotifier::Read))
{
	connect(m_readable.get(), &QSocketNotifier::activated, this, &HostHandle::readMessages);
	connect(m_died.get(), &QSocketNotifier::activated, this, &HostHandle::reap);
}

HostHandle::~HostHandle() = default;

void HostHandle::send(const char *type)
{
	const QByteArray text = QJsonDocument(QJsonObject{{QStringLiteral("type"), QLatin1String(type)}}).toJson(QJsonDocument::Compact);
	// A host that does not read its socket is stuck, and the deadline of whoever asked says so.
	if (::send(m_spawned.socket.get(), text.constData(), static_cast<size_t>(text.size()), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		roleLogger("service")->debug("host {}: \"{}\" was not sent: {}", m_name.toStdString(), type, strerrordesc_np(errno));
}

void HostHandle::sendStop()
{
	send("stop");
}

void HostHandle::askStatus()
{
	send("status");
}

void HostHandle::kill()
{
	// By pidfd: never somebody else who got the number.
	signalPidfd(m_spawned.pidfd, SIGKILL);
}

void HostHandle::readMessages()
{
	QByteArray text(static_cast<qsizetype>(kHostMessageMax), Qt::Uninitialized);
	for (;;) {
		const ssize_t n = recv(m_spawned.socket.get(), text.data(), static_cast<size_t>(text.size()), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno == EAGAIN) return;
		if (n <= 0) {
			// Closed: the process is about to end, or it is broken. Either way its pidfd has the last word.
			m_readable->setEnabled(false);
			return;
		}
		const QJsonDocument message = QJsonDocument::fromJson(QByteArray::fromRawData(text.constData(), static_cast<qsizetype>(n)));
		handle(message.object());
	}
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
	siginfo_t info{};
	if (waitid(P_PIDFD, static_cast<id_t>(m_spawned.pidfd.get()), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) return;
	m_died->setEnabled(false);
	// Its last words may still be in the socket.
	readMessages();
	m_readable->setEnabled(false);
	HostExit exit;
	exit.signalled = info.si_code != CLD_EXITED;
	exit.value = info.si_status;
	emit ended(exit);
}

} // namespace archipelago::service
