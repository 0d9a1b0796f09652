// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago: start, stop, restart and status against the fake service; check-config and explain without any.
#include "daemon/base/config.h"
#include "daemon/base/errors.h"
#include "tests/cli/cli_test.h"

#include <QFile>
#include <QJsonArray>
#include <QJsonObject>
#include <QTemporaryDir>
#include <QTest>

using namespace archipelago;
using namespace archipelago::test;

namespace {

const QList<FakePeer> kPeers{{.name = "blockerb", .host = "data"},
                             {.name = "mapperd", .host = "data", .ports = "1001"},
                             {.name = "nbd", .host = "gate", .ports = "1024-1535"}};

} // namespace

class TestArchipelago : public CliTest {
	Q_OBJECT

	QTemporaryDir m_dir;

	Ran archipelago(const QStringList &arguments, const RunOptions &options = {}) { return run(ARCHIPELAGO, arguments, options); }
	std::unique_ptr<TerminalProgram> plain(const QStringList &arguments)
	{
		return onTerminal(ARCHIPELAGO, arguments, {{"NO_COLOR", "1"}});
	}
	void allPeers(const QString &state)
	{
		for (FakePeer &peer : m_service->peers) peer.state = state;
		m_service->managerState = state == "up" ? "running" : "stopped";
	}
	QString file(const QByteArray &text)
	{
		QFile f(m_dir.filePath("test.conf"));
		if (f.open(QIODevice::WriteOnly)) f.write(text);
		return f.fileName();
	}
	void prepare() override { m_service->peers = kPeers; }

private slots:
	void statusInAPipe()
	{
		const Ran ran = archipelago({"status"});
		QCOMPARE(ran.out, QByteArray("ROLE\tHOST\tSTATE\tPID\tPORTS\tINFLIGHT\tSINCE\tNOTE\n"
		                             "blockerb\tdata\tup\t4711\t1000\t3\t2026-11-18T11:06:40Z\t\n"
		                             "mapperd\tdata\tup\t4711\t1001\t3\t2026-11-18T11:06:40Z\t\n"
		                             "nbd\tgate\tup\t4711\t1024-1535\t3\t2026-11-18T11:06:40Z\t\n"
		                             "ok: all 3 roles are up\n"));
		QCOMPARE(ran.exitCode, 0);
	}

	void statusOnATerminal()
	{
		m_service->peers[1].state = "failed";
		m_service->peers[1].error = {"E-LOCKED", "another instance has it"};
		m_service->peers[2].state = "failed";
		m_service->peers[2].error = m_service->peers[1].error;
		m_service->managerState = "degraded";
		const auto program = plain({"status"});
		QCOMPARE(program->wait(), 1);
		const QList<QByteArray> lines = program->output().split('\n');
		QVERIFY2(lines[0].startsWith("ROLE      HOST  STATE    PID  PORTS      INFLIGHT  UPTIME"),
		         lines[0].constData());
		QVERIFY2(lines[2].startsWith("mapperd   data  failed     -  1001              -  -"), lines[2].constData());
		QVERIFY(lines[2].endsWith("another instance has it [E-LOCKED]"));
		QVERIFY2(lines[3].endsWith("as above"), lines[3].constData());
		QCOMPARE(
			lines[4],
			QByteArray(
				"degraded: mapperd is failed: another instance has it [E-LOCKED]. Try: archipelago start mapperd"));
	}

	void verdicts_data()
	{
		QTest::addColumn<QString>("mapperd");
		QTest::addColumn<QString>("others");
		QTest::addColumn<QString>("manager");
		QTest::addColumn<QString>("said");
		QTest::addColumn<QByteArray>("verdict");
		QTest::addColumn<int>("exitCode");
		const auto row = [](const char *name, const char *mapperd, const char *others, const char *manager,
		                    const char *said, const char *verdict, int exitCode) {
			QTest::newRow(name) << QString(mapperd) << QString(others) << QString(manager) << QString(said)
								<< QByteArray(verdict) << exitCode;
		};
		row("all up", "up", "up", "running", "", "ok: all 3 roles are up", 0);
		row("nothing runs", "stopped", "stopped", "stopped", "", "stopped: nothing runs. Try: archipelago start", 3);
		row("one stuck", "stuck", "up", "degraded", "", "degraded: mapperd is stuck. Try: archipelago restart mapperd",
		    1);
		row("the service knows better", "stuck", "up", "degraded",
		    "mapperd does not answer. Try: archipelago restart mapperd",
		    "degraded: mapperd does not answer. Try: archipelago restart mapperd", 1);
		row("on its way", "starting", "up", "starting", "", "degraded: mapperd is starting.", 1);
		row("the service's word alone is not enough", "stopped", "up", "running", "",
		    "degraded: mapperd is stopped. Try: archipelago start mapperd", 1);
		row("the service sees more than the roles", "up", "up", "degraded", "the store is full",
		    "degraded: the store is full", 1);
		row("a host of an earlier service", "stopped", "stopped", "degraded",
		    "host data (pid 5) of an earlier service still runs",
		    "degraded: host data (pid 5) of an earlier service still runs", 1);
		row("a host crashed", "failed", "failed", "degraded", "host data ended by SIGKILL. Try: archipelago start",
		    "stopped: host data ended by SIGKILL. Try: archipelago start", 3);
		row("failed to start", "failed", "stopped", "stopped", "",
		    "stopped: mapperd is failed. Try: archipelago start mapperd", 3);
	}
	void verdicts()
	{
		QFETCH(QString, mapperd);
		QFETCH(QString, others);
		for (FakePeer &peer : m_service->peers) peer.state = peer.name == "mapperd" ? mapperd : others;
		QFETCH(QString, manager);
		QFETCH(QString, said);
		m_service->managerState = manager;
		m_service->verdict = said;
		const Ran ran = archipelago({"status", "-q"});
		QFETCH(QByteArray, verdict);
		QCOMPARE(ran.out, verdict + "\n");
		QTEST(ran.exitCode, "exitCode");
		const Ran json = archipelago({"status", "--json"});
		QCOMPARE(jsonOf(json.out).value("verdict").toString().toUtf8(), verdict);
		QTEST(json.exitCode, "exitCode");
	}

	void statusJson()
	{
		m_service->peers = {{.name = "mapperd", .host = "data", .state = "failed", .error = {"E-LOCKED", "held"}}};
		const Ran ran = archipelago({"status", "--json"});
		QCOMPARE(
			ran.out,
			QByteArray(
				R"({"schema":"archipelago.status/1","items":[{"error":{"code":"E-LOCKED","message":"held"},"host":"data",)"
				R"("name":"mapperd","pid":null,"ports":"1000","requestsInFlight":3,"role":"mapperd","since":null,"state":"failed"}],)"
				R"("warnings":[],"level":"stopped","verdict":"stopped: mapperd is failed: held [E-LOCKED]. Try: archipelago start mapperd"})"
				"\n"));
		QCOMPARE(ran.exitCode, 3);
	}

	void statusOfOneRole()
	{
		m_service->peers[2].state = "stopped";
		m_service->managerState = "degraded";
		QCOMPARE(archipelago({"status", "mapperd", "-q"}).out, QByteArray("ok: mapperd is up\n"));
		QCOMPARE(archipelago({"status", "mapperd"}).exitCode, 0);
		QCOMPARE(archipelago({"status", "nbd"}).exitCode, 3);
		const Ran typo = archipelago({"status", "maperd"});
		QCOMPARE(typo.exitCode, 4);
		QVERIFY2(typo.err.startsWith("archipelago: cannot show the status: there is no role \"maperd\" "
		                             "[E-NOTFOUND]\nDid you mean mapperd?\n"),
		         typo.err.constData());
	}

	void statusWithoutService()
	{
		m_service.reset();
		const Ran ran = archipelago({"status"});
		QCOMPARE(ran.exitCode, 3);
		QCOMPARE(ran.out, QByteArray());
		QVERIFY2(
			ran.err.startsWith("archipelago: cannot show the status: Archipelago service is not running [E-PEER]\n"),
			ran.err.constData());
		const Ran json = archipelago({"status", "--json"});
		QCOMPARE(json.exitCode, 3);
		QCOMPARE(jsonOf(json.err).value("error")["code"].toString(), QString("E-PEER"));
		QVERIFY(!jsonOf(json.err).value("error")["hint"].toString().isEmpty());
	}

	void startTellsOfEachRole()
	{
		allPeers("stopped");
		m_service->onJob = [this](const QString &) {
			for (const FakePeer &peer : kPeers) {
				m_service->peerBecomes(peer.name, "starting");
				m_service->peerBecomes(peer.name, "up");
			}
		};
		const Ran ran = archipelago({"start"});
		QCOMPARE(ran.err, QByteArray("blockerb  up\nmapperd   up\nnbd       up\n"));
		QCOMPARE(ran.out, QByteArray("archipelago up: all 3 roles\n"));
		QCOMPARE(ran.exitCode, 0);
	}

	void optionsReachTheService_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<QString>("method");
		QTest::addColumn<QStringList>("roles");
		QTest::addColumn<QVariantMap>("options");
		const auto row = [](const char *name, const QStringList &line, const char *method, const QStringList &roles,
		                    const QVariantMap &options) {
			QTest::newRow(name) << line << QString("Manager.") + method << roles << options;
		};
		row("start", {"start"}, "Start", {}, {});
		row("start role", {"start", "mapperd"}, "Start", {"mapperd"}, {});
		row("the seed's -u", {"-u", "start"}, "Start", {}, {{"user_only", true}});
		row("create-dirs, ok", {"start", "--create-dirs", "--ok"}, "Start", {}, {{"create_dirs", true}, {"ok", true}});
		row("stop", {"stop"}, "Stop", {}, {});
		row("stop -f", {"stop", "-f", "mapperd"}, "Stop", {"mapperd"}, {{"force", true}});
		row("restart -u", {"restart", "--user"}, "Restart", {}, {{"user_only", true}});
	}
	void optionsReachTheService()
	{
		QFETCH(QStringList, line);
		QFETCH(QString, method);
		allPeers(method == "Manager.Stop" ? "stopped" : "up");
		QCOMPARE(archipelago(line).exitCode, 0);
		const auto *call = m_service->last(method);
		QVERIFY(call);
		QTEST(call->arguments.value(0).toStringList(), "roles");
		QTEST(qdbus_cast<QVariantMap>(call->arguments.value(1)), "options");
	}

	void failedStart()
	{
		allPeers("stopped");
		m_service->onJob = [this](const QString &) {
			m_service->peerBecomes("blockerb", "up");
			m_service->peerBecomes("mapperd", "failed", "another instance holds the lock");
			m_service->peerBecomes("nbd", "failed", "another instance holds the lock");
			m_service->peers[1].error = {"E-LOCKED", "another instance holds the lock"};
		};
		m_service->nextJob.error = {errorName("Locked"), "Cannot start mapperd: another instance holds the lock."};
		const Ran ran = archipelago({"start"});
		QCOMPARE(ran.exitCode, 5);
		QCOMPARE(ran.out, QByteArray());
		QCOMPARE(ran.err,
		         QByteArray("blockerb  up\nmapperd   failed: another instance holds the lock\nnbd       failed\n"
		                    "archipelago: cannot start mapperd: another instance holds the lock [E-LOCKED]\n"
		                    "State now: blockerb up, mapperd failed (E-LOCKED), nbd failed\n"
		                    "Try: archipelago explain E-LOCKED\n"));
		const Ran json = archipelago({"start", "--json"});
		QCOMPARE(json.exitCode, 5);
		QCOMPARE(jsonOf(json.err).value("error")["state"].toString(),
		         QString("State now: blockerb up, mapperd failed (E-LOCKED), nbd failed"));
	}

	void aStartThatOnlyClaimsSuccessIsNone()
	{
		m_service->peers[1].state = "stopped";
		const Ran ran = archipelago({"start"});
		QCOMPARE(ran.exitCode, 3);
		QVERIFY2(ran.err.contains("cannot start archipelago: mapperd is not up afterwards: it is stopped [E-PEER]"),
		         ran.err.constData());
	}

	void startOfWhatRuns()
	{
		m_service->nextJob.error = {errorName("Busy"), "Cannot start mapperd: it runs already."};
		const Ran ran = archipelago({"start", "mapperd"});
		QCOMPARE(ran.exitCode, 5);
		QVERIFY2(ran.err.contains("Try: archipelago restart mapperd, or archipelago start --ok mapperd"),
		         ran.err.constData());
	}

	void stopRefusedWhileInUse()
	{
		m_service->nextJob.error = {errorName("Busy"), "Cannot stop: 2 clients use db."};
		const Ran ran = archipelago({"stop"});
		QCOMPARE(ran.exitCode, 5);
		QVERIFY2(ran.err.contains("Try: disconnect the clients, or: archipelago stop --force\n"), ran.err.constData());
	}

	void stopped()
	{
		allPeers("stopped");
		QCOMPARE(archipelago({"stop"}).out, QByteArray("archipelago stopped\n"));
		QCOMPARE(archipelago({"stop", "nbd"}).out, QByteArray("nbd stopped\n"));
		QCOMPARE(archipelago({"stop", "-q"}).out, QByteArray());
		QCOMPARE(jsonOf(archipelago({"stop", "--json"}).out).value("level").toString(), QString("stopped"));
	}

	void forceAsksAPerson()
	{
		allPeers("stopped");
		const auto program = plain({"stop", "-f"});
		QVERIFY(program->shows("Force stop archipelago? [y/N] "));
		program->type("n\n");
		QCOMPARE(program->wait(), 11);
		QCOMPARE(m_service->count("Manager.Stop"), 0);
		const auto quick = plain({"stop", "-f", "-y"});
		QCOMPARE(quick->wait(), 0);
	}

	void restartSaysFirstThatTheWholeHostGoes()
	{
		m_service->onJob = [this](const QString &) {
			// Each overwrites the one before, at once.
			m_service->jobSays("host data runs blockerb as well: they restart together");
			m_service->jobSays("stopping host data");
			m_service->peerBecomes("mapperd", "stopped");
			m_service->jobSays("starting mapperd");
			m_service->peerBecomes("mapperd", "up");
		};
		const Ran ran = archipelago({"restart", "mapperd"});
		QCOMPARE(ran.exitCode, 0);
		QCOMPARE(ran.out, QByteArray("mapperd up\n"));
		const QByteArray first = "host data runs blockerb as well: they restart together\n";
		QVERIFY2(ran.err.contains(first + "stopping host data\n"), ran.err.constData());
		QVERIFY2(ran.err.contains("mapperd   stopped\nmapperd   up\n"), ran.err.constData());
		QCOMPARE(ran.err.count('\n'), 4);
	}

	void anotherConfigurationIsRefused()
	{
		m_service->configPath = "/etc/hostname";
		const Ran ran = archipelago({"-c", "/etc/passwd", "start"});
		QCOMPARE(ran.exitCode, 2);
		QVERIFY2(ran.err.contains("the service uses /etc/hostname, not /etc/passwd [E-CONFIG]"), ran.err.constData());
		QCOMPARE(m_service->count("Manager.Start"), 0);
	}

	void checkConfigNeedsNoService()
	{
		m_service.reset();
		const RunOptions nowhere{.environment = {{"ARCHIPELAGO_BUS", "unix:path=/nonexistent"}}};
		const QString good = file(QByteArray::fromStdString(defaultConfigText()));
		QCOMPARE(archipelago({"check-config", good}, nowhere).out, (good + ": OK\n").toUtf8());
		QCOMPARE(archipelago({"check-config", "-c", good}, nowhere).exitCode, 0);
		QCOMPARE(archipelago({"check-config"}, {.environment = {{"ARCHIPELAGO_CONFIG", good}}}).exitCode, 0);

		const QString bad = file("SEGMENT_PORTS = 100000\nSEGMENT_SISE = 3\n");
		const Ran ran = archipelago({"check-config", bad}, nowhere);
		QCOMPARE(ran.exitCode, 2);
		QVERIFY2(ran.out.contains((bad + ":1:").toUtf8()) && ran.out.contains((bad + ":2:1: error: ").toUtf8()),
		         ran.out.constData());
		QVERIFY(ran.out.contains("SEGMENT_SIZE")); // the nearest key
		QVERIFY2(ran.err.startsWith(("archipelago: cannot use " + bad + ": 2 errors [E-CONFIG]\n").toUtf8()),
		         ran.err.constData());
	}

	void checkConfigOfAStream()
	{
		const Ran ran = archipelago({"check-config", "-", "--json"}, {.input = "SEGMENT_SISE = 3\n"});
		QCOMPARE(ran.exitCode, 2);
		const QJsonObject json = jsonOf(ran.out);
		QCOMPARE(json.value("schema").toString(), QString("archipelago.diagnostics/1"));
		QCOMPARE(json.value("file").toString(), QString("<stdin>"));
		const QJsonObject problem = json.value("items")[0].toObject();
		QCOMPARE(problem.value("level").toString(), QString("error"));
		QCOMPARE(problem.value("line").toInt(), 1);
		QCOMPARE(problem.value("column").toInt(), 1);
		QCOMPARE(jsonOf(ran.err).value("error")["code"].toString(), QString("E-CONFIG"));
	}

	void checkConfigOfNothing()
	{
		const Ran ran = archipelago({"check-config", "/nonexistent/x.conf"});
		QCOMPARE(ran.exitCode, 4);
		QVERIFY2(ran.err.startsWith(
					 "archipelago: cannot read /nonexistent/x.conf: No such file or directory [E-NOTFOUND]\n"),
		         ran.err.constData());
	}

	void explain()
	{
		const RunOptions nowhere{.environment = {{"ARCHIPELAGO_BUS", "unix:path=/nonexistent"}}};
		for (const char *spelling : {"E-LOCKED", "e-locked", "locked"}) {
			const Ran ran = archipelago({"explain", spelling}, nowhere);
			QVERIFY2(ran.out.startsWith("E-LOCKED: "), ran.out.constData());
			QCOMPARE(ran.exitCode, 0);
		}
		const Ran all = archipelago({"explain"}, nowhere);
		QCOMPARE(all.out.count('\n'), static_cast<qsizetype>(allErrors().size()) + 1);
		QCOMPARE(jsonOf(archipelago({"explain", "--json"}, nowhere).out).value("items").toArray().size(),
		         static_cast<qsizetype>(allErrors().size()));
		const Ran typo = archipelago({"explain", "E-LOKED"}, nowhere);
		QCOMPARE(typo.exitCode, 2);
		QVERIFY(typo.err.contains("Did you mean E-LOCKED?"));
	}

	void alone()
	{
		const Ran ran = archipelago({});
		QCOMPARE(ran.exitCode, 2);
		QCOMPARE(ran.err.count('\n'), 13);
		QCOMPARE(ran.err.count("  $ archipelago "), 3);
		const Ran typo = archipelago({"strat"});
		QCOMPARE(typo.exitCode, 2);
		QVERIFY(typo.err.contains("Did you mean \"start\"?"));
		QCOMPARE(
			archipelago({"config", "get", "roles"}).err,
			QByteArray(
				"archipelago: archipelago config is not built yet (step 8/9) [E-INVALID]\nTry: archipelago --help\n"));
		QCOMPARE(archipelago({"stop", "--unmap"}).exitCode, 2);
	}
};

QTEST_GUILESS_MAIN(TestArchipelago)
#include "test_archipelago.moc"
