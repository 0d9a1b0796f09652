// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reading /proc/PID/stat.
#include "dbus/service/pidfd.h"

#include <QFile>

namespace archipelago::service {

unsigned long long startTimeOf(pid_t pid)
{
	QFile file(QStringLiteral("/proc/%1/stat").arg(pid));
	if (!file.open(QIODevice::ReadOnly)) return 0;
	const QByteArray line = file.readAll();
	// Field 2, the name, may hold anything, but ends at the last ')'. Start time is field 22, the 20th behind it.
	const QList<QByteArray> fields = line.mid(line.lastIndexOf(')') + 2).split(' ');
	return fields.size() > 19 ? fields.at(19).toULongLong() : 0;
}

} // namespace archipelago::service
