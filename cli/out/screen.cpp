// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What a signal handler needs stands in globals: it may use nothing but tcsetattr() and write().
#include "cli/out/screen.h"

#include <csignal>

#include <poll.h>
#include <termios.h>
#include <unistd.h>

namespace archipelago::cli {

namespace {

constexpr std::string_view kEnter = "\033[?1049h\033[?25l", kLeave = "\033[?25h\033[?1049l";
constexpr int kFatal[] = {SIGTERM, SIGHUP};

termios g_before;
volatile std::sig_atomic_t g_keysTaken = 0;

void restore()
{
	if (g_keysTaken) ::tcsetattr(STDIN_FILENO, TCSANOW, &g_before);
	g_keysTaken = 0;
	(void)!::write(STDOUT_FILENO, kLeave.data(), kLeave.size());
}

void onFatal(int signal)
{
	restore();
	std::signal(signal, SIG_DFL);
	std::raise(signal);
}

} // namespace

Screen::Screen(Console &console) : m_console(console)
{
	if (console.stdinIsTerminal() && ::tcgetattr(STDIN_FILENO, &g_before) == 0) {
		termios raw = g_before;
		raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		raw.c_cc[VSUSP] = _POSIX_VDISABLE;
		g_keysTaken = 1;
		::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
		m_keys = STDIN_FILENO;
	}
	for (const int signal : kFatal) std::signal(signal, onFatal);
	m_console.data(kEnter);
	m_console.flush();
}

Screen::~Screen()
{
	restore();
	for (const int signal : kFatal) std::signal(signal, SIG_DFL);
}

int Screen::draw(std::string_view lines)
{
	m_console.measure();
	std::string frame = "\033[H";
	// One row stays free: a newline in the last one would scroll.
	for (int row = 1; row < m_console.height() && !lines.empty(); row++) {
		const size_t end = std::min(lines.find('\n'), lines.size());
		(frame += lines.substr(0, end)) += "\033[K\r\n";
		lines.remove_prefix(std::min(end + 1, lines.size()));
	}
	m_console.data(frame + "\033[J");
	return m_console.flush();
}

char Screen::key()
{
	pollfd ready{m_keys, POLLIN, 0};
	if (m_keys < 0 || ::poll(&ready, 1, 0) != 1) return 0;
	char c = 0;
	return ::read(m_keys, &c, 1) == 1 ? c : 'q';
}

} // namespace archipelago::cli
