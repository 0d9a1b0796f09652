// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Clients that break the protocol, or leave in the middle of it. After each, the server serves others as before, and every
// buffer and session is back.
#include "tests/daemon/gateway/nbd_rig.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint16_t kRead = 0, kWrite = 1, kFlush = 3;

/// All commands of an exchange, with payload.
std::string exchange()
{
	return Wire::command(kWrite, 1, 0, 4096).bytes() + pattern(4096, 1) + Wire::command(kRead, 2, 0, 4096).bytes() +
	       Wire::command(kWrite, 3, 100, 700).bytes() + pattern(700, 2) + Wire::command(kFlush, 4, 0, 0).bytes();
}
std::string answers()
{
	return Wire::reply(0, 1).bytes() + Wire::reply(0, 2).bytes() + pattern(4096, 1) + Wire::reply(22, 3).bytes() + Wire::reply(0, 4).bytes();
}

} // namespace

class HostileTest : public QObject {
	Q_OBJECT

private slots:
	void everyByteAloneIsTheSame()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		std::string got;
		const std::string bytes = exchange();
		for (size_t i = 0; i < bytes.size(); ++i) {
			QVERIFY(client.send(bytes.substr(i, 1)));
			if (i % 64 == 0 || i > 4096) settle(rig);
			if (i + 1 == 28 + 4096) got += client.receive(16); // each answered before the next, so the order is fixed
			if (i + 1 == 2 * 28 + 4096) got += client.receive(16 + 4096);
			if (i + 1 == 3 * 28 + 4096 + 700) got += client.receive(16);
		}
		got += client.receive(16);
		QVERIFY(got == answers());
	}

	void aWrongMagicEndsTheConnection()
	{
		NbdRig rig;
		for (const uint32_t magic : {0u, 0xffffffffu, nbd::kSimpleReplyMagic, nbd::kCommandMagic + 1}) {
			NbdClient client = rig.connect();
			QVERIFY(client.go("blank"));
			const Wire bad = Wire().u32(magic).u16(0).u16(kRead).u64(1).u64(0).u32(512);
			client.send(bad);
			QVERIFY(client.atEnd());
		}
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}

	void theEndAfterEveryByteLeavesNothingBehind_data()
	{
		QTest::addColumn<bool>("half");
		QTest::newRow("closed") << false;
		QTest::newRow("half closed") << true;
	}
	void theEndAfterEveryByteLeavesNothingBehind()
	{
		QFETCH(bool, half);
		NbdRig rig;
		const std::string bytes = exchange();
		for (size_t length = 0; length <= bytes.size(); length += length > 60 && length < 4090 ? 97 : 1) {
			NbdClient client = rig.connect();
			QVERIFY(client.go("blank"));
			QVERIFY(client.send(bytes.substr(0, length)));
			if (half) {
				client.halfClose();
				settle(rig);
			}
		}
		serverIsWhole(rig);
	}

	void leavingWithRequestsInFlightReleasesThemWhenTheyAreHome()
	{
		NbdRig rig;
		rig.composer->holding = true;
		{
			NbdClient client = rig.connect();
			QVERIFY(client.go("blank"));
			QVERIFY(client.send(Wire::command(kRead, 1, 0, 8u << 20).bytes() + Wire::command(kWrite, 2, 0, 4096).bytes() +
			                    pattern(4096, 1) + Wire::command(kFlush, 3, 0, 0).bytes()));
			QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 4; }));
		}
		settle(rig);
		QCOMPARE(rig.composer->sessionCount(), size_t{1}); // its buffers are still under I/O
		QCOMPARE(rig.server->inflight(), 4u);
		rig.composer->release();
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
		QCOMPARE(rig.server->inflight(), 0u);
		serverIsWhole(rig);
	}

	void aClientThatNeverReadsHarmsNobody()
	{
		NbdRig rig;
		NbdClient deaf = rig.connect(), other = rig.connect();
		QVERIFY(deaf.go("blank"));
		QVERIFY(other.go("blank"));
		std::string flood;
		for (uint64_t i = 0; i < 2000; ++i) flood += Wire::command(kRead, i, 0, 65536);
		size_t sent = 0; // as much as the server takes
		for (int round = 0; round < 50; ++round) {
			const ssize_t n = ::send(deaf.fd(), flood.data() + sent, flood.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n > 0) sent += static_cast<size_t>(n);
			settle(rig);
			const uint64_t cookie = 1'000'000 + static_cast<uint64_t>(round);
			QVERIFY(other.send(Wire::command(kRead, cookie, 4096, 4096)));
			QVERIFY(other.receive(16 + 4096) == Wire::reply(0, cookie).bytes() + std::string(4096, '\0'));
		}
		QVERIFY(rig.composer->reads < 50 + 600); // it was not served into the blue
		deaf.close();
		QVERIFY(other.send(Wire::command(kFlush, 5, 0, 0)));
		QCOMPARE(other.receive(16), Wire::reply(0, 5).bytes());
	}

	void aClientThatStopsInTheMiddleOfAPayloadHarmsNobody()
	{
		NbdRig rig;
		NbdClient slow = rig.connect(), other = rig.connect();
		QVERIFY(slow.go("blank"));
		QVERIFY(other.go("blank"));
		QVERIFY(slow.send(Wire::command(kWrite, 1, 0, 4u << 20).bytes() + pattern(100'000, 1)));
		for (uint64_t i = 0; i < 20; ++i) {
			QVERIFY(other.send(Wire::command(kWrite, i, 8u << 20, 4096).bytes() + pattern(4096, 3)));
			QCOMPARE(other.receive(16), Wire::reply(0, i).bytes());
		}
		QCOMPARE(rig.composer->writes, 20u);
		QVERIFY(slow.send(pattern(4u << 20, 1).substr(100'000)));
		QCOMPARE(slow.receive(16), Wire::reply(0, 1).bytes());
		QCOMPARE(std::memcmp(rig.blank().data(), pattern(4u << 20, 1).data(), 4u << 20), 0);
	}

	void descriptorsThatAreSentAlongAreNotKept()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		int ends[2];
		QCOMPARE(::pipe(ends), 0);
		const std::string bytes = Wire::command(kFlush, 1, 0, 0);
		iovec vector{const_cast<char *>(bytes.data()), bytes.size()};
		alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
		msghdr message{};
		message.msg_iov = &vector;
		message.msg_iovlen = 1;
		message.msg_control = control;
		message.msg_controllen = sizeof control;
		cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		std::memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
		QCOMPARE(::sendmsg(client.fd(), &message, MSG_NOSIGNAL), ssize_t(bytes.size()));
		::close(ends[1]);
		QCOMPARE(client.receive(16), Wire::reply(0, 1).bytes());
		char c;
		QCOMPARE(::read(ends[0], &c, 1), ssize_t{0}); // nobody holds the other end any more
		::close(ends[0]);
	}

private:
	static void serverIsWhole(NbdRig &rig)
	{
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kFlush, 1, 0, 0)));
		QCOMPARE(client.receive(16), Wire::reply(0, 1).bytes());
		client.close();
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}
};

QTEST_APPLESS_MAIN(HostileTest)
#include "tst_hostile.moc"
