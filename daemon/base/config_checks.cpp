// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_checks.h. Ports first (who is where), then who talks to whom, then directories, hosts and memory.
#include "daemon/base/config_checks.h"

#include "daemon/base/config_schema.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <filesystem>

namespace archipelago::config {

namespace {

bool runsNbd(const Config &config)
{
	return std::ranges::any_of(config.hosts, [](const HostConfig &host) {
		return std::ranges::find(host.roles, roleTypeName(RoleType::Nbd)) != host.roles.end();
	});
}

/// The ports of one owner and the keys that say so.
struct PortRange {
	std::string owner, section, startKey, endKey;
	uint32_t start, end;

	/// "vlmcd (ports 500-999)"
	std::string text() const
	{
		return owner + " (" +
		       (start == end ? "port " + std::to_string(start)
		                     : "ports " + std::to_string(start) + "-" + std::to_string(end)) +
		       ")";
	}
};

std::vector<PortRange> portRanges(const Config &config)
{
	std::vector<PortRange> out{{"XSEGBD", "", "XSEGBD_START", "XSEGBD_END", config.xsegbdStart, config.xsegbdEnd},
	                           {"VTOOL", "", "VTOOL_START", "VTOOL_END", config.vtoolStart, config.vtoolEnd}};
	for (const RoleConfig &role : config.roles)
		out.push_back({role.name, role.name, "portno_start", "portno_end", role.portnoStart, role.portnoEnd});
	if (runsNbd(config))
		out.push_back({"nbd", "nbd", "portno_start", "portno_end", config.nbd.portnoStart, config.nbd.portnoEnd});
	return out;
}

/// Where the range was written: its start if that is in the file, else its end, else its section.
Position whereRange(const Report &report, const PortRange &range)
{
	return report.given(range.section, range.startKey) ? report.where(range.section, range.startKey)
	                                                   : report.where(range.section, range.endKey);
}

void checkPorts(const Config &config, Report &report)
{
	std::vector<PortRange> legal;
	for (PortRange &range : portRanges(config)) {
		if (!report.sound(range.section, range.startKey) || !report.sound(range.section, range.endKey)) continue;
		if (range.start > range.end) {
			report.error(whereRange(report, range), range.owner + ": " + range.startKey + " " +
			                                            std::to_string(range.start) + " is behind " + range.endKey +
			                                            " " + std::to_string(range.end));
		} else if (range.end >= config.segmentPorts) {
			// A default that no longer fits was pushed out by a smaller segment.
			const Position at = whereRange(report, range).line != 0 ? whereRange(report, range)
			                                                        : report.where("", "SEGMENT_PORTS");
			if (report.sound("", "SEGMENT_PORTS"))
				report.error(at, range.text() +
				                     " does not fit into SEGMENT_PORTS = " + std::to_string(config.segmentPorts) +
				                     " (0 to " + std::to_string(config.segmentPorts - 1) + ")");
		} else {
			legal.push_back(std::move(range));
		}
	}
	for (std::size_t i = 0; i < legal.size(); ++i) {
		for (std::size_t j = i + 1; j < legal.size(); ++j) {
			const PortRange &a = legal[i], &b = legal[j];
			if (a.end < b.start || b.end < a.start) continue;
			// Point at the one that the file moved; a default is not what the reader can see.
			const Position at = whereRange(report, b).line != 0 ? whereRange(report, b) : whereRange(report, a);
			report.error(at, a.text() + " and " + b.text() + " overlap");
		}
	}
	const uint32_t reactors = config.reactors();
	for (const RoleConfig &role : config.roles) {
		if (role.type == RoleType::Vlmcd || role.portnoEnd <= role.portnoStart + reactors - 1) continue;
		const std::string has = reactors == 1 ? " has one port" : " has one port for each of " + std::to_string(reactors) + " reactors";
		report.error(report.where(role.name, "portno_end"), role.name + has + ": portno_end must be " +
		                                                        std::to_string(role.portnoStart + reactors - 1) +
		                                                        (reactors == 1 ? " or left out" : ""));
	}
}

/// Where one finds the number of reactors.
Position whereReactors(const Config &config, const Report &report)
{
	for (const HostConfig &host : config.hosts)
		if (report.given("hosts." + host.name, "reactors")) return report.where("hosts." + host.name, "reactors");
	return report.where("hosts", "");
}

bool overlaps(const PortRange &range, uint32_t start, uint32_t end) { return range.start <= end && start <= range.end; }

/// What to write so that `role` has `count` ports: more behind its own, or where there is room for them all.
std::string roomFor(const RoleConfig &role, uint32_t count, uint32_t segmentPorts, std::vector<PortRange> &taken)
{
	const auto isFree = [&](uint32_t start) {
		return start + count <= segmentPorts && std::ranges::none_of(taken, [&](const PortRange &range) {
			return range.owner != role.name && overlaps(range, start, start + count - 1);
		});
	};
	uint32_t start = role.portnoStart;
	while (!isFree(start) && start < segmentPorts) ++start;
	if (start == segmentPorts) return "SEGMENT_PORTS has no room for them";
	const std::string end = "portno_end = " + std::to_string(start + count - 1);
	if (start == role.portnoStart) return "set [" + role.name + "] " + end;
	for (PortRange &range : taken)
		if (range.owner == role.name) range.start = start, range.end = start + count - 1;
	return "set [" + role.name + "] portno_start = " + std::to_string(start) + ", " + end + ", and " +
	       (role.type == RoleType::Mapperd ? "mapper_port of vlmcd" : "the keys of mapperd and vlmcd that name its port") + " to " +
	       std::to_string(start);
}

/// Several reactors in a host (shards.h): all hosts alike, and ports for each.
void checkReactors(const Config &config, Report &report)
{
	constexpr size_t kMostInAll = 63; // a segment has 64 waiters, one is the service's
	const uint32_t reactors = config.reactors();
	for (const HostConfig &host : config.hosts) {
		if (host.reactors == reactors) continue;
		report.error(whereReactors(config, report),
		             "[hosts." + config.hosts.front().name + "] has reactors = " + std::to_string(reactors) + ", [hosts." +
		                 host.name + "] has " + std::to_string(host.reactors) +
		                 ": all hosts need the same number, for a volume must have its place in each");
		return;
	}
	for (const RoleConfig &role : config.roles) {
		if (role.type != RoleType::FileBlocker || role.nrThreads == 0 || role.nrThreads == reactors) continue;
		report.error(report.where(role.name, "nr_threads"),
		             role.name + ": nr_threads = " + std::to_string(role.nrThreads) + ", but its host has reactors = " +
		                 std::to_string(reactors) + ", and each of them serves all its roles: write nr_threads = " +
		                 std::to_string(reactors) + ", or remove the line");
	}
	if (reactors == 1) return;
	const Position at = whereReactors(config, report);
	if (config.hosts.size() * reactors > kMostInAll)
		report.error(at, std::to_string(config.hosts.size()) + " hosts with " + std::to_string(reactors) + " reactors each are too many: " +
		                     std::to_string(kMostInAll) + " in all are possible. Lower reactors");
	std::vector<PortRange> taken = portRanges(config);
	const std::string each = "reactors = " + std::to_string(reactors) + ": ";
	for (const RoleConfig &role : config.roles) {
		if (!report.sound(role.name, "portno_start") || !report.sound(role.name, "portno_end") || role.portnoEnd < role.portnoStart) continue;
		const uint32_t has = role.portnoEnd - role.portnoStart + 1;
		if (role.type != RoleType::Vlmcd && has < reactors)
			report.error(at, each + role.name + " needs a port for each and has " + std::to_string(has) + ": " +
			                     roomFor(role, reactors, config.segmentPorts, taken));
	}
	for (const PortRange &range : portRanges(config)) {
		const RoleConfig *const role = config.role(range.owner);
		const bool divided = range.owner == "nbd" || (role && role->type == RoleType::Vlmcd);
		if (!divided || range.end < range.start || range.end - range.start + 1 >= 2 * reactors) continue;
		report.error(at, each + range.text() + " needs at least " + std::to_string(2 * reactors) + " ports, two for each: raise [" + range.section +
		                     "] portno_end to " + std::to_string(range.start + 2 * reactors - 1));
	}
}

/// `key` of `role` must be the port of a role of type `type`.
void checkPointsAt(const Config &config, Report &report, const RoleConfig &role, std::string_view key, uint32_t port,
                   RoleType type)
{
	if (!report.sound(role.name, key)) return;
	Position at = report.where(role.name, key);
	std::string candidates;
	for (const RoleConfig &other : config.roles) {
		if (other.type != type) continue;
		if (other.portnoStart == port || !report.sound(other.name, "portno_start")) return;
		candidates += (candidates.empty() ? "" : ", ") + other.name + " has " + std::to_string(other.portnoStart);
		// The default went wrong because the other moved: without a section of our own, that is the line to show.
		if (at.line == 0 && report.given(other.name, "portno_start")) at = report.where(other.name, "portno_start");
	}
	if (candidates.empty()) candidates = "there is none";
	report.error(at, role.name + ": " + std::string(key) + " = " + std::to_string(port) + " is not the port of a " +
	                     std::string(roleTypeName(type)) + " (" + candidates + ")");
}

void checkPeers(const Config &config, Report &report)
{
	if (!report.sound("", "roles")) return;
	for (const RoleType type : {RoleType::Mapperd, RoleType::Vlmcd}) {
		const auto count = std::ranges::count(config.roles, type, &RoleConfig::type);
		if (count == 1) continue;
		// Two mapperds over one pair of blockers would each believe that the maps are theirs.
		report.error(report.where("", "roles"), "roles has " + std::to_string(count) + " roles of type " +
		                                            std::string(roleTypeName(type)) + ": exactly one is needed");
	}
	const RoleConfig *const mapper = config.firstOf(RoleType::Mapperd);
	const RoleConfig *const composer = config.firstOf(RoleType::Vlmcd);
	for (std::size_t i = 0; mapper != nullptr && i < config.roles.size(); ++i) {
		const RoleConfig &blocker = config.roles[i];
		const bool needed = blocker.portnoStart == mapper->blockerbPort || blocker.portnoStart == mapper->blockermPort;
		if (blocker.type == RoleType::FileBlocker && needed && &blocker > mapper)
			report.warning(report.where("", "roles"),
			               mapper->name + " stands before " + blocker.name +
			                   " in roles, which it needs: it is started first and has to wait");
	}
	if (mapper != nullptr) {
		checkPointsAt(config, report, *mapper, "blockerb_port", mapper->blockerbPort, RoleType::FileBlocker);
		checkPointsAt(config, report, *mapper, "blockerm_port", mapper->blockermPort, RoleType::FileBlocker);
	}
	if (composer != nullptr) {
		checkPointsAt(config, report, *composer, "blocker_port", composer->blockerPort, RoleType::FileBlocker);
		checkPointsAt(config, report, *composer, "mapper_port", composer->mapperPort, RoleType::Mapperd);
	}
	if (mapper != nullptr && composer != nullptr && mapper->blockerbPort != composer->blockerPort &&
	    report.sound(mapper->name, "blockerb_port") && report.sound(composer->name, "blocker_port")) {
		// vlmcd writes the data, mapperd syncs it before it commits: at another blocker it would sync nothing.
		report.error(report.where(composer->name, "blocker_port"),
		             composer->name + ": blocker_port = " + std::to_string(composer->blockerPort) +
		                 ", but blockerb_port of " + mapper->name + " is " + std::to_string(mapper->blockerbPort) +
		                 ": both must be the same blocker");
	}
}

std::string normalPath(const std::string &path)
{
	std::string out = std::filesystem::path(path).lexically_normal().string();
	while (out.size() > 1 && out.back() == '/') out.pop_back();
	return out;
}

void checkDirectories(const Config &config, Report &report)
{
	std::vector<std::pair<const RoleConfig *, std::string>> seen;
	for (const RoleConfig &role : config.roles) {
		if (role.type != RoleType::FileBlocker || role.archipDir.empty() || !report.sound(role.name, "archip_dir"))
			continue;
		const std::string path = normalPath(role.archipDir);
		for (const auto &[other, otherPath] : seen) {
			const Position at = report.given(role.name, "archip_dir") ? report.where(role.name, "archip_dir")
			                                                          : report.where(other->name, "archip_dir");
			const auto within = [](const std::string &inner, const std::string &outer) {
				return inner.starts_with(outer == "/" ? outer : outer + "/");
			};
			if (path == otherPath)
				report.error(at, role.name + " and " + other->name + " use the same archip_dir " + inQuotes(path) +
				                     ": each needs a directory of its own");
			else if (within(path, otherPath) || within(otherPath, path))
				report.error(at, "archip_dir of " + role.name + " and of " + other->name +
				                     " lie within each other: choose directories side by side");
		}
		seen.emplace_back(&role, path);
	}
}

void checkHosts(const Config &config, Report &report)
{
	const bool allSound = std::ranges::all_of(
		config.hosts, [&](const HostConfig &host) { return report.sound("hosts." + host.name, "roles"); });
	if (!report.sound("", "roles") || !report.sound("hosts", "") || !allSound) return;
	std::map<std::string, const HostConfig *> placed;
	for (const HostConfig &host : config.hosts) {
		for (const std::string &role : host.roles) {
			const auto [at, fresh] = placed.emplace(role, &host);
			if (!fresh)
				report.error(report.where("hosts." + host.name, "roles"),
				             role + " stands in [hosts." + at->second->name + "] and in [hosts." + host.name +
				                 "], or twice in one: each role runs in exactly one host");
		}
	}
	for (const RoleConfig &role : config.roles)
		if (!placed.contains(role.name))
			report.error(report.where("hosts", ""),
			             "The role " + role.name + " stands in no [hosts.NAME] roles: add it to one");
}

void checkNbd(const Config &config, Report &report)
{
	if (!runsNbd(config) || !report.sound("nbd", "socket")) return;
	const uint64_t longest = findConfigKey(ConfigSection::Nbd, "socket")->max;
	// A given path was measured when it was read; here it is the default below the run directory.
	if (config.nbd.socket.size() > longest && !report.given("nbd", "socket"))
		report.error(report.where("nbd", "socket"),
		             "The NBD socket " + inQuotes(config.nbd.socket) + " has " +
		                 std::to_string(config.nbd.socket.size()) + " bytes, at most " + std::to_string(longest) +
		                 " are possible: choose a shorter instance directory, or set [nbd] socket");
	if ((config.nbd.mode & 0002) != 0)
		report.warning(report.where("nbd", "mode"),
		               "mode lets every user of this machine use the volumes of the NBD socket");
}

void checkMemory(const Config &config, uint64_t ramBytes, Report &report)
{
	constexpr uint64_t kGibi = 1ull << 30;
	if (ramBytes == 0 || !report.sound("", "SEGMENT_SIZE")) return;
	const Position at = report.where("", "SEGMENT_SIZE");
	const std::string size = "SEGMENT_SIZE " + formatSize(config.segmentSizeBytes);
	if (config.segmentSizeBytes > ramBytes / 2)
		report.warning(at, size + " is more than half of this machine's memory (" + formatSize(ramBytes) +
		                       "); set it lower");
	else if (config.segmentSizeBytes > kGibi && ramBytes < 6 * kGibi)
		report.warning(at, size + " is much for a machine with " + formatSize(ramBytes) +
		                       " of memory; 1024 or less is advised");
}

} // namespace

void checkConfig(const Config &config, uint64_t ramBytes, Report &report)
{
	checkPorts(config, report);
	checkPeers(config, report);
	checkDirectories(config, report);
	checkHosts(config, report);
	checkReactors(config, report);
	checkNbd(config, report);
	checkMemory(config, ramBytes, report);
}

} // namespace archipelago::config
