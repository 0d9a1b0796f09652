// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See the header.
#include "tests/cli/cli_test.h"

#include <QJsonDocument>
#include <QTest>

namespace archipelago::test {

QString errorName(const char *last) { return QLatin1String(dbus::kErrorPrefix) + QLatin1String(last); }

QJsonObject jsonOf(const QByteArray &text) { return QJsonDocument::fromJson(text).object(); }

Ran CliTest::run(const QString &program, const QStringList &arguments, RunOptions options)
{
	if (!options.environment.contains("ARCHIPELAGO_BUS")) options.environment.insert("ARCHIPELAGO_BUS", m_bus->address());
	return runProgram(program, arguments, options);
}

std::unique_ptr<TerminalProgram> CliTest::onTerminal(const QString &program, const QStringList &arguments, Environment environment,
                                                     int columns)
{
	environment.insert("ARCHIPELAGO_BUS", m_bus->address());
	return std::make_unique<TerminalProgram>(program, arguments, environment, columns);
}

void CliTest::initTestCase()
{
	m_bus = std::make_unique<PrivateBus>();
	QVERIFY2(m_bus->ok(), "dbus-daemon does not run");
}

void CliTest::init()
{
	m_service = std::make_unique<FakeService>(m_bus->address());
	prepare();
}

void CliTest::cleanup()
{
	if (m_service) QCOMPARE(m_service->violations, QStringList());
	m_service.reset();
}

} // namespace archipelago::test
