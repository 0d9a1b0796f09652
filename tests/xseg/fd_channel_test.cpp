// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Messages with descriptors: whole or not at all, over socket files at any depth.
#include "xseg/fd_channel.h"

#include <QtTest>

#include <fcntl.h>
#include <sys/stat.h>

using namespace xseg;

class FdChannelTest : public QObject {
	Q_OBJECT

	static std::pair<FdChannel, FdChannel> pair()
	{
		int ends[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) qFatal("socketpair");
		return {FdChannel(UniqueFd(ends[0])), FdChannel(UniqueFd(ends[1]))};
	}

private slots:
	void messagesAndDescriptorsArriveTogether()
	{
		auto [one, other] = pair();
		QTemporaryFile file;
		QVERIFY(file.open());
		QVERIFY(one.send("hello", {file.handle(), file.handle()}));
		QVERIFY(one.send("again"));
		const auto first = other.receive(false);
		QVERIFY(first);
		QCOMPARE(first->text, std::string("hello"));
		QCOMPARE(first->fds.size(), size_t(2));
		struct stat sent {}, got {};
		QCOMPARE(fstat(file.handle(), &sent), 0);
		QCOMPARE(fstat(first->fds[1].get(), &got), 0);
		QCOMPARE(got.st_ino, sent.st_ino);
		const auto second = other.receive(true);
		QVERIFY(second && second->text == "again" && second->fds.empty());
		QVERIFY(!other.receive(false)); // nothing is there, and the channel stays
		QVERIFY(other.open());
	}

	void theEndClosesTheChannel()
	{
		auto [one, other] = pair();
		one.close();
		QVERIFY(!other.receive(true));
		QVERIFY(!other.open());
		const auto sent = other.send("x");
		QVERIFY(!sent);
		QCOMPARE(sent.error().errnum, EPIPE);
	}

	void tooMuchIsRefusedBeforeItIsSent()
	{
		auto [one, other] = pair();
		const auto sent = one.send(std::string(kChannelMessageMax + 1, 'x'));
		QVERIFY(!sent);
		QCOMPARE(sent.error().errnum, EMSGSIZE);
		QVERIFY(one.send(std::string(100'000, 'y')));
		const auto got = other.receive(false);
		QVERIFY(got);
		QCOMPARE(got->text.size(), size_t(100'000));
	}

	void deepDirectoriesAreReached()
	{
		QTemporaryDir dir;
		QString deep = dir.path();
		while (deep.size() < 300) deep += QStringLiteral("/another-directory");
		QVERIFY(QDir().mkpath(deep));
		const std::string path = (deep + QStringLiteral("/host.sock")).toStdString();
		const auto address = SocketAddress::of(path);
		QVERIFY(address);
		const UniqueFd listening(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
		QCOMPARE(bind(listening.get(), address->get(), sizeof address->address), 0);
		QCOMPARE(listen(listening.get(), 1), 0);
		QVERIFY(QFile::exists(QString::fromStdString(path)));
		auto client = FdChannel::connect(path);
		QVERIFY(client);
		QVERIFY(client->send("here"));
		FdChannel server(UniqueFd(accept(listening.get(), nullptr, nullptr)));
		const auto got = server.receive(true);
		QVERIFY(got && got->text == "here");

		const auto missing = FdChannel::connect((deep + QStringLiteral("/nobody.sock")).toStdString());
		QVERIFY(!missing);
		QCOMPARE(missing.error().errnum, ENOENT);
		const auto impossible = FdChannel::connect("/tmp/" + std::string(200, 'n'));
		QVERIFY(!impossible);
		QCOMPARE(impossible.error().errnum, ENAMETOOLONG);
	}
};

QTEST_GUILESS_MAIN(FdChannelTest)
#include "fd_channel_test.moc"
