// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc in a pipe, as scripts see it: the original's words, exact values, JSON, and the exit code and text of every error.
#include "daemon/base/errors.h"
#include "tests/cli/cli_test.h"

#include <csignal>

#include <QJsonArray>
#include <QJsonObject>
#include <QSignalSpy>
#include <QTest>

using namespace archipelago;
using namespace archipelago::test;

class TestVlmc : public CliTest {
	Q_OBJECT

	Ran vlmc(const QStringList &arguments, const RunOptions &options = {}) { return run(VLMC, arguments, options); }
	void prepare() override { m_service->volumes = {{.name = "db", .size = 10 << 20, .allocated = 4 << 20}}; }

private slots:
	void scriptsSeeTheOriginalsWords_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<QByteArray>("out");
		const auto row = [](const char *name, const QStringList &line, const char *out) {
			QTest::newRow(name) << line << QByteArray(out);
		};
		row("create", {"create", "new", "--size", "10"}, "");
		row("create, old options", {"create", "-v0", "--v0_size", "5", "new", "-p", "pool", "-s", "10"}, "");
		row("remove", {"remove", "db"}, "");
		row("rm", {"rm", "-v0", "db"}, "");
		row("open", {"open", "db"}, "Volume opened\n");
		row("open quietly", {"open", "db", "-q"}, "");
		row("close", {"close", "db"}, "Volume closed\n");
		row("info quietly", {"info", "db", "--quiet"}, "Volume db: size: 10485760\n");
		row("info", {"info", "db"},
		    "Volume db: size: 10485760\nsize\t10485760\nallocated\t4194304\nstate\tclosed\nholders\tnone\n"
		    "created\t2026-11-18T11:06:40Z\nid\t77777777777777777777777777777777\nnbd\tnbd+unix:///db?socket=/run/"
		    "archipelago/nbd.sock\n"
		    "qemu\t-blockdev "
		    "driver=nbd,node-name=archipelago0,server.type=unix,server.path=/run/archipelago/nbd.sock,export=db,"
		    "reconnect-delay=60\n");
		row("list", {"list"},
		    "NAME\tKIND\tSIZE\tALLOCATED\tSTATE\tCREATED\ndb\tvolume\t10485760\t4194304\tclosed\t2026-11-18T11:06:"
		    "40Z\n");
		row("list without titles", {"ls", "--no-header"},
		    "db\tvolume\t10485760\t4194304\tclosed\t2026-11-18T11:06:40Z\n");
		row("list of names", {"list", "-q"}, "db\n");
		row("list of nothing", {"list", "x*"}, "NAME\tKIND\tSIZE\tALLOCATED\tSTATE\tCREATED\n");
	}
	void scriptsSeeTheOriginalsWords()
	{
		QFETCH(QStringList, line);
		const Ran ran = vlmc(line);
		QTEST(ran.out, "out");
		QCOMPARE(ran.exitCode, 0);
	}

	void json_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<QByteArray>("out");
		const auto row = [](const char *name, const QStringList &line, const char *out) {
			QTest::newRow(name) << line << QByteArray(out);
		};
		row("create", {"create", "new", "--size", "10", "--json"},
		    R"({"schema":"archipelago.volumes/1","items":[{"id":"77777777777777777777777777777777","name":"new","sizeBytes":10485760,"state":"closed"}],"warnings":[]})");
		row("remove", {"--json", "remove", "db"},
		    R"({"schema":"archipelago.volumes/1","items":[{"name":"db","state":"removed"}],"warnings":[]})");
		row("open", {"open", "--json", "db"},
		    R"({"schema":"archipelago.volumes/1","items":[{"name":"db","state":"open"}],"warnings":[]})");
		row("close", {"close", "--json", "db"},
		    R"({"schema":"archipelago.volumes/1","items":[{"name":"db","state":"closed"}],"warnings":[]})");
		const char *whole =
			R"({"schema":"archipelago.volumes/1","items":[{"allocatedBytes":4194304,"clients":0,"created":"2026-11-18T11:06:40Z","id":"77777777777777777777777777777777","kind":"volume","name":"db","nbdUri":"nbd+unix:///db?socket=/run/archipelago/nbd.sock","opened":false,"sizeBytes":10485760,"state":"closed"}],"warnings":[]})";
		row("info", {"info", "db", "--json"}, whole);
		row("list", {"list", "--json"}, whole);
		row("list of nothing", {"list", "x*", "--json"},
		    R"({"schema":"archipelago.volumes/1","items":[],"warnings":[]})");
	}
	void json()
	{
		QFETCH(QStringList, line);
		QFETCH(QByteArray, out);
		const Ran ran = vlmc(line);
		QCOMPARE(ran.out, out + "\n");
		QCOMPARE(ran.err, QByteArray());
		QCOMPARE(ran.exitCode, 0);
	}

	void everyErrorHasItsExitCode_data()
	{
		QTest::addColumn<QString>("dbusName");
		QTest::addColumn<QByteArray>("symbol");
		QTest::addColumn<int>("exitCode");
		for (const ErrorInfo &info : allErrors()) {
			const QString last = QString::fromUtf8(info.dbusName.data(), static_cast<qsizetype>(info.dbusName.size()));
			const QString name = last.isEmpty() ? QString(dbus::kAccessDenied)
			                                    : QLatin1String(dbus::kErrorPrefix) + last;
			QTest::newRow(info.symbol.data())
				<< name << QByteArray(info.symbol.data(), static_cast<qsizetype>(info.symbol.size())) << info.exitCode;
		}
		QTest::newRow("no agent") << QString("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")
								  << QByteArray("E-DENIED") << 7;
		QTest::newRow("a stranger's error") << QString("org.example.Odd") << QByteArray("E-FAILED") << 1;
	}
	void everyErrorHasItsExitCode()
	{
		QFETCH(QString, dbusName);
		QFETCH(QByteArray, symbol);
		QFETCH(int, exitCode);
		m_service->nextJob.error = {dbusName, "Cannot create new: the reason is given here."};
		const Ran plain = vlmc({"create", "new", "--size", "1"});
		QCOMPARE(plain.exitCode, exitCode);
		QVERIFY2(plain.err.startsWith("vlmc: cannot create new: the reason is given here [" + symbol + "]\n"),
		         plain.err.constData());
		QCOMPARE(plain.out, QByteArray());

		m_service->refuse["Manager.CreateVolume"] = m_service->nextJob.error; // refused at once instead of a failed job
		const Ran json = vlmc({"create", "new", "--size", "1", "--json"});
		QCOMPARE(json.exitCode, exitCode);
		QCOMPARE(json.out, QByteArray());
		const QJsonObject error = jsonOf(json.err).value("error").toObject();
		QCOMPARE(error.value("code").toString().toLatin1(), symbol);
		QCOMPARE(error.value("message").toString(), QString("cannot create new: the reason is given here"));
		QCOMPARE(json.err.count('\n'), 1);
	}

	void oldExitCodesOnRequest()
	{
		const RunOptions compat{.environment = {{"ARCHIPELAGO_COMPAT_EXIT", "1"}}};
		QCOMPARE(vlmc({"info", "nosuch"}, compat).exitCode, 255);
		QCOMPARE(vlmc({"info"}, compat).exitCode, 2);
		QCOMPARE(vlmc({"info", "db"}, compat).exitCode, 0);
	}

	void errorsAreTold_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::addColumn<int>("exitCode");
		QTest::addColumn<QByteArray>("err");
		const auto row = [](const char *name, const QStringList &line, int exitCode, const char *err) {
			QTest::newRow(name) << line << exitCode << QByteArray(err);
		};
		row("no such volume", {"info", "dd"}, 4,
		    "vlmc: cannot show dd: there is no such volume [E-NOTFOUND]\nDid you mean \"db\"?\n");
		row("nothing like it", {"open", "zebra"}, 4,
		    "vlmc: cannot open zebra: there is no such volume [E-NOTFOUND]\nNothing was changed.\nTry: vlmc list\n");
		row("no size", {"create", "new"}, 2,
		    "vlmc: --size is missing [E-INVALID]\nAs in: vlmc create new --size 10G\nNothing was changed.\nTry: vlmc "
		    "create --help\n");
		row("bad name", {"create", "a/b", "--size", "1"}, 2,
		    "vlmc: the name \"a/b\" is not allowed: it contains '/' [E-INVALID]\nA legal one is \"a-b\".\nNothing was "
		    "changed.\n"
		    "Try: vlmc create --help\n");
		row("empty name", {"remove", ""}, 2,
		    "vlmc: the name is empty [E-INVALID]\nNothing was changed.\nTry: vlmc remove --help\n");
		row("unknown verb", {"creat"}, 2,
		    "vlmc: unknown command \"creat\" [E-INVALID]\nDid you mean \"create\"?\nTry: vlmc --help\n");
		row("planned verb", {"snapshot", "a", "b"}, 2,
		    "vlmc: vlmc snapshot is not built yet (step 4/9) [E-INVALID]\nTry: vlmc --help\n");
		row("bad duration", {"list", "--timeout", "soon"}, 2, nullptr);
	}
	void errorsAreTold()
	{
		QFETCH(QStringList, line);
		QFETCH(QByteArray, err);
		const Ran ran = vlmc(line);
		if (!err.isNull()) QCOMPARE(ran.err, err);
		QTEST(ran.exitCode, "exitCode");
		QCOMPARE(ran.out, QByteArray());
	}

	void nameThatIsNotUtf8()
	{
		// Through the shell, because QProcess would encode the argument anew.
		const Ran ran = runProgram("/bin/sh", {"-c", QStringLiteral("exec %1 info \"$(printf 'a\\377')\"").arg(VLMC)},
		                           {.environment = {{"ARCHIPELAGO_BUS", m_bus->address()}}});
		QCOMPARE(ran.exitCode, 2);
		QVERIFY2(ran.err.startsWith("vlmc: the name \"a\\xff\" is not UTF-8 [E-INVALID]\n"), ran.err.constData());
	}

	void whatTheServiceSaysCannotSteerTheTerminal()
	{
		m_service->nextJob.error = {errorName("Busy"), "Cannot create new: \033[2Jgone.\nsecond\033line"};
		const Ran ran = vlmc({"create", "new", "--size", "1"});
		QCOMPARE(ran.err,
		         QByteArray("vlmc: cannot create new: \\x1b[2Jgone [E-BUSY]\nsecond\\x1bline\nNothing was changed.\n"));
	}

	void busyNamesTheHolders()
	{
		m_service->volumes[0].clients = 2;
		m_service->nextJob.error = {errorName("Busy"),
		                            "Cannot remove db: it is in use by 2 clients. Disconnect them, then try again."};
		const Ran ran = vlmc({"remove", "db"});
		QCOMPARE(ran.exitCode, 5);
		QCOMPARE(
			ran.err,
			QByteArray("vlmc: cannot remove db: it is in use by 2 clients [E-BUSY]\nDisconnect them, then try again.\n"
		               "Nothing was changed.\n"));
	}

	void sizes_data()
	{
		QTest::addColumn<QString>("typed");
		QTest::addColumn<quint64>("bytes"); // 0 = refused
		QTest::newRow("bare is MiB") << "10" << (quint64(10) << 20);
		QTest::newRow("bytes") << "512B" << quint64(512);
		QTest::newRow("K") << "4K" << quint64(4096);
		QTest::newRow("MiB") << "10MiB" << (quint64(10) << 20);
		QTest::newRow("fraction") << "1.5G" << quint64(1'610'612'736);
		QTest::newRow("lower case") << "2t" << (quint64(2) << 40);
		QTest::newRow("decimal") << "10MB" << quint64(0); // 10^7 is no multiple of 512
		QTest::newRow("decimal that fits") << "512kB" << quint64(512'000);
		QTest::newRow("largest") << "4P" << (quint64(4) << 50);
		QTest::newRow("too large") << "5P" << quint64(0);
		QTest::newRow("overflow") << "99999999999999999999" << quint64(0);
		QTest::newRow("negative") << "-5" << quint64(0);
		QTest::newRow("zero") << "0" << quint64(0);
		QTest::newRow("ambiguous") << "10m" << quint64(0);
		QTest::newRow("not a size") << "big" << quint64(0);
		QTest::newRow("not a sector") << "700B" << quint64(0);
	}
	void sizes()
	{
		QFETCH(QString, typed);
		QFETCH(quint64, bytes);
		const Ran ran = vlmc({"create", "new", "--size", typed});
		const auto *call = m_service->last("Manager.CreateVolume");
		if (bytes == 0) {
			QCOMPARE(ran.exitCode, 2);
			QVERIFY(!call);
			QVERIFY2(ran.err.contains("[E-INVALID]"), ran.err.constData());
			return;
		}
		QCOMPARE(ran.exitCode, 0);
		QVERIFY(call);
		QCOMPARE(call->arguments.value(0).toString(), QString("new"));
		QCOMPARE(call->arguments.value(1).toULongLong(), bytes);
	}

	void namesArriveAsTyped_data()
	{
		QTest::addColumn<QString>("name");
		for (const char *name :
		     {"my disk", "übung", "東京", "[a,b]", "++", "-x", "a.b:c", "it's", "100%", "a,b", "list"})
			QTest::newRow(name) << QString(name);
		QTest::newRow("82 bytes") << QString(82, 'n');
	}
	void namesArriveAsTyped()
	{
		QFETCH(QString, name);
		QCOMPARE(vlmc({"create", "--size", "1", "--", name}).exitCode, 0);
		QCOMPARE(m_service->last("Manager.CreateVolume")->arguments.value(0).toString(), name);
		const Ran info = vlmc({"info", "--json", "--", name});
		QCOMPARE(jsonOf(info.out).value("items")[0]["name"].toString(), name);
		QCOMPARE(vlmc({"rm", "--", name}).exitCode, 0);
		QCOMPARE(m_service->volumes.size(), 1);
	}

	void qemuOptionIsReadyForTheShell()
	{
		m_service->volumes = {{.name = "a, b's", .size = 512}};
		m_service->nbdSocket = "/run/a,b/nbd.sock";
		const Ran ran = vlmc({"info", "a, b's"});
		QVERIFY2(
			ran.out.contains(
				"qemu\t-blockdev 'driver=nbd,node-name=archipelago0,server.type=unix,server.path=/run/a,,b/nbd.sock,"
				"export=a,, b'\\''s,reconnect-delay=60'\n"),
			ran.out.constData());
		m_service->nbdSocket.clear();
		QVERIFY(vlmc({"info", "a, b's"}).out.contains("nbd\t-\nqemu\t-\n"));
	}

	void sizesInJsonAreExact()
	{
		m_service->volumes = {{.name = "huge", .size = 9'223'372'036'854'775'807, .allocated = 9'007'199'254'740'993}};
		const Ran ran = vlmc({"list", "--json"});
		QVERIFY(ran.out.contains("\"sizeBytes\":9223372036854775807"));
		QVERIFY(ran.out.contains("\"allocatedBytes\":9007199254740993"));
	}

	void oneBrokenVolumeDoesNotEmptyTheList()
	{
		m_service->volumes.append(
			{.name = "bad", .error = {errorName("CorruptMetadata"), "the header's checksum is wrong"}});
		const Ran ran = vlmc({"list"});
		QCOMPARE(ran.exitCode, 0);
		QVERIFY2(ran.out.contains("bad\t?\t?\t?\terror E-CORRUPT\t-\n"), ran.out.constData());
		QVERIFY(ran.out.contains("db\tvolume"));
		QCOMPARE(ran.err, QByteArray("vlmc: cannot read bad: the header's checksum is wrong [E-CORRUPT]\n"));
		const QJsonObject json = jsonOf(vlmc({"list", "--json"}).out);
		QCOMPARE(json.value("items").toArray().size(), 2);
		QCOMPARE(json.value("items")[0]["error"]["code"].toString(), QString("E-CORRUPT"));
		QCOMPARE(json.value("warnings").toArray().size(), 1);
		QCOMPARE(vlmc({"rm", "bad"}).exitCode, 0); // and it can be removed
	}

	void aVolumeThatHasStoppedSaysSo()
	{
		m_service->volumes = {{.name = "db", .size = 4096, .opened = true, .stopped = {"E-IO", "The storage below reported an I/O error."}}};
		QVERIFY(vlmc({"list"}).out.contains("\tstopped\t"));
		const Ran info = vlmc({"info", "db"});
		QCOMPARE(info.exitCode, 0);
		QVERIFY2(info.out.contains("\nstate\tstopped: The storage below reported an I/O error. [E-IO]\n"), info.out.constData());
		const QJsonObject json = jsonOf(vlmc({"info", "db", "--json"}).out);
		QCOMPARE(json.value("items")[0]["state"].toString(), QString("stopped"));
		QCOMPARE(json.value("items")[0]["stopped"]["code"].toString(), QString("E-IO"));
	}

	void longListsComeInPages()
	{
		m_service->volumes.clear();
		for (int i = 0; i < 2000; i++)
			m_service->volumes.append({.name = QStringLiteral("v%1").arg(i, 5, 10, QLatin1Char('0')), .size = 512});
		const Ran ran = vlmc({"list", "-q"});
		QCOMPARE(ran.out.count('\n'), 2000);
		QVERIFY(ran.out.startsWith("v00000\n") && ran.out.endsWith("v01999\n"));
		QCOMPARE(m_service->count("Manager.ListVolumes"), 3);
		QCOMPARE(vlmc({"list", "-q", "v0199*"}).out.count('\n'), 10);
	}

	void removeLooksFirst()
	{
		m_service->volumes.append({.name = "web", .size = 512});
		const Ran ran = vlmc({"remove", "db", "wbe", "web"});
		QCOMPARE(ran.exitCode, 4);
		QVERIFY2(ran.err.contains("Did you mean \"web\"?"), ran.err.constData());
		QCOMPARE(m_service->count("Volume.Remove"), 0);
		QCOMPARE(vlmc({"remove", "db", "web", "db"}).exitCode, 0);
		QCOMPARE(m_service->count("Volume.Remove"), 2);
	}

	void removeSaysHowFarItCame()
	{
		m_service->volumes.append({.name = "web", .size = 512});
		int removed = 0;
		m_service->onJob = [&](const QString &) {
			if (++removed == 2) m_service->nextJob.error = {errorName("Busy"), "it is open"};
		};
		const Ran ran = vlmc({"remove", "db", "web"});
		QCOMPARE(ran.exitCode, 5);
		QVERIFY2(ran.err.contains("cannot remove web: it is open [E-BUSY]\nRemoved: db. Not removed: web.\n"),
		         ran.err.constData());
	}

	void noServiceOnTheBus()
	{
		m_service.reset();
		const Ran ran = vlmc({"list"});
		QCOMPARE(ran.exitCode, 3);
		QVERIFY2(ran.err.startsWith("vlmc: cannot list volumes: Archipelago service is not running [E-PEER]\n"),
		         ran.err.constData());
		QCOMPARE(ran.err.count('\n'), 2); // and the next step
	}

	void noBus()
	{
		for (const QStringList &line : {QStringList{"list", "--bus", "unix:path=/nonexistent"},
		                                QStringList{"--bus=unix:path=/nonexistent", "info", "db"}}) {
			const Ran ran = vlmc(line);
			QCOMPARE(ran.exitCode, 3);
			QVERIFY(ran.err.contains("[E-PEER]"));
		}
		QCOMPARE(vlmc({"list", "--bus", "nonsense"}).exitCode, 2);
	}

	void deadline()
	{
		m_service->silent.insert("Volume.Open");
		const Ran call = vlmc({"open", "db", "--timeout", "100ms"});
		QCOMPARE(call.exitCode, 10);
		QVERIFY2(call.err.contains("[E-TIMEOUT]"), call.err.constData());
		m_service->nextJob.hangs = true;
		const Ran job = vlmc({"create", "new", "--size", "1", "--timeout", "100ms"});
		QCOMPARE(job.exitCode, 10);
		QVERIFY2(job.err.contains("[E-TIMEOUT]"), job.err.constData());
	}

	void aLongWaitSaysSo()
	{
		m_service->silent.insert("Volume.Open");
		const Ran ran = vlmc({"open", "db"}, {.signalOnceErrHas = SIGINT,
		                                      .errText = "vlmc: waiting for the service to open db, up to 30 s"});
		QCOMPARE(ran.exitCode, 130);
	}

	void interruptEndsACall()
	{
		m_service->silent.insert("Volume.Open");
		qint64 pid = 0;
		connect(m_service.get(), &FakeService::called, this, [&](const QString &method) {
			if (method == "Volume.Open") ::kill(static_cast<pid_t>(pid), SIGINT);
		});
		const Ran ran = vlmc({"open", "db"}, {.started = [&](qint64 p) { pid = p; }});
		QCOMPARE(ran.exitCode, 130);
		QVERIFY2(ran.err.contains("cannot open db: interrupted"), ran.err.constData());
		QVERIFY(ran.err.contains("It may have been carried out all the same."));
	}

	void theServiceMayVanishInTheMiddle()
	{
		m_service->nextJob.hangs = true;
		connect(m_service.get(), &FakeService::called, this, [&](const QString &method) {
			if (method == "Job.GetAll")
				QMetaObject::invokeMethod(
					this, [&] { m_service.reset(); }, Qt::QueuedConnection);
		});
		const Ran ran = vlmc({"create", "new", "--size", "1"});
		QCOMPARE(ran.exitCode, 3);
		QVERIFY2(ran.err.contains("[E-PEER]"), ran.err.constData());
	}

	void anotherConfigurationIsRefused()
	{
		m_service->configPath = "/etc/hostname";
		QCOMPARE(vlmc({"list", "-c", "/etc/hostname"}).exitCode, 0);
		const Ran ran = vlmc({"list", "-c", "/etc/passwd"});
		QCOMPARE(ran.exitCode, 2);
		QVERIFY2(ran.err.contains("the service uses /etc/hostname, not /etc/passwd [E-CONFIG]"), ran.err.constData());
	}

	void closedAndFullOutputs()
	{
		const QMap<QString, QString> environment{{"ARCHIPELAGO_BUS", m_bus->address()}};
		const Ran full = runProgram("/bin/sh", {"-c", QStringLiteral("%1 list > /dev/full").arg(VLMC)},
		                            {.environment = environment});
		QCOMPARE(full.exitCode, 8);
		QVERIFY2(full.err.contains("cannot write to standard output"), full.err.constData());
		const Ran closed = runProgram("/bin/sh", {"-c", QStringLiteral("%1 list | true").arg(VLMC)},
		                              {.environment = environment});
		QCOMPARE(closed.exitCode, 0);
		QCOMPARE(closed.err, QByteArray()); // ends by SIGPIPE or in time, never with a message

		// More than a pipe holds: libdbus ignores SIGPIPE, but a reader that had enough must still end us silently.
		for (int i = 0; i < 2000; i++) m_service->volumes.append({.name = QStringLiteral("v%1").arg(i), .size = 512});
		const Ran head = runProgram("/bin/bash",
		                            {"-c", QStringLiteral("%1 list | head -n 1; exit ${PIPESTATUS[0]}").arg(VLMC)},
		                            {.environment = environment});
		QCOMPARE(head.exitCode, 128 + SIGPIPE);
		QCOMPARE(head.err, QByteArray());
	}

	void alone()
	{
		const Ran ran = vlmc({});
		QCOMPARE(ran.exitCode, 2);
		QCOMPARE(ran.out, QByteArray());
		QCOMPARE(ran.err.count('\n'), 13);
		QCOMPARE(ran.err.count("  $ vlmc "), 3);
		const Ran help = vlmc({"--help"});
		QCOMPARE(help.exitCode, 0);
		QVERIFY(help.out.contains("create NAME --size SIZE") && !help.out.contains("snapshot"));
		QVERIFY(vlmc({"create", "-h"}).out.startsWith("  $ vlmc create db"));
		QVERIFY(vlmc({"--version"}).out.startsWith("vlmc (Archipelago) "));
	}

	void usageErrorsAreJsonToo()
	{
		const Ran ran = vlmc({"--json", "lst"});
		QCOMPARE(ran.exitCode, 2);
		QCOMPARE(jsonOf(ran.err).value("error")["code"].toString(), QString("E-INVALID"));
	}
};

QTEST_GUILESS_MAIN(TestVlmc)
#include "test_vlmc.moc"
