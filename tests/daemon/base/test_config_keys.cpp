// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Every key of the schema: that a legal value arrives in its field of Config, that the default is what the schema says, and
// that each way to get it wrong is refused at its place. A built key without a row here fails everyKeyHasARow().
#include "base_test.h"
#include "config_fixture.h"

#include "daemon/base/config_schema.h"

#include <algorithm>
#include <functional>
#include <set>

using namespace archipelago;
using namespace archipelago::test;

namespace {

struct Wrong {
	const char *value, *part;
};

struct KeyRow {
	ConfigSection section;
	const char *name;
	const char *before;                        ///< lines in front of the key: its section, what else must change with it
	const char *value, *expected;              ///< a legal value that is not the default, and how it reads in Config
	const char *byDefault;                     ///< how the default reads
	std::function<std::string(const Config &)> field;
	std::vector<Wrong> wrong;
};

std::string number(uint64_t n) { return std::to_string(n); }

const RoleConfig &role(const Config &config, const char *name)
{
	const RoleConfig *found = config.role(name);
	if (found == nullptr) qFatal("no role %s", name);
	return *found;
}

std::string roleNames(const Config &config)
{
	std::string out;
	for (const RoleConfig &r : config.roles) out += r.name + ":" + std::string(roleTypeName(r.type)) + " ";
	return out;
}

std::string hostText(const Config &config)
{
	std::string out;
	for (const HostConfig &host : config.hosts) {
		out += host.name + "=";
		for (const std::string &name : host.roles) out += name + ",";
		out += " ";
	}
	return out;
}

// What every number refuses besides its range.
const Wrong kText{"\"5\"", "expected"}, kPoint{"5.5", "found a number with a point"}, kBool{"true", "expected"},
        kList{"[5]", "found a list"};

using S = ConfigSection;
const char *const kDefaultHost = "data=blockerb,blockerm,mapperd,vlmcd,nbd, ";
const char *const kMoveBlockerb = "[vlmcd]\nblocker_port = 1600\n[mapperd]\nblockerb_port = 1600\n[blockerb]\n";

const std::vector<KeyRow> &rows()
{
	static const std::vector<KeyRow> all{
		{S::Top, "SEGMENT_PORTS", "", "1600", "1600", "2048", [](const Config &c) { return number(c.segmentPorts); },
		 {{"63", "from 64 to 2048"}, {"2049", "from 64 to 2048"}, {"-1", "from 64 to 2048"},
		  {"9223372036854775807", "from 64"},
		  {"\"2048\"", "expected a whole number from 64 to 2048, found a text. Example: SEGMENT_PORTS = 2048"},
		  kPoint, kBool}},
		{S::Top, "SEGMENT_SIZE", "", "2048", "2147483648", "1073741824",
		 [](const Config &c) { return number(c.segmentSizeBytes); },
		 {{"63", "from 64 to 1048576"}, {"1048577", "from 64"}, {"-64", "from 64"},
		  {"\"1000KB\"", "not a whole number of MiB"},
		  {"\"63MiB\"", "from 64"}, {"\"10m\"", "milli"}, kPoint, kBool, kList}},
		{S::Top, "XSEGBD_START", "", "100", "100", "0", [](const Config &c) { return number(c.xsegbdStart); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, {"500", "XSEGBD_START 500 is behind XSEGBD_END 499"},
		  kText, kPoint}},
		{S::Top, "XSEGBD_END", "", "99", "99", "499", [](const Config &c) { return number(c.xsegbdEnd); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"},
		  {"500", "XSEGBD (ports 0-500) and vlmcd (ports 500-999) overlap"}, kText, kPoint}},
		{S::Top, "VTOOL_START", "", "1010", "1010", "1003", [](const Config &c) { return number(c.vtoolStart); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, {"1023", "VTOOL_START 1023 is behind VTOOL_END 1022"},
		  {"1002", "overlap"}, kText, kPoint}},
		{S::Top, "VTOOL_END", "", "1004", "1004", "1022", [](const Config &c) { return number(c.vtoolEnd); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, {"1024", "overlap"}, kText, kPoint}},
		{S::Top, "io_timeout", "", "\"30s\"", "30000", "0", [](const Config &c) { return number(c.ioTimeoutMs); },
		 {{"\"99ms\"", "from 100ms to 1d"}, {"\"2d\"", "from 100ms to 1d"}, {"30", "Example: io_timeout = \"30s\""},
		  {"\"30\"", "add a unit"}, {"\"-1s\"", "negative"}, {"-1", "expected 0, or a duration"}, kBool, kPoint}},
		{S::Top, "FULL_POLICY", "", "\"error\"", "error", "pause",
		 [](const Config &c) { return std::string(c.fullPolicy == FullPolicy::Error ? "error" : "pause"); },
		 {{"\"paus\"", "expected \"pause\" or \"error\". Did you mean pause?"},
		  {"true", "expected \"pause\" or \"error\""}, {"[]", "found a list"}}},
		{S::Top, "RESERVE", "", "\"1GiB\"", "1073741824", "67108864", [](const Config &c) { return number(c.reserveBytes); },
		 {{"\"2T\"", "to 1 TiB"}, {"64", "Example: RESERVE = \"64MiB\""}, {"\"64\"", "add a unit"},
		  {"\"64X\"", "unknown unit"}, kBool}},
		{S::Top, "roles", "",
		 R"([["blockerb", "file_blocker"], ["blockerm", "file_blocker"], ["m", "mapperd"], ["v", "vlmcd"]])",
		 "blockerb:file_blocker blockerm:file_blocker m:mapperd v:vlmcd ",
		 "blockerb:file_blocker blockerm:file_blocker mapperd:mapperd vlmcd:vlmcd ", roleNames,
		 {{"[]", "nothing would run"}, {"\"blockerb\"", "expected a list of"}, {"[\"blockerb\"]", "expected a list of"},
		  {"[[\"blockerb\"]]", "an entry of 1 words"}, {"[[\"a\", \"mapperd\", \"x\"]]", "an entry of 3 words"},
		  {"[[1, 2]]", "expected a list of"}, {"[[\"m\", \"maperd\"]]", "Did you mean mapperd?"},
		  {"[[\"m\", \"nbd\"]]", "is a gateway, it runs by itself"},
		  {"[[\"m\", \"rados_blocker\"]]", "role type rados_blocker is not built yet (step 7/9)"},
		  {"[[\"m\", \"fuse\"]]", "role type fuse is not built yet (step 4/9)"},
		  {"[[\"m\", \"xsegbd\"]]", "role type xsegbd is not built yet (step 6/9)"},
		  {"[[\"9x\", \"mapperd\"]]", "not legal"}, {"[[\"a b\", \"mapperd\"]]", "not legal"},
		  {"[[\"\", \"mapperd\"]]", "not legal"},
		  {"[[\"abcdefghijklmnopqrstuvwxyzabcdefg\", \"mapperd\"]]", "not legal"},
		  {"[[\"vlmcd\", \"mapperd\"]]", "the name of another type"},
		  {"[[\"nbd\", \"mapperd\"]]", "the name of another type"},
		  {"[[\"hosts\", \"mapperd\"]]", "a meaning of its own"},
		  {"[[\"LOG\", \"mapperd\"]]", "a meaning of its own"}}},

		{S::AnyRole, "portno_start", kMoveBlockerb, "1600", "1600", "1000",
		 [](const Config &c) { return number(role(c, "blockerb").portnoStart); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, kText, kPoint}},
		{S::AnyRole, "portno_end", "[vlmcd]\n", "600", "600", "999",
		 [](const Config &c) { return number(role(c, "vlmcd").portnoEnd); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, {"499", "is behind portno_end 499"},
		  {"1000", "overlap"}, kText, kPoint}},
		{S::AnyRole, "log_level", "[mapperd]\n", "3", "3", "1",
		 [](const Config &c) { return number(role(c, "mapperd").logLevel); },
		 {{"-1", "from 0 to 3"}, {"4", "from 0 to 3"}, {"\"debug\"", "Example: log_level = 1"}, kPoint, kBool}},
		{S::AnyRole, "nr_ops", "[blockerm]\n", "64", "64", "512",
		 [](const Config &c) { return number(role(c, "blockerm").nrOps); },
		 {{"8", "from 16 to 4096"}, {"8192", "from 16 to 4096"}, {"500", "the nearest are 256 and 512"},
		  {"0", "from 16"}, kText, kPoint}},
		{S::FileBlocker, "archip_dir", "[blockerb]\n", "\"/srv/archip/blocks\"", "/srv/archip/blocks",
		 "/var/lib/archipelago/blocks",
		 [](const Config &c) { return role(c, "blockerb").archipDir; },
		 {{"\"srv/blocks\"", "not an absolute path"}, {"\"\"", "not an absolute path"},
		  {"\"./x\"", "not an absolute path"},
		  {"\"/srv/a\\u0000b\"", "control character"}, {"\"/srv/a\\nb\"", "control character"},
		  {"\"/var/lib/archipelago/maps\"", "use the same archip_dir"}, {"5", "expected an absolute path in quotes"},
		  kBool, kList}},
		{S::FileBlocker, "fdcache", "[blockerb]\n", "512", "512", "4096",
		 [](const Config &c) { return number(role(c, "blockerb").fdcache); },
		 {{"63", "from 64 to 1048576"}, {"1048577", "from 64"}, {"-64", "from 64"}, kText, kPoint, kBool}},
		{S::FileBlocker, "direct", "[blockerm]\n", "false", "0", "1",
		 [](const Config &c) { return number(role(c, "blockerm").direct); },
		 {{"1", "expected true or false, found a whole number. Example: direct = true"},
		  {"\"true\"", "expected true or false"}}},
		{S::FileBlocker, "nr_threads", "[blockerb]\n", "1", "1", "0",
		 [](const Config &c) { return number(role(c, "blockerb").nrThreads); },
		 {{"2",
		  "blockerb: nr_threads = 2, but its host has reactors = 1, and each of them serves all its roles: write "
		  "nr_threads = 1, or remove the line"},
		  {"17", "from 1 to 16"}, {"0", "from 1 to 16"}, kText}},
		{S::FileBlocker, "shared", "[blockerb]\n", "false", "", "", [](const Config &) { return std::string(); },
		 {{"true", "shared = true is not built yet: locks for stores that several hosts share come with step 5/9"},
		  {"1", "expected true or false"}}},
		{S::Mapperd, "blockerb_port", "[blockerb]\nportno_start = 1600\n[vlmcd]\nblocker_port = 1600\n[mapperd]\n",
		 "1600", "1600", "1000",
		 [](const Config &c) { return number(role(c, "mapperd").blockerbPort); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, kText, kPoint}},
		{S::Mapperd, "blockerm_port", "[blockerm]\nportno_start = 1600\n[mapperd]\n", "1600", "1600", "1002",
		 [](const Config &c) { return number(role(c, "mapperd").blockermPort); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"},
		  {"1001", "is not the port of a file_blocker (blockerb has 1000, blockerm has 1600)"}, kText}},
		{S::Mapperd, "map_cache_size", "[mapperd]\n", "\"64MiB\"", "67108864", "134217728",
		 [](const Config &c) { return number(role(c, "mapperd").mapCacheBytes); },
		 {{"\"1023K\"", "from 1 MiB to 1 TiB"}, {"\"2T\"", "from 1 MiB to 1 TiB"},
		  {"64", "Example: map_cache_size = \"128MiB\""},
		  {"\"64\"", "add a unit"}, {"\"64X\"", "unknown unit"}, kBool}},
		{S::Vlmcd, "blocker_port", "[blockerb]\nportno_start = 1600\n[mapperd]\nblockerb_port = 1600\n[vlmcd]\n",
		 "1600", "1600", "1000",
		 [](const Config &c) { return number(role(c, "vlmcd").blockerPort); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, {"1002", "both must be the same blocker"},
		  kText, kPoint}},
		{S::Vlmcd, "mapper_port", "[mapperd]\nportno_start = 1600\n[vlmcd]\n", "1600", "1600", "1001",
		 [](const Config &c) { return number(role(c, "vlmcd").mapperPort); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"},
		  {"1000", "is not the port of a mapperd (mapperd has 1600)"}, kText}},
		{S::Nbd, "exports", "[nbd]\n", "\"all\"", "all", "opened",
		 [](const Config &c) { return std::string(c.nbd.exports == NbdExports::All ? "all" : "opened"); },
		 {{"\"open\"", "expected \"opened\" or \"all\". Did you mean opened?"},
		  {"true", "expected \"opened\" or \"all\""}, {"[]", "found a list"}}},
		{S::Nbd, "socket", "[nbd]\n", "\"/run/x.sock\"", "/run/x.sock", "/run/archipelago/nbd.sock",
		 [](const Config &c) { return c.nbd.socket; },
		 {{"\"nbd.sock\"", "not an absolute path"}, {"10809", "expected an absolute path"},
		  {"\"/23456789/23456789/23456789/23456789/23456789/23456789/"
		   "23456789/23456789/23456789/23456789/23456789/23456789\"", "has 108 bytes, at most 107"}}},
		{S::Nbd, "mode", "[nbd]\n", "\"0600\"", "384", "432", [](const Config &c) { return number(c.nbd.mode); },
		 {{"\"0999\"", "octal"}, {"\"\"", "octal"}, {"\"rw\"", "octal"}, {"\"1777\"", "octal"}, {"\"00660\"", "octal"},
		  {"660", "found a whole number"},
		  {"0o660", "Example: mode = \"0660\""}, {"\"0666\"", "every user of this machine"}}},
		{S::Nbd, "portno_start", "[nbd]\n", "1100", "1100", "1024",
		 [](const Config &c) { return number(c.nbd.portnoStart); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"},
		  {"1022", "VTOOL (ports 1003-1022) and nbd (ports 1022-1535) overlap"}, {"1536", "is behind"}, kText}},
		{S::Nbd, "portno_end", "[nbd]\n", "1100", "1100", "1535",
		 [](const Config &c) { return number(c.nbd.portnoEnd); },
		 {{"-1", "from 0 to 2047"}, {"2048", "from 0 to 2047"}, {"1023", "is behind portno_end 1023"}, kText}},
		{S::Nbd, "log_level", "[nbd]\n", "0", "0", "1", [](const Config &c) { return number(c.nbd.logLevel); },
		 {{"-1", "from 0 to 3"}, {"4", "from 0 to 3"}, kText, kPoint}},
		{S::Host, "roles", "[hosts.data]\n", R"(["vlmcd", "blockerm", "mapperd", "blockerb"])",
		 "data=blockerb,blockerm,mapperd,vlmcd, ", kDefaultHost,
		 hostText,
		 {{"[]", "names no roles"}, {"\"vlmcd\"", "expected a list of names"}, {"[1]", "expected a list of names"},
		  {R"(["vlmcd", "blockerm", "mapperd", "blockrb"])", "Did you mean blockerb?"},
		  {R"(["vlmcd", "blockerm", "mapperd", "blockerb", "fuse"])", "gateway fuse is not built yet (step 4/9)"},
		  {R"(["vlmcd", "blockerm", "mapperd", "blockerb", "vlmcd"])", "each role runs in exactly one host"}}},
		{S::Host, "reactors",
		 "[blockerb]\nportno_start = 1600\nportno_end = 1602\n[blockerm]\nportno_start = 1610\nportno_end = 1612\n"
		 "[vlmcd]\nblocker_port = 1600\nmapper_port = 1620\n[mapperd]\nportno_start = 1620\nportno_end = 1622\n"
		 "blockerb_port = 1600\nblockerm_port = 1610\n[hosts.data]\n",
		 "3", "3", "1", [](const Config &c) { return number(c.reactors()); },
		 {{"4", "reactors = 4: blockerb needs a port for each and has 3: set [blockerb] portno_end = 1603"},
		  {"17", "from 1 to 16"},
		  {"0", "from 1 to 16"}, kText}},
	};
	return all;
}

} // namespace

class TestConfigKeys : public QObject {
	Q_OBJECT
private slots:
	void everyKeyHasARow()
	{
		std::set<std::pair<ConfigSection, std::string_view>> tested, seen;
		for (const KeyRow &row : rows()) QVERIFY2(tested.emplace(row.section, row.name).second, row.name);
		for (const ConfigKey &key : configKeys()) {
			QVERIFY2(seen.emplace(key.section, key.name).second, key.name.data()); // twice in the schema
			QVERIFY2(tested.contains({key.section, key.name}) == (key.step == kBuilt), key.name.data());
			QVERIFY2(key.step != kBuilt || key.help.ends_with('.'), key.name.data());
		}
	}

	void legalValuesArrive()
	{
		for (const KeyRow &row : rows()) {
			const std::string text = std::string(row.before) + row.name + " = " + row.value + "\n";
			const ParsedConfig config = parsed(text);
			QVERIFY2(config.diagnostics.empty(), (text + said(config)).c_str());
			QVERIFY2(row.field(config.config) == row.expected, (text + row.field(config.config)).c_str());
		}
	}

	void defaultsHold()
	{
		const ParsedConfig config = parsed("");
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		for (const KeyRow &row : rows()) QVERIFY2(row.field(config.config) == row.byDefault, (row.name +
		        row.field(config.config)).c_str());
		QCOMPARE(config.config.nbd.composerPort, 500u);
		QCOMPARE(config.config.role("blockerm")->archipDir, std::string("/var/lib/archipelago/maps"));
		QCOMPARE(config.config.role("blockerm")->portnoStart, 1002u);
		QCOMPARE(config.config.role("mapperd")->portnoStart, 1001u);
		QCOMPARE(config.config.role("vlmcd")->portnoStart, 500u);
	}

	void otherWaysToWriteIt()
	{
		QCOMPARE(parsed("SEGMENT_SIZE = 512").config.segmentSizeBytes, 512ull << 20);
		QCOMPARE(parsed("SEGMENT_SIZE = \"512\"").config.segmentSizeBytes, 512ull << 20);
		QCOMPARE(parsed("SEGMENT_SIZE = \"2GiB\"").config.segmentSizeBytes, 2048ull << 20);
		QCOMPARE(parsed("[nbd]\nmode = \"0600\"").config.nbd.mode, 0600u);
		QCOMPARE(parsed("[nbd]\nmode = \"640\"").config.nbd.mode, 0640u);
		QCOMPARE(parsed("io_timeout = 0").config.ioTimeoutMs, 0u);
		QCOMPARE(parsed("io_timeout = \"0\"").config.ioTimeoutMs, 0u);
	}

	/// One problem, in the line of the key, in words that help.
	void wrongValuesAreRefusedAtTheirPlace()
	{
		for (const KeyRow &row : rows()) {
			for (const Wrong &wrong : row.wrong) {
				const std::string text = std::string(row.before) + row.name + " = " + wrong.value + "\n";
				const ParsedConfig config = parsed(text);
				const auto line = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n'));
				bool found = false;
				for (const Diagnostic &diagnostic : config.diagnostics)
					found = found || (diagnostic.line == line && diagnostic.column > 0 &&
					        diagnostic.message.find(wrong.part) != std::string::npos);
				// That mode is legal, only doubtful: a warning.
				QVERIFY2(found, (text + "wanted " + wrong.part + "\n" + said(config)).c_str());
				QVERIFY2(!config.ok() || std::string_view(wrong.value) == "\"0666\"", text.c_str());
			}
		}
	}

	void aRefusedValueIsReportedOnce()
	{
		// The cross checks stay silent about what was refused already.
		for (const char *text : {"SEGMENT_PORTS = 1", "[blockerb]\nportno_start = \"x\"", "[vlmcd]\nportno_end = -1",
		        "roles = 5", "XSEGBD_END = 1.5",
		                         "[mapperd]\nblockerb_port = 9999", "[hosts.data]\nroles = 7", "[nbd]\nsocket = 1",
		                                 "[blockerb]\narchip_dir = \"x\"",
		                         "roles = [[\"m\", \"rados_blocker\"]]"})
			QVERIFY2(parsed(text).diagnostics.size() == 1, said(text).c_str());
	}

	void positionsAreExact()
	{
		QCOMPARE(notExactly("[blockerb]\n  fdcache = 1\n", "2:13", "error: fdcache = 1 is out of range"),
		        std::string());
		QCOMPARE(notExactly("# one\n\nSEGMENT_PRTS = 5\n", "3:1", "Did you mean SEGMENT_PORTS?"), std::string());
		QCOMPARE(notExactly("[nbd]\nmode = \"0660\"\n exprots = \"all\"\n", "3:2", "Did you mean exports?"),
		        std::string());
		QCOMPARE(notExactly("[blockerx]\n", "1:2", "Did you mean blockerb?"), std::string());
		QCOMPARE(notExactly("roles = [[\"blockerb\", \"file_blocker\"],\n  [\"blockerm\", \"file_blcker\"], [\"mapperd\", \"mapperd\"], [\"vlmcd\", \"vlmcd\"]]\n",
		                    "2:16", "Did you mean file_blocker?"),
		         std::string());
	}

	void keysOfLaterSteps()
	{
		for (const ConfigKey &key : configKeys()) {
			if (key.step == kBuilt || key.section != S::Top) continue;
			QCOMPARE(notExactly(std::string(key.name) + " = 5\n", "1:1", std::string(key.name) + " is not built yet"),
			        std::string());
		}
		QCOMPARE(notExactly("DEVICE_DRIVER = \"auto\"\n", "1:1",
		        "error: DEVICE_DRIVER is not built yet (step 4/9); remove it"), std::string());
		QCOMPARE(notExactly("USER = \"0\"\n", "1:1", "USER is not built yet (a later step of ROADMAP.md); remove it"),
		        std::string());
		for (const char *section : {"[fuse]\nportno_start = 1", "[rados_blocker]\npool = \"x\"",
		        "[backends.second]\nblockerb = \"x\"", "[xsegbd]\n"})
			QCOMPARE(notExactly(section, "1:2", "is not built yet"), std::string());
	}

	void unknownKeys()
	{
		const struct {
			const char *text, *position, *part;
		} wrong[] = {
			{"segment_size = 256", "1:1", "Unknown key \"segment_size\". Did you mean SEGMENT_SIZE?"},
			{"zzz = 1", "1:1", "error: Unknown key \"zzz\".\n"},
			{"[blockerb]\narchipdir = \"/x\"", "2:1", "Did you mean archip_dir?"},
			{"[blockerb]\nSEGMENT_SIZE = 256", "2:1", "it belongs to the top of the file, before the first [section]"},
			{"archip_dir = \"/x\"", "1:1", "it belongs to the section of a file_blocker role"},
			{"[mapperd]\nfdcache = 64", "2:1", "it belongs to the section of a file_blocker role"},
			{"[hosts.data]\nrole = [\"x\"]", "2:1", "Did you mean roles?"},
			{"[hosts]\ndata = [\"blockerb\"]", "2:1", "write [hosts.data] with roles"},
			{"blockerb = 5", "1:1", "\"blockerb\" is a section, not a key: write [blockerb]"},
			{"[[blockerb]]\nfdcache = 64", "1:3", "is a section, not a key"},
			{"nbd = true", "1:1", "is a section, not a key"},
			{"[blockerb]\nlogfile = \"/x\"", "2:1", "key of the original Archipelago and has no meaning any more"},
			{"SEGMENT_DYNPORTS = 1024", "1:1", "key of the original Archipelago"},
			{"\"a\\u001bb\" = 1", "1:1", "a\\x1bb"},
		};
		for (const auto &row : wrong) QCOMPARE(notExactly(row.text, row.position, row.part), std::string());
	}
};

QTEST_APPLESS_MAIN(TestConfigKeys)
#include "test_config_keys.moc"
