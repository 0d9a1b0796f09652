// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See console.h. Writes with write(2): no stdio buffer that could be flushed twice or lose an error at exit.
#include "cli/out/console.h"

#include <cerrno>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

namespace archipelago::cli {

namespace {

int writeAll(int fd, std::string_view text)
{
	while (!text.empty()) {
		const ssize_t n = ::write(fd, text.data(), text.size());
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return errno;
		text.remove_prefix(static_cast<size_t>(n));
	}
	return 0;
}

bool colorWanted()
{
	const char *noColor = std::getenv("NO_COLOR");
	const char *term = std::getenv("TERM");
	return !(noColor && *noColor) && term && *term && std::string_view(term) != "dumb";
}

int fromEnvironment(const char *name, int otherwise)
{
	const char *text = std::getenv(name);
	const int value = text ? std::atoi(text) : 0;
	return value > 0 ? value : otherwise;
}

} // namespace

void Console::configure(const ConsoleOptions &options)
{
	m_options = options;
	m_stdinTty = ::isatty(STDIN_FILENO) == 1;
	m_stdoutTty = ::isatty(STDOUT_FILENO) == 1;
	m_stderrTty = ::isatty(STDERR_FILENO) == 1;
	m_colored = options.color == ColorMode::Always ||
	            (options.color == ColorMode::Auto && m_stdoutTty && colorWanted());
	measure();
}

void Console::measure()
{
	for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
		winsize size{};
		if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) continue;
		m_width = size.ws_col;
		m_height = size.ws_row > 0 ? size.ws_row : 24;
		return;
	}
	m_width = fromEnvironment("COLUMNS", 80);
	m_height = fromEnvironment("LINES", 24);
}

std::string Console::styled(std::string_view text, Style style) const
{
	if (!m_colored || style == Style::Plain || text.empty()) return std::string(text);
	const char *start = "";
	switch (style) {
	case Style::Plain: break;
	case Style::Bold: start = "\033[1m"; break;
	case Style::Good: start = "\033[32m"; break;
	case Style::Warning: start = "\033[33m"; break;
	case Style::Bad: start = "\033[31m"; break;
	}
	return start + std::string(text) + "\033[0m";
}

void Console::chat(std::string_view text)
{
	if (m_stdoutTty && !m_options.quiet && !m_options.json) line(text);
}

void Console::message(std::string_view text)
{
	if (m_options.quiet || m_options.json) return;
	raw(m_program + ": " + std::string(text) + "\n");
}

void Console::raw(std::string_view text)
{
	// Nobody is left to be told when stderr is gone.
	(void)writeAll(STDERR_FILENO, text);
}

int Console::flush()
{
	const std::string text = std::move(m_out);
	m_out.clear();
	return writeAll(STDOUT_FILENO, text);
}

} // namespace archipelago::cli
