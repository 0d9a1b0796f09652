// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PrivateBus: a dbus-daemon of the test's own. FakeService: an Archipelago service that does nothing, on that bus: it
// keeps volumes, peers and jobs as the test sets them, and answers as the committed XML says. A call that the XML does not
// declare, or whose arguments have another signature, is answered with an error and remembered in `violations`.
#pragma once

#include "dbus/interfaces/bus.h"

#include <functional>
#include <memory>
#include <set>

#include <QDBusConnection>
#include <QDBusMessage>
#include <QDBusVirtualObject>
#include <QProcess>
#include <QTemporaryDir>

namespace archipelago::test {

class PrivateBus {
public:
	PrivateBus();
	~PrivateBus();
	bool ok() const { return m_daemon.state() == QProcess::Running; }
	QString address() const { return "unix:path=" + m_dir.filePath("bus"); }

private:
	QTemporaryDir m_dir;
	QProcess m_daemon;
};

struct FakeVolume {
	QString name = {};
	quint64 size = 0, allocated = 0;
	bool opened = false;
	uint clients = 0;
	dbus::ErrorPair error = {}; ///< D-Bus name; set: cannot be read
	dbus::ErrorPair stopped = {}; ///< symbol and text: why its I/O has stopped
};
struct FakePeer {
	QString name = {}, host = {}, state = "up", ports = "1000";
	dbus::ErrorPair error = {}; ///< symbol and message
};
/// What one port has counted.
struct FakeCounts {
	uint port = 0;
	QString kind = "volume", name = {}, id = QString(32, '7');
	dbus::OpRows ops = {};
	quint64 generation = 2;
	bool bound = true;
};
/// What happens to the next job.
struct FakeJob {
	bool hangs = false; ///< goes on until the test or Cancel ends it
	bool cancelable = false;
	double progress = 0;
	bool progressValid = false;
	QString message = {};
	dbus::ErrorPair error = {}; ///< it fails with
};

class FakeService : public QDBusVirtualObject {
	Q_OBJECT

public:
	explicit FakeService(const QString &address);
	~FakeService() override;

	QList<FakeVolume> volumes;
	QList<FakePeer> peers;
	QString managerState = "running", verdict, configPath = "/etc/archipelago/archipelago.conf",
			nbdSocket = "/run/archipelago/nbd.sock";
	QString nbdUriOf(const QString &name) const { return "nbd+unix:///" + name + "?socket=" + nbdSocket; }

	QList<FakeCounts> counts;
	/// Called before each answer to GetStats; a second goes by with each.
	std::function<void()> onStats;

	QMap<QString, dbus::ErrorPair> refuse; ///< method -> D-Bus error it answers with
	std::set<QString> silent;              ///< methods that never answer
	FakeJob nextJob;
	/// Called when a job has been made and before it ends: may let it speak and change peers.
	std::function<void(const QString &method)> onJob;

	/// What was called: "Manager.CreateVolume", and with what.
	struct Call {
		QString path, method;
		QVariantList arguments;
	};
	QList<Call> calls;
	QStringList violations;
	int count(const QString &method) const;
	const Call *last(const QString &method) const;

	/// Ends the newest job; error name empty: it succeeded.
	void endJob(const dbus::ErrorPair &error = {});
	/// A message of the newest job, for as long as no other comes.
	void jobSays(const QString &message);
	void peerBecomes(const QString &peer, const QString &state, const QString &reason = {});

	bool handleMessage(const QDBusMessage &message, const QDBusConnection &connection) override;
	QString introspect(const QString &) const override { return {}; }

signals:
	void called(const QString &method);

private:
	struct RunningJob {
		FakeJob job;
		QString operation, state = "running";
		QVariantMap result;
	};

	void loadXml();
	bool fits(const QDBusMessage &message);
	QDBusMessage answer(const QDBusMessage &message);
	QDBusMessage managerAnswer(const QDBusMessage &message);
	QDBusMessage volumeAnswer(const QDBusMessage &message);
	QDBusMessage makeJob(const QDBusMessage &message, const QVariantMap &result = {});
	void jobChanged(const QVariantMap &properties);
	QDBusMessage listVolumes(const QDBusMessage &message);
	QDBusMessage stats(const QDBusMessage &message, const QString &volume);
	QVariantMap propertiesOf(const QString &path, const QString &interface) const;
	dbus::ManagedObjects managedObjects() const;
	QVariantMap managerMap() const;
	QVariantMap peerMap(const FakePeer &peer) const;
	QVariantMap volumeMap(const FakeVolume &volume) const;
	QVariantMap jobMap(const RunningJob &job) const;

	QDBusConnection m_bus;
	QMap<QString, QString> m_signatures; ///< "interface.Method" -> signature of its arguments
	quint64 m_statsTimeUs = 5'000'000;
	QList<RunningJob> m_jobs;            ///< job N is m_jobs[N - 1]
};

} // namespace archipelago::test
