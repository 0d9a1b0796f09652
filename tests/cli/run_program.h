// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Running a program as an operator or a script would: with pipes (runProgram) or on a terminal of its own
// (TerminalProgram). The event loop runs meanwhile, so that a fake service in this process can answer. Nothing sleeps:
// every wait is for bytes or for the end of the process, and fails after kPatienceMs.
#pragma once

#include <QByteArray>
#include <QMap>
#include <QObject>
#include <QSocketNotifier>
#include <QStringList>

#include <functional>
#include <memory>

namespace archipelago::test {

inline constexpr int kPatienceMs = 20'000;

struct Ran {
	int exitCode = -1; ///< minus the signal when it was killed by one
	QByteArray out, err;
};

struct RunOptions {
	QMap<QString, QString> environment = {}; ///< on top of a clean one: PATH, LC_ALL=C, TZ=UTC
	QByteArray input = {};
	int signalOnceErrHas = 0;                 ///< send this signal ...
	QByteArray errText = {};                  ///< ... when stderr contains this
	std::function<void(qint64)> started = {}; ///< gets the pid
};
Ran runProgram(const QString &program, const QStringList &arguments, const RunOptions &options = {});

/// A program whose three streams are one terminal.
class TerminalProgram : public QObject {
	Q_OBJECT

public:
	TerminalProgram(const QString &program, const QStringList &arguments, const QMap<QString, QString> &environment,
	                int columns = 100);
	~TerminalProgram() override;

	/// Waits until the terminal has shown `text`, from the beginning of all output. False: it did not come, or the end did.
	bool shows(const QByteArray &text);
	void type(const QByteArray &keys);
	/// Waits for the end; the exit code, minus the signal, or -1000: it did not end.
	int wait();
	/// Whether what is typed is shown, as a shell wants it.
	bool echoes() const;
	/// All it showed, with plain newlines.
	QByteArray output() const;
	pid_t pid() const { return m_pid; }

signals:
	void changed();

private:
	void readMore();

	int m_terminal = -1;
	pid_t m_pid = -1;
	bool m_ended = false;
	int m_exitCode = -1000;
	QByteArray m_output;
	std::unique_ptr<QSocketNotifier> m_notifier;
};

} // namespace archipelago::test
