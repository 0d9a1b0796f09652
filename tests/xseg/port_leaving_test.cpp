// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Ports that leave, orderly or killed, while requests are on their way: nothing leaks, nobody waits for ever, and a
// successor is not confused by what it finds. Those who are killed are child processes; the word that a supervisor would
// then say ("this port is free again") is said by the test. What was OWNED by the dead stays until there is a recovery.
#include "tests/xseg/segment_fixture.h"

#include "xseg/src/request_pool.h"
#include "xseg/src/state_word.h"

#include <csignal>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kClient = 1, kComposer = 2, kBlocker = 3;

/// Parent and child take turns by these.
struct Signals {
	Signals()
	{
		int ends[2];
		if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
		out.reset(ends[0]);
		in.reset(ends[1]);
	}
	void give() const
	{
		if (write(in.get(), "x", 1) != 1) std::abort();
	}
	void wait() const
	{
		char byte;
		if (read(out.get(), &byte, 1) != 1) _exit(98);
	}
	UniqueFd out, in;
};

[[noreturn]] void sleepUntilKilled()
{
	for (;;) pause();
}

void killAndFree(const TestSegment &t, pid_t child, PortNo port)
{
	::kill(child, SIGKILL);
	QCOMPARE(outcomeOf(child), -SIGKILL);
	supervisorFrees(t, port);
}

} // namespace

class PortLeavingTest : public QObject {
	Q_OBJECT

private slots:
	void queuedRequestsFailBack();
	void queuedRequestsAreLeftToASuccessor();
	void queuedRepliesToForwardedRequestsFailBack();
	void queuedRepliesAtHomeAreFreed();
	void homeLeavesWhileItsRequestIsAway();
	void middleLeavesWhileTheRequestIsAway();
	void middleIsSomebodyElseNow();
	void homeIsUnknown();
	void killedClient();
	void killedServerWithAQueue();
	void killedServerWithRequestsInHand();
	void killedComposerBeforeTheReply();
	void killedComposerAfterTheReply();
};

void PortLeavingTest::queuedRequestsFailBack()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kBlocker);
	for (int i = 0; i < 5; ++i) {
		RequestRef request = client->get(4096);
		QVERIFY(client->submit(request, kBlocker));
	}
	server.port.reset();
	for (int i = 0; i < 5; ++i) {
		RequestRef reply = client->receive();
		QVERIFY(reply);
		QCOMPARE(reply->status, -ECANCELED);
	}
	QVERIFY(!client->receive());
	QCOMPARE(requestsInUse(t.segment), 0u);
	QCOMPARE(client->buffers().bytesInUse(), quint64(0));
	RequestRef request = client->get();
	QVERIFY(!client->submit(request, kBlocker));
	QCOMPARE(client->lastError(), ENOTCONN);
}

void PortLeavingTest::queuedRequestsAreLeftToASuccessor()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	auto server = std::make_unique<Peer>(t, kBlocker);
	for (uint64_t i = 0; i < 5; ++i) {
		RequestRef request = client->get(4096);
		request->offset = i;
		QVERIFY(client->submit(request, kBlocker));
	}
	RequestRef taken = server->port->accept();
	QVERIFY(server->port->respond(taken, 0));
	server->port->leaveQueueToSuccessor();
	server.reset();
	QVERIFY(client->receive()); // what was answered
	QVERIFY(!client->receive());
	RequestRef late = client->get();
	QVERIFY(!client->submit(late, kBlocker)); // nobody is bound
	QCOMPARE(client->lastError(), ENOTCONN);

	Peer successor(t, kBlocker);
	for (uint64_t i = 1; i < 5; ++i) {
		RequestRef request = successor->accept();
		QVERIFY(request);
		QCOMPARE(request->offset, i);
		QCOMPARE(request.data().size(), size_t(4096));
		QVERIFY(successor->respond(request, 0));
		QVERIFY(client->receive());
	}
	QVERIFY(!successor->accept());
}

void PortLeavingTest::queuedRepliesToForwardedRequestsFailBack()
{
	const auto t = makeSegment();
	Peer client(t, kClient), composer(t, kComposer), blocker(t, kBlocker);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, kComposer));
	request = composer->accept();
	QVERIFY(composer->forward(request, kBlocker));
	request = blocker->accept();
	QVERIFY(blocker->respond(request, 0));
	composer.port.reset();
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -ECANCELED); // the blocker was done, the composer was not
}

void PortLeavingTest::queuedRepliesAtHomeAreFreed()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kBlocker);
	RequestRef request = client->get(4096);
	const RequestIndex index = request.index();
	QVERIFY(client->submit(request, kBlocker));
	QCOMPARE(homeOf(t.segment, index), std::optional(kClient));
	request = server->accept();
	QVERIFY(server->respond(request, 0));
	client.port.reset();
	QCOMPARE(requestsInUse(t.segment), 0u);
	QCOMPARE(client.buffers.bytesInUse(), quint64(0));
	QCOMPARE(homeOf(t.segment, index), std::nullopt); // the run can be claimed by anybody
}

void PortLeavingTest::homeLeavesWhileItsRequestIsAway()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	RequestIndex index = 0;
	{
		Peer client(t, kClient);
		RequestRef request = client->get(4096);
		index = request.index();
		QVERIFY(client->submit(request, kBlocker));
	}
	QCOMPARE(homeOf(t.segment, index), std::optional(kClient)); // its run waits for it
	RequestRef served = server->accept();
	QVERIFY(served);
	QCOMPARE(served.data().size(), size_t(4096)); // and its bytes are nobody else's
	QVERIFY(server->respond(served, 0));
	QCOMPARE(requestsInUse(t.segment), 1u);
	{
		Peer successor(t, kClient);
		QVERIFY(!successor->receive()); // not the successor's, but it frees it
		QCOMPARE(requestsInUse(t.segment), 0u);
		QCOMPARE(successor->inflight(), 0u);
		unsigned usable = 0;
		std::vector<RequestRef> all;
		for (RequestRef request; (request = successor->get()); ++usable) all.push_back(std::move(request));
		QCOMPARE(usable, 256u);
	}
	QCOMPARE(homeOf(t.segment, index), std::nullopt);
}

void PortLeavingTest::middleLeavesWhileTheRequestIsAway()
{
	const auto t = makeSegment();
	Peer client(t, kClient), composer(t, kComposer), blocker(t, kBlocker);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, kComposer));
	request = composer->accept();
	QVERIFY(composer->forward(request, kBlocker));
	request = blocker->accept();
	composer.port.reset();
	QVERIFY(blocker->respond(request, -6));
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -EOWNERDEAD); // only the composer knew what else there was to do
	QCOMPARE(reply->npath, quint16(0));
}

void PortLeavingTest::middleIsSomebodyElseNow()
{
	const auto t = makeSegment();
	Peer client(t, kClient), composer(t, kComposer), blocker(t, kBlocker);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, kComposer));
	request = composer->accept();
	QVERIFY(composer->forward(request, kBlocker));
	request = blocker->accept();
	composer.port.reset();
	Peer other(t, kComposer); // the same number, another generation
	QVERIFY(blocker->respond(request, -6));
	QVERIFY(!other->receive());
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -EOWNERDEAD);
}

void PortLeavingTest::homeIsUnknown()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kBlocker);
	RequestRef request = client->get();
	const RequestIndex index = request.index();
	QVERIFY(client->submit(request, kBlocker));
	request = server->accept();
	const uint64_t owner = t.segment.run(index / XS_RUN_REQUESTS).owner;
	t.segment.run(index / XS_RUN_REQUESTS).owner = 0xffff0001;
	request->npath = XS_MAX_HOPS + 1;
	QVERIFY(server->respond(request, -6)); // there is nowhere to send it
	QVERIFY(!request);
	QVERIFY(RequestState(t.segment.request(index)).ownedBy(kBlocker));
	QCOMPARE(t.segment.request(index).status, -6); // what a checker will see
	t.segment.run(index / XS_RUN_REQUESTS).owner = owner;
}

void PortLeavingTest::killedClient()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	const pid_t child = inChild(t, [](const Segment &segment, const BellFds &bells) {
		Peer client(segment, bells, kClient);
		RequestRef held = client->get(), sent = client->get(4096);
		_exit(held && client->submit(sent, kBlocker) ? 0 : 1);
	});
	QCOMPARE(outcomeOf(child), 0);
	supervisorFrees(t, kClient);
	RequestRef served = server->accept();
	QVERIFY(served);
	QCOMPARE(served.data().size(), size_t(4096)); // the slab is the dead one's still
	QVERIFY(server->respond(served, 0));          // to nobody: goes home

	Peer successor(t, kClient);
	QCOMPARE(requestsInUse(t.segment), 2u);
	QVERIFY(!successor->receive());
	QCOMPARE(requestsInUse(t.segment), 1u); // what it held is recovery's
	RequestRef request = successor->get();
	QVERIFY(request);
	QCOMPARE(request.index() / XS_RUN_REQUESTS, 0u); // from the run that was left to it
	QVERIFY(successor->submit(request, kBlocker));
	served = server->accept();
	QVERIFY(server->respond(served, 0));
	QVERIFY(successor->receive());
}

void PortLeavingTest::killedServerWithAQueue()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Signals bound;
	const pid_t child = inChild(t, [&](const Segment &segment, const BellFds &bells) {
		Peer server(segment, bells, kBlocker);
		bound.give();
		sleepUntilKilled();
	});
	bound.wait();
	for (uint64_t i = 0; i < 10; ++i) {
		RequestRef request = client->get();
		request->offset = i;
		QVERIFY(client->submit(request, kBlocker));
	}
	killAndFree(t, child, kBlocker);
	Peer successor(t, kBlocker);
	for (uint64_t i = 0; i < 10; ++i) {
		RequestRef served = successor->accept();
		QVERIFY(served);
		QCOMPARE(served->offset, i);
		QVERIFY(successor->respond(served, 0));
		QVERIFY(client->receive());
	}
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortLeavingTest::killedServerWithRequestsInHand()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Signals bound, submitted, accepted;
	const pid_t child = inChild(t, [&](const Segment &segment, const BellFds &bells) {
		Peer server(segment, bells, kBlocker);
		bound.give();
		submitted.wait();
		RequestRef a = server->accept(), b = server->accept();
		if (a && b) accepted.give();
		sleepUntilKilled();
	});
	bound.wait();
	for (uint64_t i = 0; i < 10; ++i) {
		RequestRef request = client->get();
		request->offset = i;
		QVERIFY(client->submit(request, kBlocker));
	}
	submitted.give();
	accepted.wait();
	killAndFree(t, child, kBlocker);
	Peer successor(t, kBlocker);
	for (uint64_t i = 2; i < 10; ++i) {
		RequestRef served = successor->accept();
		QVERIFY(served);
		QCOMPARE(served->offset, i);
	}
	QVERIFY(!successor->accept());
	for (uint64_t i = 2; i < 10; ++i) QVERIFY(client->receive());
	QCOMPARE(client->inflight(), 2u);
	QCOMPARE(requestsInUse(t.segment), 2u); // OWNED by the dead
}

void PortLeavingTest::killedComposerBeforeTheReply()
{
	const auto t = makeSegment();
	Peer client(t, kClient), blocker(t, kBlocker);
	Signals bound, submitted, forwarded;
	const pid_t child = inChild(t, [&](const Segment &segment, const BellFds &bells) {
		Peer composer(segment, bells, kComposer);
		bound.give();
		submitted.wait();
		RequestRef request = composer->accept();
		if (composer->forward(request, kBlocker)) forwarded.give();
		sleepUntilKilled();
	});
	bound.wait();
	RequestRef request = client->get();
	QVERIFY(client->submit(request, kComposer));
	submitted.give();
	forwarded.wait();
	killAndFree(t, child, kComposer);
	Peer successor(t, kComposer);
	RequestRef served = blocker->accept();
	QVERIFY(blocker->respond(served, 0));
	QVERIFY(!successor->receive());
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -EOWNERDEAD);
}

void PortLeavingTest::killedComposerAfterTheReply()
{
	const auto t = makeSegment();
	Peer client(t, kClient), blocker(t, kBlocker);
	Signals bound, submitted, forwarded;
	const pid_t child = inChild(t, [&](const Segment &segment, const BellFds &bells) {
		Peer composer(segment, bells, kComposer);
		bound.give();
		submitted.wait();
		RequestRef request = composer->accept();
		if (composer->forward(request, kBlocker)) forwarded.give();
		sleepUntilKilled();
	});
	bound.wait();
	RequestRef request = client->get();
	QVERIFY(client->submit(request, kComposer));
	submitted.give();
	forwarded.wait();
	RequestRef served = blocker->accept();
	QVERIFY(blocker->respond(served, 0)); // into the ring of a composer that still lives
	killAndFree(t, child, kComposer);
	Peer successor(t, kComposer);
	QVERIFY(!successor->receive()); // it never forwarded this: fails it on
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -EOWNERDEAD);
}

QTEST_GUILESS_MAIN(PortLeavingTest)
#include "port_leaving_test.moc"
