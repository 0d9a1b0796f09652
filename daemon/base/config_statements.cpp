// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_statements.h. A small state machine over bytes: it knows comments, the four kinds of strings and brackets. A
// string on one line ends at the end of that line, closed or not, because TOML says so; the real parser reports it.
#include "daemon/base/config_statements.h"

#include <algorithm>

namespace archipelago::config {

namespace {

constexpr std::string_view kBlank = " \t\r\n";

bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool isBareKey(char c) { return isLetter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.'; }

/// "[name]" alone on its line: inside a list that cannot be an element, so the list above it was never closed.
bool isHeaderLine(std::string_view line)
{
	line = trimmed(line.substr(0, line.find('\n')));
	if (line.size() < 3 || line.front() != '[' || !isLetter(line[1])) return false;
	const std::size_t close = line.find(']');
	if (close == std::string_view::npos) return false;
	const std::string_view name = line.substr(1, close - 1);
	const std::string_view rest = trimmed(line.substr(close + 1));
	return std::ranges::all_of(name, isBareKey) && name != "true" && name != "false" && name != "inf" &&
	       name != "nan" && (rest.empty() || rest.front() == '#');
}

class Splitter {
public:
	explicit Splitter(std::string_view text) : m_text(text) {}

	Statements run()
	{
		while (m_at < m_text.size()) step();
		if (m_begin < m_text.size()) finish(m_text.size(), m_depth > 0 || m_multiLine);
		return std::move(m_out);
	}

private:
	void step()
	{
		const char c = m_text[m_at];
		if (!m_begun && kBlank.find(c) == std::string_view::npos) {
			m_begun = true;
			m_header = c == '[';
		}
		if (c == '\n') {
			endOfLine();
		} else if (m_comment) {
			++m_at;
		} else if (m_quote != '\0') {
			inString(c);
		} else if (c == '#') {
			m_comment = true;
			++m_at;
		} else if (c == '"' || c == '\'') {
			m_quote = c;
			m_multiLine = m_text.substr(m_at, 3) == std::string_view(c == '"' ? "\"\"\"" : "'''");
			m_at += m_multiLine ? 3 : 1;
		} else {
			if (c == '[' || c == '{') ++m_depth;
			if ((c == ']' || c == '}') && m_depth > 0) --m_depth;
			if (c == '.') ++m_dots;
			if ((m_depth > kMaxNesting || m_dots > kMaxDots) && m_out.tooDeepLine == 0) m_out.tooDeepLine = m_line;
			++m_at;
		}
	}

	void inString(char c)
	{
		if (c == '\\' && m_quote == '"' && m_at + 1 < m_text.size() && m_text[m_at + 1] != '\n') {
			m_at += 2;
			return;
		}
		if (c != m_quote) {
			++m_at;
			return;
		}
		// """ closes, and one or two more " in front of it still belong to the text.
		const std::string_view closing = m_text.substr(m_at, m_multiLine ? 5 : 1);
		const std::size_t run = std::min(closing.find_first_not_of(c), closing.size());
		m_at += run;
		if (m_multiLine && run < 3) return;
		m_quote = '\0';
		m_multiLine = false;
	}

	void endOfLine()
	{
		++m_at;
		m_comment = false;
		if (!m_multiLine) m_quote = '\0';
		if (m_multiLine) {
			++m_line;
			return;
		}
		const bool headerFollows = m_depth > 0 && isHeaderLine(m_text.substr(m_at));
		if (m_depth > 0 && !headerFollows && !m_header) { // a header never goes on in the next line
			++m_line;
			return;
		}
		finish(m_at, m_depth > 0);
	}

	void finish(std::size_t end, bool unclosed)
	{
		Statement s{.text = m_text.substr(m_begin, end - m_begin),
		            .line = m_beginLine,
		            .lineCount = m_line - m_beginLine + 1,
		            .header = m_header,
		            .unclosed = unclosed};
		if (s.header) m_section = s.key();
		s.section = m_section;
		m_out.all.push_back(s);
		m_begin = m_at = end;
		m_beginLine = ++m_line;
		m_depth = m_dots = 0;
		m_begun = m_header = false;
	}

	std::string_view m_text, m_section;
	Statements m_out;
	std::size_t m_at = 0, m_begin = 0;
	uint32_t m_line = 1, m_beginLine = 1, m_depth = 0, m_dots = 0;
	char m_quote = '\0';
	bool m_multiLine = false, m_comment = false;
	bool m_begun = false, m_header = false; ///< the statement's first character was seen, and was a [
};

} // namespace

std::string_view trimmed(std::string_view text)
{
	const std::size_t begin = text.find_first_not_of(kBlank);
	if (begin == std::string_view::npos) return {};
	return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::string_view Statement::key() const
{
	if (header) {
		const std::string_view body = trimmed(text);
		return body.substr(0, body.rfind(']') == std::string_view::npos ? body.size() : body.rfind(']') + 1);
	}
	return trimmed(text.substr(0, text.find('=')));
}

std::string_view Statement::value() const
{
	const std::size_t equals = text.find('=');
	return header || equals == std::string_view::npos ? std::string_view{} : trimmed(text.substr(equals + 1));
}

Statements splitStatements(std::string_view text) { return Splitter(text).run(); }

} // namespace archipelago::config
