// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser. Report collects what is wrong, and remembers of each key that was read where it
// stands and whether its value was legal, so that checks that span keys can point at them and stay silent about values
// that are refused already.
#pragma once

#include "daemon/base/config.h"

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace archipelago::config {

/// 1-based; 0:0 is the file as a whole.
struct Position {
	uint32_t line = 0, column = 0;
};

class Report {
public:
	/// More problems than this help nobody; the rest is counted.
	static constexpr std::size_t kMaxShown = 100;

	void error(Position at, std::string message) { add(Diagnostic::Level::Error, at, std::move(message)); }
	void warning(Position at, std::string message) { add(Diagnostic::Level::Warning, at, std::move(message)); }
	/// So many errors that looking for more, or for better words, is a waste.
	bool full() const { return m_found.size() >= 2 * kMaxShown; }

	/// `section` is the role's name, "nbd", "hosts.NAME", or "" for the top.
	void noteSection(std::string_view section, Position at) { m_sections.emplace(section, at); }
	void noteKey(std::string_view section, std::string_view key, Position at);
	void noteBad(std::string_view section, std::string_view key) { m_bad.insert(path(section, key)); }

	/// The key's position, else that of its section, else none.
	Position where(std::string_view section, std::string_view key) const;
	bool given(std::string_view section, std::string_view key) const { return m_keys.contains(path(section, key)); }
	/// False: its value was refused.
	bool sound(std::string_view section, std::string_view key) const { return !m_bad.contains(path(section, key)); }

	/// Sorted by position, without repetitions, cut to kMaxShown with a last one that says how many more there are.
	std::vector<Diagnostic> take();

private:
	void add(Diagnostic::Level level, Position at, std::string message);
	static std::string path(std::string_view section, std::string_view key);

	std::vector<Diagnostic> m_found;
	std::size_t m_dropped = 0;
	std::map<std::string, Position, std::less<>> m_keys, m_sections;
	std::set<std::string, std::less<>> m_bad;
};

} // namespace archipelago::config
