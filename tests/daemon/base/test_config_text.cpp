// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The file as a text: syntax mistakes and what is said about them, several at a time, hostile input, old-style files, files
// that cannot be read, and the commented default file.
#include "base_test.h"
#include "config_fixture.h"

#include <fstream>
#include <sstream>

#include <sys/stat.h>
#include <unistd.h>

using namespace archipelago;
using namespace archipelago::test;

namespace {

std::string times(std::string_view part, std::size_t count)
{
	std::string out;
	out.reserve(part.size() * count);
	for (std::size_t i = 0; i < count; ++i) out += part;
	return out;
}

/// Every field, as text: what two equal configurations agree in.
std::string fields(const Config &c)
{
	std::ostringstream out;
	out << c.segmentPorts << ' ' << c.segmentSizeBytes << ' ' << c.xsegbdStart << ' ' << c.xsegbdEnd << ' '
	        << c.vtoolStart << ' ' << c.vtoolEnd << ' '
	    << c.ioTimeoutMs << '\n';
	for (const RoleConfig &r : c.roles)
		out << r.name << ' ' << roleTypeName(r.type) << ' ' << r.portnoStart << ' ' << r.portnoEnd << ' ' << r.logLevel
		        << ' ' << r.nrOps << ' '
		    << r.archipDir << ' ' << r.fdcache << ' ' << r.direct << ' ' << r.blockerbPort << ' ' << r.blockermPort
		            << ' ' << r.mapCacheBytes << ' '
		    << r.blockerPort << ' ' << r.mapperPort << '\n';
	for (const HostConfig &h : c.hosts) {
		out << h.name << ':';
		for (const std::string &role : h.roles) out << ' ' << role;
		out << '\n';
	}
	out << c.nbd.portnoStart << ' ' << c.nbd.portnoEnd << ' ' << static_cast<int>(c.nbd.exports) << ' ' << c.nbd.socket
	        << ' ' << c.nbd.mode << ' '
	    << c.nbd.logLevel << ' ' << c.nbd.composerPort << '\n';
	return out.str();
}

/// "#key = value": a setting that is commented out. Prose has a blank behind the #.
bool isSetting(const std::string &line) { return line.size() > 1 && line[0] == '#' && line[1] != ' '; }

std::vector<std::string> linesOf(const std::string &text)
{
	std::vector<std::string> out;
	std::istringstream in(text);
	for (std::string line; std::getline(in, line);) out.push_back(line);
	return out;
}

std::string joined(const std::vector<std::string> &lines)
{
	std::string out;
	for (const std::string &line : lines) out += line + "\n";
	return out;
}

} // namespace

class TestConfigText : public QObject {
	Q_OBJECT
private slots:
	void syntaxMistakesInWordsOfOperators()
	{
		const struct {
			const char *text, *position, *part;
		} rows[] = {
			{"[blockerb]\narchip_dir = /srv/x\n", "2:14",
			 "text, sizes and durations stand in quotes. Write archip_dir = \"/srv/x\""},
			{"[mapperd]\nmap_cache_size = 64MiB # big\n", "2:20", "Write map_cache_size = \"64MiB\""},
			{"io_timeout = 20s\n", "1:16", "Write io_timeout = \"20s\""},
			{"[blockerb]\ndirect = True\n", "2:10", "write true or false, in lower case"},
			{"[blockerb]\ndirect = yes\n", "2:10", "write true or false, in lower case"},
			{"SEGMENT_SIZE =\n", "1:", "SEGMENT_SIZE has no value"},
			{"SEGMENT_SIZE : 256\n", "1:14", "write = between key and value, not :"},
			{"[nbd]\nmode = 0660\n", "2:", "an octal mode stands in quotes"},
			{"SEGMENT_SIZE = 256\n\nSEGMENT_SIZE = 512\n", "3:",
			 "SEGMENT_SIZE is set twice (first in line 1); remove one of the two"},
			{"[nbd]\n[vlmcd]\n[nbd]\nmode = \"0600\"\n", "3:1", "The section [nbd] stands twice (first in line 1)"},
			{"roles = [[\"blockerb\", \"file_blocker\"],\n\n[blockerb]\nfdcache = 64\n", "1:1",
			 "What begins here is not closed"},
			{"[blockerb\nfdcache = 64\n", "1:", "not closed"},
			{"[block erb]\nfdcache = 64\n", "1:", "Not TOML"},
			{"SEGMENT_SIZE = 256 512\n", "1:", "Not TOML"},
			{"just words\n", "1:", "Not TOML"},
			{"[blockerb]\narchip_dir = \"/srv/x\n", "2:", ""},
			{"SEGMENT_SIZE = 256\n# \xff\n", "2:", "not UTF-8"},
		};
		for (const auto &row : rows) {
			const ParsedConfig config = parsed(row.text);
			const std::string all = said(config);
			QVERIFY2(!config.ok() && config.diagnostics.size() == 1 && all.starts_with("conf:" +
			        std::string(row.position)) &&
			                 all.find(row.part) != std::string::npos,
			         (std::string(row.text) + "wanted " + row.position + " " + row.part + "\nsaid " + all).c_str());
		}
	}

	void allProblemsAreReportedInOrder()
	{
		const ParsedConfig config = parsed("SEGMENT_PRTS = 5\n"
		                                   "SEGMENT_SIZE = 1\n"
		                                   "io_timeout = 5s\n"
		                                   "[blockerb]\n"
		                                   "archip_dir = srv\n"
		                                   "fdcache = \"x\"\n"
		                                   "fdcache = 64\n"
		                                   "[vlmcd]\n"
		                                   "nr_ops = 100\n"
		                                   "LEASE = 5\n"
		                                   "[blockr]\n");
		std::vector<uint32_t> lines;
		for (const Diagnostic &diagnostic : config.diagnostics) lines.push_back(diagnostic.line);
		QVERIFY2(lines == std::vector<uint32_t>({1, 2, 3, 5, 6, 7, 9, 10, 11}), said(config).c_str());
	}

	/// What a broken line hid is not complained about: its keys may well be there.
	void noFollowUpErrors()
	{
		QCOMPARE(parsed("roles = [[\"b\", \"file_blocker\"], [\"m\" \"mapperd\"]]\n[b]\narchip_dir = \"/srv/b\"\n").diagnostics.size(), std::size_t{1});
		QCOMPARE(parsed("[nb d]\nexports = \"all\"\nmode = \"0600\"\n").diagnostics.size(), std::size_t{1});
	}

	void diagnosticsAreBounded()
	{
		std::string text;
		for (int i = 0; i < 50'000; ++i) text += "key_" + std::to_string(i) + " = 1\n";
		const ParsedConfig config = parsed(text);
		QVERIFY(!config.ok());
		QVERIFY(config.diagnostics.size() <= 101);
		QVERIFY2(config.diagnostics.back().message.find("more problems") != std::string::npos,
		        config.diagnostics.back().message.c_str());
	}

	/// Each of these is meant for the stack, the memory or the patience of a parser.
	void hostileInput()
	{
		const std::size_t many = 100'000;
		const std::string inputs[] = {
			"a = " + times("[", many), "a = " + times("{a=", many), times("[", many), "a" + times(".a", many) + " = 1",
			"[a" + times(".a", many) + "]\nb = 1", "a = [" + times("{a=[\n", many / 5), times("[[a]]\n", many),
			        "a = \"" + times("x", many),
			"a = \"\"\"" + times("\n", many), times("\"", many), times("'", many), times("=", many), times("\n", many),
			        times(std::string_view("\0", 1), many),
			times("\xff", many), times("# comment\n", many), "a = " + times("9", many), "a = 1." + times("0", many),
			        times("a=1\n", many),
			times("[a]\n", many), std::string(1, '\0'), "\xef\xbb\xbf", "a = \"\\", "[", "]", "\"\"\" ", times("{",
			        many) + times("}", many),
			"a = 1979-05-27T07:32:00Z", "a = nan", "a = [1,\n[x]\n", "a = [" + times("\n", 1'000'000), times(" ",
			        1'000'000) + "=", "a = [" + times("[a]\n", many), std::string((1u << 20) + 1, ' '),
		};
		for (const std::string &input : inputs) {
			const ParsedConfig config = parsed(input);
			for (const Diagnostic &diagnostic : config.diagnostics) QVERIFY(!diagnostic.message.empty());
			QVERIFY2(said(config).size() < 40'000, input.substr(0, 20).c_str());
		}
		QVERIFY2(said(std::string((1u << 20) + 1, ' ')).find("at most 1 MiB are read") != std::string::npos,
		        "size limit");
		QVERIFY(parsed(std::string(1u << 20, ' ')).ok());
		QVERIFY2(said("a = " + times("[", 17)).find("Too deeply nested") != std::string::npos, "nesting limit");
	}

	/// What the splitter takes for a string or a comment the parser must too: depth hidden there would reach it unbounded.
	void nothingHidesDepth()
	{
		const std::string deep = "{a" + times(".a", 400) + " = 1}";
		const struct {
			const char *before;
			bool visible; ///< the deep table stands outside of strings and comments
		} rows[] = {
			{"", true}, {"\"\", ", true}, {"'', ", true}, {"\"\"\"\"\"\", ", true}, {"'''''', ", true},
			{"\"\"\"\"\"\"\", ", true}, {"\"\"\"\"\"\"\"\", ", true}, {"''''''', ", true}, {"'''''''', ", true},
			{"\"\"\"x\"\"\"\", ", true}, {"\"\"\"x\"\"\"\"\", ", true}, {"'''x'''', ", true}, {"'''x''''', ", true},
			{"\"\"\"\n\"\"\", ", true}, {"'''\n'''\n, ", true}, {"\"\\\"\", ", true}, {"\"\\\\\", ", true}, {"'\\', ", true},
			{"\"\"\"\\\"\"\"\", ", true}, {"'#', ", true}, {"# '\n", true}, {"1, # \"\"\"\n", true}, {"\"'\", ", true},
			{"\"\"\"''\"\"\", ", true}, {"# ", false}, {"'", false}, {"\"", false}, {"\"\"\"", false}, {"\"\\\"", false},
			{"'''x''", false}, {"\"\"\"\\\"\"\"", false},
		};
		for (const auto &row : rows) {
			const std::string text = "a = [" + std::string(row.before) + deep + "]\n";
			QVERIFY2((said(text).find("Too deeply nested") != std::string::npos) == row.visible, row.before);
		}
	}

	void byteOrderMarkAndLineEnds()
	{
		const ParsedConfig config = parsed("\xef\xbb\xbfSEGMENT_SIZE = 256\r\n[nbd]\r\nmode = \"0600\"\r\n");
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		QCOMPARE(config.config.segmentSizeBytes, 256ull << 20);
	}

	void oldStyleFilesAreRecognised()
	{
		const struct {
			const char *text;
			uint32_t line;
			const char *style, *advice;
		} rows[] = {
			{"# archipelago defaults\nSPEC=\"segdev:xsegbd:1024:5120:12\"\nXSEGBD_START=0\nXSEGBD_END=499\nVPORT_START=500\n"
			 "STORAGE=\"files\"\nFILED_IMAGES=\"/srv/archip/blocks\"\nNR_OPS_BLOCKERB=64\n",
			 2, "shell variables", "FILED_MAPS: archip_dir of [blockerb], [blockerm]"},
			{"XSEGBD_START=0\nexport BPORT=1000\n", 2, "shell variables", "BPORT, MBPORT, MPORT: portno_start"},
			{"SEGMENT_PORTS = 2048\nSEGMENT_DYNPORTS = 1024\nSEGMENT_SIZE = 5120\n\n"
			 "roles = [('blockerb', 'file_blocker'),\n         ('blockerm', 'file_blocker')]\n\n"
			 "blockerb = {\n    'portno_start': 1000,\n    'portno_end': 1000,\n    'log_level': 3,\n    'archip_dir': '/srv/archip/blocks/',\n}\n",
			 5, "Python", "portno_start = 1000"},
			{"roles = [\n ('vlmcd', 'vlmcd'),\n]\n", 1, "Python", "roles becomes a list of lists"},
			{"vlmcd = { 'portno_start': 500 }\n", 1, "Python", "each dictionary a section"},
			{"[ARCHIPELAGO]\nUSER=archipelago\n[XSEG]\nSEGMENT_PORTS=2048\n[PEERS]\nROLES=blockerb blockerm\n", 1,
			 "INI", "true, false in lower case"},
			{"[XSEG]\nSEGMENT_PORTS=2048\n", 1, "INI", "The keys of [XSEG] move to the top"},
			{"[blockerb]\ntype = file_blocker\nportno_start=1000\n", 2, "INI", "without type, lock_dir and umask"},
		};
		for (const auto &row : rows) {
			const ParsedConfig config = parsed(row.text);
			QVERIFY2(config.diagnostics.size() == 1, (row.text + said(config)).c_str());
			const Diagnostic &only = config.diagnostics.front();
			QCOMPARE(only.level, Diagnostic::Level::Error);
			QCOMPARE(only.line, row.line);
			for (const char *part : {"configuration file of the original Archipelago", row.style,
			        "`archipelago config import`", "step 8/9", row.advice})
				QVERIFY2(only.message.find(part) != std::string::npos, only.message.c_str());
		}
	}

	/// A new file with a mistake is a new file with a mistake.
	void newFilesAreNotTakenForOldOnes()
	{
		for (const char *text : {"SEGMENT_SIZE = big\n", "# SPEC=\"x\"\nSEGMENT_SIZE = 1\n", "[blockerb]\nSPEC = 1\n",
		        "x = { a = 1 }\n",
		                         "[blockerb]\ntype = \"file_blocker\"\n", "[xseg]\n", "roles = [[(\"a\")]]\n"})
			QVERIFY2(said(text).find("original Archipelago (") == std::string::npos, said(text).c_str());
		const char *const oddNames = R"(roles = [["XSEG", "file_blocker"], ["blockerm", "file_blocker"], ["PEERS", "mapperd"], ["vlmcd", "vlmcd"]]
[XSEG]
portno_start = 1000
archip_dir = "/srv/b"
[PEERS]
log_level = 2
)";
		QVERIFY2(parsed(oddNames).diagnostics.empty(), said(oddNames).c_str());
	}

	void filesThatCannotBeRead()
	{
		QTemporaryDir dir;
		const std::string path = dir.filePath("archipelago.conf").toStdString();
		const auto missing = loadConfig(path, systemDefaults());
		QCOMPARE(missing.error().code, ErrorCode::NotFound);
		QVERIFY2(missing.error().message.find(path + ": No such file or directory") != std::string::npos,
		        missing.error().message.c_str());
		QCOMPARE(loadConfig(dir.path().toStdString(), systemDefaults()).error().code, ErrorCode::Config);
		QCOMPARE(loadConfig("/dev/zero", systemDefaults()).error().code, ErrorCode::Config); // without end
		std::ofstream(path) << "SEGMENT_SIZE = 1\nzzz = 2\n";
		const auto wrong = loadConfig(path, systemDefaults());
		QCOMPARE(wrong.error().code, ErrorCode::Config);
		QCOMPARE(wrong.error().message, path +
		        ":1:16: error: SEGMENT_SIZE = 1 is out of range: expected a whole number of MiB from 64 to 1048576\n" +
		        path +
		                                        ":2:1: error: Unknown key \"zzz\".");
		if (::geteuid() == 0) return; // root reads everything
		::chmod(path.c_str(), 0);
		QCOMPARE(loadConfig(path, systemDefaults()).error().code, ErrorCode::Denied);
	}

	void filesThatCan()
	{
		QTemporaryDir dir;
		const std::string path = dir.filePath("archipelago.conf").toStdString();
		std::ofstream(path) << "SEGMENT_SIZE = 512\n[nbd]\nmode = \"0666\"\n";
		std::vector<Diagnostic> warnings;
		const auto config = loadConfig(path, systemDefaults(), &warnings);
		QVERIFY(config);
		QCOMPARE(config->segmentSizeBytes, 512ull << 20);
		QCOMPARE(warnings.size(), std::size_t{1});
		QVERIFY(loadConfig(path, systemDefaults()));
		std::ofstream(path, std::ios::trunc).flush();
		QVERIFY(loadConfig(path, systemDefaults()));
	}

	/// The committed file is the generated one.
	void defaultFileIsUpToDate()
	{
		std::ifstream file(DEFAULT_CONFIG_FILE);
		std::ostringstream committed;
		committed << file.rdbuf();
		QVERIFY2(committed.str() == defaultConfigText(),
		         "resources/archipelago.conf is not what the schema says. Regenerate it: " DEFAULT_CONFIG_PROGRAM " > " DEFAULT_CONFIG_FILE);
	}

	/// Every line of it is true: uncommented, it says what holds anyway, one alone and all together.
	void defaultFileShowsTheDefaults()
	{
		ConfigDefaults defaults = systemDefaults();
		const std::string expected = fields(parseConfig("", defaults).config);
		const std::vector<std::string> lines = linesOf(defaultConfigText());
		QCOMPARE(fields(parseConfig(joined(lines), defaults).config), expected);
		std::vector<std::string> all = lines;
		int settings = 0;
		for (std::size_t i = 0; i < lines.size(); ++i) {
			QVERIFY2(lines[i].size() <= 120, lines[i].c_str());
			if (!isSetting(lines[i])) continue;
			++settings;
			std::vector<std::string> one = lines;
			one[i].erase(0, 1);
			all[i].erase(0, 1);
			const ParsedConfig config = parseConfig(joined(one), defaults);
			QVERIFY2(config.diagnostics.empty(), said(config).c_str());
			QVERIFY2(fields(config.config) == expected, one[i].c_str());
		}
		const ParsedConfig config = parseConfig(joined(all), defaults);
		QVERIFY2(config.diagnostics.empty(), said(config).c_str());
		QCOMPARE(fields(config.config), expected);
		QVERIFY(settings > 40);
	}
};

QTEST_APPLESS_MAIN(TestConfigText)
#include "test_config_text.moc"
