// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc stat and archipelago top, in a pipe and on a terminal, before a service whose counters the test sets. A second of its
// clock goes by with each look at them, so that rates are exact.
#include "tests/cli/cli_test.h"

#include <csignal>

#include <QJsonArray>
#include <QJsonObject>
#include <QTest>

using namespace archipelago;
using namespace archipelago::test;

namespace {

/// A latency, and its bucket in the histogram.
struct Latency {
	quint64 ns;
	uint bucket;
};
constexpr Latency kUsual{100'000, 27}; ///< told as 106496: the middle of 98304..114688
constexpr Latency kSlow{5'000'000, 49};

/// `ops` that took so long each.
dbus::OpRow row(const char *name, quint64 ops, quint64 bytes, Latency each, quint64 errors = 0, quint64 inFlight = 0)
{
	return {name, ops, bytes, errors, ops * each.ns, inFlight, each.bucket, {ops}};
}

QJsonObject opsOf(const QJsonObject &document, const char *c, int item = 0)
{
	return document["items"][item]["ops"][QLatin1String(c)].toObject();
}

} // namespace

class TestStats : public CliTest {
	Q_OBJECT

	std::unique_ptr<TerminalProgram> plain(const char *program, const QStringList &arguments, Environment environment = {})
	{
		environment.insert("NO_COLOR", "1");
		return onTerminal(program, arguments, environment, 120);
	}
	void prepare() override
	{
		m_service->volumes = {{.name = "db", .size = 10 << 20}, {.name = "idle", .size = 10 << 20}};
		m_service->counts = {
			{.port = 1030, .name = "db", .ops = {row("read", 10, 40960, kUsual, 1, 2), row("write", 4, 2048, kUsual), row("flush", 1, 0, kUsual), row("extents", 3, 0, kUsual)}},
			{.port = 500, .kind = "role", .name = "vlmcd", .ops = {row("read", 10, 40960, kUsual, 0, 1), row("other", 7, 0, kUsual)}},
			{.port = 501, .kind = "role", .name = "vlmcd", .ops = {row("read", 2, 8192, kUsual)}}};
	}

private slots:
	// ---- vlmc stat, once

	void sinceTheStartInAPipe()
	{
		const Ran ran = run(VLMC, {"stat", "db"});
		QCOMPARE(ran.out, QByteArray("VOLUME\tOP\tOPS\tBYTES\tERRORS\tINFLIGHT\tMEAN\tP50\tP99\tP99.9\tMAX\n"
		                             "db\tread\t10\t40960\t1\t2\t100000\t106496\t106496\t106496\t114688\n"
		                             "db\twrite\t4\t2048\t0\t0\t100000\t106496\t106496\t106496\t114688\n"
		                             "db\tflush\t1\t0\t0\t0\t100000\t106496\t106496\t106496\t114688\n"
		                             "db\ttrim\t0\t0\t0\t0\t0\t0\t0\t0\t0\n"
		                             "db\textents\t3\t0\t0\t0\t100000\t106496\t106496\t106496\t114688\n"));
		QCOMPARE(ran.exitCode, 0);
		QCOMPARE(m_service->count("Volume.GetStats"), 1);
	}

	void sinceTheStartOnATerminal()
	{
		const auto program = plain(VLMC, {"stat"});
		QCOMPARE(program->wait(), 0);
		QCOMPARE(program->output(), QByteArray("VOLUME  OP       OPS   BYTES  ERRORS  INFLIGHT    MEAN     P50     P99   P99.9     MAX\n"
		                                       "db      read      10  40 KiB       1         2  100 µs  106 µs  106 µs  106 µs  115 µs\n"
		                                       "db      write      4   2 KiB       0         0  100 µs  106 µs  106 µs  106 µs  115 µs\n"
		                                       "db      flush      1     0 B       0         0  100 µs  106 µs  106 µs  106 µs  115 µs\n"
		                                       "db      extents    3     0 B       0         0  100 µs  106 µs  106 µs  106 µs  115 µs\n"));
	}

	void sinceTheStartAsJson()
	{
		const Ran ran = run(VLMC, {"stat", "db", "--json"});
		const QJsonObject document = jsonOf(ran.out);
		QCOMPARE(document["schema"].toString(), "archipelago.volume-stats/1");
		QVERIFY(document["timeUs"].toInteger() > 0);
		QCOMPARE(document["items"].toArray().size(), 1);
		QCOMPARE(document["items"][0]["name"].toString(), "db");
		QCOMPARE(document["items"][0]["id"].toString(), QString(32, '7'));
		QCOMPARE(document["items"][0]["since"].toString(), "2026-11-18T11:06:40Z");
		const QJsonObject read = opsOf(document, "read");
		QCOMPARE(read["ops"].toInt(), 10);
		QCOMPARE(read["bytes"].toInt(), 40960);
		QCOMPARE(read["errors"].toInt(), 1);
		QCOMPARE(read["inFlight"].toInt(), 2);
		QCOMPARE(read["meanNs"].toInt(), 100000);
		QCOMPARE(read["p50Ns"].toInt(), 106496);
		QCOMPARE(read["histogram"].toArray().size(), 1);
		QCOMPARE(read["histogram"][0][0].toInt(), 98304);
		QCOMPARE(read["histogram"][0][1].toInt(), 10);
		QVERIFY(opsOf(document, "trim")["p50Ns"].isNull());
		QCOMPARE(ran.exitCode, 0);
	}

	void portsOfOneVolumeAddUp()
	{
		m_service->counts.append({.port = 1031, .name = "db", .ops = {row("read", 5, 512, kUsual)}, .bound = false});
		QCOMPARE(opsOf(jsonOf(run(VLMC, {"stat", "db", "--json"}).out), "read")["ops"].toInt(), 15);
	}

	void aVolumeThatNobodyUsedHasZeros()
	{
		const QJsonObject document = jsonOf(run(VLMC, {"stat", "idle", "--json"}).out);
		QCOMPARE(document["items"][0]["name"].toString(), "idle");
		QVERIFY(document["items"][0]["id"].isNull());
		QCOMPARE(opsOf(document, "read")["ops"].toInt(-1), 0);
		const auto program = plain(VLMC, {"stat", "idle"});
		QCOMPARE(program->wait(), 0);
		QVERIFY2(program->output().contains("no client has used a volume"), program->output().constData());
	}

	void aNameThatIsMisspeltIsNamed()
	{
		m_service->refuse.insert("Volume.GetStats", {errorName("NotFound"), "There is no such volume."});
		for (const QStringList &line : {QStringList{"stat", "dbb"}, QStringList{"stat", "dbb", "1"}}) {
			const Ran ran = run(VLMC, line);
			QCOMPARE(ran.exitCode, 4);
			QVERIFY2(ran.err.contains("Did you mean \"db\"?"), ran.err.constData());
			QCOMPARE(ran.out, QByteArray());
		}
	}

	void usage_data()
	{
		QTest::addColumn<QStringList>("line");
		QTest::newRow("interval") << QStringList{"stat", "db", "--interval", "0.01"};
		QTest::newRow("interval, words") << QStringList{"stat", "db", "--interval", "soon"};
		QTest::newRow("number behind names") << QStringList{"stat", "db", "0"};
		QTest::newRow("count") << QStringList{"stat", "db", "--count", "0"};
	}
	void usage()
	{
		QFETCH(QStringList, line);
		QCOMPARE(run(VLMC, line).exitCode, 2);
		QVERIFY(m_service->calls.isEmpty());
	}

	void numbersThatMakeNoSenseHarmNothing()
	{
		constexpr quint64 kMany = ~quint64(0);
		m_service->counts = {{.port = 1030, .name = "db", .ops = {{"read", kMany, kMany, kMany, kMany, kMany, 4'000'000'000u, {kMany, kMany}}, {"write", 3, kMany, 9, 1, kMany, 100, QList<quint64>(500, kMany)}, {"nonsense", 1, 1, 1, 1, 1, 1, {1}}}}};
		for (const QStringList &line : {QStringList{"stat"}, QStringList{"stat", "db", "--json"}, QStringList{"stat", "db", "--count", "1", "--interval", "0.1"}})
			QCOMPARE(run(VLMC, line).exitCode, 0);
		QCOMPARE(run(ARCHIPELAGO, {"top", "--once", "--interval", "0.1"}).exitCode, 0);
		QCOMPARE(plain(VLMC, {"stat"})->wait(), 0);
	}

	// ---- vlmc stat, each interval

	/// A line for each interval, at once, until Ctrl-C.
	void ratesInAPipe()
	{
		int looks = 0;
		RunOptions options;
		qint64 pid = 0;
		options.started = [&pid](qint64 started) { pid = started; };
		m_service->onStats = [&] {
			m_service->counts[0].ops[0].ops += 3;
			m_service->counts[0].ops[0].bytes += 3000;
			m_service->counts[0].ops[0].counts[0] += 3;
			// One look for the name, one to begin with, two lines, and one that is not waited for.
			if (++looks == 5) ::kill(static_cast<pid_t>(pid), SIGINT);
		};
		const Ran ran = run(VLMC, {"stat", "db", "0.1"}, options);
		QCOMPARE(ran.exitCode, 130);
		const QList<QByteArray> lines = ran.out.trimmed().split('\n');
		QVERIFY(lines.size() >= 3);
		QCOMPARE(lines[0], QByteArray("TIME\tVOLUME\tREAD/S\tREAD\tP50\tP99\tWRITE/S\tWRITTEN\tP50\tP99\tFLUSH/S\tTRIM/S\tEXTENTS/S\tERRORS\tINFLIGHT"));
		for (const int line : {1, 2})
			QVERIFY2(lines[line].endsWith("Z\tdb\t3.0\t3000\t106496\t106496\t0.0\t0\t0\t0\t0.0\t0.0\t0.0\t0\t2"), lines[line].constData());
	}

	void jsonLines()
	{
		m_service->onStats = [this] {
			m_service->counts[0].ops[0].ops += 3;
			m_service->counts[0].ops[0].bytes += 3000;
		};
		const Ran ran = run(VLMC, {"stat", "db", "--json", "--interval", "100ms", "--count", "3"});
		QCOMPARE(ran.exitCode, 0);
		const QList<QByteArray> lines = ran.out.trimmed().split('\n');
		QCOMPARE(lines.size(), 3);
		for (const QByteArray &line : lines) {
			const QJsonObject document = jsonOf(line);
			QCOMPARE(document["schema"].toString(), "archipelago.volume-rates/1");
			QCOMPARE(document["seconds"].toDouble(), 1.0);
			QCOMPARE(opsOf(document, "read")["opsPerSecond"].toDouble(), 3.0);
			QCOMPARE(opsOf(document, "read")["bytesPerSecond"].toInt(), 3000);
			QCOMPARE(opsOf(document, "write")["opsPerSecond"].toDouble(), 0.0);
			QCOMPARE(opsOf(document, "read")["inFlight"].toInt(), 2);
		}
	}

	void countersThatBeganAnewAreNoNegativeRates()
	{
		m_service->onStats = [this] {
			m_service->counts[0].generation += 2;
			m_service->counts[0].ops = {row("read", 5, 5120, kUsual)};
		};
		const Ran ran = run(VLMC, {"stat", "db", "--json", "--interval", "0.1", "--count", "1"});
		QCOMPARE(opsOf(jsonOf(ran.out), "read")["opsPerSecond"].toDouble(), 5.0);
	}

	void withoutNamesThoseInUseAreWatched()
	{
		m_service->counts.append({.port = 1040, .name = "gone", .ops = {row("read", 5, 512, kUsual)}, .bound = false});
		const QJsonObject document = jsonOf(run(VLMC, {"stat", "-w", "--json", "--interval", "0.1", "--count", "1"}).out);
		QCOMPARE(document["items"].toArray().size(), 1);
		QCOMPARE(document["items"][0]["name"].toString(), "db");
	}

	// ---- archipelago top

	void topOnceInAPipe()
	{
		m_service->onStats = [this] {
			for (FakeCounts &one : m_service->counts) {
				one.ops[0].ops += 8;
				one.ops[0].bytes += 8192;
				one.ops[0].counts[0] += 8;
			}
		};
		const Ran ran = run(ARCHIPELAGO, {"top", "--interval", "0.1"});
		QCOMPARE(ran.out, QByteArray("VOLUME\tIOPS\tREAD/S\tWRITE/S\tREAD\tWRITTEN\tP50\tP99\tQUEUE\tERRORS\n"
		                             "db\t8.0\t8.0\t0.0\t8192\t0\t106496\t106496\t2\t0\n\n"
		                             "ROLE\tPORTS\tOPS/S\tBYTES\tMEAN\tP50\tP99\tQUEUE\tERRORS\n"
		                             "vlmcd\t2\t16.0\t16384\t0\t106496\t106496\t1\t0\n"));
		QCOMPARE(ran.exitCode, 0);
	}

	void topAsJson()
	{
		const QJsonObject document = jsonOf(run(ARCHIPELAGO, {"top", "--json", "--interval", "0.1"}).out);
		QCOMPARE(document["schema"].toString(), "archipelago.top/1");
		QCOMPARE(document["state"].toString(), "running");
		QCOMPARE(document["items"][0]["name"].toString(), "db");
		QCOMPARE(document["items"][0]["all"]["inFlight"].toInt(), 2);
		QCOMPARE(document["roles"][0]["name"].toString(), "vlmcd");
		QCOMPARE(document["roles"][0]["ports"].toInt(), 2);
	}

	void topSorts_data()
	{
		QTest::addColumn<QString>("key");
		QTest::addColumn<QString>("first");
		QTest::newRow("iops") << "iops" << "many";
		QTest::newRow("bytes") << "bytes" << "wide";
		QTest::newRow("latency") << "latency" << "slow";
		QTest::newRow("queue") << "queue" << "deep";
		QTest::newRow("name") << "name" << "deep";
	}
	void topSorts()
	{
		QFETCH(QString, key);
		QFETCH(QString, first);
		const auto volumes = [](quint64 times) -> QList<FakeCounts> {
			return {{.port = 1, .name = "many", .id = "1", .ops = {row("read", 100 * times, 100 * times, kUsual)}},
			        {.port = 2, .name = "wide", .id = "2", .ops = {row("read", times, 1'000'000 * times, kUsual)}},
			        {.port = 3, .name = "slow", .id = "3", .ops = {row("read", times, times, kSlow)}},
			        {.port = 4, .name = "deep", .id = "4", .ops = {row("read", times, times, kUsual, 0, 64)}}};
		};
		quint64 looks = 0;
		m_service->onStats = [&] { m_service->counts = volumes(++looks); };
		const QJsonObject document = jsonOf(run(ARCHIPELAGO, {"top", "--json", "--sort", key, "--interval", "0.1"}).out);
		QCOMPARE(document["items"].toArray().size(), 4);
		QCOMPARE(document["items"][0]["name"].toString(), first);
	}

	void topUsage()
	{
		const Ran ran = run(ARCHIPELAGO, {"top", "--sort", "size"});
		QCOMPARE(ran.exitCode, 2);
		QVERIFY2(ran.err.contains("iops, bytes, latency, queue or name"), ran.err.constData());
	}

	void topSaysWhatToDoWhereNothingRuns()
	{
		m_service->counts.clear();
		m_service->managerState = "stopped";
		QVERIFY(run(ARCHIPELAGO, {"top", "--interval", "0.1"}).err.contains("Try: archipelago start"));
		m_service->managerState = "running";
		QVERIFY(run(ARCHIPELAGO, {"top", "--interval", "0.1"}).err.contains("vlmc info NAME"));
	}

	/// Redrawn, sorted by keys, and the terminal as it was before.
	void topLive()
	{
		const auto program = plain(ARCHIPELAGO, {"top", "--interval", "0.1"}, {{"TERM", "xterm"}});
		QVERIFY(program->shows("\033[?1049h"));
		QVERIFY(program->shows("by iops"));
		QVERIFY(program->shows("vlmcd"));
		QVERIFY(!program->echoes());
		program->type("b");
		QVERIFY(program->shows("by bytes"));
		program->type("n");
		QVERIFY(program->shows("by name"));
		program->type("q");
		QCOMPARE(program->wait(), 0);
		QVERIFY(program->output().endsWith("\033[?25h\033[?1049l"));
		QVERIFY(program->echoes());
	}

	void topGivesTheTerminalBack_data()
	{
		QTest::addColumn<int>("signal");
		QTest::addColumn<int>("exitCode");
		QTest::newRow("Ctrl-C") << SIGINT << 130;
		QTest::newRow("TERM") << SIGTERM << -SIGTERM;
	}
	void topGivesTheTerminalBack()
	{
		QFETCH(int, signal);
		const auto program = plain(ARCHIPELAGO, {"top", "--interval", "0.1"}, {{"TERM", "xterm"}});
		QVERIFY(program->shows("by iops"));
		::kill(program->pid(), signal);
		QTEST(program->wait(), "exitCode");
		QVERIFY2(program->output().endsWith("\033[?25h\033[?1049l"), program->output().constData());
		QVERIFY(program->echoes());
	}

	void topOnADumbTerminalPrintsOnce()
	{
		const auto program = plain(ARCHIPELAGO, {"top", "--interval", "0.1"}, {{"TERM", "dumb"}});
		QCOMPARE(program->wait(), 0);
		QVERIFY(!program->output().contains('\033'));
		QVERIFY(program->output().contains("vlmcd"));
	}

	void theServiceIsAway()
	{
		for (const auto &[program, line] : {std::pair{VLMC, QStringList{"stat"}}, std::pair{ARCHIPELAGO, QStringList{"top"}}}) {
			m_service->refuse.insert("Manager.GetStats", {errorName("PeerUnavailable"), "It is away."});
			QCOMPARE(run(program, line).exitCode, 3);
		}
	}
};

QTEST_GUILESS_MAIN(TestStats)
#include "test_stats.moc"
