// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The xseg command against a process that listens as a host does. Who died is a real process; the one that lives is the test.
#include "tests/xseg/segment_fixture.h"

#include "xseg/fd_channel.h"
#include "xseg/src/port_word.h"
#include "xseg/src/state_word.h"
#include "xseg/stats.h"

#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QTemporaryDir>

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kClient = 1, kServer = 2;

struct Ran {
	int code = -1;
	QByteArray out, errors;
	QJsonDocument json() const { return QJsonDocument::fromJson(out); }
};

Ran run(const QStringList &arguments)
{
	QProcess process;
	process.start(QStringLiteral(XSEG_COMMAND), arguments);
	if (!process.waitForFinished()) return {};
	return {process.exitCode(), process.readAllStandardOutput(), process.readAllStandardError()};
}

/// A run directory with one host in it, which gives the segment to whoever connects.
class Host {
public:
	explicit Host(const TestSegment &t)
	{
		QDir(m_dir.path()).mkdir(QStringLiteral("hosts"));
		sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
		const QByteArray path = file("data.sock").toLocal8Bit();
		std::memcpy(address.sun_path, path.data(), size_t(path.size()));
		UniqueFd listening(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
		if (bind(listening.get(), reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
		    listen(listening.get(), 8) != 0)
			std::abort();
		m_pid = fork();
		if (m_pid != 0) return;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		std::vector<int> fds{t.segment.fd()};
		for (const UniqueFd &bell : t.bells) fds.push_back(bell.get());
		for (;;) {
			FdChannel channel(UniqueFd(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC)));
			if (!channel.send("{\"host\":\"data\"}", fds)) _exit(1);
		}
	}
	~Host() { stop(); }
	void stop()
	{
		if (m_pid <= 0) return;
		::kill(m_pid, SIGKILL);
		outcomeOf(std::exchange(m_pid, -1));
	}
	QString runDir() const { return m_dir.path(); }
	QString file(const char *name) const { return m_dir.filePath(QStringLiteral("hosts/") + QLatin1String(name)); }
	Ran xseg(QStringList arguments) const { return run(QStringList{QStringLiteral("--run-dir"), runDir()} + arguments); }

private:
	QTemporaryDir m_dir;
	pid_t m_pid = -1;
};

/// A server that takes one of two requests and dies, with a buffer of its own besides.
void serverDies(const TestSegment &t, Peer &client)
{
	int ready[2];
	QVERIFY(pipe2(ready, O_CLOEXEC) == 0);
	const UniqueFd out(ready[0]), in(ready[1]);
	const pid_t child = inChild(t, [&](const Segment &segment, const BellFds &bells) {
		Peer server(segment, bells, kServer);
		const RequestRef own = server->get(4096);
		if (write(in.get(), "b", 1) != 1) _exit(1);
		RequestRef request;
		while (!(request = server->accept())) sched_yield();
		if (write(in.get(), "a", 1) != 1) _exit(1);
		for (;;) pause();
	});
	char byte;
	QVERIFY(read(out.get(), &byte, 1) == 1);
	for (int i = 0; i < 2; ++i) {
		RequestRef request = client->get(4096);
		QVERIFY(client->submit(request, kServer));
	}
	QVERIFY(read(out.get(), &byte, 1) == 1);
	::kill(child, SIGKILL);
	QCOMPARE(outcomeOf(child), -SIGKILL);
}

UniqueFd locked(const QString &path)
{
	UniqueFd fd(open(path.toLocal8Bit().constData(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) fd.reset();
	return fd;
}

} // namespace

class ToolTest : public QObject {
	Q_OBJECT

private slots:
	void wrongUsage();
	void nothingRuns();
	void notASegment();
	void info();
	void portsAndRequests();
	void tablesForPeople();
	void verifyFinds();
	void readersWriteNothing();
	void recovers();
	void leavesTheLivingAlone();
	void refusesBesideAService();
	void waitsForTheIoOfTheDead();
};

void ToolTest::wrongUsage()
{
	QCOMPARE(run({}).code, 2);
	QCOMPARE(run({QStringLiteral("frobnicate")}).code, 2);
	QCOMPARE(run({QStringLiteral("info"), QStringLiteral("--no-such-option")}).code, 2);
	QCOMPARE(run({QStringLiteral("--help")}).code, 0);
}

void ToolTest::nothingRuns()
{
	const QTemporaryDir empty;
	const Ran result = run({QStringLiteral("--run-dir"), empty.path(), QStringLiteral("info")});
	QCOMPARE(result.code, 3);
	QVERIFY(result.out.isEmpty());
	QVERIFY(result.errors.contains(empty.path().toLocal8Bit()));

	const auto t = makeSegment();
	Host host(t);
	host.stop(); // the socket stays, as after a kill
	QCOMPARE(host.xseg({QStringLiteral("info")}).code, 3);
	QCOMPARE(run({QStringLiteral("--socket"), host.file("data.sock"), QStringLiteral("info")}).code, 3);
}

void ToolTest::notASegment()
{
	const auto t = makeSegment();
	auto more = createBells(t.segment.geometry().waiters + 1);
	const TestSegment wrong{Segment::attach(duplicate(t.segment.fd())).value(), std::move(*more)};
	const Host host(wrong);
	const Ran result = host.xseg({QStringLiteral("verify")});
	QCOMPARE(result.code, 1);
	QVERIFY(result.errors.contains("bells"));
}

void ToolTest::info()
{
	const auto t = makeSegment();
	const Peer client(t, kClient);
	const Host host(t);
	const Ran result = host.xseg({QStringLiteral("info"), QStringLiteral("--json")});
	QCOMPARE(result.code, 0);
	const QJsonObject json = result.json().object();
	QCOMPARE(json[QLatin1String("size_bytes")].toInt(), 12 << 20);
	QCOMPARE(json[QLatin1String("ports")][QLatin1String("bound")].toInt(), 1);
	QCOMPARE(json[QLatin1String("requests")][QLatin1String("total")].toInt(), 256);
	QCOMPARE(json[QLatin1String("instance")].toString().size(), 32);
	QCOMPARE(json[QLatin1String("stats")][QLatin1String("ports")].toInt(-1), 0);
	QCOMPARE(json[QLatin1String("stats")][QLatin1String("record_bytes")].toInt(), int(sizeof(xs_stats)));
	QVERIFY(beginStats(t.segment, kClient, {.kind = 2, .id = {}, .label = "tool"}));
	QVERIFY(host.xseg({QStringLiteral("info")}).out.contains("1 ports count"));
}

void ToolTest::portsAndRequests()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kServer);
	RequestRef request = client->get(4096);
	const auto index = int(request.index());
	request->op = 42;
	QVERIFY(client->submit(request, kServer));
	const Host host(t);
	const QJsonArray ports = host.xseg({QStringLiteral("ports"), QStringLiteral("--json")}).json().array();
	QCOMPARE(ports.size(), 2);
	QCOMPARE(ports[0][QLatin1String("port")].toInt(), int(kClient));
	QCOMPARE(ports[0][QLatin1String("pid")].toInteger(), QCoreApplication::applicationPid());
	QCOMPARE(ports[0][QLatin1String("running")].toBool(), true);
	QCOMPARE(ports[0][QLatin1String("submitted")].toInt(), 1);
	const QJsonArray requests = host.xseg({QStringLiteral("--json"), QStringLiteral("requests")}).json().array();
	QCOMPARE(requests.size(), 1);
	QCOMPARE(requests[0][QLatin1String("request")].toInt(), index);
	QCOMPARE(requests[0][QLatin1String("state")].toString(), QStringLiteral("sending"));
	QCOMPARE(requests[0][QLatin1String("op")].toInt(), 42);
	QCOMPARE(requests[0][QLatin1String("data_bytes")].toInt(), 4096);
	const QStringList all{QStringLiteral("requests"), QStringLiteral("--json"), QStringLiteral("--all")};
	QCOMPARE(host.xseg(all).json().array().size(), 256);
}

void ToolTest::tablesForPeople()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kServer);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, kServer));
	const Host host(t);
	QVERIFY(host.xseg({QStringLiteral("info")}).out.contains("12 MiB"));
	QCOMPARE(host.xseg({QStringLiteral("ports")}).out.count('\n'), 3);
	QVERIFY(host.xseg({QStringLiteral("requests")}).out.contains("port 1 -> 2"));
	QVERIFY(host.xseg({QStringLiteral("verify")}).out.startsWith("held "));
}

void ToolTest::verifyFinds()
{
	const auto t = makeSegment();
	const Host host(t);
	Ran result = host.xseg({QStringLiteral("verify"), QStringLiteral("--json")});
	QCOMPARE(result.code, 0);
	QCOMPARE(result.json()[QLatin1String("ok")].toBool(), true);
	t.segment.run(0).owner = 1 + kClient;
	t.segment.request(3).data_blk = XS_NO_BUFFER;
	t.segment.request(3).state = pack(StateWord{.state = XS_OWNED, .to = kServer});
	t.segment.request(5).state = pack(StateWord{.state = 9});
	t.segment.slab(2).owner = ~0ull;
	result = host.xseg({QStringLiteral("verify"), QStringLiteral("--json")});
	QCOMPARE(result.code, 1);
	QByteArrayList kinds;
	const QJsonArray findings = result.json()[QLatin1String("findings")].toArray();
	for (const auto &finding : findings) kinds << finding[QLatin1String("kind")].toString().toLatin1();
	QCOMPARE(kinds.count("leaked"), 1);
	QCOMPARE(kinds.count("broken"), 2);
	QCOMPARE(kinds.count("held"), 1); // the run
}

void ToolTest::readersWriteNothing()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	serverDies(t, client);
	const Host host(t);
	const auto bytes = std::span(t.segment.data().data() - t.segment.geometry().offData, t.segment.geometry().offData);
	const std::vector<std::byte> before(bytes.begin(), bytes.end());
	for (const char *command : {"info", "ports", "requests", "verify"}) QVERIFY(host.xseg({QLatin1String(command)}).code <= 1);
	QVERIFY(std::ranges::equal(bytes, before));
}

void ToolTest::recovers()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	serverDies(t, client);
	const Host host(t);
	QVERIFY(host.xseg({QStringLiteral("verify")}).out.contains("has died"));
	const Ran result = host.xseg({QStringLiteral("recover"), QStringLiteral("--json")});
	QCOMPARE(result.code, 0);
	QCOMPARE(result.json()[QLatin1String("recovered")][0][QLatin1String("failed")].toInt(), 2);
	for (int i = 0; i < 2; ++i) {
		const RequestRef reply = client->receive();
		QVERIFY(reply);
		QCOMPARE(reply->status, -EOWNERDEAD);
	}
	QCOMPARE(host.xseg({QStringLiteral("verify")}).code, 0);
	QVERIFY(Peer(t, kServer).port);
	QVERIFY(host.xseg({QStringLiteral("recover")}).out.contains("nothing to recover"));
}

void ToolTest::leavesTheLivingAlone()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kServer);
	RequestRef request = client->get(4096);
	QVERIFY(client->submit(request, kServer));
	const Host host(t);
	QCOMPARE(host.xseg({QStringLiteral("recover")}).code, 0);
	request = server->accept();
	QVERIFY(request);
	QVERIFY(server->respond(request, 0));
	QCOMPARE(client->receive()->status, 0);
}

void ToolTest::refusesBesideAService()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	serverDies(t, client);
	const Host host(t);
	const UniqueFd service = locked(host.runDir() + QStringLiteral("/service.lock"));
	const Ran result = host.xseg({QStringLiteral("recover")});
	QCOMPARE(result.code, 1);
	QVERIFY(result.errors.contains("archipelagod runs"));
	QVERIFY(!client->receive());
	QCOMPARE(t.segment.port(kServer).state, quint32(XS_PORT_BOUND)); // not even fenced
}

void ToolTest::waitsForTheIoOfTheDead()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	serverDies(t, client);
	const Host host(t);
	UniqueFd io = locked(host.file("data.alive")); // held by the kernel for the dead one's ring
	QVERIFY(io);
	QProcess tool;
	tool.start(QStringLiteral(XSEG_COMMAND), {QStringLiteral("--run-dir"), host.runDir(), QStringLiteral("recover")});
	QVERIFY(tool.waitForStarted());
	QVERIFY(!tool.waitForFinished(300));
	QVERIFY(!client->receive()); // nothing was released
	QVERIFY(!Peer(t, kServer).port);
	io.reset();
	QVERIFY(tool.waitForFinished());
	QCOMPARE(tool.exitCode(), 0);
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
}

QTEST_GUILESS_MAIN(ToolTest)
#include "tool_test.moc"
