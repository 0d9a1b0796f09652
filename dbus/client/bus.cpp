// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One private connection per Bus (the name is a counter's), so that a Bus that is destroyed takes its signals along. Calls are
// raw messages: only they can carry the permission to ask the user for a password.
#include "dbus/client/bus.h"

#include <atomic>

#include <QDBusError>
#include <QDBusPendingCallWatcher>
#include <QDBusServiceWatcher>

namespace archipelago::dbus {

namespace {

QString freshConnectionName()
{
	static std::atomic<unsigned> count{0};
	return QStringLiteral("archipelago-client-%1").arg(++count);
}

bool isAddress(const QString &where)
{
	// "transport:key=value", several separated by ';'
	return where.indexOf(QLatin1Char(':')) > 0 && where.contains(QLatin1Char('='));
}

bool serviceIsMissing(const QDBusMessage &reply)
{
	switch (QDBusError(reply).type()) {
	case QDBusError::ServiceUnknown:
	case QDBusError::Disconnected:
	case QDBusError::NoServer: return true;
	default:
		// Of activation, which fails when the unit or the program cannot be started.
		return reply.errorName().startsWith(QLatin1String("org.freedesktop.DBus.Error.Spawn"))
		       || reply.errorName() == QLatin1String("org.freedesktop.DBus.Error.NameHasNoOwner");
	}
}

} // namespace

Result<std::unique_ptr<Bus>> Bus::connect(const QString &where)
{
	registerBusTypes();
	const QString name = freshConnectionName();
	const bool system = where == QLatin1String("system"), session = where == QLatin1String("session");
	if (!system && !session && !isAddress(where)) {
		return failure(ErrorCode::Invalid, "\"" + where.toStdString()
		                                       + "\" is not a bus. Give system, session or an address such as unix:path=/run/x/bus.");
	}
	const QDBusConnection connection = system || session
	                                       ? QDBusConnection::connectToBus(system ? QDBusConnection::SystemBus : QDBusConnection::SessionBus, name)
	                                       : QDBusConnection::connectToBus(where, name);
	if (!connection.isConnected()) {
		const std::string why = connection.lastError().message().toStdString();
		QDBusConnection::disconnectFromBus(name);
		return failure(ErrorCode::Peer, "Cannot reach the " + (system || session ? where.toStdString() + " bus" : "bus " + where.toStdString())
		                                    + ": " + why + ". Is ARCHIPELAGO_BUS (or --bus) the bus of a running instance?");
	}
	return std::unique_ptr<Bus>(new Bus(where, name, connection));
}

Bus::Bus(const QString &where, const QString &name, const QDBusConnection &connection) :
    m_where(where), m_connectionName(name), m_connection(connection)
{
	auto *watcher = new QDBusServiceWatcher(QLatin1String(kBusName), m_connection, QDBusServiceWatcher::WatchForOwnerChange, this);
	QObject::connect(watcher, &QDBusServiceWatcher::serviceRegistered, this, [this] { emit serviceChanged(true); });
	QObject::connect(watcher, &QDBusServiceWatcher::serviceUnregistered, this, [this] { emit serviceChanged(false); });
	// The bus itself may end; then nobody tells about the service any more.
	m_connection.connect({}, QStringLiteral("/org/freedesktop/DBus/Local"), QStringLiteral("org.freedesktop.DBus.Local"),
	                     QStringLiteral("Disconnected"), this, SLOT(onDisconnected()));
}

Bus::~Bus()
{
	QDBusConnection::disconnectFromBus(m_connectionName);
}

void Bus::onDisconnected()
{
	emit serviceChanged(false);
}

Error Bus::serviceAbsent() const
{
	std::string next = "Start it: systemctl start archipelagod";
	if (m_where != QLatin1String("system"))
		next = "It was looked for on " + (m_where == QLatin1String("session") ? "the session bus" : m_where.toStdString())
		       + ". Start it there: archipelagod --bus " + (m_where == QLatin1String("session") ? "session" : "ADDRESS")
		       + "; an instance of ./quickstart: ./quickstart --keep";
	return {ErrorCode::Peer, "Archipelago service is not running. " + next};
}

void Bus::call(const QString &path, const QString &interface, const QString &method, const QVariantList &arguments,
               Done<QVariantList> done)
{
	QDBusMessage message = QDBusMessage::createMethodCall(QLatin1String(kBusName), path, interface, method);
	message.setArguments(arguments);
	message.setInteractiveAuthorizationAllowed(m_interactive);
	Queued queued{message, std::move(done)};
	if (m_onTheWay >= kWindow)
		m_queue.push_back(std::move(queued));
	else
		send(std::move(queued));
}

void Bus::send(Queued queued)
{
	m_onTheWay++;
	auto *watcher = new QDBusPendingCallWatcher(m_connection.asyncCall(queued.message, m_timeoutMs), this);
	QObject::connect(watcher, &QDBusPendingCallWatcher::finished, this,
	                 [this, done = std::move(queued.done)](QDBusPendingCallWatcher *w) { finished(w, done); });
}

void Bus::finished(QDBusPendingCallWatcher *watcher, const Done<QVariantList> &done)
{
	watcher->deleteLater();
	m_onTheWay--;
	if (!m_queue.empty()) {
		Queued next = std::move(m_queue.front());
		m_queue.pop_front();
		send(std::move(next));
	}
	const QDBusMessage reply = watcher->reply();
	if (reply.type() != QDBusMessage::ErrorMessage) return done(reply.arguments());
	if (serviceIsMissing(reply)) return done(tl::unexpected<Error>(serviceAbsent()));
	done(tl::unexpected<Error>(errorFromBus(reply.errorName(), reply.errorMessage())));
}

void Bus::properties(const QString &path, const QString &interface, Done<QVariantMap> done)
{
	call(path, QLatin1String(kPropertiesInterface), QStringLiteral("GetAll"), {interface},
	     [done = std::move(done)](Result<QVariantList> reply) {
		     if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		     done(reply->isEmpty() ? QVariantMap() : qdbus_cast<QVariantMap>(reply->first()));
	     });
}

} // namespace archipelago::dbus
