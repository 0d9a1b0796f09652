// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A trial instance for tests: archipelagod as a process on a private bus, with a host program of choice beside it, seen
// through dbus/client. Whatever runs at the end of a test is killed, hosts by their pid files.
#pragma once

#include "dbus/client/proxies.h"
#include "tests/dbus/private_bus.h"

#include <QElapsedTimer>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>

namespace archipelago::testing {

/// Two hosts, so that order, survivors and shared hosts can be seen.
inline constexpr char kTwoHosts[] = R"(SEGMENT_SIZE = 64
[blockerb]
archip_dir = "@DIR@/blocks"
[blockerm]
archip_dir = "@DIR@/maps"
[hosts.front]
roles = ["mapperd", "vlmcd", "nbd"]
[hosts.store]
roles = ["blockerb", "blockerm"]
)";

/// What the bus said, in order: "blockerb starting", "manager running".
class StateRecorder : public QObject {
	Q_OBJECT

public:
	explicit StateRecorder(const QDBusConnection &connection) : m_connection(connection)
	{
		for (const char *interface : {dbus::kManagerInterface, dbus::kPeerInterface})
			m_connection.connect(QLatin1String(dbus::kBusName), {}, QLatin1String(interface), QStringLiteral("StateChanged"), this,
			                     SLOT(seen(QDBusMessage)));
	}
	QStringList lines;
	QStringList only(const QString &state) const
	{
		QStringList out;
		for (const QString &line : lines)
			if (line.endsWith(QLatin1Char(' ') + state)) out.append(line.section(QLatin1Char(' '), 0, 0));
		return out;
	}

private slots:
	void seen(const QDBusMessage &message)
	{
		const QString label = message.path() == QLatin1String(dbus::kRootPath) ? QStringLiteral("manager") : message.path().section(QLatin1Char('/'), -1);
		lines.append(label + QLatin1Char(' ') + message.arguments().value(1).toString());
	}

private:
	QDBusConnection m_connection;
};

class ServiceRig {
public:
	/// `hostProgram`: what stands beside archipelagod as archip-host; empty: the one of the build.
	explicit ServiceRig(const QByteArray &config, const QString &hostProgram = {})
	{
		setConfig(config);
		m_program = QStringLiteral(ARCHIPELAGOD);
		if (hostProgram.isEmpty()) return;
		// archipelagod looks beside itself first.
		QDir().mkdir(bus.path("bin"));
		m_program = bus.path("bin/archipelagod");
		std::filesystem::copy_file(ARCHIPELAGOD, m_program.toStdString());
		std::filesystem::copy_file(hostProgram.toStdString(), bus.path("bin/archip-host").toStdString());
	}
	~ServiceRig()
	{
		client.reset();
		kill();
		for (const QString &host : hostsWithPid()) killHost(host);
	}

	void setConfig(QByteArray text) const { writeFile(bus.path("archipelago.conf"), text.replace("@DIR@", bus.dir().toUtf8())); }
	void behave(const QByteArray &json) const { writeFile(bus.path("behaviour.json"), json); }

	/// Starts archipelagod and waits until it owns its name.
	bool launch(const QStringList &more = {})
	{
		int ready[2];
		if (pipe2(ready, O_CLOEXEC) != 0) return false;
		service = std::make_unique<QProcess>();
		service->setProcessChannelMode(QProcess::MergedChannels);
		service->setChildProcessModifier([fd = ready[1]] { fcntl(fd, F_SETFD, 0); });
		service->start(m_program, QStringList{QStringLiteral("--trial"), QStringLiteral("--dir"), bus.dir(), QStringLiteral("--bus"), bus.address(),
		                                      QStringLiteral("--ready-fd"), QString::number(ready[1])} + more);
		close(ready[1]);
		pollfd p{ready[0], POLLIN, 0};
		char text[16] = {};
		const bool said = service->waitForStarted() && ::poll(&p, 1, 20'000) == 1 && ::read(ready[0], text, sizeof text - 1) == 6;
		close(ready[0]);
		if (!said) return false;
		auto made = dbus::Bus::connect(bus.address());
		if (!made) return false;
		client = std::move(*made);
		return QByteArray(text) == "ready\n";
	}
	/// SIGKILL; hosts go on.
	void kill()
	{
		if (!service) return;
		service->kill();
		service->waitForFinished();
		service.reset();
	}
	/// Runs archipelagod to its end (which is soon): exit status and output.
	int runOnce(const QStringList &arguments, QByteArray *output = nullptr) const
	{
		QProcess once;
		once.setProcessChannelMode(QProcess::MergedChannels);
		once.start(m_program, arguments);
		if (!once.waitForFinished(20'000)) return -1;
		if (output) *output = once.readAll();
		return once.exitStatus() == QProcess::NormalExit ? once.exitCode() : -2;
	}

	dbus::ManagerProxy manager() { return dbus::ManagerProxy(*client); }
	dbus::VolumeProxy volume(const char *name) { return {*client, QString::fromUtf8(name)}; }

	using JobResult = Result<dbus::JobInfo>;
	JobResult run(const std::function<void(dbus::JobEvents)> &call)
	{
		messages.clear();
		return dbus::wait<dbus::JobInfo>([&](auto done) {
			dbus::JobEvents events;
			events.done = done;
			events.progress = [this](const dbus::JobInfo &job) {
				if (messages.isEmpty() || messages.last() != job.message) messages.append(job.message);
			};
			events.timeoutMs = 60'000;
			call(std::move(events));
		});
	}
	JobResult start(const QStringList &roles = {}, const dbus::StartOptions &options = {.createDirs = true, .userOnly = false, .ok = false})
	{
		return run([&](auto events) { manager().start(roles, options, events); });
	}
	JobResult stop(const QStringList &roles = {}, bool force = false)
	{
		return run([&](auto events) { manager().stop(roles, {.force = force, .userOnly = false}, events); });
	}
	JobResult restart(const QStringList &roles = {})
	{
		return run([&](auto events) { manager().restart(roles, {}, events); });
	}
	JobResult create(const char *name, quint64 size)
	{
		return run([&](auto events) { manager().createVolume(QString::fromUtf8(name), size, events); });
	}
	dbus::ManagerInfo info()
	{
		return dbus::wait<dbus::ManagerInfo>([this](auto done) { manager().info(done); }).value_or(dbus::ManagerInfo());
	}
	dbus::Overview overview()
	{
		return dbus::wait<dbus::Overview>([this](auto done) { manager().overview(done); }).value_or(dbus::Overview());
	}
	dbus::PeerInfo peer(const char *name)
	{
		for (const dbus::PeerInfo &peer : overview().peers)
			if (peer.name == QLatin1String(name)) return peer;
		return {};
	}
	Result<QVariantList> callRaw(const char *path, const char *interface, const char *method, const QVariantList &arguments)
	{
		return dbus::wait<QVariantList>([&](auto done) { client->call(QLatin1String(path), QLatin1String(interface), QLatin1String(method), arguments, done); });
	}

	QStringList hostsWithPid() const
	{
		QStringList out;
		for (const QString &name : QDir(bus.path("run/hosts")).entryList({QStringLiteral("*.pid")}, QDir::Files)) out.append(name.chopped(4));
		return out;
	}
	int hostPid(const QString &host) const { return readFile(bus.dir() + QLatin1String("/run/hosts/") + host + QLatin1String(".pid")).split(' ').value(0).toInt(); }
	void killHost(const QString &host) const
	{
		const int pid = hostPid(host);
		if (pid > 1) ::kill(pid, SIGKILL);
	}

	PrivateBus bus;
	std::unique_ptr<QProcess> service;
	std::unique_ptr<dbus::Bus> client;
	QStringList messages; ///< of the last job

private:
	QString m_program;
};

} // namespace archipelago::testing
