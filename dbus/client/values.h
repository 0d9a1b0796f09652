// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the service's objects say, as plain values: copied out of D-Bus dictionaries once, checked and typed. A field the
// service did not send keeps its default, so that a newer client can talk to an older service. Sizes are bytes, times
// microseconds since the epoch, 0 = none.
#pragma once

#include "daemon/base/errors.h"
#include "dbus/interfaces/bus.h"

#include <functional>
#include <optional>

#include <QList>
#include <QString>
#include <QStringList>
#include <QVariantMap>

namespace archipelago::dbus {

/// How an asynchronous call ends: called exactly once, from the event loop, never from inside the call itself.
template <typename T> using Done = std::function<void(Result<T>)>;

struct ManagerInfo {
	QString version;
	QStringList capabilities;
	QString state;   ///< stopped, starting, running, degraded, stopping
	QString verdict; ///< why it is degraded and what to do; empty = nothing to say
	QString configPath, nbdSocket;

	static ManagerInfo fromMap(const QVariantMap &map);
};

struct PeerInfo {
	QString name, role; ///< "blockerb", "file_blocker"
	QString host;       ///< the host process it runs in: "data"
	QString ports;      ///< "500-999"
	QString state;      ///< stopped, starting, up, stuck, stopping, failed
	uint pid = 0;
	quint64 sinceUs = 0;
	uint requestsInFlight = 0;
	QString lastErrorSymbol, lastErrorMessage; ///< "E-LOCKED"; both empty = none

	static PeerInfo fromMap(const QVariantMap &map);
};

struct VolumeInfo {
	QString name, id; ///< id: 32 hex digits
	QString kind;     ///< "volume" (snapshots come with their step)
	quint64 sizeBytes = 0, allocatedBytes = 0, createdUs = 0;
	bool opened = false;
	uint clients = 0;
	QString nbdUri;
	QString stoppedSymbol, stoppedText; ///< why its I/O has stopped; empty when all is well
	std::optional<Error> error; ///< set: this volume could not be read; only `name` holds then

	static VolumeInfo fromMap(const QVariantMap &map);
};

struct JobInfo {
	QString path;
	QString operation; ///< "start", "create"
	QString state;     ///< running, succeeded, failed, cancelled
	double progress = 0;
	bool progressValid = false;
	QString message;   ///< what it is doing, or did last: "starting blockerb"
	quint64 startTimeUs = 0;
	uint startedByUid = 0;
	bool cancelable = false;
	QVariantMap result;         ///< CreateVolume: path o, id s
	std::optional<Error> error; ///< why it failed or was cancelled

	bool ended() const { return !state.isEmpty() && state != QLatin1String("running"); }
	uint number() const; ///< last part of the path
	static JobInfo fromMap(const QString &path, const QVariantMap &map);
};

struct ConfigProblem {
	bool isError = true;
	uint line = 0, column = 0; ///< 1-based, 0 = the file as a whole
	QString message;
};

/// Everything there is. Peers sorted by host, then name; volumes by name, bytewise; jobs by number.
struct Overview {
	ManagerInfo manager;
	QList<PeerInfo> peers;
	QList<VolumeInfo> volumes;
	QList<JobInfo> jobs;
};

/// From a D-Bus error name and message. Ours by the error table; AccessDenied and the like by what they mean.
Error errorFromBus(const QString &name, const QString &message);

} // namespace archipelago::dbus
