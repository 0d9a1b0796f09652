// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// CliTest: what tests of the real programs stand on: a bus for all of them, and on it a fake service that is a new one for each
// test, as prepare() makes it. A call that does not follow the committed XML fails the test that caused it.
#pragma once

#include "tests/cli/fake_service.h"
#include "tests/cli/run_program.h"

#include <QJsonObject>

namespace archipelago::test {

/// A D-Bus error of ours by the last part of its name.
QString errorName(const char *last);
QJsonObject jsonOf(const QByteArray &text);

class CliTest : public QObject {
	Q_OBJECT

protected:
	using Environment = QMap<QString, QString>;
	/// Volumes, peers and counters of m_service.
	virtual void prepare() = 0;
	/// On our bus, unless the environment names another one.
	Ran run(const QString &program, const QStringList &arguments, RunOptions options = {});
	std::unique_ptr<TerminalProgram> onTerminal(const QString &program, const QStringList &arguments, Environment environment = {},
	                                            int columns = 100);

	std::unique_ptr<PrivateBus> m_bus;
	std::unique_ptr<FakeService> m_service;

private slots:
	void initTestCase();
	void init();
	void cleanup();
};

} // namespace archipelago::test
