// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A directory and a dbus-daemon of the test's own, gone at its end. Other users may connect, so that what they are refused
// is refused by the service and not by the bus.
#pragma once

#include <QDir>
#include <QFile>
#include <QProcess>
#include <QTemporaryDir>
#include <QtTest>

#include <sys/stat.h>

namespace archipelago::testing {

class PrivateBus {
public:
	PrivateBus() : m_dir(QDir::tempPath() + QStringLiteral("/archipelago-dbus-XXXXXX"))
	{
		if (!m_dir.isValid()) qFatal("no temporary directory");
		chmod(qPrintable(m_dir.path()), 0755); // for the other user
		QFile config(path("bus.conf"));
		if (!config.open(QIODevice::WriteOnly)) qFatal("cannot write bus.conf");
		config.write(QStringLiteral("<busconfig><type>session</type><listen>unix:path=%1</listen><auth>EXTERNAL</auth>"
		                            "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>"
		                            "<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/></policy></busconfig>")
		                 .arg(path("bus")).toUtf8());
		config.close();
		m_daemon.setProcessChannelMode(QProcess::SeparateChannels);
		m_daemon.start(QStringLiteral("dbus-daemon"), {QStringLiteral("--config-file=") + path("bus.conf"), QStringLiteral("--nofork"),
		                                               QStringLiteral("--nopidfile"), QStringLiteral("--nosyslog"), QStringLiteral("--print-address=1")});
		if (!m_daemon.waitForReadyRead(20'000)) qFatal("dbus-daemon did not start: %s", m_daemon.readAllStandardError().constData());
		m_address = QString::fromUtf8(m_daemon.readLine()).trimmed();
	}
	~PrivateBus() { stop(); }

	void stop()
	{
		m_daemon.kill();
		m_daemon.waitForFinished();
	}
	QString address() const { return m_address; }
	QString path(const char *name) const { return m_dir.filePath(QLatin1String(name)); }
	QString dir() const { return m_dir.path(); }

private:
	QTemporaryDir m_dir;
	QProcess m_daemon;
	QString m_address;
};

inline void writeFile(const QString &path, const QByteArray &text)
{
	// Replaced in one step: a reader sees the old text or the new one.
	QFile file(path + QLatin1String(".new"));
	if (!file.open(QIODevice::WriteOnly)) qFatal("cannot write %s", qPrintable(path));
	file.write(text);
	file.close();
	if (rename(qPrintable(file.fileName()), qPrintable(path)) != 0) qFatal("cannot replace %s", qPrintable(path));
}

inline QByteArray readFile(const QString &path)
{
	QFile file(path);
	return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
}

} // namespace archipelago::testing
