// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Being somebody else for one call: the test program runs itself once more as nobody (uid 65534), which needs root.
//   PROGRAM --as-nobody ADDRESS PATH INTERFACE METHOD    prints "ok", or the error's symbol and message
//   PROGRAM --as-nobody ADDRESS "" own NAME              prints "owned" or "refused"
#pragma once

#include "dbus/client/proxies.h"

#include <QCoreApplication>
#include <QDBusConnectionInterface>
#include <QFile>
#include <QProcess>

#include <cstdio>
#include <optional>

namespace archipelago::testing {

/// The program, at a place that nobody can read.
inline QString copyForNobody(const QString &dir)
{
	const QString to = dir + QStringLiteral("/other-user");
	if (!QFile::exists(to)) QFile::copy(QCoreApplication::applicationFilePath(), to);
	return to;
}

inline QByteArray callAsNobody(const QString &program, const QStringList &call)
{
	QProcess sender;
	sender.setProcessChannelMode(QProcess::MergedChannels);
	sender.start(QStringLiteral("setpriv"), QStringList{QStringLiteral("--reuid=65534"), QStringLiteral("--regid=65534"), QStringLiteral("--clear-groups"),
	                                                    program, QStringLiteral("--as-nobody")} + call);
	sender.waitForFinished(20'000);
	return sender.readAll();
}

/// In main(): the exit status when the program was run for one call.
inline std::optional<int> actAsNobody(const QStringList &arguments)
{
	if (arguments.size() != 6 || arguments.at(1) != QLatin1String("--as-nobody")) return std::nullopt;
	const QString interface = arguments.at(4), method = arguments.at(5);
	const auto bus = dbus::Bus::connect(arguments.at(2));
	if (!bus) return 1;
	if (interface == QLatin1String("own")) {
		fputs((*bus)->connection().registerService(method) ? "owned" : "refused", stdout);
		return 0;
	}
	QVariantList values{QVariantMap()};
	if (method == QLatin1String("Start") || method == QLatin1String("Stop")) values.prepend(QStringList());
	if (method == QLatin1String("GetManagedObjects") || method == QLatin1String("Introspect")) values.clear();
	if (method == QLatin1String("GetAll")) values = {QString()};
	if (method == QLatin1String("Set"))
		values = {QLatin1String(dbus::kManagerInterface), QStringLiteral("State"), QVariant::fromValue(QDBusVariant(QStringLiteral("running")))};
	const auto answer = dbus::wait<QVariantList>([&](auto done) { (*bus)->call(arguments.at(3), interface, method, values, done); });
	const std::string text = answer ? "ok" : std::string(errorInfo(answer.error().code).symbol) + " " + answer.error().message;
	fputs(text.c_str(), stdout);
	return 0;
}

} // namespace archipelago::testing
