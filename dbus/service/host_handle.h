// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// HostHandle: one host process as its supervisor sees it: what it says over the socket, and its death, by pidfd. What it
// said before it died is always heard first. A child of ours is waited for here and nowhere else. Destroying a handle lets the
// process go on without us. Main thread.
#pragma once

#include "dbus/service/host_spawn.h"

#include <memory>
#include <optional>

#include <QObject>
#include <QString>

class QJsonObject;
class QSocketNotifier;

namespace archipelago::service {

struct HostExit {
	bool known = true; ///< false: it was not our child, only that it ended is known
	bool signalled = false;
	int value = 0; ///< exit status, or signal number

	bool clean() const { return known && !signalled && value == 0; }
	/// "SIGKILL", "exit status 1", "an unknown cause"
	QString text() const;
};

class HostHandle : public QObject {
	Q_OBJECT

public:
	HostHandle(const QString &name, HostProcess process, QObject *parent);
	~HostHandle() override;

	const QString &name() const { return m_name; }
	uint pid() const { return static_cast<uint>(m_process.pid); }
	unsigned long long startTime() const { return m_process.startTime; }
	void sendAdopt() { send("adopt"); }
	void sendStop() { send("stop"); }
	void sendRole(const QString &role, bool start) { send(start ? "startRole" : "stopRole", role); }
	void askStatus() { send("status"); }
	void kill(); ///< SIGKILL

signals:
	void roleState(const QString &role, const QString &state);
	void ready();
	void failed(const QString &role, const archipelago::Error &error);
	void stopped();
	void inflight(const QString &role, uint count);
	/// A startRole or stopRole has ended; nothing: well.
	void roleDone(const QString &role, const std::optional<archipelago::Error> &error);
	/// Last of all signals.
	void ended(const archipelago::service::HostExit &exit);

private:
	void send(const char *type, const QString &role = {});
	void readMessages();
	void handle(const QJsonObject &message);
	void reap();

	QString m_name;
	HostProcess m_process;
	std::unique_ptr<QSocketNotifier> m_readable, m_died;
};

} // namespace archipelago::service
