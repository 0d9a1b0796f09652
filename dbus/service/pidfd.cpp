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
	// Field 2, the name, may hold anything, but ends at the last ')'. The state is field 3, the start time field 22.
	const QList<QByteArray> fields = line.mid(line.lastIndexOf(')') + 2).split(' ');
	if (fields.size() <= 19 || fields.at(0) == "Z" || fields.at(0) == "X") return 0;
	return fields.at(19).toULongLong();
}

} // namespace archipelago::service
