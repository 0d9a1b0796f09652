// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Console: the three streams of the process and how they want to be written to. Data goes to stdout and is kept until
// flush(), so that a command that fails half-way prints either all of its result or none; messages go to stderr at once.
//
//              a terminal                        a pipe or file
//   tables     aligned, bold titles, cut to fit  tabs, full values
//   sizes      "1.22 TiB"                        bytes
//   times      local, to the minute              RFC 3339, UTC
//   messages   all                               all but progress and "created db"
// --json replaces data and errors; -q leaves only them.
#pragma once

#include <string>
#include <string_view>

namespace archipelago::cli {

enum class ColorMode { Auto, Always, Never };
enum class Style { Plain, Bold, Good, Warning, Bad };

struct ConsoleOptions {
	bool json = false;
	bool quiet = false;
	bool header = true;
	int verbose = 0;
	ColorMode color = ColorMode::Auto;
};

class Console {
public:
	explicit Console(std::string program) : m_program(std::move(program)) {}
	/// Looks at the terminals and at NO_COLOR, TERM and COLUMNS.
	void configure(const ConsoleOptions &options);

	const std::string &program() const { return m_program; }
	bool json() const { return m_options.json; }
	bool quiet() const { return m_options.quiet; }
	bool header() const { return m_options.header; }
	bool verbose() const { return m_options.verbose > 0; }
	bool stdinIsTerminal() const { return m_stdinTty; }
	bool stdoutIsTerminal() const { return m_stdoutTty; }
	bool stderrIsTerminal() const { return m_stderrTty; }
	/// Columns and rows of the terminal behind stdout (or stderr).
	int width() const { return m_width; }
	int height() const { return m_height; }
	/// The terminal may have another size now.
	void measure();
	/// `text` in that style when stdout is coloured.
	std::string styled(std::string_view text, Style style) const;

	/// Data, for stdout.
	void data(std::string_view text) { m_out += text; }
	void line(std::string_view text) { (m_out += text) += '\n'; }
	/// What a person likes to read and a script does not need ("created db"): only to a terminal, not with -q or --json.
	void chat(std::string_view text);

	/// "vlmc: text" on stderr; not with -q, and not with --json, where stderr carries one JSON object or nothing.
	void message(std::string_view text);
	/// On stderr as it is, always: errors and prompts.
	void raw(std::string_view text);

	/// Writes what data() collected. 0, or the errno: a full disk must not look like success.
	int flush();

private:
	std::string m_program;
	ConsoleOptions m_options;
	bool m_stdinTty = false, m_stdoutTty = false, m_stderrTty = false, m_colored = false;
	int m_width = 80, m_height = 24;
	std::string m_out;
};

} // namespace archipelago::cli
