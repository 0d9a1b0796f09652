// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The socket file: its mode, what may stand in its place, and that it goes when the listener does.
#include "daemon/gateway/nbd/listener.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fcntl.h>

#include <QTemporaryDir>
#include <QtTest>

using namespace archipelago;
using gateway::nbd::Listener;

class ListenerTest : public QObject {
	Q_OBJECT

private slots:
	void init() { m_dir = std::make_unique<QTemporaryDir>(); }

	void theFileHasItsModeAndGoesWithTheListener_data()
	{
		QTest::addColumn<uint>("mode");
		QTest::newRow("0660") << 0660u;
		QTest::newRow("0600") << 0600u;
		QTest::newRow("0666") << 0666u;
	}
	void theFileHasItsModeAndGoesWithTheListener()
	{
		QFETCH(uint, mode);
		const mode_t before = ::umask(077);
		auto listener = Listener::open(options("nbd.sock", mode));
		::umask(before);
		QVERIFY(listener);
		struct stat info {};
		QCOMPARE(::stat(path("nbd.sock").c_str(), &info), 0);
		QVERIFY(S_ISSOCK(info.st_mode));
		QCOMPARE(info.st_mode & 0777u, mode);
		listener->close();
		QVERIFY(::stat(path("nbd.sock").c_str(), &info) != 0);
	}

	void aStaleSocketIsReplaced()
	{
		const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bindTo(fd);
		::close(fd); // as a killed server leaves it
		const auto listener = Listener::open(options("nbd.sock"));
		QVERIFY(listener);
	}

	void aLivingListenerIsBusyAndStays()
	{
		const auto first = Listener::open(options("nbd.sock"));
		QVERIFY(first);
		const auto second = Listener::open(options("nbd.sock"));
		QVERIFY(!second);
		QCOMPARE(second.error().code, ErrorCode::Busy);
		QVERIFY(second.error().message.find("process " + std::to_string(::getpid())) != std::string::npos);
		struct stat info {};
		QCOMPARE(::stat(path("nbd.sock").c_str(), &info), 0);
	}

	void aListenerWithAFullBacklogIsBusyToo()
	{
		const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bindTo(fd);
		QCOMPARE(::listen(fd, 0), 0);
		std::vector<xseg::UniqueFd> waiting; // until one more would have to wait
		for (int i = 0; i < 16; ++i) {
			waiting.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
			const sockaddr_un to = address();
			if (::connect(waiting.back().get(), reinterpret_cast<const sockaddr *>(&to), sizeof to) != 0) break;
		}
		const auto listener = Listener::open(options("nbd.sock"));
		QVERIFY(!listener);
		QCOMPARE(listener.error().code, ErrorCode::Busy);
		::close(fd);
	}

	void aRushOfClientsIsQueued()
	{
		const auto listener = Listener::open(options("nbd.sock"));
		QVERIFY(listener);
		std::vector<xseg::UniqueFd> clients; // as many as the gateway has ports, and nobody is accepted yet
		const sockaddr_un to = address();
		for (int i = 0; i < 512; ++i) {
			clients.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
			QCOMPARE(::connect(clients.back().get(), reinterpret_cast<const sockaddr *>(&to), sizeof to), 0);
		}
	}

	void somethingElseOfThatNameIsLeftAlone()
	{
		QFile file(QString::fromStdString(path("nbd.sock")));
		QVERIFY(file.open(QIODevice::WriteOnly));
		file.write("precious");
		file.close();
		const auto listener = Listener::open(options("nbd.sock"));
		QVERIFY(!listener);
		QCOMPARE(listener.error().code, ErrorCode::Config);
		QCOMPARE(file.size(), qint64{8});
	}

	void aMissingDirectoryIsNamedOrMade()
	{
		auto wanted = options("deep/below/nbd.sock");
		auto listener = Listener::open(wanted);
		QVERIFY(!listener);
		QCOMPARE(listener.error().code, ErrorCode::NotFound);
		QVERIFY(listener.error().message.find(path("deep/below") + " does not exist") != std::string::npos);
		wanted.createDirs = true;
		QVERIFY(Listener::open(wanted));
	}

	void impossiblePathsAreConfigurationErrors()
	{
		for (const std::string &bad : {std::string("relative.sock"), std::string(), "/" + std::string(107, 'x')}) {
			Listener::Options wanted;
			wanted.path = bad;
			const auto listener = Listener::open(wanted);
			QVERIFY(!listener);
			QCOMPARE(listener.error().code, ErrorCode::Config);
		}
	}

	void aStarterInTheSameDirectoryIsWaitedOutByTryingAgain()
	{
		const xseg::UniqueFd directory(::open(m_dir->path().toUtf8().constData(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		QCOMPARE(::flock(directory.get(), LOCK_EX), 0);
		const auto listener = Listener::open(options("nbd.sock"));
		QVERIFY(!listener);
		QCOMPARE(listener.error().code, ErrorCode::Busy);
	}

	void aSocketThatWasReplacedIsNotRemoved()
	{
		auto listener = Listener::open(options("nbd.sock"));
		QCOMPARE(::unlink(path("nbd.sock").c_str()), 0);
		const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bindTo(fd);
		listener->close();
		struct stat info {};
		QCOMPARE(::stat(path("nbd.sock").c_str(), &info), 0);
		::close(fd);
	}

private:
	std::string path(const std::string &name) const { return m_dir->filePath(QString::fromStdString(name)).toStdString(); }
	Listener::Options options(const std::string &name, mode_t mode = 0660) const
	{
		Listener::Options out;
		out.path = path(name);
		out.mode = mode;
		return out;
	}
	sockaddr_un address() const
	{
		sockaddr_un out{};
		out.sun_family = AF_UNIX;
		path("nbd.sock").copy(out.sun_path, sizeof out.sun_path - 1);
		return out;
	}
	void bindTo(int fd) const
	{
		const sockaddr_un to = address();
		QCOMPARE(::bind(fd, reinterpret_cast<const sockaddr *>(&to), sizeof to), 0);
	}

	std::unique_ptr<QTemporaryDir> m_dir;
};

QTEST_APPLESS_MAIN(ListenerTest)
#include "tst_listener.moc"
