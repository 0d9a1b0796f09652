// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The table of config_schema.h, in the order of the default file, and the words made from it. To add a key: a row here, a
// field in config.h, a read() in config_build.cpp, a row in tests/daemon/base/test_config_keys.cpp, and the default file
// regenerated (the test names the command). The longer file is one table; it is not to be split.
#include "daemon/base/config_schema.h"

#include "daemon/base/sizes.h"

#include <algorithm>
#include <array>

namespace archipelago {

namespace {

using S = ConfigSection;
using T = ConfigType;

constexpr uint64_t kMaxPort = 2047;
constexpr uint64_t kMebi = 1ull << 20, kTebi = 1ull << 40;
constexpr uint64_t kDayMs = 86'400'000;

constexpr auto kKeys = std::to_array<ConfigKey>({
	// ---- the segment
	{.section = S::Top, .name = "SEGMENT_PORTS", .type = T::Integer, .defaultText = "2048", .min = 64, .max = 2048,
	 .help = "Ports in the shared memory segment. Every peer and every connected client uses one."},
	{.section = S::Top, .name = "SEGMENT_SIZE", .type = T::Mebibytes, .defaultText = "1024", .min = 64, .max = 1u << 20,
	 .help = "Shared memory for requests and data in flight, in MiB. It is touched only as it is used. On a machine with "
	         "less than 6 GiB of memory set it lower: 256, the default of a trial instance, is enough for a few busy "
	         "volumes."},
	{.section = S::Top, .name = "XSEGBD_START", .type = T::Integer, .defaultText = "0", .min = 0, .max = kMaxPort,
	 .help = "First port of mapped block devices: device N uses port XSEGBD_START + N, N from 1."},
	{.section = S::Top, .name = "XSEGBD_END", .type = T::Integer, .defaultText = "499", .min = 0, .max = kMaxPort,
	 .help = "Last port of mapped block devices."},
	{.section = S::Top, .name = "VTOOL_START", .type = T::Integer, .defaultText = "1003", .min = 0, .max = kMaxPort,
	 .help = "First port of the service and the tools."},
	{.section = S::Top, .name = "VTOOL_END", .type = T::Integer, .defaultText = "1022", .min = 0, .max = kMaxPort,
	 .help = "Last port of the service and the tools."},
	{.section = S::Top, .name = "io_timeout", .type = T::Duration, .defaultText = "0", .min = 100, .max = kDayMs,
	 .help = "Deadline of one read or write of a volume, such as \"30s\". 0 waits for as long as it takes: a stall is then "
	         "a pause for the guest, never an error that makes its file systems read-only. A write that ran into its deadline "
	         "may still be done later, even over a newer one."},
	{.section = S::Top, .name = "FULL_POLICY", .type = T::Choice, .defaultText = "\"pause\"", .choices = "pause|error",
	 .help = "What happens to writes that need room when a store is full. \"pause\": they wait until there is room again, and "
	         "guests see a pause. \"error\": they fail with ENOSPC, which file systems of guests may answer by going "
	         "read-only. Reads, and writes to blocks that have their room, go on in both."},
	{.section = S::Top, .name = "RESERVE", .type = T::Size, .defaultText = "\"64MiB\"", .min = 0, .max = kTebi,
	 .help = "Room on the file system of each store that data never takes, so that maps and journals can still be written "
	         "when it is full, volumes be flushed and closed, and room be made."},
	{.section = S::Top, .name = "roles", .type = T::RoleList,
	 .defaultText = "[[\"blockerb\", \"file_blocker\"], [\"blockerm\", \"file_blocker\"], [\"mapperd\", \"mapperd\"], "
	                "[\"vlmcd\", \"vlmcd\"]]",
	 .help = "What runs: pairs of a name and a type, in start order (stop is the reverse). Types: file_blocker keeps "
	         "objects in a directory, mapperd the volumes' maps, vlmcd splits volume I/O into object I/O. One mapperd "
	         "and one vlmcd. Each role has a section of its name below; a section named after a type holds for all "
	         "roles of that type that say nothing else themselves."},

	// ---- every role
	{.section = S::AnyRole, .name = "portno_start", .type = T::Integer, .min = 0, .max = kMaxPort,
	 .help = "First port of the role. vlmcd needs one for each volume client at a time; when all are used, further clients "
	         "get E-LIMIT. The other roles have one port for each reactor of their host."},
	{.section = S::AnyRole, .name = "portno_end", .type = T::Integer, .min = 0, .max = kMaxPort,
	 .help = "Last port of the role."},
	{.section = S::AnyRole, .name = "log_level", .type = T::Integer, .defaultText = "1", .min = 0, .max = 3,
	 .effect = TakesEffect::Live,
	 .help = "What is logged: 0 errors, 1 also warnings, 2 also information, 3 also debugging."},
	{.section = S::AnyRole, .name = "nr_ops", .type = T::PowerOfTwo, .defaultText = "512", .min = 16, .max = 4096,
	 .help = "Operations the role works on at a time, a power of two; more wait their turn."},

	// ---- file_blocker
	{.section = S::FileBlocker, .name = "archip_dir", .type = T::Path, .max = 4000,
	 .help = "Directory of the objects, on one file system. It holds an identity file that is checked at every start, "
	         "so that a directory whose file system is not mounted is refused and never served as an empty store."},
	{.section = S::FileBlocker, .name = "fdcache", .type = T::Integer, .defaultText = "4096", .min = 64, .max = 1u << 20,
	 .help = "Object files kept open."},
	{.section = S::FileBlocker, .name = "direct", .type = T::Boolean, .defaultText = "true",
	 .help = "Direct I/O, past the page cache. Where the file system refuses it, buffered I/O is used with a warning."},
	{.section = S::FileBlocker, .name = "nr_threads", .type = T::Integer, .defaultText = "1", .min = 1, .max = 16,
	 .help = "Reactors that serve this role: as many as its host has ([hosts.NAME] reactors), which is also what is meant when "
	         "the line is left out."},
	{.section = S::FileBlocker, .name = "shared", .type = T::Boolean, .defaultText = "false",
	 .help = "false: this host alone uses archip_dir, under an exclusive lock. Only false so far.", .onlyNow = "false",
	 .onlyStep = 5, .onlyWhy = "locks for stores that several hosts share"},

	// ---- mapperd
	{.section = S::Mapperd, .name = "blockerb_port", .type = T::Integer, .defaultText = "1000", .min = 0, .max = kMaxPort,
	 .help = "portno_start of the blocker that keeps the data blocks."},
	{.section = S::Mapperd, .name = "blockerm_port", .type = T::Integer, .defaultText = "1002", .min = 0, .max = kMaxPort,
	 .help = "portno_start of the blocker that keeps the maps."},
	{.section = S::Mapperd, .name = "map_cache_size", .type = T::Size, .defaultText = "\"128MiB\"", .min = kMebi,
	 .max = kTebi, .help = "Memory for maps of open volumes. 256 KiB cover 32 GiB of a volume."},

	// ---- vlmcd
	{.section = S::Vlmcd, .name = "blocker_port", .type = T::Integer, .defaultText = "1000", .min = 0, .max = kMaxPort,
	 .help = "portno_start of the blocker that keeps the data blocks: the same as mapperd's blockerb_port."},
	{.section = S::Vlmcd, .name = "mapper_port", .type = T::Integer, .defaultText = "1001", .min = 0, .max = kMaxPort,
	 .help = "portno_start of mapperd."},

	// ---- [nbd]
	{.section = S::Nbd, .name = "exports", .type = T::Choice, .defaultText = "\"opened\"", .choices = "opened|all",
	 .help = "What NBD clients find on the socket: \"opened\" = volumes that were opened with `vlmc open`, \"all\" = every "
	         "volume (the default of a trial instance)."},
	{.section = S::Nbd, .name = "socket", .type = T::Path, .defaultText = "\"/run/archipelago/nbd.sock\"", .max = 107,
	 .help = "The Unix socket of the NBD server."},
	{.section = S::Nbd, .name = "mode", .type = T::Mode, .defaultText = "\"0660\"",
	 .help = "Its permission bits, in octal: whoever may write to the socket may use the volumes it offers."},
	{.section = S::Nbd, .name = "portno_start", .type = T::Integer, .defaultText = "1024", .min = 0, .max = kMaxPort,
	 .help = "First port of the gateway; it needs one for each NBD connection at a time."},
	{.section = S::Nbd, .name = "portno_end", .type = T::Integer, .defaultText = "1535", .min = 0, .max = kMaxPort,
	 .help = "Last port of the gateway."},
	{.section = S::Nbd, .name = "log_level", .type = T::Integer, .defaultText = "1", .min = 0, .max = 3,
	 .effect = TakesEffect::Live, .help = "As for the roles: 0 errors to 3 debugging."},

	// ---- [hosts.NAME]
	{.section = S::Host, .name = "roles", .type = T::NameList,
	 .defaultText = "[\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\", \"nbd\"]",
	 .help = "Roles and gateways that share one process. Together they are fastest, apart they fail apart. With several "
	         "[hosts.NAME] sections each role stands in exactly one; a gateway that stands in none does not run. A "
	         "single host runs everything unless it says otherwise."},
	{.section = S::Host, .name = "reactors", .type = T::Integer, .defaultText = "1", .min = 1, .max = 16,
	 .help = "Threads of the process between which the volumes are dealt; each serves all roles of the process for its volumes. "
	         "The same number in all hosts. Blockers and mapperd need one port for each (portno_start, portno_end); vlmcd and nbd "
	         "divide theirs."},

	// ---- known, not built yet
	{.section = S::Top, .name = "USER", .step = kLaterStep},
	{.section = S::Top, .name = "GROUP", .step = kLaterStep},
	{.section = S::Top, .name = "DEVICE_DRIVER", .step = 4},
	{.section = S::Top, .name = "DEVICE_RECOVERY", .step = 6},
	{.section = S::Top, .name = "TRASH_RETENTION", .step = 5},
	{.section = S::Top, .name = "LEASE", .step = 5},
	{.section = S::Top, .name = "fence_command", .step = 5},
	{.section = S::Top, .name = "own_reboot_is_proof", .step = 5},
	{.section = S::Top, .name = "GC_RATE", .step = 5},
	{.section = S::Top, .name = "FILL_RATE", .step = 4},
	{.section = S::Top, .name = "METRICS", .step = 8},
	{.section = S::Top, .name = "LOG", .step = 8},
	{.section = S::RadosBlocker, .name = "pool", .step = 7},
	{.section = S::RadosBlocker, .name = "ceph_conf", .step = 7},
	{.section = S::RadosBlocker, .name = "client", .step = 7},
	{.section = S::RadosBlocker, .name = "namespace", .step = 7},
	{.section = S::RadosBlocker, .name = "nr_threads", .step = 7},
	{.section = S::RadosBlocker, .name = "fence_domain", .step = 7},
	{.section = S::Fuse, .name = "portno_start", .step = 4},
	{.section = S::Fuse, .name = "portno_end", .step = 4},
	{.section = S::Backend, .name = "blockerb", .step = kLaterStep},
	{.section = S::Backend, .name = "blockerm", .step = kLaterStep},
});

constexpr auto kRoleTypes = std::to_array<RoleTypeInfo>({
	{"file_blocker", RoleType::FileBlocker, S::FileBlocker, false, kBuilt},
	{"rados_blocker", std::nullopt, S::RadosBlocker, false, 7},
	{"mapperd", RoleType::Mapperd, S::Mapperd, false, kBuilt},
	{"vlmcd", RoleType::Vlmcd, S::Vlmcd, false, kBuilt},
	{"nbd", RoleType::Nbd, S::Nbd, true, kBuilt},
	{"fuse", std::nullopt, S::Fuse, true, 4},
	{"xsegbd", std::nullopt, S::Top, true, 6},
});

constexpr auto kRoleDefaults = std::to_array<RoleDefaults>({
	{"blockerb", RoleType::FileBlocker, 1000, 1000, "blocks"},
	{"blockerm", RoleType::FileBlocker, 1002, 1002, "maps"},
	{"", RoleType::Mapperd, 1001, 1001, ""},
	{"", RoleType::Vlmcd, 500, 999, ""},
});

std::string range(uint64_t min, uint64_t max) { return "from " + std::to_string(min) + " to " + std::to_string(max); }

std::string choiceList(std::string_view choices)
{
	std::string out;
	while (!choices.empty()) {
		const std::size_t end = std::min(choices.find('|'), choices.size());
		if (!out.empty()) out += " or ";
		out += '"';
		out += choices.substr(0, end);
		out += '"';
		choices.remove_prefix(std::min(end + 1, choices.size()));
	}
	return out;
}

} // namespace

std::span<const ConfigKey> configKeys() { return kKeys; }
std::span<const RoleTypeInfo> roleTypes() { return kRoleTypes; }
std::span<const RoleDefaults> roleDefaults() { return kRoleDefaults; }

const ConfigKey *findConfigKey(ConfigSection section, std::string_view name)
{
	const auto found = std::ranges::find_if(
	        kKeys, [&](const ConfigKey &key) { return key.section == section && key.name == name; });
	return found == kKeys.end() ? nullptr : &*found;
}

const RoleTypeInfo *findRoleType(std::string_view name)
{
	const auto found = std::ranges::find(kRoleTypes, name, &RoleTypeInfo::name);
	return found == kRoleTypes.end() ? nullptr : &*found;
}

const RoleDefaults *findRoleDefaults(std::string_view name, RoleType type)
{
	const auto found = std::ranges::find_if(kRoleDefaults, [&](const RoleDefaults &row) {
		return row.type == type && (row.name.empty() || row.name == name);
	});
	return found == kRoleDefaults.end() ? nullptr : &*found;
}

std::string_view roleTypeName(RoleType type)
{
	const auto found = std::ranges::find(kRoleTypes, std::optional(type), &RoleTypeInfo::type);
	ARCHIPELAGO_ASSERT(found != kRoleTypes.end());
	return found->name;
}

std::string_view sectionTitle(ConfigSection section)
{
	switch (section) {
	case S::Top: return "the top of the file, before the first [section]";
	case S::AnyRole: return "the section of a role";
	case S::FileBlocker: return "the section of a file_blocker role";
	case S::RadosBlocker: return "the section of a rados_blocker role";
	case S::Mapperd: return "the section of the mapperd role";
	case S::Vlmcd: return "the section of the vlmcd role";
	case S::Nbd: return "the section [nbd]";
	case S::Fuse: return "the section [fuse]";
	case S::Host: return "a section [hosts.NAME]";
	case S::Backend: return "a section [backends.NAME]";
	}
	return "";
}

std::string expectedValue(const ConfigKey &key)
{
	switch (key.type) {
	case T::Boolean: return "true or false";
	case T::Integer: return "a whole number " + range(key.min, key.max);
	case T::PowerOfTwo: return "a power of two " + range(key.min, key.max);
	case T::Mebibytes: return "a whole number of MiB " + range(key.min, key.max);
	case T::Size: return "a size in quotes from " + formatSize(key.min) + " to " + formatSize(key.max);
	case T::Duration: return "0, or a duration in quotes from 100ms to 1d"; // the one range there is: config_schema's test
	case T::Choice: return choiceList(key.choices);
	case T::Path: return "an absolute path in quotes of at most " + std::to_string(key.max) + " bytes";
	case T::Mode: return "permission bits in octal, in quotes, such as \"0660\"";
	case T::Text: return "a text in quotes";
	case T::RoleList: return "a list of [\"name\", \"type\"] pairs";
	case T::NameList: return "a list of names in quotes";
	}
	return "";
}

std::string exampleLine(const ConfigKey &key)
{
	std::string_view value = key.defaultText;
	if (value.empty()) value = key.type == T::Path ? "\"/srv/archip/blocks\"" : key.type == T::Integer ? "1100" : "\"...\"";
	if (key.type == T::Duration) value = "\"30s\"";
	return std::string(key.name) + " = " + std::string(value);
}

std::string stepText(uint8_t step)
{
	if (step == kLaterStep) return " (a later step of ROADMAP.md)";
	return " (step " + std::to_string(step) + "/9)";
}

} // namespace archipelago
