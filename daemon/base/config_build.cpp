// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_build.h. Reads top, roles, gateways, hosts in this order, because each decides what the next may name. What
// is missing because a broken line hid it (Source::broken) is not complained about.
#include "daemon/base/config_build.h"

#include "daemon/base/config_reader.h"
#include "daemon/base/text.h"

#include <algorithm>

namespace archipelago::config {

namespace {

constexpr std::size_t kMaxRoleName = 32;

bool isIdentifier(std::string_view name)
{
	const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
	return !name.empty() && name.size() <= kMaxRoleName && letter(name.front()) &&
	       std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; });
}

class Builder {
public:
	Builder(const Source &source, const ConfigDefaults &defaults, Report &report, Config &out)
		: m_root(source.root),
		  m_broken(source.broken),
		  m_rolesLost(source.rolesLost),
		  m_defaults(defaults),
		  m_report(report),
		  m_out(out)
	{}

	std::size_t run()
	{
		// Before anything is read: Report::where() falls back to a section's header.
		for (const auto &[name, node] : m_root)
			if (node.is_table()) m_report.noteSection(name.str(), positionOf(name));
		readTop();
		for (const auto &[name, node] : m_root)
			if (node.is_table()) checkSection(name, *node.as_table());
		for (RoleConfig &role : m_out.roles) readRole(role);
		readNbd();
		readHosts();
		const auto sections = legalSections();
		static constexpr ConfigSection kTop[] = {ConfigSection::Top};
		m_unknown += checkKeys(m_report, m_root, kTop, sections);
		return m_unknown;
	}

private:
	void readTop();
	void readRoles(SectionReader &top);
	std::string badRoleName(std::string_view name, const RoleTypeInfo &type) const;
	void readRole(RoleConfig &role);
	void readNbd();
	void readHosts();
	void readHost(const std::string &name, const toml::table &table, bool only);
	void defaultHost(HostConfig &host) const;
	std::size_t startOrder(std::string_view roleOrGateway) const;
	void checkSection(const toml::key &name, const toml::table &table);
	std::vector<std::string_view> legalSections() const;
	const toml::table *section(std::string_view name) const
	{
		const auto found = m_root.find(name);
		return found == m_root.end() ? nullptr : found->second.as_table();
	}

	const toml::table &m_root;
	const bool m_broken, m_rolesLost;
	const ConfigDefaults &m_defaults;
	Report &m_report;
	Config &m_out;
	std::size_t m_unknown = 0;
};

void Builder::readTop()
{
	SectionReader top(m_report, "", {ConfigSection::Top});
	top.add(m_root);
	top.read("SEGMENT_PORTS", m_out.segmentPorts);
	if (m_defaults.trial) m_out.segmentSizeBytes = 256ull << 20;
	top.read("SEGMENT_SIZE", m_out.segmentSizeBytes);
	top.read("XSEGBD_START", m_out.xsegbdStart);
	top.read("XSEGBD_END", m_out.xsegbdEnd);
	top.read("VTOOL_START", m_out.vtoolStart);
	top.read("VTOOL_END", m_out.vtoolEnd);
	top.read("io_timeout", m_out.ioTimeoutMs);
	std::string fullPolicy = "pause";
	top.read("FULL_POLICY", fullPolicy);
	m_out.fullPolicy = fullPolicy == "error" ? FullPolicy::Error : FullPolicy::Pause;
	top.read("RESERVE", m_out.reserveBytes);
	readRoles(top);
}

void Builder::readRoles(SectionReader &top)
{
	std::vector<std::pair<Word, Word>> pairs;
	top.read("roles", pairs);
	const bool given = top.given("roles");
	if (given && pairs.empty() && m_report.sound("", "roles")) {
		m_report.error(m_report.where("", "roles"),
		               "roles is empty: nothing would run. Remove the line for the default roles");
		m_report.noteBad("", "roles");
	}
	if (!given) {
		// The schema's default, through the same reader.
		const toml::table text = toml::parse("roles = " +
		                                     std::string(findConfigKey(ConfigSection::Top, "roles")->defaultText));
		Report none;
		SectionReader byDefault(none, "", {ConfigSection::Top});
		byDefault.add(text);
		byDefault.read("roles", pairs);
	}
	for (const auto &[name, typeName] : pairs) {
		const RoleTypeInfo *const type = findRoleType(typeName.text);
		std::string problem;
		Position at = name.at;
		if (type == nullptr || type->gateway || !type->type) {
			std::vector<std::string_view> names;
			for (const RoleTypeInfo &known : roleTypes())
				if (!known.gateway) names.push_back(known.name);
			at = typeName.at;
			if (type == nullptr)
				problem = "Unknown role type " + inQuotes(typeName.text) + ": file_blocker, mapperd and vlmcd exist." +
				          didYouMean(typeName.text, names);
			else if (type->step != kBuilt)
				problem = "The role type " + typeName.text + " is not built yet" + stepText(type->step) + "; remove it";
			else
				problem = typeName.text + " is a gateway, it runs by itself: list it in [hosts.NAME] roles, not here";
		} else {
			problem = badRoleName(name.text, *type);
		}
		if (!problem.empty()) {
			m_report.error(at, problem);
			m_report.noteBad("", "roles");
			continue;
		}
		RoleConfig role;
		role.name = name.text;
		role.type = *type->type;
		m_out.roles.push_back(std::move(role));
	}
}

std::string Builder::badRoleName(std::string_view name, const RoleTypeInfo &type) const
{
	if (!isIdentifier(name))
		return "The role name " + inQuotes(name) +
		       " is not legal: 1 to 32 letters, digits, _ and -, beginning with a letter";
	if (m_out.role(name) != nullptr)
		return "The role " + inQuotes(name) + " stands twice in roles; give each a name of its own";
	if (const RoleTypeInfo *other = findRoleType(name); other != nullptr && other->name != type.name)
		return "The role name " + inQuotes(name) + " is the name of another type; choose another name";
	if (name == "hosts" || name == "backends" || findConfigKey(ConfigSection::Top, name) != nullptr)
		return "The role name " + inQuotes(name) + " has a meaning of its own in this file; choose another name";
	return {};
}

void Builder::readRole(RoleConfig &role)
{
	const std::string_view typeName = roleTypeName(role.type);
	SectionReader reader(m_report, role.name, {ConfigSection::AnyRole, findRoleType(typeName)->section});
	if (const toml::table *own = section(role.name)) reader.add(*own);
	if (const toml::table *ofType = section(typeName); ofType != nullptr && m_out.role(typeName) == nullptr) {
		reader.add(*ofType);
		if (section(role.name) == nullptr) m_report.noteSection(role.name, m_report.where(typeName, ""));
	}
	const RoleDefaults *const byDefault = findRoleDefaults(role.name, role.type);
	if (byDefault != nullptr) {
		role.portnoStart = byDefault->portnoStart;
		role.portnoEnd = byDefault->portnoEnd;
		if (!byDefault->directory.empty())
			role.archipDir = m_defaults.stateDir + '/' + std::string(byDefault->directory);
	}
	reader.read("portno_start", role.portnoStart);
	// One port is the rule; only vlmcd has a range, and keeps the default's end unless told otherwise.
	if (role.type != RoleType::Vlmcd) role.portnoEnd = role.portnoStart;
	reader.read("portno_end", role.portnoEnd);
	reader.read("log_level", role.logLevel);
	reader.read("nr_ops", role.nrOps);
	switch (role.type) {
	case RoleType::FileBlocker:
		reader.read("archip_dir", role.archipDir);
		reader.read("fdcache", role.fdcache);
		reader.read("direct", role.direct);
		reader.read("nr_threads", role.nrThreads);
		reader.check("shared");
		break;
	case RoleType::Mapperd:
		reader.read("blockerb_port", role.blockerbPort);
		reader.read("blockerm_port", role.blockermPort);
		reader.read("map_cache_size", role.mapCacheBytes);
		break;
	case RoleType::Vlmcd:
		reader.read("blocker_port", role.blockerPort);
		reader.read("mapper_port", role.mapperPort);
		break;
	case RoleType::Nbd: break; // a gateway: readNbd()
	}
	if (m_broken || byDefault != nullptr) return;
	// A blocker of another name than the two with defaults.
	const Position own = m_report.where(role.name, "");
	const Position at = own.line != 0 ? own : m_report.where("", "roles");
	const auto missing = [&](std::string_view key, std::string_view what) {
		if (reader.given(key)) return;
		m_report.error(at, "The role " + role.name + " has no " + std::string(what) + ": set [" + role.name + "] " +
		                       std::string(key));
		m_report.noteBad(role.name, key);
	};
	missing("portno_start", "port of its own");
	missing("archip_dir", "directory");
}

void Builder::readNbd()
{
	NbdConfig &nbd = m_out.nbd;
	nbd.socket = m_defaults.runDir + "/nbd.sock";
	SectionReader reader(m_report, "nbd", {ConfigSection::Nbd});
	if (const toml::table *own = section("nbd")) reader.add(*own);
	std::string exports = m_defaults.trial ? "all" : "opened";
	reader.read("exports", exports);
	nbd.exports = exports == "all" ? NbdExports::All : NbdExports::Opened;
	reader.read("socket", nbd.socket);
	reader.read("mode", nbd.mode);
	reader.read("portno_start", nbd.portnoStart);
	// The default range shrinks with the segment instead of making every small segment an error.
	if (m_out.segmentPorts > nbd.portnoStart) nbd.portnoEnd = std::min(nbd.portnoEnd, m_out.segmentPorts - 1);
	reader.read("portno_end", nbd.portnoEnd);
	reader.read("log_level", nbd.logLevel);
	if (const RoleConfig *composer = m_out.firstOf(RoleType::Vlmcd)) {
		nbd.composerPort = composer->portnoStart;
		nbd.composerPortEnd = composer->portnoEnd;
	}
}

std::size_t Builder::startOrder(std::string_view roleOrGateway) const
{
	const auto found = std::ranges::find(m_out.roles, roleOrGateway, &RoleConfig::name);
	return static_cast<std::size_t>(found - m_out.roles.begin()); // gateways behind all roles
}

void Builder::defaultHost(HostConfig &host) const
{
	for (const RoleConfig &role : m_out.roles) host.roles.push_back(role.name);
	host.roles.emplace_back(roleTypeName(RoleType::Nbd));
}

void Builder::readHosts()
{
	const auto found = m_root.find("hosts");
	if (found != m_root.end() && found->second.is_table() && !found->second.as_table()->empty()) {
		const toml::table &hosts = *found->second.as_table();
		for (const auto &[name, node] : hosts) {
			if (m_report.full()) return;
			if (!isIdentifier(name.str()) || !node.is_table()) m_report.noteBad("hosts", "");
			if (!isIdentifier(name.str())) {
				m_report.error(positionOf(name),
				               "The host name " + inQuotes(name.str()) +
				                   " is not legal: 1 to 32 letters, digits, _ and -, beginning with a letter");
			} else if (!node.is_table()) {
				m_report.error(positionOf(name), "[hosts] has sections, not keys: write [hosts." +
				                                     std::string(name.str()) + "] with roles = [...] below");
			} else {
				m_report.noteSection("hosts." + std::string(name.str()), positionOf(name));
				readHost(std::string(name.str()), *node.as_table(), hosts.size() == 1);
			}
		}
		// Start order across processes, as far as a split allows: by the first role of each.
		std::ranges::stable_sort(m_out.hosts, {}, [this](const HostConfig &host) {
			return host.roles.empty() ? SIZE_MAX : startOrder(host.roles.front());
		});
		return;
	}
	HostConfig data{.name = "data", .roles = {}};
	defaultHost(data);
	m_out.hosts.push_back(std::move(data));
}

void Builder::readHost(const std::string &name, const toml::table &table, bool only)
{
	const std::string title = "hosts." + name;
	static constexpr ConfigSection kHost[] = {ConfigSection::Host};
	m_unknown += checkKeys(m_report, table, kHost);
	SectionReader reader(m_report, title, {ConfigSection::Host});
	reader.add(table);
	std::vector<Word> words;
	reader.read("roles", words);
	HostConfig host{.name = name, .roles = {}};
	reader.read("reactors", host.reactors);
	if (!reader.given("roles") && only) defaultHost(host);
	for (const Word &word : words) {
		const RoleTypeInfo *const type = findRoleType(word.text);
		const bool gateway = type != nullptr && type->gateway;
		if (m_out.role(word.text) != nullptr || (gateway && type->step == kBuilt)) {
			host.roles.push_back(word.text);
			continue;
		}
		if (gateway) {
			m_report.error(word.at,
			               "The gateway " + word.text + " is not built yet" + stepText(type->step) + "; remove it");
		} else if (m_report.sound("", "roles") && !m_rolesLost) {
			std::vector<std::string_view> names{roleTypeName(RoleType::Nbd)};
			for (const RoleConfig &role : m_out.roles) names.push_back(role.name);
			m_report.error(word.at, "[" + title + "]: there is no role " + inQuotes(word.text) + " in roles." +
			                            didYouMean(word.text, names));
		}
		m_report.noteBad(title, "roles");
	}
	if (host.roles.empty() && m_report.sound(title, "roles") && !m_broken) {
		m_report.error(m_report.where(title, "roles"),
		               "[" + title + "] names no roles: say which run in it, or remove it");
		m_report.noteBad(title, "roles");
	}
	std::ranges::stable_sort(host.roles, {}, [this](const std::string &role) { return startOrder(role); });
	m_out.hosts.push_back(std::move(host));
}

std::vector<std::string_view> Builder::legalSections() const
{
	std::vector<std::string_view> names{"nbd", "hosts"};
	for (const RoleConfig &role : m_out.roles) {
		names.push_back(role.name);
		names.push_back(roleTypeName(role.type));
	}
	return names;
}

/// Its keys when the section is one of ours; else what is wrong with its name.
void Builder::checkSection(const toml::key &name, const toml::table &table)
{
	const std::string title = "[" + printable(name.str().substr(0, 64)) + "]";
	const RoleConfig *role = m_out.role(name.str());
	const RoleTypeInfo *const type = findRoleType(name.str());
	if (role == nullptr && type != nullptr && type->type && !type->gateway) role = m_out.firstOf(*type->type);
	if (role != nullptr) {
		const ConfigSection kinds[] = {ConfigSection::AnyRole, findRoleType(roleTypeName(role->type))->section};
		checkKeys(m_report, table, kinds);
	} else if (name.str() == "nbd") {
		static constexpr ConfigSection kNbd[] = {ConfigSection::Nbd};
		checkKeys(m_report, table, kNbd);
	} else if (name.str() == "hosts") {
		return; // readHosts()
	} else if (name.str() == "backends" || (type != nullptr && type->step != kBuilt)) {
		m_report.error(positionOf(name), "The section " + title + " is not built yet" +
		                                     stepText(type == nullptr ? kLaterStep : type->step) + "; remove it");
	} else if (m_report.sound("", "roles") && !m_rolesLost) {
		m_report.error(positionOf(name), "The section " + title +
		                                     " belongs to no role: neither a name nor a type in roles." +
		                                     didYouMean(name.str(), legalSections()));
		++m_unknown;
	}
}

} // namespace

std::size_t buildConfig(const Source &source, const ConfigDefaults &defaults, Report &report, Config &out)
{
	return Builder(source, defaults, report, out).run();
}

} // namespace archipelago::config
