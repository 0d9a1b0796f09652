// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Fuzzes parseConfig(): whatever the bytes, it returns; what it says has a place in the text and nothing that steers a
// terminal; and what it accepts keeps the promises that the rest of the program builds on. Beside that, that the limit on
// nesting holds: what splitStatements() lets through, toml++ never nests much deeper than that limit.
#include "daemon/base/config_schema.h"
#include "daemon/base/config_statements.h"
#include "daemon/base/text.h"
#include "tests/fuzz/mutate.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <bit>
#include <set>

using namespace archipelago;

namespace {

ConfigDefaults places()
{
	ConfigDefaults defaults;
	defaults.ramBytes = 8ull << 30;
	return defaults;
}

std::string checkDiagnostics(std::string_view input, const ParsedConfig &parsed)
{
	const auto lines = static_cast<uint32_t>(std::count(input.begin(), input.end(), '\n')) + 1;
	if (parsed.diagnostics.size() > 101) return "too many diagnostics";
	uint32_t last = 0;
	for (const Diagnostic &diagnostic : parsed.diagnostics) {
		if (diagnostic.message.empty()) return "an empty message";
		// A mistake at the end of the text may be placed behind its last line end.
		if (diagnostic.line > lines) return "line " + std::to_string(diagnostic.line) + " of " + std::to_string(lines);
		if (diagnostic.line < last) return "not sorted";
		last = diagnostic.line;
		if ((diagnostic.line == 0) != (diagnostic.column == 0)) return "half a position: " + diagnostic.message;
		std::string shown = diagnostic.message;
		std::erase(shown, '\n'); // the advice on old files has several lines
		if (printable(shown) != shown) return "not printable: " + printable(diagnostic.message);
		if (shown.size() > 4096) return "a message of " + std::to_string(shown.size()) + " bytes";
	}
	return {};
}

std::string checkAccepted(const Config &config)
{
	if (config.segmentPorts < 64 || config.segmentPorts > 2048) return "SEGMENT_PORTS";
	if (config.segmentSizeBytes < 64ull << 20 || config.segmentSizeBytes % (1 << 20) != 0) return "SEGMENT_SIZE";
	std::vector<int> owners(config.segmentPorts, 0);
	const auto take = [&owners](uint32_t start, uint32_t end) {
		if (start > end || end >= owners.size()) return false;
		for (uint32_t port = start; port <= end; ++port)
			if (owners[port]++ != 0) return false;
		return true;
	};
	std::set<std::string> names, directories, placed;
	int mappers = 0, composers = 0;
	if (!take(config.xsegbdStart, config.xsegbdEnd) || !take(config.vtoolStart,
	        config.vtoolEnd)) return "XSEGBD or VTOOL ports";
	for (const RoleConfig &role : config.roles) {
		if (role.name.empty() || !names.insert(role.name).second) return "role names";
		if (!take(role.portnoStart, role.portnoEnd)) return "ports of " + role.name;
		if (role.logLevel > 3 || !std::has_single_bit(role.nrOps) || role.nrOps < 16 ||
		        role.nrOps > 4096) return "numbers of " + role.name;
		if (role.type == RoleType::FileBlocker && (!role.archipDir.starts_with('/') ||
		        !directories.insert(role.archipDir).second))
			return "archip_dir of " + role.name;
		mappers += role.type == RoleType::Mapperd;
		composers += role.type == RoleType::Vlmcd;
	}
	if (mappers != 1 || composers != 1) return "number of mapperds or vlmcds";
	const auto isBlocker = [&config](uint32_t port) {
		return std::ranges::any_of(config.roles, [port](const RoleConfig &r) { return r.type == RoleType::FileBlocker &&
		        r.portnoStart == port; });
	};
	const RoleConfig &mapper = *config.firstOf(RoleType::Mapperd), &composer = *config.firstOf(RoleType::Vlmcd);
	if (!isBlocker(mapper.blockerbPort) || !isBlocker(mapper.blockermPort) ||
	        composer.blockerPort != mapper.blockerbPort ||
	    composer.mapperPort != mapper.portnoStart)
		return "who talks to whom";
	for (const HostConfig &host : config.hosts) {
		if (host.name.empty() || host.roles.empty()) return "hosts";
		for (const std::string &role : host.roles)
			if (!placed.insert(role).second) return role + " stands twice";
	}
	for (const std::string &name : names)
		if (!placed.contains(name)) return name + " runs nowhere";
	if (placed.contains("nbd") && !take(config.nbd.portnoStart, config.nbd.portnoEnd)) return "ports of nbd";
	if (!config.nbd.socket.starts_with('/') || config.nbd.socket.size() > 107 || config.nbd.mode > 0777) return "[nbd]";
	if (config.nbd.composerPort != composer.portnoStart) return "composerPort";
	return {};
}

std::size_t depthOf(const toml::node &node)
{
	std::size_t deepest = 0;
	if (const auto *table = node.as_table())
		for (const auto &[key, child] : *table) deepest = std::max(deepest, depthOf(child));
	if (const auto *array = node.as_array())
		for (const toml::node &child : *array) deepest = std::max(deepest, depthOf(child));
	return deepest + 1;
}

std::string checkNesting(std::string_view input)
{
	// A header, and a key with its value below it.
	constexpr std::size_t kDeepest = 2 * (config::kMaxDots + config::kMaxNesting + 2);
	if (config::splitStatements(input).tooDeepLine != 0) return {};
	try {
		const std::size_t depth = depthOf(toml::parse(input));
		if (depth > kDeepest) return "nested " + std::to_string(depth) + " deep";
	} catch (const toml::parse_error &) {
		return {};
	}
	return {};
}

/// The input's bytes as a sequence of the tokens in which splitter and parser could disagree: what is a string, a comment, a
/// line. Anything too deep behind such a disagreement is seen by the parser alone.
std::string nestingText(std::string_view input)
{
	static const std::string deep = [] {
		std::string dots = "{a";
		for (int i = 0; i < 400; ++i) dots += ".a";
		return dots + "=1}";
	}();
	static const std::array<std::string, 12> tokens{"\"", "\"\"\"", "'", "'''", ",", "#", "\n", "x", "\\", "\"\"\"\"",
	        "''''", deep};
	std::string out = "a=[";
	for (std::size_t i = 0; i < std::min<std::size_t>(input.size(),
	        8); ++i) out += tokens[static_cast<unsigned char>(input[i]) % tokens.size()];
	return out + "]\n";
}

std::string target(std::string_view input)
{
	// Any eight bytes of the input will do; the first are mostly the same.
	const std::size_t middle = input.size() / 2;
	for (const std::string &text : {std::string(input), nestingText(input.substr(middle)),
	        nestingText(input.substr(middle / 2))})
		if (std::string deep = checkNesting(text); !deep.empty()) return deep + ": " + text.substr(0, 64);
	const ParsedConfig parsed = parseConfig(input, places());
	std::string wrong = checkDiagnostics(input, parsed);
	if (wrong.empty() && parsed.ok()) wrong = checkAccepted(parsed.config);
	return wrong;
}

fuzz::Material material()
{
	fuzz::Material out;
	const std::string commented = fuzz::readFile(DEFAULT_CONFIG_FILE);
	std::string active, prose = commented;
	for (std::size_t at = 0; at < commented.size();) {
		const std::size_t end = std::min(commented.find('\n', at), commented.size() - 1) + 1;
		std::string line = commented.substr(at, end - at);
		at = end;
		if (line.starts_with("#") && line.size() > 2 && line[1] != ' ') line.erase(0, 1);
		if (!line.starts_with("#")) active += line;
	}
	out.corpus = {
		active, prose, "",
		"SEGMENT_SIZE = 256\n[hosts.a]\nroles = [\"blockerb\", \"blockerm\"]\n[hosts.b]\nroles = [\"mapperd\", \"vlmcd\", \"nbd\"]\n",
		"roles = [[\"b\", \"file_blocker\"], [\"blockerm\", \"file_blocker\"],\n  [\"m\", \"mapperd\"], [\"v\", \"vlmcd\"]] # mine\n"
		"[b]\nportno_start = 1000\narchip_dir = '/srv/b'\n[file_blocker]\nfdcache = 64\n",
		"SPEC=\"segdev:xsegbd:1024:5120:12\"\nVPORT_START=500\n",
		"roles = [('blockerb', 'file_blocker')]\nblockerb = {\n 'portno_start': 1000,\n}\n",
		"[XSEG]\nSEGMENT_PORTS=2048\n[PEERS]\nROLES=blockerb blockerm\n",
	};
	out.dictionary = {"[", "]", "[[", "]]", "{", "}", "=", " = ", ".", ",", "\"", "\"\"\"", "'", "'''", "#", "\n",
	        "\r\n", "\\", "\\u0000", "\\U0010ffff",
	                  "true", "false", "nan", "1979-05-27", "0x", "0o7", "_", "(", ")", ":", "\xef\xbb\xbf", "\xff",
	                          "\xc3", "\x1b[2J", "\n[", "]\n",
	                  "[hosts.", "[nbd]\n", "\"10m\"", "\"1.5G\"", "\"20s\"", "file_blocker", "rados_blocker",
	                          "mapperd", "vlmcd", "nbd", "fuse",
	                  std::string(1, '\0')};
	// One of these in a place where the splitter sees a string or a comment and the parser does not would show.
	std::string dots = "a", brackets;
	for (int i = 0; i < 200; ++i) dots += ".a";
	for (int i = 0; i < 40; ++i) brackets += '[';
	for (const std::string &piece : {dots + " = 1", "{" + dots + "=1}", "[" + dots + "]", brackets + "1" +
	        std::string(40, ']')}) {
		out.dictionary.push_back(piece);
		out.corpus.push_back("a = \"\"\"x\\\"\"\"\" # " + piece + "\nb = ['''y''''', \"" + piece + "\", 1] # z\n[t]\n");
	}
	for (const ConfigKey &key : configKeys()) out.dictionary.emplace_back(std::string(key.name) + " = ");
	return out;
}

} // namespace

int main(int argc, char **argv) { return fuzz::run(argc, argv, material(), target); }
