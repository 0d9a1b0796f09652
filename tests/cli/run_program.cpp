// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See run_program.h.
#include "tests/cli/run_program.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <vector>

#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <QEventLoop>
#include <QProcess>
#include <QTimer>

namespace archipelago::test {

namespace {

QProcessEnvironment cleanEnvironment(const QMap<QString, QString> &extra)
{
	QProcessEnvironment out;
	const QProcessEnvironment ours = QProcessEnvironment::systemEnvironment();
	for (const char *kept : {"PATH", "HOME", "ASAN_OPTIONS", "LSAN_OPTIONS"})
		if (ours.contains(kept)) out.insert(kept, ours.value(kept));
	// A locale without UTF-8 on purpose: the programs must not mind, and must not complain.
	out.insert("LC_ALL", "C");
	out.insert("TZ", "UTC");
	for (auto it = extra.begin(); it != extra.end(); ++it) out.insert(it.key(), it.value());
	return out;
}

int decode(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

} // namespace

Ran runProgram(const QString &program, const QStringList &arguments, const RunOptions &options)
{
	QProcess process;
	process.setProcessEnvironment(cleanEnvironment(options.environment));
	Ran ran;
	QEventLoop loop;
	bool signalled = false;
	QObject::connect(&process, &QProcess::readyReadStandardError, [&] {
		ran.err += process.readAllStandardError();
		if (options.signalOnceErrHas == 0 || signalled || !ran.err.contains(options.errText)) return;
		signalled = true;
		::kill(static_cast<pid_t>(process.processId()), options.signalOnceErrHas);
	});
	QObject::connect(&process, &QProcess::readyReadStandardOutput, [&] { ran.out += process.readAllStandardOutput(); });
	QObject::connect(&process, &QProcess::finished, &loop, &QEventLoop::quit);
	QTimer::singleShot(kPatienceMs, &loop, &QEventLoop::quit);
	process.start(program, arguments);
	if (!process.waitForStarted()) return ran;
	if (options.started) options.started(process.processId());
	process.write(options.input);
	process.closeWriteChannel();
	if (process.state() != QProcess::NotRunning) loop.exec();
	if (process.state() != QProcess::NotRunning) {
		process.kill();
		process.waitForFinished();
		return ran;
	}
	ran.out += process.readAllStandardOutput();
	ran.err += process.readAllStandardError();
	// QProcess gives the number of the signal as the exit code of a crash.
	ran.exitCode = process.exitStatus() == QProcess::NormalExit ? process.exitCode() : -process.exitCode();
	return ran;
}

TerminalProgram::TerminalProgram(const QString &program, const QStringList &arguments,
                                 const QMap<QString, QString> &environment, int columns)
{
	QMap<QString, QString> extra{{"TERM", "xterm"}};
	extra.insert(environment);
	// Everything that allocates happens before the fork.
	QList<QByteArray> words{program.toLocal8Bit()};
	for (const QString &argument : arguments) words.append(argument.toUtf8());
	QList<QByteArray> variables;
	for (const QString &variable : cleanEnvironment(extra).toStringList()) variables.append(variable.toUtf8());
	std::vector<char *> argv, envp;
	for (QByteArray &word : words) argv.push_back(word.data());
	for (QByteArray &variable : variables) envp.push_back(variable.data());
	argv.push_back(nullptr);
	envp.push_back(nullptr);

	winsize size{};
	size.ws_col = static_cast<unsigned short>(columns);
	size.ws_row = 40;
	m_pid = ::forkpty(&m_terminal, nullptr, nullptr, &size);
	if (m_pid == 0) {
		::execve(argv[0], argv.data(), envp.data());
		::_exit(127);
	}
	m_notifier = std::make_unique<QSocketNotifier>(m_terminal, QSocketNotifier::Read);
	connect(m_notifier.get(), &QSocketNotifier::activated, this, &TerminalProgram::readMore);
}

TerminalProgram::~TerminalProgram()
{
	m_notifier.reset();
	if (!m_ended && m_pid > 0) {
		::kill(m_pid, SIGKILL);
		::waitpid(m_pid, nullptr, 0);
	}
	if (m_terminal >= 0) ::close(m_terminal);
}

void TerminalProgram::readMore()
{
	char buffer[4096];
	const ssize_t n = ::read(m_terminal, buffer, sizeof buffer);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n > 0) {
		m_output.append(buffer, static_cast<qsizetype>(n));
	} else {
		// EIO: the last holder of the other side is gone.
		m_notifier->setEnabled(false);
		int status = 0;
		::waitpid(m_pid, &status, 0);
		m_ended = true;
		m_exitCode = decode(status);
	}
	emit changed();
}

bool TerminalProgram::shows(const QByteArray &text)
{
	QTimer patience;
	patience.setSingleShot(true);
	patience.start(kPatienceMs);
	QEventLoop loop;
	connect(this, &TerminalProgram::changed, &loop, &QEventLoop::quit);
	connect(&patience, &QTimer::timeout, &loop, &QEventLoop::quit);
	while (!output().contains(text) && !m_ended && patience.isActive()) loop.exec();
	return output().contains(text);
}

void TerminalProgram::type(const QByteArray &keys)
{
	[[maybe_unused]] const ssize_t n = ::write(m_terminal, keys.constData(), static_cast<size_t>(keys.size()));
}

int TerminalProgram::wait()
{
	QTimer patience;
	patience.setSingleShot(true);
	patience.start(kPatienceMs);
	QEventLoop loop;
	connect(this, &TerminalProgram::changed, &loop, &QEventLoop::quit);
	connect(&patience, &QTimer::timeout, &loop, &QEventLoop::quit);
	while (!m_ended && patience.isActive()) loop.exec();
	return m_exitCode;
}

bool TerminalProgram::echoes() const
{
	termios now{};
	return ::tcgetattr(m_terminal, &now) == 0 && (now.c_lflag & (ECHO | ICANON)) == (ECHO | ICANON);
}

QByteArray TerminalProgram::output() const { return QByteArray(m_output).replace("\r\n", "\n"); }

} // namespace archipelago::test
