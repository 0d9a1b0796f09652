// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The gateway as a peer: start, its errors, stop with clients in every state, the limit of clients.
#include "tests/daemon/gateway/nbd_rig.h"

#include "daemon/gateway/nbd/connection.h"

#include <QFile>

#include <unistd.h>

using namespace archipelago;
using namespace archipelago::testing;

class ServerTest : public QObject {
	Q_OBJECT

private slots:
	void stopEndsClientsInEveryState()
	{
		NbdRig rig;
		NbdClient silent = rig.connect(), negotiating = rig.connect(), idle = rig.connect(), busy = rig.connect();
		negotiating.receive(18);
		QVERIFY(negotiating.send(Wire().u32(3)));
		QVERIFY(idle.go("ro"));
		QVERIFY(busy.go("blank"));
		rig.composer->holding = true;
		QVERIFY(busy.send(Wire::command(0, 1, 0, 512)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 1; }));
		bool stopped = false;
		runtime::spawn(stopThen(rig, stopped));
		settle(rig);
		QVERIFY(!stopped);
		NbdClient late = rig.connect();
		rig.composer->release();
		QCOMPARE(busy.receive(16 + 512), Wire::reply(0, 1).bytes() + std::string(512, '\0'));
		QVERIFY(turnUntil(rig, [&] { return stopped; }));
		QVERIFY(rig.stopped);
		for (NbdClient *client : {&negotiating, &idle, &busy}) QVERIFY(client->atEnd());
		QCOMPARE(silent.receive(18), kGreeting);
		QVERIFY(silent.atEnd());
		QVERIFY(!late.connected() || late.receive(1).empty());
		QCOMPARE(rig.composer->sessionCount(), size_t{0});
		QVERIFY(!QFile::exists(QString::fromStdString(rig.config.nbd.socket)));
	}

	void stopWaitsForAVolumeThatIsJustOpening()
	{
		NbdRig rig;
		auto answerAttach = rig.composer->control.automatic;
		std::deque<xseg::RequestRef> kept;
		rig.composer->control.automatic = [&](xseg::RequestRef r) { kept.push_back(std::move(r)); };
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3).bytes() + Wire::go("blank").bytes()));
		QVERIFY(turnUntil(rig, [&] { return kept.size() == 1; }));
		bool stopped = false;
		runtime::spawn(stopThen(rig, stopped));
		settle(rig);
		QVERIFY(!stopped);
		answerAttach(std::move(kept.front()));
		QVERIFY(turnUntil(rig, [&] { return stopped; }));
		QVERIFY(rig.stopped);
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; })); // what was opened is closed again
	}

	/// One that comes back sends again what was not answered, and must not be overtaken by its own past.
	void whoConnectsAgainWaitsForWhatIsInFlightFromBefore()
	{
		NbdRig rig;
		NbdClient before = rig.connect(), other = rig.connect();
		QVERIFY(before.go("blank"));
		rig.composer->holding = true;
		QVERIFY(before.send(Wire::command(1, 1, 0, 512).bytes() + pattern(512, 1)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 1; }));
		before.close();
		settle(rig);
		NbdClient again = rig.connect();
		QCOMPARE(again.receive(kGreeting.size()), kGreeting);
		QVERIFY(again.send(Wire().u32(3).bytes() + Wire::go("blank").bytes()));
		QVERIFY(again.quiet());
		QVERIFY(other.go("ro")); // no business of other volumes
		rig.composer->release();
		QVERIFY(!again.receive(20).empty());
		QVERIFY(std::memcmp(rig.blank().data(), pattern(512, 1).data(), 512) == 0);
	}

	/// So many commands are in hand that the server does not look at the socket: nothing has told it that nobody is there.
	void alsoForWhatIsStillInTheSocketOfAClientThatIsGone()
	{
		NbdRig rig;
		NbdClient before = rig.connect();
		QVERIFY(before.go("blank"));
		rig.composer->holding = true;
		std::string commands;
		for (uint64_t i = 0; i < nbd::Connection::kMaxRequests; ++i) commands += Wire::command(3, i, 0, 0).bytes();
		commands += Wire::command(1, 1000, 0, 512).bytes() + pattern(512, 1);
		QVERIFY(before.send(commands));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == nbd::Connection::kMaxRequests; }));
		settle(rig);
		before.close();
		NbdClient again = rig.connect();
		QCOMPARE(again.receive(kGreeting.size()), kGreeting);
		QVERIFY(again.send(Wire().u32(3).bytes() + Wire::go("blank").bytes()));
		QVERIFY(again.quiet());
		rig.composer->release();
		QVERIFY(!again.receive(20).empty());
		QCOMPARE(rig.composer->flushes, nbd::Connection::kMaxRequests);
		const bool written = std::memcmp(rig.blank().data(), pattern(512, 1).data(), 512) == 0;
		settle(rig);
		QCOMPARE(std::memcmp(rig.blank().data(), pattern(512, 1).data(), 512) == 0, written); // before, or not at all
	}

	/// A stuck disk must not collect clients that wait for it until there is no place for any other.
	void whoConnectsAgainIsToldWhenThatNeverEnds()
	{
		NbdRig rig;
		NbdClient before = rig.connect();
		QVERIFY(before.go("blank"));
		rig.composer->holding = true;
		QVERIFY(before.send(Wire::command(1, 1, 0, 512).bytes() + pattern(512, 1)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 1; }));
		before.close();
		NbdClient again = rig.connect();
		QCOMPARE(again.receive(kGreeting.size()), kGreeting);
		QVERIFY(again.send(Wire().u32(3).bytes() + Wire::go("blank").bytes()));
		const std::string header = again.receive(20);
		QCOMPARE(header.size(), size_t{20});
		const auto *at = reinterpret_cast<const std::byte *>(header.data());
		QCOMPARE(nbd::read32(at + 12), 0x80000006u);
		const std::string text = again.receive(nbd::read32(at + 16));
		QVERIFY2(text.find("still under way") != std::string::npos, text.c_str());
		rig.composer->release();
		QVERIFY(again.goNow("blank"));
		QVERIFY(std::memcmp(rig.blank().data(), pattern(512, 1).data(), 512) == 0);
	}

	void startAfterStopWorks()
	{
		NbdRig rig;
		rig.run(rig.stop());
		QVERIFY(rig.stopped);
		const runtime::PeerContext context(*rig.reactor, rig.config);
		rig.server = gateway::nbd::makeNbdGateway(context);
		rig.run(rig.start());
		QVERIFY(rig.started);
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
	}

	void aSecondServerOnTheSameSocketIsRefused()
	{
		NbdRig rig;
		Config other = rig.config;
		other.nbd.portnoStart = 50;
		other.nbd.portnoEnd = 53;
		const runtime::PeerContext context(*rig.reactor, other);
		auto second = gateway::nbd::makeNbdGateway(context);
		Result<void> result;
		rig.run(startPeer(*second, result));
		QVERIFY(!result);
		QCOMPARE(result.error().code, ErrorCode::Busy);
		second.reset();
		Actor free(rig, 50); // nothing is left behind
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank")); // and the first one serves
	}

	void aPortThatIsTakenIsAnError()
	{
		NbdRig rig;
		Config other = rig.config;
		other.nbd.socket += "2";
		const runtime::PeerContext context(*rig.reactor, other);
		auto second = gateway::nbd::makeNbdGateway(context);
		Result<void> result;
		rig.run(startPeer(*second, result));
		QVERIFY(!result);
		QCOMPARE(result.error().code, ErrorCode::Peer);
		QVERIFY(!QFile::exists(QString::fromStdString(other.nbd.socket)));
	}

	void clientsBeyondTheLimitAreTurnedAway()
	{
		NbdRig rig;
		std::deque<NbdClient> clients;
		for (int i = 0; i < 200; ++i) {
			clients.emplace_back(rig, rig.config.nbd.socket);
			QVERIFY(clients.back().connected());
			QCOMPARE(clients.back().receive(18), kGreeting);
		}
		NbdClient more = rig.connect();
		QVERIFY(more.atEnd());
		QVERIFY(clients.back().send(Wire().u32(3).bytes() + Wire::go("blank").bytes()));
		QCOMPARE(clients.back().receive(20).size(), size_t{20});
		clients.pop_front();
		settle(rig);
		NbdClient again = rig.connect();
		QCOMPARE(again.receive(18), kGreeting);
	}

	void theServiceIsToldWhoIsConnected()
	{
		NbdRig rig;
		Actor service(rig, 60);
		const auto clients = [&](const std::string &name) {
			xseg::RequestRef request = service.make(Op::FrontClients, kControlBytes);
			std::memcpy(request.data().data(), name.data(), name.size());
			request->size = name.size();
			service.submit(std::move(request), static_cast<xseg::PortNo>(rig.config.nbd.portnoStart));
			const auto reply = service.reply();
			if (reply->status) return std::string("refused");
			return std::string(reinterpret_cast<const char *>(reply.data().data()), reply->serviced);
		};
		const std::string me = "client " + std::to_string(::getpid()) + " (uid " + std::to_string(::getuid()) + ")";
		std::deque<NbdClient> many;
		QCOMPARE(clients("blank"), std::string());
		NbdClient other = rig.connect(), negotiating = rig.connect();
		QVERIFY(other.go("ro"));
		QCOMPARE(negotiating.receive(18), kGreeting);
		for (int i = 0; i < 2; ++i) QVERIFY(many.emplace_back(rig, rig.config.nbd.socket).go("blank"));
		QCOMPARE(clients("blank"), me + ", " + me);
		QCOMPARE(clients("ro"), me);
		QCOMPARE(clients("nothere"), std::string());
		QCOMPARE(clients(""), std::string());
		QCOMPARE(clients(std::string(kMaxNameBytes + 1, 'x')), std::string("refused"));
		many.pop_front();
		QVERIFY(turnUntil(rig, [&] { return clients("blank") == me; }));
		while (many.size() < 19) QVERIFY(many.emplace_back(rig, rig.config.nbd.socket).go("blank"));
		QVERIFY(clients("blank").ends_with(me + " and 3 more"));
	}

	void withoutAComposerClientsAreTold()
	{
		NbdRig rig;
		rig.composer = nullptr;
		NbdClient client = rig.connect();
		client.receive(18);
		QVERIFY(client.send(Wire().u32(3).bytes() + Wire::go("blank").bytes()));
		const std::string header = client.receive(20);
		QCOMPARE(nbd::read32(reinterpret_cast<const std::byte *>(header.data()) + 12), 0x80000007u);
		rig.composer = std::make_unique<FakeComposer>(rig);
	}

private:
	static runtime::Task<void> stopThen(NbdRig &rig, bool &stopped)
	{
		co_await rig.stop();
		stopped = true;
	}
	static runtime::Task<void> startPeer(runtime::Peer &peer, Result<void> &result) { result = co_await peer.start(); }
};

QTEST_APPLESS_MAIN(ServerTest)
#include "tst_server.moc"
