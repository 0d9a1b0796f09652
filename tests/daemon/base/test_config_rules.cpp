// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What holds between keys: sections of roles and types, ports, who talks to whom, directories, hosts, memory, trials.
#include "base_test.h"
#include "config_fixture.h"

using namespace archipelago;
using namespace archipelago::test;

namespace {

struct Row {
	const char *text, *position, *part;
};

const char *const kFourRoles = R"(roles = [["blockerb", "file_blocker"], ["blockerm", "file_blocker"], ["mapperd", "mapperd"], ["vlmcd", "vlmcd"])";

std::string hostsOf(const Config &config)
{
	std::string out;
	for (const HostConfig &host : config.hosts) {
		out += host.name + ":";
		for (const std::string &role : host.roles) out += " " + role;
		out += "; ";
	}
	return out;
}

} // namespace

class TestConfigRules : public QObject {
	Q_OBJECT

	static void check(std::initializer_list<Row> rows)
	{
		for (const Row &row : rows) QCOMPARE(notExactly(row.text, row.position, row.part), std::string());
	}

private slots:
	void ports()
	{
		check({
			{"[vlmcd]\nportno_end = 1000", "2:1", "blockerb (port 1000) and vlmcd (ports 500-1000) overlap"},
			{"[nbd]\nportno_start = 1022", "2:1", "VTOOL (ports 1003-1022) and nbd (ports 1022-1535) overlap"},
			{"XSEGBD_END = 500", "1:1", "XSEGBD (ports 0-500) and vlmcd (ports 500-999) overlap"},
			{"SEGMENT_PORTS = 1020\n[nbd]\nportno_start = 1010\n[hosts.x]\nroles = [\"vlmcd\", \"mapperd\", \"blockerb\", \"blockerm\"]", "1:1", "VTOOL (ports 1003-1022) does not fit"},
			{"[vlmcd]\nportno_start = 1600\nportno_end = 1050", "2:1", "portno_start 1600 is behind portno_end 1050"},
		});
	}

	void reactorsNeedPorts()
	{
		// The default ports leave no room: each role is told where there is some.
		const ParsedConfig config = parsed("[hosts.data]\nreactors = 4\n");
		QVERIFY(!config.ok());
		QCOMPARE(config.diagnostics.size(), size_t{3});
		for (const char *part : {"conf:2:1: error: reactors = 4: blockerb needs a port for each and has 1: set [blockerb] portno_start = 1536, portno_end = 1539, and the keys of mapperd and vlmcd that name its port to 1536",
		                         "set [blockerm] portno_start = 1540, portno_end = 1543", "set [mapperd] portno_start = 1544, portno_end = 1547, and mapper_port of vlmcd to 1544"})
			QVERIFY2(said(config).find(part) != std::string::npos, said(config).c_str());
	}

	void whatTheMessagesSayIsEnough()
	{
		const std::string text = "[blockerb]\nportno_start = 1536\nportno_end = 1539\nnr_threads = 4\n[blockerm]\nportno_start = 1540\nportno_end = 1543\n"
		                         "[mapperd]\nportno_start = 1544\nportno_end = 1547\nblockerb_port = 1536\nblockerm_port = 1540\n"
		                         "[vlmcd]\nblocker_port = 1536\nmapper_port = 1544\n";
		const ParsedConfig config = parsed(text + "[hosts.data]\nreactors = 4\n");
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		QCOMPARE(config.config.reactors(), 4u);
		QVERIFY(said(text + "[hosts.data]\nreactors = 3\n").find("blockerb has one port for each of 3 reactors: portno_end must be 1538") != std::string::npos);
		// A range that is divided has to be large enough.
		QCOMPARE(notExactly(text + "portno_start = 500\nportno_end = 506\n[hosts.data]\nreactors = 4\n", "19:1",
		                    "vlmcd (ports 500-506) needs at least 8 ports, two for each: raise [vlmcd] portno_end to 507"), std::string());
		// All hosts alike.
		QVERIFY(said(text + "[hosts.data]\nreactors = 4\nroles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\"]\n[hosts.front]\nroles = [\"nbd\"]\n")
		            .find("[hosts.data] has reactors = 4, [hosts.front] has 1: all hosts need the same number") != std::string::npos);
	}

	void portsAboveTheSegmentAreAllNamed()
	{
		const ParsedConfig config = parsed("SEGMENT_PORTS = 64\n");
		for (const char *owner : {"conf:1:1: error: XSEGBD (ports 0-499) does", "VTOOL (ports 1003-1022)",
		        "blockerb (port 1000)", "vlmcd (ports 500-999)",
		                          "nbd (ports 1024-1535)"})
			QVERIFY2(said(config).find(owner) != std::string::npos, said(config).c_str());
	}

	/// The NBD gateway's default range gives way to a smaller segment, a written one does not.
	void defaultNbdPortsShrink()
	{
		QCOMPARE(parsed("SEGMENT_PORTS = 1100").config.nbd.portnoEnd, 1099u);
		QVERIFY2(parsed("SEGMENT_PORTS = 1100").diagnostics.empty(), said("SEGMENT_PORTS = 1100").c_str());
		QCOMPARE(notExactly("SEGMENT_PORTS = 1100\n[nbd]\nportno_end = 1100", "3:1",
		        "does not fit into SEGMENT_PORTS = 1100 (0 to 1099)"), std::string());
	}

	void blockersHaveOnePort()
	{
		QCOMPARE(notExactly("[blockerb]\nportno_start = 1600\nportno_end = 1601\n[mapperd]\nblockerb_port = 1600\n[vlmcd]\nblocker_port = 1600", "3:1",
		                    "blockerb has one port: portno_end must be 1600 or left out"),
		         std::string());
		QVERIFY(parsed("[blockerb]\nportno_start = 1000\nportno_end = 1000").diagnostics.empty());
	}

	void peersPointAtEachOther()
	{
		check({
			{"[mapperd]\nblockerm_port = 1001", "2:1",
			 "blockerm_port = 1001 is not the port of a file_blocker (blockerb has 1000, blockerm has 1002)"},
			{"[vlmcd]\nmapper_port = 1000", "2:1", "is not the port of a mapperd (mapperd has 1001)"},
			{"[vlmcd]\nblocker_port = 1002", "2:1",
			 "but blockerb_port of mapperd is 1000: both must be the same blocker"},
			{"[mapperd]\nportno_start = 1600", "2:1",
			 "vlmcd: mapper_port = 1001 is not the port of a mapperd (mapperd has 1600)"},
		});
	}

	/// A default that no longer fits is reported where something can be done about it: in the section that has it.
	void movedPeerIsMissed()
	{
		const ParsedConfig config = parsed("[mapperd]\nportno_start = 1600\n[vlmcd]\n");
		QCOMPARE(said(config),
		        std::string("conf:3:2: error: vlmcd: mapper_port = 1001 is not the port of a mapperd (mapperd has 1600)\n"));
	}

	void oneMapperAndOneComposer()
	{
		const std::string two = std::string(kFourRoles) + R"(, ["second", "mapperd"]])" +
		        "\n[second]\nportno_start = 1600\n";
		QCOMPARE(notExactly(two, "1:1", "2 roles of type mapperd: exactly one is needed"), std::string());
		const ParsedConfig none = parsed(R"(roles = [["blockerb", "file_blocker"]])");
		QVERIFY(said(none).find("0 roles of type mapperd") != std::string::npos &&
		        said(none).find("0 roles of type vlmcd") != std::string::npos);
	}

	void startOrderIsDoubted()
	{
		const ParsedConfig config = parsed(R"(roles = [["mapperd", "mapperd"], ["blockerb", "file_blocker"], ["blockerm", "file_blocker"], ["vlmcd", "vlmcd"]])");
		QVERIFY(config.ok());
		QVERIFY2(said(config).find("warning: mapperd stands before blockerb") != std::string::npos,
		        said(config).c_str());
		QCOMPARE(config.config.roles[0].name, std::string("mapperd"));
	}

	void roleNamesAreUnique()
	{
		const std::string twice = std::string(kFourRoles) + R"(, ["blockerb", "file_blocker"]])";
		QCOMPARE(notExactly(twice, "1:115", "stands twice in roles"), std::string());
	}

	void otherBlockersSayEverythingThemselves()
	{
		const std::string roles = std::string(kFourRoles) + R"(, ["extra", "file_blocker"]])" + "\n";
		const std::string bare = said(roles + "[extra]\n");
		QVERIFY2(bare.find("conf:2:2: error: The role extra has no port of its own: set [extra] portno_start") != std::string::npos, bare.c_str());
		QVERIFY2(bare.find("conf:2:2: error: The role extra has no directory: set [extra] archip_dir") != std::string::npos, bare.c_str());
		const std::string none = said(roles);
		QVERIFY2(none.find("conf:1:1: error: The role extra has no directory") != std::string::npos, none.c_str());
		const ParsedConfig config = parsed(roles + "[extra]\nportno_start = 1600\narchip_dir = \"/srv/extra\"\n");
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		QCOMPARE(config.config.role("extra")->portnoEnd, 1600u);
	}

	/// [TYPE] holds for every role of the type, a role's own section goes first.
	void typeSections()
	{
		const ParsedConfig config = parsed("[file_blocker]\nfdcache = 128\nlog_level = 2\n[blockerm]\nfdcache = 256\n");
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		QCOMPARE(config.config.role("blockerb")->fdcache, 128u);
		QCOMPARE(config.config.role("blockerm")->fdcache, 256u);
		QCOMPARE(config.config.role("blockerm")->logLevel, 2u);
		QCOMPARE(notExactly("[file_blocker]\nfdcache = 1\n", "2:11", "out of range"),
		        std::string()); // once, not once a role
		// Overridden everywhere, and wrong all the same.
		QCOMPARE(notExactly("[file_blocker]\nfdcache = 1\n[blockerb]\nfdcache = 64\n[blockerm]\nfdcache = 64\n", "2:11",
		        "out of range"), std::string());
		QVERIFY2(said("[file_blocker]\nportno_start = 1600\n").find("overlap") != std::string::npos,
		        said("[file_blocker]\nportno_start = 1600\n").c_str());
	}

	/// A role that is called as its type owns the section of that name.
	void sectionOfARoleNamedAsItsType()
	{
		const char *const roles = R"(roles = [["file_blocker", "file_blocker"], ["blockerm", "file_blocker"], ["m", "mapperd"], ["vlmcd", "vlmcd"]]
[vlmcd]
blocker_port = 1600
[m]
blockerb_port = 1600
[file_blocker]
portno_start = 1600
archip_dir = "/srv/b"
fdcache = 64
)";
		const ParsedConfig config = parsed(roles);
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		QCOMPARE(config.config.role("file_blocker")->fdcache, 64u);
		QCOMPARE(config.config.role("blockerm")->fdcache, 4096u);
	}

	void sectionsWithoutARole()
	{
		const char *const renamed = R"(roles = [["b", "file_blocker"], ["blockerm", "file_blocker"], ["mapperd", "mapperd"], ["vlmcd", "vlmcd"]]
[b]
portno_start = 1000
archip_dir = "/srv/b"
[blockerb]
fdcache = 64
)";
		QCOMPARE(notExactly(renamed, "5:2", "The section [blockerb] belongs to no role"), std::string());
	}

	void directories()
	{
		check({
			{"[blockerm]\narchip_dir = \"/var/lib/archipelago/blocks/\"", "2:1", "use the same archip_dir"},
			{"[blockerm]\narchip_dir = \"/var/lib/./archipelago/x/../blocks\"", "2:1", "use the same archip_dir"},
			{"[blockerm]\narchip_dir = \"/var/lib/archipelago/blocks/maps\"", "2:1", "lie within each other"},
			{"[blockerb]\narchip_dir = \"/\"", "2:1", "lie within each other"},
		});
		QVERIFY(parsed("[blockerm]\narchip_dir = \"/var/lib/archipelago/blocks2\"").diagnostics.empty());
	}

	void hostSplits()
	{
		const ParsedConfig split = parsed("[hosts.nbd]\nroles = [\"nbd\"]\n[hosts.io]\nroles = [\"vlmcd\", \"blockerb\"]\n[hosts.meta]\nroles = [\"mapperd\", \"blockerm\"]\n");
		QVERIFY2(split.diagnostics.empty(), said(split).c_str());
		// Hosts and the roles in them are in start order, gateways last.
		QCOMPARE(hostsOf(split.config), std::string("io: blockerb vlmcd; meta: blockerm mapperd; nbd: nbd; "));
		QCOMPARE(hostsOf(parsed("[hosts.all]\n").config), std::string("all: blockerb blockerm mapperd vlmcd nbd; "));
		QCOMPARE(hostsOf(parsed("[hosts]\n").config), std::string("data: blockerb blockerm mapperd vlmcd nbd; "));
		check({
			{"[hosts.a]\nroles = [\"blockerb\", \"blockerm\", \"mapperd\"]\n[hosts.b]\nroles = [\"nbd\"]", "1:2",
			 "role vlmcd stands in no [hosts.NAME]"},
			{"[hosts.a]\nroles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\"]\n[hosts.b]\nroles = [\"vlmcd\"]",
			 "4:1",
			 "stands in [hosts.a] and in [hosts.b]"},
			{"[hosts.a]\nroles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\", \"nbd\"]\n[hosts.b]\nroles = [\"nbd\"]", "4:1", "nbd stands in"},
			{"[hosts.a]\nroles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\"]\n[hosts.b]\n", "3:8",
			 "[hosts.b] names no roles"},
			{"[hosts.\"a b\"]\nroles = [\"nbd\"]\n", "1:8", "host name \"a b\" is not legal"},
			{"[hosts.a]\nroles = [\"blockerb\", \"blockerm\", \"maperd\", \"vlmcd\"]", "2:34", "Did you mean mapperd?"},
		});
	}

	/// Without nbd in a host there is no NBD server, and its ports and socket do not matter.
	void nbdIsOptional()
	{
		const ParsedConfig config = parsed("SEGMENT_PORTS = 1023\n[hosts.data]\nroles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\"]\n");
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
	}

	void trials()
	{
		const ParsedConfig trial = parseConfig("", trialDefaults());
		QVERIFY2(trial.diagnostics.empty(), said(trial).c_str());
		QCOMPARE(trial.config.segmentSizeBytes, 256ull << 20);
		QCOMPARE(trial.config.nbd.exports, NbdExports::All);
		QCOMPARE(trial.config.nbd.socket, std::string("/tmp/trial/run/nbd.sock"));
		QCOMPARE(trial.config.role("blockerb")->archipDir, std::string("/tmp/trial/state/blocks"));
		QCOMPARE(trial.config.role("blockerm")->archipDir, std::string("/tmp/trial/state/maps"));
		const ParsedConfig told = parseConfig("SEGMENT_SIZE = 512\n[nbd]\nexports = \"opened\"\n", trialDefaults());
		QCOMPARE(told.config.segmentSizeBytes, 512ull << 20);
		QCOMPARE(told.config.nbd.exports, NbdExports::Opened);
	}

	void socketPathsHaveALimit()
	{
		ConfigDefaults deep = trialDefaults();
		deep.runDir = "/" + std::string(98, 'd'); // + "/nbd.sock" = 108, one too many with the closing NUL
		const ParsedConfig config = parseConfig("", deep);
		QVERIFY2(said(config).starts_with("conf: error: The NBD socket") &&
		        said(config).find("choose a shorter instance directory") != std::string::npos,
		         said(config).c_str());
		QVERIFY(parseConfig("[nbd]\nsocket = \"/tmp/x.sock\"", deep).ok());
		deep.runDir.pop_back();
		QVERIFY2(parseConfig("", deep).ok(), said(parseConfig("", deep)).c_str());
	}

	void memory()
	{
		const struct {
			uint64_t ramGib;
			const char *text;
			std::string_view warning;
		} rows[] = {
			{4, "SEGMENT_SIZE = 1024", ""}, {1, "SEGMENT_SIZE = 1024",
			 "more than half of this machine's memory (1 GiB)"},
			{4, "SEGMENT_SIZE = 1025", "is much for a machine with 4 GiB of memory"}, {6, "SEGMENT_SIZE = 1025", ""},
			{6, "SEGMENT_SIZE = 4000", "more than half"}, {64, "SEGMENT_SIZE = 32768", ""},
		};
		for (const auto &row : rows) {
			ConfigDefaults defaults = systemDefaults();
			defaults.ramBytes = row.ramGib << 30;
			const ParsedConfig config = parseConfig(row.text, defaults);
			QVERIFY(config.ok());
			QVERIFY2(config.diagnostics.empty() == row.warning.empty(), said(config).c_str());
			QVERIFY2(said(config).find(row.warning) != std::string::npos, said(config).c_str());
			QVERIFY2(row.warning.empty() || said(config).starts_with("conf:1:1: warning: "), said(config).c_str());
		}
	}
};

QTEST_APPLESS_MAIN(TestConfigRules)
#include "test_config_rules.moc"
