// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Who still runs from before: pid files of the living, the dead and of nobody, and ending the living. The hosts here are
// children of the test that hold their alive lock and wait for a signal.
#include "dbus/service/orphans.h"
#include "tests/dbus/private_bus.h"
#include "tests/dbus/verify.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace archipelago;
using namespace archipelago::service;
using archipelago::testing::writeFile;

class TestOrphans : public QObject {
	Q_OBJECT

private:
	std::unique_ptr<QTemporaryDir> m_dir;
	std::vector<pid_t> m_children;

	QString hostFile(const char *name) const { return m_dir->filePath(QStringLiteral("hosts/") + QLatin1String(name)); }
	static QByteArray startTime(pid_t pid)
	{
		const QByteArray line = archipelago::testing::readFile(QStringLiteral("/proc/%1/stat").arg(pid));
		return line.mid(line.lastIndexOf(')') + 2).split(' ').value(19);
	}
	/// A process with the host's lock and pid file. Returns when it has them.
	pid_t makeHost(const char *name, bool ignoreTerm = false)
	{
		const QByteArray alive = hostFile((QByteArray(name) + ".alive").constData()).toUtf8();
		int ready[2];
		if (pipe(ready) != 0) return -1;
		const pid_t pid = fork();
		if (pid == 0) {
			if (ignoreTerm) signal(SIGTERM, SIG_IGN);
			const int fd = open(alive.constData(), O_RDWR | O_CREAT, 0600);
			flock(fd, LOCK_EX);
			[[maybe_unused]] const ssize_t n = write(ready[1], "x", 1);
			for (;;) pause();
		}
		char c;
		[[maybe_unused]] const ssize_t n = read(ready[0], &c, 1);
		close(ready[0]);
		close(ready[1]);
		m_children.push_back(pid);
		writeFile(hostFile((QByteArray(name) + ".pid").constData()), QByteArray::number(pid) + " " + startTime(pid) + "\n");
		return pid;
	}
	/// True once the child is dead; takes it away.
	bool reaped(pid_t pid)
	{
		std::erase(m_children, pid);
		int status;
		return waitpid(pid, &status, 0) == pid;
	}
	Result<void> end(const Orphan &orphan, int timeoutMs)
	{
		std::optional<Result<void>> result;
		auto *stopper = new OrphanStopper(m_dir->path(), orphan, timeoutMs, [&](Result<void> r) { result = std::move(r); }, this);
		stopper->run();
		if (!QTest::qWaitFor([&] { return result.has_value(); }, 20'000)) return failure(ErrorCode::Failed, "it did not end");
		return *result;
	}

private slots:
	void init()
	{
		m_dir = std::make_unique<QTemporaryDir>();
		QDir(m_dir->path()).mkdir(QStringLiteral("hosts"));
	}
	void cleanup()
	{
		for (const pid_t pid : std::vector(m_children)) {
			::kill(pid, SIGKILL);
			reaped(pid);
		}
		m_dir.reset();
	}

	void noDirectoryMeansNobody()
	{
		QCOMPARE(findOrphans(QStringLiteral("/nonexistent")).size(), size_t(0));
	}

	void staleFilesGoAndLocksStay()
	{
		writeFile(hostFile("garbage.pid"), "no numbers");
		writeFile(hostFile("empty.pid"), "");
		writeFile(hostFile("reused.pid"), QByteArray::number(getpid()) + " 1\n"); // alive, but another one
		writeFile(hostFile("gone.pid"), "4194305 77\n");
		writeFile(hostFile("huge.pid"), "99999999999999999999 1\n");
		writeFile(hostFile("negative.pid"), "-1 5\n");
		writeFile(hostFile("gone.alive"), "");
		QCOMPARE(findOrphans(m_dir->path()).size(), size_t(0));
		QCOMPARE(QDir(m_dir->filePath(QStringLiteral("hosts"))).entryList(QDir::Files), QStringList{QStringLiteral("gone.alive")});
	}

	void theLivingAreFound()
	{
		const pid_t pid = makeHost("data");
		const auto orphans = findOrphans(m_dir->path());
		QCOMPARE(orphans.size(), size_t(1));
		QCOMPARE(orphans[0].host, QStringLiteral("data"));
		QCOMPARE(orphans[0].pid, int(pid));
		QVERIFY(QFile::exists(hostFile("data.pid")));
	}

	void theDeadThatStillWriteAreFound()
	{
		// A lock nobody's pid file speaks for: the kernel holds it for the last writes of a dead host.
		const int fd = open(qPrintable(hostFile("data.alive")), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		QCOMPARE(flock(fd, LOCK_EX), 0);
		auto orphans = findOrphans(m_dir->path());
		QCOMPARE(orphans.size(), size_t(1));
		QCOMPARE(orphans[0].pid, 0);
		VERIFY_ERROR(end(orphans[0], 200), ErrorCode::Busy);
		QTimer::singleShot(100, this, [fd] { close(fd); });
		VERIFY_OK(end(orphans[0], 10'000));
		QCOMPARE(findOrphans(m_dir->path()).size(), size_t(0));
	}

	void theLivingAreAskedToEnd()
	{
		const pid_t pid = makeHost("data");
		VERIFY_OK(end(findOrphans(m_dir->path()).at(0), 10'000));
		QVERIFY(reaped(pid));
		QCOMPARE(findOrphans(m_dir->path()).size(), size_t(0));
	}

	void theDeafAreKilled()
	{
		const pid_t pid = makeHost("data", true);
		const auto killed = end(findOrphans(m_dir->path()).at(0), 200);
		VERIFY_ERROR(killed, ErrorCode::Timeout);
		VERIFY_SAYS(killed, "was killed");
		QVERIFY(reaped(pid));
	}

	void aReusedPidIsLeftAlone()
	{
		const pid_t pid = makeHost("data");
		Orphan orphan = findOrphans(m_dir->path()).at(0);
		orphan.startTime++; // somebody else by now
		VERIFY_ERROR(end(orphan, 200), ErrorCode::Busy); // its lock is held, which is all that is seen
		QCOMPARE(::kill(pid, 0), 0);
		int status;
		QCOMPARE(waitpid(pid, &status, WNOHANG), 0);
	}
};

QTEST_GUILESS_MAIN(TestOrphans)
#include "tst_orphans.moc"
