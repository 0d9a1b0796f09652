// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// PeerSupervisor without a bus, with deadlines short enough to wait for: hosts that hang, ignore, freeze, and what a child
// process gets to see of its parent.
#include "dbus/service/peer_supervisor.h"
#include "dbus/service/worker.h"
#include "tests/dbus/private_bus.h"
#include "tests/dbus/verify.h"

#include <QSignalSpy>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

using namespace archipelago;
using namespace archipelago::service;
using archipelago::testing::readFile;
using archipelago::testing::writeFile;

namespace {

constexpr char kConfig[] = R"(SEGMENT_SIZE = 64
[blockerb]
archip_dir = "/nonexistent/blocks"
[blockerm]
archip_dir = "/nonexistent/maps"
[hosts.front]
roles = ["mapperd", "vlmcd", "nbd"]
[hosts.store]
roles = ["blockerb", "blockerm"]
)";

} // namespace

class TestSupervisor : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<QTemporaryDir> m_dir;
	std::unique_ptr<PeerSupervisor> m_supervisor;
	QStringList m_messages;

	QString path(const char *name) const { return m_dir->filePath(QLatin1String(name)); }
	void behave(const QByteArray &json) const { writeFile(path("behaviour.json"), json); }

	void make(const SupervisorTimeouts &timeouts, const QString &program = QStringLiteral(FAKE_HOST))
	{
		m_supervisor = std::make_unique<PeerSupervisor>(
		    SupervisorPaths{path("archipelago.conf"), m_dir->path(), m_dir->path(), m_dir->path(), program, true}, timeouts);
		m_supervisor->load();
	}
	Result<void> submit(const PeerOrder &order, std::function<bool()> cancelWanted = {})
	{
		std::optional<Result<void>> result;
		m_messages.clear();
		PeerOrderHooks hooks;
		hooks.message = [this](const QString &message) { m_messages.append(message); };
		hooks.cancelWanted = std::move(cancelWanted);
		hooks.done = [&](Result<void> r) { result = std::move(r); };
		m_supervisor->submit(order, std::move(hooks));
		if (!QTest::qWaitFor([&] { return result.has_value(); }, 30'000)) return failure(ErrorCode::Failed, "the order did not end");
		return *result;
	}
	Result<void> start() { return submit({}); }
	Result<void> stop() { return submit({.verb = PeerOrder::Verb::Stop, .roles = {}}); }
	PeerState state(const char *role) const { return m_supervisor->role(QLatin1String(role))->state; }
	uint pid(const char *role) const { return m_supervisor->role(QLatin1String(role))->pid; }

private slots:
	void init()
	{
		m_dir = std::make_unique<QTemporaryDir>();
		writeFile(path("archipelago.conf"), kConfig);
	}
	void cleanup()
	{
		waitForWorkers();
		m_supervisor.reset();
		for (const QString &file : QDir(path("hosts")).entryList({QStringLiteral("*.pid")}, QDir::Files)) {
			const int left = readFile(path("hosts/") + file).split(' ').value(0).toInt();
			if (left > 1) ::kill(left, SIGKILL);
		}
		m_dir.reset();
	}

	void aRoleThatHangsEndsItsHost()
	{
		make({.startMs = 300, .stopMs = 5'000, .drainMs = 5'000, .probeMs = 2'000, .stuckMs = 5'000});
		behave(R"({"hang": "vlmcd"})");
		const auto failed = start();
		VERIFY_ERROR(failed, ErrorCode::Timeout);
		VERIFY_SAYS(failed, "Cannot start vlmcd");
		VERIFY_SAYS(failed, "front.log");
		QCOMPARE(m_supervisor->state(), QStringLiteral("stopped"));
		QCOMPARE(state("vlmcd"), PeerState::Failed);
		QCOMPARE(state("blockerb"), PeerState::Stopped);
		QVERIFY(!m_supervisor->catalogAvailable());
		behave("{}");
		VERIFY_OK(start());
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		VERIFY_OK(stop());
	}

	void aHostThatDoesNotStopIsKilledAndReported()
	{
		make({.startMs = 10'000, .stopMs = 300, .drainMs = 5'000, .probeMs = 2'000, .stuckMs = 5'000});
		VERIFY_OK(start());
		const uint host = pid("mapperd");
		behave(R"({"ignoreStop": true})");
		const auto stopped = stop();
		VERIFY_ERROR(stopped, ErrorCode::Timeout);
		VERIFY_SAYS(stopped, "was killed");
		QVERIFY(::kill(static_cast<int>(host), 0) != 0);
		QCOMPARE(m_supervisor->state(), QStringLiteral("stopped"));
		QVERIFY(!m_supervisor->catalogAvailable());
		behave("{}");
		VERIFY_OK(start());
		VERIFY_OK(stop());
	}

	void aRoleIsRestartedAlone()
	{
		make({});
		VERIFY_OK(start());
		const uint front = pid("vlmcd");
		QStringList seen;
		connect(m_supervisor.get(), &PeerSupervisor::roleChanged, this, [&](const QString &role, const QString &old, const QString &) {
			const QString now = QLatin1String(peerStateName(m_supervisor->role(role)->state));
			if (now != old) seen.append(role + QLatin1Char(' ') + now);
		});
		VERIFY_OK(submit({.verb = PeerOrder::Verb::Restart, .roles = {QStringLiteral("vlmcd")}}));
		QCOMPARE(seen, (QStringList{QStringLiteral("vlmcd stopping"), QStringLiteral("vlmcd stopped"), QStringLiteral("vlmcd starting"), QStringLiteral("vlmcd up")}));
		QCOMPARE(pid("vlmcd"), front);
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		VERIFY_OK(stop());
	}

	void aRoleThatWasStoppedStaysSo()
	{
		make({});
		VERIFY_OK(start());
		VERIFY_OK(submit({.verb = PeerOrder::Verb::Stop, .roles = {QStringLiteral("blockerm")}, .force = true}));
		QCOMPARE(state("blockerm"), PeerState::Stopped);
		QCOMPARE(state("blockerb"), PeerState::Up);
		QCOMPARE(m_supervisor->verdict(), QStringLiteral("blockerm is stopped. Try: archipelago start"));
		// Also when its host dies and comes back.
		const uint store = pid("blockerb");
		::kill(static_cast<int>(store), SIGKILL);
		QVERIFY(QTest::qWaitFor([&] { return state("blockerb") == PeerState::Up && pid("blockerb") != store; }, 20'000));
		QCOMPARE(state("blockerm"), PeerState::Stopped);
		VERIFY_OK(start());
		QCOMPARE(state("blockerm"), PeerState::Up);
		VERIFY_OK(stop());
	}

	void aRoleThatDoesNotDrainTakesItsHostAlong()
	{
		make({.startMs = 10'000, .stopMs = 300, .drainMs = 200, .probeMs = 2'000, .stuckMs = 5'000});
		VERIFY_OK(start());
		const uint store = pid("blockerb"), front = pid("vlmcd");
		behave(R"({"noDrain": ["vlmcd"], "ignoreStop": true})");
		VERIFY_OK(submit({.verb = PeerOrder::Verb::Restart, .roles = {QStringLiteral("vlmcd")}}));
		const QString said = m_messages.join(QLatin1Char('\n'));
		QVERIFY2(said.contains(QStringLiteral("vlmcd has not drained in time: its whole host front is restarted, with mapperd, nbd")), qPrintable(said));
		QVERIFY2(said.contains(QStringLiteral("was killed")), qPrintable(said));
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		QCOMPARE(pid("blockerb"), store); // what the killed one left was recovered: the others stayed
		QVERIFY(pid("vlmcd") != front);
		behave("{}");
		VERIFY_OK(stop());
	}

	void aHostThatDiesWhileARoleDrainsComesBackWithIt()
	{
		make({});
		VERIFY_OK(start());
		const uint front = pid("vlmcd");
		behave(R"({"dieOnDrain": true})");
		VERIFY_OK(submit({.verb = PeerOrder::Verb::Restart, .roles = {QStringLiteral("vlmcd")}}));
		QVERIFY(pid("vlmcd") != front);
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		VERIFY_OK(stop());
	}

	void aHostThatDiesIsStartedAgain()
	{
		make({});
		VERIFY_OK(start());
		for (int round = 0; round < 5; round++) {
			const char *role = round % 2 ? "vlmcd" : "blockerb";
			const uint before = pid(role), other = pid(round % 2 ? "blockerb" : "vlmcd");
			::kill(static_cast<int>(before), SIGKILL);
			QVERIFY(QTest::qWaitFor([&] { return state(role) == PeerState::Up && pid(role) != before; }, 20'000));
			QVERIFY(QTest::qWaitFor([&] { return m_supervisor->state() == QLatin1String("running"); }, 20'000));
			QCOMPARE(m_supervisor->verdict(), QString());
			QCOMPARE(pid(round % 2 ? "blockerb" : "vlmcd"), other);
			QVERIFY(m_supervisor->catalog().has_value());
		}
		VERIFY_OK(stop());
	}

	void whenAllDieAFreshSegmentIsMade()
	{
		make({});
		VERIFY_OK(start());
		const uint store = pid("blockerb"), front = pid("vlmcd");
		::kill(static_cast<int>(store), SIGKILL);
		::kill(static_cast<int>(front), SIGKILL);
		QVERIFY(QTest::qWaitFor([&] { return state("nbd") == PeerState::Up && pid("nbd") != front && pid("blockerb") != store; }, 20'000));
		QVERIFY(QTest::qWaitFor([&] { return m_supervisor->state() == QLatin1String("running"); }, 20'000));
		VERIFY_OK(stop());
		QCOMPARE(m_supervisor->state(), QStringLiteral("stopped"));
	}

	void aHostThatKeepsDyingIsTriedLessOftenAndSaysSo()
	{
		make({});
		VERIFY_OK(start());
		behave(R"({"fail": {"blockerb": ["E-LOCKED", "held by somebody"]}})");
		::kill(static_cast<int>(pid("blockerb")), SIGKILL);
		QVERIFY(QTest::qWaitFor([this] { return m_supervisor->verdict().contains(QStringLiteral("3 tries failed")); }, 20'000));
		QVERIFY2(m_supervisor->verdict().contains(QStringLiteral("host store ended by SIGKILL")), qPrintable(m_supervisor->verdict()));
		QCOMPARE(m_supervisor->state(), QStringLiteral("degraded"));
		QCOMPARE(m_supervisor->role(QStringLiteral("blockerb"))->errorSymbol, QStringLiteral("E-LOCKED"));
		behave("{}");
		VERIFY_OK(start()); // an operator does not have to wait for the next try
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		VERIFY_OK(stop());
	}

	void whatWasStoppedIsNotStartedAgain()
	{
		make({});
		VERIFY_OK(start());
		behave(R"({"fail": {"blockerb": ["E-LOCKED", "held by somebody"]}})");
		::kill(static_cast<int>(pid("blockerb")), SIGKILL);
		QVERIFY(QTest::qWaitFor([this] { return m_supervisor->verdict().contains(QStringLiteral("5 tries failed")); }, 20'000));
		VERIFY_OK(stop());
		QCOMPARE(m_supervisor->state(), QStringLiteral("stopped"));
		QCOMPARE(m_supervisor->verdict(), QString());
		behave("{}");
		VERIFY_OK(start());
		VERIFY_OK(stop());
	}

	void silenceIsStuckAndAnAnswerMendsIt()
	{
		make({.startMs = 10'000, .stopMs = 5'000, .drainMs = 5'000, .probeMs = 50, .stuckMs = 200});
		VERIFY_OK(start());
		behave(R"({"frozen": ["mapperd"]})");
		QVERIFY(QTest::qWaitFor([this] { return state("mapperd") == PeerState::Stuck; }, 20'000));
		QCOMPARE(m_supervisor->state(), QStringLiteral("degraded"));
		QCOMPARE(m_supervisor->verdict(), QStringLiteral("mapperd does not answer. Try: archipelago restart mapperd"));
		QCOMPARE(state("vlmcd"), PeerState::Up);
		// One ping is out, and one question about its health, however long it takes.
		QVERIFY(QTest::qWaitFor([this] { return m_supervisor->role(QStringLiteral("mapperd"))->inflight == 2; }, 20'000));
		behave("{}");
		QVERIFY(QTest::qWaitFor([this] { return state("mapperd") == PeerState::Up; }, 20'000));
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		QCOMPARE(m_supervisor->verdict(), QString());
		VERIFY_OK(stop());
	}

	void aStuckMapperDoesNotPreventARestart()
	{
		make({.startMs = 10'000, .stopMs = 5'000, .drainMs = 5'000, .probeMs = 50, .stuckMs = 200});
		VERIFY_OK(start());
		behave(R"({"frozen": ["mapperd"]})");
		QVERIFY(QTest::qWaitFor([this] { return state("mapperd") == PeerState::Stuck; }, 20'000));
		behave(R"({"frozen": []})");
		VERIFY_OK(submit({.verb = PeerOrder::Verb::Restart, .roles = {QStringLiteral("mapperd")}}));
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		VERIFY_OK(stop());
	}

	void aMissingProgramIsTold()
	{
		make({}, QStringLiteral("/nonexistent/archip-host"));
		const auto failed = start();
		VERIFY_ERROR(failed, ErrorCode::Failed);
		VERIFY_SAYS(failed, "/nonexistent/archip-host");
		QCOMPARE(m_supervisor->state(), QStringLiteral("stopped"));
		QVERIFY(!m_supervisor->catalogAvailable());
	}

	void anUnwritableLogIsTold()
	{
		make({});
		QVERIFY(QDir().mkdir(path("store.log")));
		const auto failed = start();
		QVERIFY(!failed.has_value());
		VERIFY_SAYS(failed, "store.log");
		QVERIFY(!m_supervisor->catalogAvailable());
	}

	void aCancelledStartIsTakenBack()
	{
		make({});
		const auto cancelled = submit({}, [this] { return state("blockerm") == PeerState::Up; });
		VERIFY_ERROR(cancelled, ErrorCode::Cancelled);
		QCOMPARE(m_supervisor->state(), QStringLiteral("stopped"));
		QCOMPARE(state("blockerb"), PeerState::Stopped);
		QVERIFY(!m_supervisor->catalogAvailable());
		QCOMPARE(m_supervisor->verdict(), QString());
	}

	void aHostEndedFromOutsideIsNoCrash()
	{
		make({});
		VERIFY_OK(start());
		::kill(static_cast<int>(pid("blockerb")), SIGTERM);
		QVERIFY(QTest::qWaitFor([this] { return state("blockerb") == PeerState::Stopped; }, 20'000));
		QVERIFY(QTest::qWaitFor([this] { return m_supervisor->runningHosts().size() == 1; }, 20'000));
		QCOMPARE(m_supervisor->state(), QStringLiteral("degraded"));
		const uint front = pid("mapperd");
		VERIFY_OK(start());
		QCOMPARE(pid("mapperd"), front); // it stayed
		QCOMPARE(m_supervisor->state(), QStringLiteral("running"));
		VERIFY_OK(stop());
	}

	void aChildGetsNothingItShouldNotHave()
	{
		make({});
		// Left open to children, as a library might.
		const QString secret = path("secret");
		const int fd = open(qPrintable(secret), O_RDWR | O_CREAT, 0600);
		QVERIFY(fd >= 0);
		VERIFY_OK(start());
		const int host = static_cast<int>(pid("blockerb"));
		const QDir fds(QStringLiteral("/proc/%1/fd").arg(host));
		QStringList targets;
		for (const QString &name : fds.entryList(QDir::Files | QDir::System | QDir::NoDotAndDotDot)) targets.append(QFile::symLinkTarget(fds.filePath(name)));
		QVERIFY(targets.size() > 5);
		QVERIFY2(!targets.contains(secret), qPrintable(targets.join(QLatin1Char('\n'))));
		QCOMPARE(QFile::symLinkTarget(fds.filePath(QStringLiteral("0"))), QStringLiteral("/dev/null"));
		QCOMPARE(QFile::symLinkTarget(fds.filePath(QStringLiteral("1"))), path("store.log"));
		QCOMPARE(getsid(host), host); // a Ctrl-C of the service's terminal is not for it
		VERIFY_OK(stop());
		close(fd);
	}

	void signalsTellEachChangeOnce()
	{
		make({});
		QStringList seen;
		connect(m_supervisor.get(), &PeerSupervisor::roleChanged, this, [&](const QString &role, const QString &old, const QString &) {
			const QString now = QLatin1String(peerStateName(m_supervisor->role(role)->state));
			if (role == QLatin1String("blockerb") && now != old) seen.append(old + QLatin1Char('>') + now);
		});
		VERIFY_OK(start());
		VERIFY_OK(stop());
		QCOMPARE(seen, (QStringList{QStringLiteral("stopped>starting"), QStringLiteral("starting>up"), QStringLiteral("up>stopping"), QStringLiteral("stopping>stopped")}));
	}
};

QTEST_GUILESS_MAIN(TestSupervisor)
#include "tst_supervisor.moc"
