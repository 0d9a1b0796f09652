// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Bus: the way to one Archipelago service. Owns a private connection; every call is asynchronous and ends in a Result with
// an error of daemon/base/errors.h: a client never sees a raw D-Bus error.
//
// One thread, with a Qt event loop. When the Bus is destroyed, what is still waiting is dropped without being called.
// At most kWindow calls are on their way at a time (a system bus allows 128 unanswered ones); the others queue here.
#pragma once

#include "dbus/client/values.h"

#include <deque>
#include <memory>

#include <QDBusConnection>
#include <QDBusMessage>
#include <QEventLoop>
#include <QObject>

class QDBusPendingCallWatcher;

namespace archipelago::dbus {

class Bus : public QObject {
	Q_OBJECT

public:
	/// `where`: "system", "session" or an address ("unix:path=/run/x/bus"). Blocks for the connection's handshake only;
	/// does not ask whether the service is there (the first call tells).
	/// Errors: E-PEER (no such bus, nobody listens: names it and the next step), E-INVALID (not an address).
	static Result<std::unique_ptr<Bus>> connect(const QString &where);
	~Bus() override;

	QString where() const { return m_where; }
	/// For one call, from when it is sent; default 30 s. Jobs have their own (JobEvents).
	void setTimeoutMs(int timeoutMs) { m_timeoutMs = timeoutMs; }
	int timeoutMs() const { return m_timeoutMs; }
	/// Whether the service may ask the user for a password (polkit agent); default true.
	void setInteractive(bool interactive) { m_interactive = interactive; }

	/// One method call on an object of the service.
	/// Errors: the service's own; E-PEER "Archipelago service is not running" with the next step; E-TIMEOUT; E-DENIED.
	void call(const QString &path, const QString &interface, const QString &method, const QVariantList &arguments,
	          Done<QVariantList> done);
	/// All properties of one interface of one object.
	void properties(const QString &path, const QString &interface, Done<QVariantMap> done);

	/// The connection itself, for signals and tests.
	QDBusConnection connection() const { return m_connection; }
	/// "Archipelago service is not running..." for this bus.
	Error serviceAbsent() const;

signals:
	/// The service came (true) or went (false). What was known about objects is void.
	void serviceChanged(bool running);

private slots:
	void onDisconnected();

private:
	struct Queued {
		QDBusMessage message;
		Done<QVariantList> done;
	};
	static constexpr int kWindow = 64;

	Bus(const QString &where, const QString &name, const QDBusConnection &connection);
	void send(Queued queued);
	void finished(QDBusPendingCallWatcher *watcher, const Done<QVariantList> &done);

	QString m_where, m_connectionName;
	QDBusConnection m_connection;
	int m_timeoutMs = 30'000;
	bool m_interactive = true;
	int m_onTheWay = 0;
	std::deque<Queued> m_queue;
};

/// For programs that do one thing after the other: runs an event loop until the call has ended.
///   auto info = wait<ManagerInfo>([&](auto done) { manager.info(done); });
template <typename T, typename Start> Result<T> wait(Start &&start)
{
	std::optional<Result<T>> result;
	QEventLoop loop;
	start(Done<T>([&](Result<T> r) {
		result.emplace(std::move(r));
		loop.quit();
	}));
	if (!result) loop.exec();
	// Left without an answer: the application was told to quit.
	if (!result) return failure(ErrorCode::Cancelled, "Interrupted before the service answered.");
	return std::move(*result);
}

} // namespace archipelago::dbus
