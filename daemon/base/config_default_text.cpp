// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The commented default file, made from the schema. A setting is a line "#key = value" (no blank behind the #), prose is
// "# text", headers are not commented: removing the # of any settings gives a legal file that says what holds anyway (a
// test does that). Help stands at the first section that has the key, the others show the line alone.
#include "daemon/base/config_schema.h"

#include <algorithm>
#include <set>

namespace archipelago {

namespace {

constexpr std::size_t kColumns = 100;

constexpr std::string_view
	kIntro = "# SPDX-FileCopyrightText: The Archipelago project\n"
			 "# SPDX-License-Identifier: GPL-3.0-or-later\n"
			 "#\n"
			 "# The configuration of Archipelago: /etc/archipelago/archipelago.conf, or that of an instance.\n"
			 "# Generated; every setting is shown with its default. To change one, remove the # in front of it\n"
			 "# and edit the value. The file is TOML: texts, sizes and durations stand in quotes. Nothing in\n"
			 "# it is executed. `archipelago check-config` finds mistakes; changes take effect with\n"
			 "# `archipelago restart`.\n";

struct SectionText {
	std::string_view header, about, role; ///< role: takes port and directory from roleDefaults()
	RoleType type;
};

constexpr SectionText kSections[] = {
	{"[blockerb]", "The blocker that keeps the data blocks.", "blockerb", RoleType::FileBlocker},
	{"[blockerm]", "The blocker that keeps the maps.", "blockerm", RoleType::FileBlocker},
	{"[mapperd]", "Knows which object holds which block of which volume.", "mapperd", RoleType::Mapperd},
	{"[vlmcd]", "Splits the I/O of volumes into I/O of objects.", "vlmcd", RoleType::Vlmcd},
};

void appendProse(std::string &out, std::string_view text)
{
	std::string line = "#";
	while (!text.empty()) {
		const std::size_t end = std::min(text.find(' '), text.size());
		if (line.size() + 1 + end > kColumns) {
			out += line + '\n';
			line = "#";
		}
		line += ' ';
		line += text.substr(0, end);
		text.remove_prefix(std::min(end + 1, text.size()));
	}
	out += line + '\n';
}

class Writer {
public:
	std::string run()
	{
		m_out = kIntro;
		for (const ConfigKey &key : configKeys())
			if (key.section == ConfigSection::Top) append(key, key.defaultText);
		for (const SectionText &section : kSections) {
			begin(section.header, section.about);
			const ConfigSection own = findRoleType(roleTypeName(section.type))->section;
			for (const ConfigSection kind : {own, ConfigSection::AnyRole})
				for (const ConfigKey &key : configKeys())
					if (key.section == kind) append(key, roleDefault(key, section));
		}
		begin("[nbd]", "The NBD server, for qemu, libvirt, nbdcopy and others.");
		for (const ConfigKey &key : configKeys())
			if (key.section == ConfigSection::Nbd) append(key, key.defaultText);
		begin("[hosts.data]", "The process that runs the roles, and what runs in it.");
		for (const ConfigKey &key : configKeys())
			if (key.section == ConfigSection::Host) append(key, key.defaultText);
		return std::move(m_out);
	}

private:
	void begin(std::string_view header, std::string_view about)
	{
		m_out += '\n';
		m_out += header;
		m_out += '\n';
		appendProse(m_out, about);
	}

	/// Empty: the line is left out.
	static std::string roleDefault(const ConfigKey &key, const SectionText &section)
	{
		const RoleDefaults &row = *findRoleDefaults(section.role, section.type);
		if (key.name == "portno_start") return std::to_string(row.portnoStart);
		if (key.name == "portno_end") return row.portnoEnd == row.portnoStart ? "" : std::to_string(row.portnoEnd);
		if (key.name == "archip_dir") return '"' + ConfigDefaults{}.stateDir + '/' + std::string(row.directory) + '"';
		return std::string(key.defaultText);
	}

	void append(const ConfigKey &key, std::string_view value)
	{
		if (key.step != kBuilt || value.empty()) return;
		if (m_explained.insert(&key).second) {
			std::string help(key.help);
			const bool saysAll = key.type == ConfigType::RoleList || key.type == ConfigType::NameList ||
			                     key.type == ConfigType::Choice || key.type == ConfigType::Boolean ||
			                     !key.onlyNow.empty();
			if (!saysAll) help += " Legal: " + expectedValue(key) + ".";
			m_out += '\n';
			appendProse(m_out, help);
		}
		m_out += '#';
		m_out += key.name;
		m_out += " = ";
		m_out += value;
		m_out += '\n';
	}

	std::string m_out;
	std::set<const ConfigKey *> m_explained;
};

} // namespace

std::string defaultConfigText() { return Writer().run(); }

} // namespace archipelago
