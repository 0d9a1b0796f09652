// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser. SectionReader reads the keys of one section into typed fields as the schema says:
// type, range, and what is not built yet are checked here and nowhere else. A field whose key is absent or wrong keeps what
// it had, so defaults are set by whoever calls.
#pragma once

#include "daemon/base/config_report.h"
#include "daemon/base/config_schema.h"

#include <toml++/toml.h>

#include <variant>

namespace archipelago::config {

/// A name with the place where it stands.
struct Word {
	std::string text;
	Position at;
};

class SectionReader {
public:
	using Value = std::variant<bool, uint64_t, std::string, std::vector<Word>, std::vector<std::pair<Word, Word>>>;

	/// `name`: the role's name, "nbd", "hosts.NAME", "" for the top. `kinds`: what keys are legal in it.
	SectionReader(Report &report, std::string name, std::vector<ConfigSection> kinds)
	    : m_report(report), m_name(std::move(name)), m_kinds(std::move(kinds))
	{
	}

	/// Looked at in the order in which they are added: the role's own section, then that of its type.
	void add(const toml::table &table) { m_tables.push_back(&table); }

	void read(std::string_view key, uint32_t &out);
	void read(std::string_view key, uint64_t &out); ///< numbers, sizes in bytes, durations in ms
	void read(std::string_view key, bool &out);
	void read(std::string_view key, std::string &out);
	void read(std::string_view key, std::vector<Word> &out);                  ///< NameList
	void read(std::string_view key, std::vector<std::pair<Word, Word>> &out); ///< RoleList
	/// For keys that so far only have one legal value, and so no field.
	void check(std::string_view key);

	bool given(std::string_view key) const { return m_report.given(m_name, key); }

private:
	std::optional<Value> value(std::string_view key);
	template <typename T> void readAs(std::string_view key, T &out);

	Report &m_report;
	std::string m_name;
	std::vector<ConfigSection> m_kinds;
	std::vector<const toml::table *> m_tables;
};

/// Complains about every key of `table` that is legal in none of `kinds`: not built yet, in the wrong place, or unknown.
/// Tables at the top are sections and not looked at; `sections` are the names that they may have. Returns how many keys are
/// neither known nor to be built.
std::size_t checkKeys(Report &report, const toml::table &table, std::span<const ConfigSection> kinds,
                      std::span<const std::string_view> sections = {});

/// "a text", "a list": what stands there.
std::string_view foundText(const toml::node &node);

} // namespace archipelago::config
