// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_report.h, and the one form in which a diagnostic is shown: "FILE:LINE:COLUMN: error: TEXT", the form that
// editors and compilers share.
#include "daemon/base/config_report.h"

#include <algorithm>
#include <tuple>

namespace archipelago {

std::string Diagnostic::format(std::string_view file) const
{
	std::string out(file);
	if (line != 0) out += ":" + std::to_string(line) + ":" + std::to_string(column);
	out += level == Level::Error ? ": error: " : ": warning: ";
	return out + message;
}

bool ParsedConfig::ok() const
{
	return std::ranges::none_of(diagnostics, [](const Diagnostic &d) { return d.level == Diagnostic::Level::Error; });
}

namespace config {

void Report::add(Diagnostic::Level level, Position at, std::string message)
{
	// A section named after a type is read once for each role of that type: the same complaint counts once (take()).
	if (full())
		++m_dropped;
	else
		m_found.push_back({level, at.line, at.column, std::move(message)});
}

std::string Report::path(std::string_view section, std::string_view key)
{
	std::string out(section);
	out += '\n'; // no part of any name
	out += key;
	return out;
}

void Report::noteKey(std::string_view section, std::string_view key, Position at)
{
	m_keys.emplace(path(section, key), at);
}

Position Report::where(std::string_view section, std::string_view key) const
{
	if (const auto at = m_keys.find(path(section, key)); at != m_keys.end()) return at->second;
	if (const auto at = m_sections.find(section); at != m_sections.end()) return at->second;
	return {};
}

std::vector<Diagnostic> Report::take()
{
	const auto order = [](const Diagnostic &d) { return std::tie(d.line, d.column, d.level, d.message); };
	std::ranges::sort(m_found, {}, order);
	const auto repeated = std::ranges::unique(m_found, {}, order);
	m_found.erase(repeated.begin(), repeated.end());
	std::size_t more = m_dropped;
	if (m_found.size() > kMaxShown) {
		more += m_found.size() - kMaxShown;
		m_found.resize(kMaxShown);
	}
	if (more > 0) {
		const Diagnostic &last = m_found.back();
		m_found.push_back({Diagnostic::Level::Error, last.line, last.column,
		                   "And " + std::to_string(more) + " more problems; correct these first."});
	}
	return std::move(m_found);
}

} // namespace config
} // namespace archipelago
