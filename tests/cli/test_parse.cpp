// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// cli/parse with a small table: where options may stand, what becomes of odd words, what is refused and how.
#include "cli/help.h"
#include "cli/parse.h"

#include <array>

#include <QTest>

using namespace archipelago;
using namespace archipelago::cli;

namespace {

ExitOr nothing(Context &) { return 0; }

constexpr std::array kCreateOptions{
	Option{.name = "--size", .letter = "-s", .value = "SIZE", .help = "how large"},
	Option{.name = "--snap", .value = "SNAP", .help = "from", .built = notBuilt(4)},
	Option{.name = "--assume_v0"},
};
constexpr std::array kCommands{
	Command{.name = "create",
            .help = "make",
            .usage = "NAME",
            .operands = {"NAME", 1, 1},
            .options = kCreateOptions,
            .run = nothing},
	Command{.name = "remove",
            .alias = "rm",
            .help = "remove",
            .usage = "NAME...",
            .operands = {"NAME", 1, kMany},
            .run = nothing},
	Command{.name = "list", .alias = "ls", .help = "list", .operands = {"GLOB", 0, 1}, .run = nothing},
	Command{.name = "snapshot", .built = notBuilt(4)},
	Command{.name = "map", .built = notBuilt(0)},
};
Program program()
{
	return {.name = "vlmc", .tagline = "volumes", .commands = kCommands, .globals = commonOptions(), .examples = {}};
}

using Words = std::vector<std::string>;
Words words(const QStringList &list)
{
	Words out;
	for (const QString &word : list) out.push_back(word.toStdString());
	return out;
}

} // namespace

class TestParse : public QObject {
	Q_OBJECT

private slots:
	void understood_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<QString>("command");
		QTest::addColumn<QStringList>("operands");
		QTest::addColumn<QString>("size");
		const auto row = [](const char *name, const QStringList &line, const QString &command,
		                    const QStringList &operands,
		                    const QString &size = {}) { QTest::newRow(name) << line << command << operands << size; };
		row("option behind", {"create", "db", "--size", "10"}, "create", {"db"}, "10");
		row("option before", {"create", "--size", "10", "db"}, "create", {"db"}, "10");
		row("equals sign", {"create", "--size=10", "db"}, "create", {"db"}, "10");
		row("letter", {"create", "-s", "10", "db"}, "create", {"db"}, "10");
		row("letter attached", {"create", "-s10", "db"}, "create", {"db"}, "10");
		row("the last one wins", {"create", "-s", "1", "db", "--size", "2"}, "create", {"db"}, "2");
		row("negative value", {"create", "db", "-s", "-5"}, "create", {"db"}, "-5");
		row("globals first", {"--json", "--bus", "session", "create", "db", "-s", "1"}, "create", {"db"}, "1");
		row("globals last", {"create", "db", "-s", "1", "-q", "--timeout", "3s"}, "create", {"db"}, "1");
		row("value looks like a verb", {"--bus", "list", "create", "db", "-s", "1"}, "create", {"db"}, "1");
		row("alias", {"rm", "a", "b"}, "remove", {"a", "b"});
		row("operand named like a verb", {"rm", "list", "create"}, "remove", {"list", "create"});
		row("brackets stay one name", {"rm", "[a,b]"}, "remove", {"[a,b]"});
		row("brackets as glob", {"ls", "[ab]"}, "list", {"[ab]"});
		row("plus signs are a name", {"rm", "++", "a"}, "remove", {"++", "a"});
		row("dashes end options", {"rm", "--", "-x", "--json", "--"}, "remove", {"-x", "--json", "--"});
		row("a lone dash", {"rm", "-"}, "remove", {"-"});
		row("a number is no option", {"rm", "-5"}, "remove", {"-5"});
		row("spaces and UTF-8", {"rm", "my disk", "übung"}, "remove", {"my disk", "übung"});
		row("braces and percent", {"rm", "{}", "%%"}, "remove", {"{}", "%%"});
		row("old spelling", {"create", "-v0", "db", "-s", "1"}, "create", {"db"}, "1");
		row("nothing", {}, "", {});
		row("help needs no operand", {"create", "-h"}, "create", {});
		row("bundled letters", {"rm", "-qy", "a"}, "remove", {"a"});
	}
	void understood()
	{
		QFETCH(QStringList, line);
		QFETCH(QString, command);
		QFETCH(QStringList, operands);
		QFETCH(QString, size);
		const auto parsed = parse(program(), words(line));
		QVERIFY2(parsed.has_value(), parsed ? "" : parsed.error().message.c_str());
		QCOMPARE(parsed->command ? QString::fromUtf8(parsed->command->name.data()) : QString(), command);
		QCOMPARE(parsed->args.operands, words(operands));
		QCOMPARE(parsed->args.value("--size").value_or(""), size.toStdString());
	}

	void flags()
	{
		const auto parsed = parse(program(), {"rm", "-vv", "a", "--json", "--verbose"});
		QVERIFY(parsed.has_value());
		QCOMPARE(parsed->args.count("--verbose"), 3);
		QVERIFY(parsed->args.has("--json"));
		QVERIFY(!parsed->args.has("--quiet"));
	}

	void refused_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<QByteArray>("message");
		const auto row = [](const char *name, const QStringList &line, const char *message) {
			QTest::newRow(name) << line << QByteArray(message);
		};
		row("typo", {"creat", "db"}, "Unknown command \"creat\". Did you mean \"create\"?");
		row("typo of an alias", {"sl"}, "Unknown command \"sl\". Did you mean \"ls\"?");
		row("no prefixes", {"lis"}, "Unknown command \"lis\". Did you mean \"list\"?");
		row("far from all", {"frobnicate"}, "Unknown command \"frobnicate\".");
		row("typo of what is planned", {"mpa"},
		    "Unknown command \"mpa\". If you mean \"map\": it is not built yet (ROADMAP.md says what comes when).");
		row("planned verb", {"snapshot", "a", "b", "--no-quiesce"}, "vlmc snapshot is not built yet (step 4/9).");
		row("planned option", {"create", "db", "--snap", "s"}, "vlmc create --snap is not built yet (step 4/9).");
		row("unknown option", {"list", "--jsn"}, "Unknown option \"--jsn\". Did you mean --json?");
		row("no abbreviated options", {"create", "db", "--siz", "1"}, "Unknown option \"--siz\". Did you mean --size?");
		row("another verb's option", {"list", "--size=1"}, "Unknown option \"--size\".");
		row("flag with a value", {"list", "--json=false"}, nullptr);
		row("value missing", {"create", "db", "--size"}, "The option --size needs a value.");
		row("value empty", {"create", "--size=", "db"}, "The option --size needs a value.");
		row("value of a letter missing", {"create", "db", "-s"}, "The option -s needs a value.");
		row("operand missing", {"create", "-s", "1"}, "NAME is missing. Usage: vlmc create NAME");
		row("operand too many", {"create", "a", "b"}, "One word too many: \"b\". Usage: vlmc create NAME");
	}
	void refused()
	{
		QFETCH(QStringList, line);
		QFETCH(QByteArray, message);
		const auto parsed = parse(program(), words(line));
		QVERIFY(!parsed);
		QCOMPARE(errorInfo(parsed.error().code).exitCode, kExitUsage);
		if (!message.isEmpty()) QCOMPARE(QByteArray::fromStdString(parsed.error().message), message);
	}

	void helpShowsOnlyWhatIsBuilt()
	{
		const std::string all = summary(program()) + programHelp(program()) + commandHelp(program(), kCommands.front());
		for (const char *there : {"create", "remove|rm", "list|ls", "--size", "--json"})
			QVERIFY2(all.find(there) != std::string::npos, there);
		for (const char *absent : {"snapshot", "map", "--snap", "assume_v0"})
			QVERIFY2(all.find(absent) == std::string::npos, absent);
	}
};

QTEST_GUILESS_MAIN(TestParse)
#include "test_parse.moc"
