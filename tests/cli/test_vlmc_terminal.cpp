// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc on a terminal, as a person sees it: tables, colours, prompts, progress, Ctrl-C.
#include "tests/cli/cli_test.h"

#include <QTest>

using namespace archipelago;
using namespace archipelago::test;

class TestVlmcTerminal : public CliTest {
	Q_OBJECT

	std::unique_ptr<TerminalProgram> vlmc(const QStringList &arguments, const Environment &environment = {}, int columns = 100)
	{
		return onTerminal(VLMC, arguments, environment, columns);
	}
	/// What it shows, to its end.
	QByteArray shown(const QStringList &arguments, const Environment &environment = {}, int columns = 100)
	{
		const auto program = vlmc(arguments, environment, columns);
		program->wait();
		return program->output();
	}
	void prepare() override
	{
		m_service->volumes = {
			{.name = "db", .size = quint64(40) << 30, .allocated = quint64(22) << 30, .opened = true, .clients = 1},
			{.name = "web", .size = 10 << 20}};
	}

private slots:
	void table()
	{
		QCOMPARE(shown({"list", "--color=never"}),
		         QByteArray("NAME  KIND      SIZE  ALLOCATED  STATE   CREATED\n"
		                    "db    volume  40 GiB     22 GiB  open    2026-11-18 11:06\n"
		                    "web   volume  10 MiB        0 B  closed  2026-11-18 11:06\n"));
	}

	void colours_data()
	{
		QTest::addColumn<Environment>("environment");
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<bool>("colored");
		QTest::newRow("by default") << Environment{} << QStringList{"list"} << true;
		QTest::newRow("NO_COLOR") << Environment{{"NO_COLOR", "1"}} << QStringList{"list"} << false;
		QTest::newRow("NO_COLOR, empty") << Environment{{"NO_COLOR", ""}} << QStringList{"list"} << true;
		QTest::newRow("dumb") << Environment{{"TERM", "dumb"}} << QStringList{"list"} << false;
		QTest::newRow("never") << Environment{} << QStringList{"list", "--color", "never"} << false;
		QTest::newRow("always") << Environment{{"NO_COLOR", "1"}} << QStringList{"list", "--color=always"} << true;
	}
	void colours()
	{
		QFETCH(Environment, environment);
		QFETCH(QStringList, line);
		const QByteArray out = shown(line, environment);
		QTEST(out.contains("\033["), "colored");
		QVERIFY(out.contains("open")); // the word is there in any case
	}

	void longNamesAreCutInTheMiddle()
	{
		m_service->volumes = {{.name = QString("a").repeated(40) + QString("z").repeated(42), .size = 512}};
		const QByteArray out = shown({"list", "--color=never"}, {}, 80);
		const QList<QByteArray> lines = out.split('\n');
		QCOMPARE(QString::fromUtf8(lines.value(1)).size(), 80);
		QVERIFY2(out.contains("aaa…zzz"), out.constData());
		QVERIFY(out.contains("closed  2026-11-18 11:06"));
	}

	void wideNamesKeepTheColumns()
	{
		m_service->volumes = {{.name = "東京", .size = 512}, {.name = "a", .size = 512}};
		QVERIFY(shown({"list", "--color=never"})
		            .contains("a     volume  512 B        0 B  closed  2026-11-18 11:06\n"
		                      "東京  volume  512 B        0 B  closed  2026-11-18 11:06\n"));
	}

	void info()
	{
		QCOMPARE(
			shown({"info", "db"}, {{"NO_COLOR", "1"}}),
			QByteArray("db\n  size       40 GiB (42949672960 bytes)\n  allocated  22 GiB (55 %)\n  state      open\n"
		               "  holders    opened on this node, 1 client\n  created    2026-11-18 11:06\n"
		               "  id         77777777777777777777777777777777\n  nbd        "
		               "nbd+unix:///db?socket=/run/archipelago/nbd.sock\n"
		               "  qemu       -blockdev "
		               "driver=nbd,node-name=archipelago0,server.type=unix,server.path=/run/archipelago/nbd.sock,"
		               "export=db,reconnect-delay=60\n"));
	}

	void createEchoesWhatItUnderstood_data()
	{
		QTest::addColumn<QString>("size");
		QTest::addColumn<QByteArray>("said");
		QTest::newRow("bare number") << "10" << QByteArray("created 'my disk', 10 MiB\n");
		QTest::newRow("unit") << "1.5G" << QByteArray("created 'my disk', 1.5 GiB\n");
		QTest::newRow("decimal unit") << "1024MB" << QByteArray("created 'my disk', 1024MB = 977 MiB\n");
	}
	void createEchoesWhatItUnderstood()
	{
		QFETCH(QString, size);
		QTEST(shown({"create", "my disk", "--size", size}), "said");
	}

	void nothingThere()
	{
		m_service->volumes.clear();
		QCOMPARE(shown({"list"}), QByteArray("vlmc: no volumes yet. Create one: vlmc create NAME --size 10G\n"));
		m_service->volumes = {{.name = "web", .size = 512}};
		QCOMPARE(shown({"list", "wbe"}), QByteArray("vlmc: no volume matches \"wbe\". Did you mean web?\n"));
	}

	void removeAsks_data()
	{
		QTest::addColumn<QByteArray>("answer");
		QTest::addColumn<int>("exitCode");
		QTest::newRow("yes") << QByteArray("y\n") << 0;
		QTest::newRow("Yes") << QByteArray("Y\n") << 0;
		QTest::newRow("no") << QByteArray("n\n") << 11;
		QTest::newRow("just return") << QByteArray("\n") << 11;
		QTest::newRow("end of input") << QByteArray("\x04") << 11;
		QTest::newRow("Ctrl-C") << QByteArray("\x03") << 130;
	}
	void removeAsks()
	{
		QFETCH(QByteArray, answer);
		QFETCH(int, exitCode);
		const auto program = vlmc({"remove", "db"});
		QVERIFY(program->shows("db: volume, 40 GiB, 22 GiB allocated. Moves to the trash.\nRemove db? [y/N] "));
		QCOMPARE(m_service->count("Volume.Remove"), 0);
		program->type(answer);
		QCOMPARE(program->wait(), exitCode);
		QCOMPARE(m_service->count("Volume.Remove"), exitCode == 0 ? 1 : 0);
		QVERIFY2(program->output().contains(exitCode == 0 ? "removed db\n" : "Nothing was changed.\n"),
		         program->output().constData());
	}

	void removeAsksOnceForSeveral()
	{
		const auto program = vlmc({"remove", "db", "web"});
		QVERIFY(program->shows("Remove these 2 volumes? [y/N] "));
		program->type("y\n");
		QCOMPARE(program->wait(), 0);
		QVERIFY(program->output().contains("removed db\nremoved web\n"));
	}

	void removeDoesNotAsk_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<Environment>("environment");
		QTest::newRow("-y") << QStringList{"remove", "-y", "db"} << Environment{};
		QTest::newRow("--yes") << QStringList{"--yes", "remove", "db"} << Environment{};
		QTest::newRow("--no-input") << QStringList{"remove", "db", "--no-input"} << Environment{};
		QTest::newRow("ARCHIPELAGO_CONFIRM")
			<< QStringList{"remove", "db"} << Environment{{"ARCHIPELAGO_CONFIRM", "never"}};
	}
	void removeDoesNotAsk()
	{
		QFETCH(QStringList, line);
		QFETCH(Environment, environment);
		QCOMPARE(shown(line, environment), QByteArray("removed db\n"));
	}

	void progressComesAfterASecondAndGoes()
	{
		m_service->nextJob = {.hangs = true, .progress = 0.58, .progressValid = true, .message = "writing the header"};
		const auto program = vlmc({"create", "new", "--size", "1"});
		QVERIFY(program->shows("\r\033[K[#####-----] 58% writing the header"));
		m_service->endJob();
		QCOMPARE(program->wait(), 0);
		QVERIFY2(program->output().endsWith("\r\033[Kcreated new, 1 MiB\n"), program->output().constData());
	}

	void interruptOfACancelableJob()
	{
		m_service->nextJob = {
			.hangs = true, .cancelable = true, .progress = 0.1, .progressValid = true, .message = "working"};
		const auto program = vlmc({"create", "new", "--size", "1"});
		QVERIFY(program->shows("10% working"));
		program->type("\x03");
		QVERIFY(program->shows("asking the service to stop; Ctrl-C again leaves it running"));
		QCOMPARE(program->wait(), 130);
		QCOMPARE(m_service->count("Job.Cancel"), 1);
		QVERIFY2(program->output().contains("cancelled on request [E-CANCELLED]"), program->output().constData());
	}

	void secondInterruptDetaches()
	{
		m_service->nextJob = {
			.hangs = true, .cancelable = true, .progress = 0.1, .progressValid = true, .message = "working"};
		m_service->silent.insert("Job.Cancel");
		const auto program = vlmc({"create", "new", "--size", "1"});
		QVERIFY(program->shows("10% working"));
		program->type("\x03");
		QVERIFY(program->shows("Ctrl-C again leaves it running"));
		program->type("\x03");
		QCOMPARE(program->wait(), 130);
		QVERIFY2(program->output().contains("job 1 goes on in the service"), program->output().constData());
	}

	void jobThatCannotBeCancelled()
	{
		m_service->nextJob = {.hangs = true, .message = "working"};
		const auto program = vlmc({"create", "new", "--size", "1"});
		QVERIFY(program->shows("working"));
		program->type("\x03");
		QCOMPARE(program->wait(), 130);
		QCOMPARE(m_service->count("Job.Cancel"), 0);
		QVERIFY(program->output().contains("job 1 goes on in the service"));
	}

	void busyOnATerminal()
	{
		m_service->nextJob.error = {errorName("Busy"), "it is in use by 1 client"};
		QCOMPARE(shown({"rm", "-y", "db"}),
		         QByteArray("vlmc: cannot remove db: it is in use by 1 client [E-BUSY]\nNothing was changed.\n"
		                    "Try: archipelago explain E-BUSY\n"));
	}
};

QTEST_GUILESS_MAIN(TestVlmcTerminal)
#include "test_vlmc_terminal.moc"
