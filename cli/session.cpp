// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See session.h. SIGINT writes to a pipe that the event loop and the prompt both watch; a second one that comes before the
// first was read (the process is stuck in the handshake of a connection) ends the process on the spot.
#include "cli/session.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <QCoreApplication>
#include <QEventLoop>
#include <QFileInfo>

namespace archipelago::cli {

namespace {

constexpr int kNoteAfterMs = 3000;

int g_interruptPipe[2] = {-1, -1};
volatile std::sig_atomic_t g_interruptPending = 0;

void onSigint(int)
{
	if (g_interruptPending) ::_exit(kExitInterrupted);
	g_interruptPending = 1;
	const int saved = errno;
	const char byte = 0;
	(void)!::write(g_interruptPipe[1], &byte, 1);
	errno = saved;
}

void drainInterruptPipe()
{
	char bytes[16];
	while (::read(g_interruptPipe[0], bytes, sizeof bytes) > 0) {}
	g_interruptPending = 0;
}

Error interruptedError() { return {ErrorCode::Cancelled, "Interrupted."}; }

/// A line from the terminal, without its end; nullopt: end of file or an interrupt.
std::optional<std::string> readLine()
{
	std::string line;
	for (;;) {
		pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {g_interruptPipe[0], POLLIN, 0}};
		if (::poll(fds, 2, -1) < 0) {
			if (errno == EINTR) continue;
			return std::nullopt;
		}
		if (fds[1].revents) return std::nullopt;
		char c = 0;
		if (::read(STDIN_FILENO, &c, 1) != 1) return std::nullopt;
		if (c == '\n') return line;
		line += c;
	}
}

/// A prompt must be seen: on the terminal itself when stderr goes elsewhere.
void prompt(Console &console, const std::string &text)
{
	if (console.stderrIsTerminal()) return console.raw(text);
	const int tty = ::open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (tty < 0) return console.raw(text);
	(void)!::write(tty, text.data(), text.size());
	::close(tty);
}

} // namespace

Session::Waiting::Waiting(Session &session, const std::string &what)
{
	m_note.setSingleShot(true);
	QObject::connect(&m_note, &QTimer::timeout, [&session, what] {
		if (session.m_progress && session.m_progress->visible()) return;
		std::string limit;
		if (session.m_options.timeoutMs > 0)
			limit = ", up to " + std::to_string((session.m_options.timeoutMs + 999) / 1000) + " s";
		session.say(session.m_console.program() + ": waiting for the service to " + what + limit +
		            " (Ctrl-C gives up)");
	});
	m_note.start(kNoteAfterMs);
}

Session::Session(Console &console, SessionOptions options) : m_console(console), m_options(std::move(options))
{
	if (::pipe2(g_interruptPipe, O_CLOEXEC | O_NONBLOCK) != 0) return; // Ctrl-C then ends the process as it always did
	m_interruptNotifier = std::make_unique<QSocketNotifier>(g_interruptPipe[0], QSocketNotifier::Read);
	connect(m_interruptNotifier.get(), &QSocketNotifier::activated, this, &Session::onInterrupt);
	struct sigaction action {};
	action.sa_handler = onSigint;
	::sigaction(SIGINT, &action, nullptr);
}

Session::~Session()
{
	::signal(SIGINT, SIG_DFL);
	m_progress.reset();
	m_bus.reset();
	m_interruptNotifier.reset();
	for (int &fd : g_interruptPipe) {
		if (fd >= 0) ::close(fd);
		fd = -1;
	}
}

Result<dbus::Bus *> Session::bus()
{
	if (m_bus) return m_bus.get();
	// libdbus ignores SIGPIPE for the whole process from its first connection on; `vlmc list | head` must end as usual.
	struct sigaction pipeAction {};
	::sigaction(SIGPIPE, nullptr, &pipeAction);
	auto connected = connectBus();
	::sigaction(SIGPIPE, &pipeAction, nullptr);
	return connected;
}

Result<dbus::Bus *> Session::connectBus()
{
	auto made = dbus::Bus::connect(QString::fromStdString(m_options.bus));
	if (!made) return tl::unexpected<Error>(made.error());
	(*made)->setTimeoutMs(m_options.timeoutMs > 0 ? m_options.timeoutMs : INT_MAX);
	(*made)->setInteractive(m_console.stdinIsTerminal() && !m_options.noInput);
	if (auto checked = checkConfigFile(**made); !checked) return tl::unexpected<Error>(checked.error());
	m_bus = std::move(*made);
	if (m_console.verbose()) m_console.message("connected to the bus \"" + m_options.bus + "\"");
	return m_bus.get();
}

Result<void> Session::checkConfigFile(dbus::Bus &bus)
{
	if (m_options.configFile.empty()) return {};
	auto info = dbus::wait<dbus::ManagerInfo>([&](auto done) { dbus::ManagerProxy(bus).info(std::move(done)); });
	if (!info) return tl::unexpected<Error>(info.error());
	const QString meant = QFileInfo(QString::fromStdString(m_options.configFile)).canonicalFilePath();
	if (!meant.isEmpty() && meant == QFileInfo(info->configPath).canonicalFilePath()) return {};
	return failure(ErrorCode::Config, "The service uses " + info->configPath.toStdString() + ", not " +
	                                      m_options.configFile + ". Start archipelagod with --config " +
	                                      m_options.configFile + ", or leave -c away.");
}

Result<dbus::JobInfo> Session::job(const std::string &what, const StartJob &start,
                                   const std::function<void(const dbus::JobInfo &)> &news)
{
	auto connected = bus();
	if (!connected) return tl::unexpected<Error>(cannot(what, connected.error()));
	const Waiting waiting(*this, what);
	m_progress = std::make_unique<Progress>(m_console);
	m_runningJob = {};
	// A watch that timed out may still speak once more, when this frame is gone.
	const auto listening = std::make_shared<bool>(true);
	auto ended = dbus::wait<dbus::JobInfo>([&](auto done) {
		dbus::JobEvents events;
		events.timeoutMs = m_options.timeoutMs;
		events.done = std::move(done);
		events.progress = [this, &news, listening](const dbus::JobInfo &job) {
			if (!*listening) return;
			m_runningJob = job;
			m_progress->update(job.progress, job.progressValid, job.message.toStdString());
			if (news) news(job);
		};
		start(**connected, std::move(events));
	});
	*listening = false;
	m_progress.reset();
	const bool goesOn = m_detached && !m_runningJob.path.isEmpty() && !m_runningJob.ended();
	if (goesOn) m_console.message("job " + std::to_string(m_runningJob.number()) + " goes on in the service");
	m_runningJob = {};
	if (!ended) return tl::unexpected<Error>(cannot(what, ended.error()));
	return ended;
}

void Session::say(std::string_view line)
{
	if (m_progress)
		m_progress->say(line);
	else if (!m_console.quiet() && !m_console.json())
		m_console.raw(std::string(line) + "\n");
}

bool Session::wouldAsk() const
{
	const char *never = std::getenv("ARCHIPELAGO_CONFIRM");
	return m_console.stdinIsTerminal() && !m_options.assumeYes && !m_options.noInput &&
	       !(never && std::string_view(never) == "never");
}

Result<void> Session::confirm(const std::string &question)
{
	if (!wouldAsk()) return {};
	prompt(m_console, question + " [y/N] ");
	const std::optional<std::string> answer = readLine();
	if (!answer) {
		prompt(m_console, "\n");
		if (g_interruptPending) {
			onInterrupt();
			return tl::unexpected<Error>(interruptedError());
		}
	}
	if (answer && (*answer == "y" || *answer == "Y" || *answer == "yes")) return {};
	return failure(ErrorCode::Cancelled, "Not confirmed.");
}

bool Session::pause(int ms, int wakeFd)
{
	QEventLoop loop;
	QTimer timer;
	timer.setTimerType(Qt::PreciseTimer);
	connect(&timer, &QTimer::timeout, &loop, &QEventLoop::quit);
	timer.start(ms);
	std::unique_ptr<QSocketNotifier> wake;
	if (wakeFd >= 0) {
		wake = std::make_unique<QSocketNotifier>(wakeFd, QSocketNotifier::Read);
		connect(wake.get(), &QSocketNotifier::activated, &loop, &QEventLoop::quit);
	}
	if (!interrupted()) loop.exec();
	return !interrupted();
}

void Session::onInterrupt()
{
	drainInterruptPipe();
	m_interrupts++;
	const bool cancel = m_interrupts == 1 && !m_runningJob.path.isEmpty() && m_runningJob.cancelable &&
	                    !m_runningJob.ended();
	if (cancel) {
		say(m_console.program() + ": asking the service to stop; Ctrl-C again leaves it running");
		dbus::cancelJob(*m_bus, m_runningJob.path, [](const Result<void> &) {}); // its end comes as the job's own
		return;
	}
	// Ends this wait and makes every later one end at once.
	m_detached = true;
	QCoreApplication::exit(kExitInterrupted);
}

} // namespace archipelago::cli
