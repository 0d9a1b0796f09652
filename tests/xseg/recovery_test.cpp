// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Recovery, one situation at a time. The dead are peers of this process that are never heard of again: their objects are put
// where nobody destroys them, and the owner words of their ports are given to a process that does not run. What a real
// SIGKILL leaves, at any store, is tests/xseg/death.
#include "xseg/src/ring.h" // before Qt, which makes "slots" a macro

#include "tests/xseg/segment_fixture.h"

#include "xseg/recovery.h"
#include "xseg/src/port_word.h"
#include "xseg/src/slab_word.h"
#include "xseg/src/state_word.h"

#include <set>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kClient = 1, kComposer = 2, kBlocker = 3, kSecond = 4;
constexpr uint16_t kRepeatable = 1, kOnce = 2;
constexpr ProcessId kDead{.pid = 0x7fffffff, .startTime = 12345}; // above any pid_max
constexpr ProcessId kOtherDead{.pid = 0x7ffffffe, .startTime = 12345};

Verdict byOperation(uint16_t op) { return op == kRepeatable ? Verdict::Replay : Verdict::Fail; }

/// A peer with what it holds. die() leaves all of it as a killed process would.
struct Mortal {
	Mortal(const TestSegment &on, PortNo port) : t(on), number(port), life(std::make_unique<Life>(on, port)) {}
	Port &port() { return *life->peer.port; }
	void hold(RequestRef request) { life->held.push_back(std::move(request)); }
	RequestRef &held(size_t n = 0) { return life->held[n]; }
	void die(const ProcessId &as = kDead)
	{
		static auto &graveyard = *new std::vector<std::unique_ptr<Life>>;
		graveyard.push_back(std::move(life));
		t.segment.port(number).owner = ownerWord(as);
		t.segment.port(number).pid = as.pid;
		t.segment.port(number).start_time = as.startTime;
	}

private:
	struct Life {
		Life(const TestSegment &on, PortNo port) : peer(on, port) {}
		Peer peer;
		std::vector<RequestRef> held;
	};
	const TestSegment &t;
	PortNo number;
	std::unique_ptr<Life> life;
};

Recovery recoveryOf(const TestSegment &t) { return Recovery(t.segment, t.bells, {.policy = byOperation}); }

RecoveryReport recover(const TestSegment &t, const ProcessId &dead = kDead)
{
	Recovery recovery = recoveryOf(t);
	recovery.fence(dead);
	return recovery.release(dead);
}

bool submit(Port &from, PortNo to, uint16_t op, uint64_t offset = 0, uint32_t bytes = 0)
{
	RequestRef request = bytes ? from.get(bytes) : from.get();
	if (!request) return false;
	request->op = op;
	request->offset = offset;
	return from.submit(request, to);
}

std::string findings(const TestSegment &t)
{
	std::string text;
	for (const Finding &finding : verify(t.segment)) text += finding.text + "; ";
	return text;
}

SlabWord slabOf(const TestSegment &t, uint32_t block)
{
	return unpackSlab(t.segment.slab(block >> (XS_SLAB_SHIFT - XS_MIN_CLASS_SHIFT)).owner);
}

} // namespace

class RecoveryTest : public QObject {
	Q_OBJECT

private slots:
	void nobodyIsDead();
	void whatABlockerHeldIsReplayed();
	void whatMayNotBeRepeatedFails();
	void attemptsAreLimited();
	void attemptsCountOneSending();
	void whatWasAlteredIsNotReplayed();
	void nothingIsReplayedForTheDead();
	void ownRequestsComeHome();
	void buffersStayWhileOthersUseThem();
	void wholeWaitsForItsParts();
	void partsAreTakenBack();
	void forwardedReplyFailsBack();
	void forwardNeverPushedIsPushed();
	void twoDeadHoldEachOthers();
	void fullRingOfTheDead();
	void fullRingOfTheLiving();
	void fullReplyRingOfTheDead();
	void passingOverTheDeadNeverSucceeds();
	void earlyBinder();
	void poolOutlivesItsPort();
	void zombiesAreCollected();
	void fencedBuffersCanBeRead();
	void twice();
	void ownersAreNamedOnce();
};

void RecoveryTest::nobodyIsDead()
{
	const auto t = makeSegment();
	Peer client(t, kClient), server(t, kBlocker);
	QVERIFY(submit(*client.port, kBlocker, kOnce, 7, 4096));
	const RecoveryReport report = recover(t);
	QCOMPARE(report.ports, 0u);
	QVERIFY(report.complete());
	RequestRef request = server->accept();
	QVERIFY(request);
	QCOMPARE(request->offset, quint64(7));
}

void RecoveryTest::whatABlockerHeldIsReplayed()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal blocker(t, kBlocker);
	for (uint64_t i = 0; i < 5; ++i) QVERIFY(submit(*client.port, kBlocker, kRepeatable, i, 512));
	blocker.hold(blocker.port().accept());
	blocker.hold(blocker.port().accept());
	blocker.die();
	QVERIFY(!Peer(t, kBlocker).port); // not before it is recovered
	const RecoveryReport report = recover(t);
	QVERIFY(report.complete());
	QCOMPARE(report.replayed, 5u);

	Peer successor(t, kBlocker);
	QVERIFY(successor.port);
	std::set<uint64_t> offsets;
	while (RequestRef request = successor->accept()) {
		offsets.insert(request->offset);
		QCOMPARE(request->attempts, quint16(request->offset < 2 ? 1 : 0)); // the rest it never saw
		QCOMPARE(request.data().size(), size_t(512));
		QVERIFY(successor->respond(request, 0));
	}
	QCOMPARE(offsets.size(), size_t(5));
	for (int i = 0; i < 5; ++i) {
		const RequestRef reply = client->receive();
		QVERIFY(reply);
		QCOMPARE(reply->status, 0);
	}
	QVERIFY(!client->receive());
	QCOMPARE(findings(t), std::string());
}

void RecoveryTest::whatMayNotBeRepeatedFails()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal blocker(t, kBlocker);
	for (uint64_t i = 0; i < 3; ++i) QVERIFY(submit(*client.port, kBlocker, kOnce, i));
	blocker.hold(blocker.port().accept());
	blocker.die();
	const RecoveryReport report = recover(t);
	QCOMPARE(report.failed, 3u); // also those it never saw: only the peer that sent them can know what to do
	QVERIFY(report.complete());
	for (int i = 0; i < 3; ++i) {
		const RequestRef reply = client->receive();
		QVERIFY(reply);
		QCOMPARE(reply->status, -EOWNERDEAD);
	}
	Peer successor(t, kBlocker);
	QVERIFY(!successor->accept());
	QCOMPARE(client->inflight(), 0u);
	QCOMPARE(findings(t), std::string());
}

void RecoveryTest::attemptsAreLimited()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	QVERIFY(Peer(t, kBlocker).port);
	std::optional<Mortal> blocker(std::in_place, t, kBlocker);
	QVERIFY(submit(*client.port, kBlocker, kRepeatable));
	for (unsigned death = 1; death <= 4; ++death) {
		blocker->hold(blocker->port().accept());
		QVERIFY(blocker->held());
		blocker->die();
		QCOMPARE(recover(t).replayed, death <= 3 ? 1u : 0u);
		blocker.emplace(t, kBlocker);
	}
	QVERIFY(!blocker->port().accept());
	const RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -EOWNERDEAD);
}

/// A composer sends the same request on several times: to a second blocker it goes for the first time.
void RecoveryTest::attemptsCountOneSending()
{
	const auto t = makeSegment();
	Peer client(t, kClient), composer(t, kComposer), second(t, kSecond);
	Mortal blocker(t, kBlocker);
	QVERIFY(submit(*client.port, kComposer, kRepeatable));
	RequestRef request = composer->accept();
	QVERIFY(composer->forward(request, kBlocker));
	blocker.hold(blocker.port().accept());
	blocker.die();
	QCOMPARE(recover(t).replayed, 1u);
	Peer successor(t, kBlocker);
	request = successor->accept();
	QCOMPARE(request->attempts, quint16(1));
	QVERIFY(successor->respond(request, 0));
	request = composer->receive();
	QVERIFY(composer->forward(request, kSecond));
	QCOMPARE(second->accept()->attempts, quint16(0));
}

void RecoveryTest::whatWasAlteredIsNotReplayed()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal blocker(t, kBlocker);
	QVERIFY(submit(*client.port, kBlocker, kRepeatable));
	blocker.hold(blocker.port().accept());
	blocker.held().setArgs(uint64_t(99)); // a cursor, say: the successor would go on in the middle
	blocker.die();
	QCOMPARE(recover(t).failed, 1u);
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
}

/// The blocker worked for a composer that has died as well. Were its request carried out again for the client behind it, the
/// client would take the success of a part for the success of the whole.
void RecoveryTest::nothingIsReplayedForTheDead()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal composer(t, kComposer), blocker(t, kBlocker);
	QVERIFY(submit(*client.port, kComposer, kRepeatable));
	RequestRef request = composer.port().accept();
	QVERIFY(composer.port().forward(request, kBlocker));
	blocker.hold(blocker.port().accept());
	composer.die(kOtherDead);
	blocker.die();
	QVERIFY(recover(t, kOtherDead).complete());
	QCOMPARE(recover(t).replayed, 0u);
	Peer successor(t, kBlocker);
	QVERIFY(!successor->accept());
	const RequestRef reply = client->receive();
	QCOMPARE(reply->status, -EOWNERDEAD);
	QCOMPARE(findings(t).find("FENCED"), std::string::npos);
}

void RecoveryTest::ownRequestsComeHome()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	Mortal client(t, kClient);
	client.hold(client.port().get(4096));                        // at home
	QVERIFY(submit(client.port(), kBlocker, kOnce, 1, 8192));   // in a ring, not seen yet
	QVERIFY(submit(client.port(), kBlocker, kOnce, 2, 1 << 20)); // answered, not received
	RequestRef first = server->accept();
	RequestRef request = server->accept();
	QVERIFY(server->respond(request, 0));
	request = std::move(first);
	QVERIFY(server->respond(request, 0));
	QVERIFY(submit(client.port(), kBlocker, kOnce, 3, 512));
	client.die();
	const RecoveryReport report = recover(t);
	QVERIFY(report.complete());
	QCOMPARE(report.freed, 4u);
	QVERIFY(report.slabs >= 4 + 1);
	QVERIFY(!server->accept());
	QCOMPARE(requestsInUse(t.segment), 0u);
	QCOMPARE(findings(t), std::string());
	for (uint32_t slab = 0; slab < t.segment.geometry().slabs; ++slab) QCOMPARE(t.segment.slab(slab).owner >> 36 & 7, 0ull);
}

void RecoveryTest::buffersStayWhileOthersUseThem()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	Mortal client(t, kClient);
	QVERIFY(submit(client.port(), kBlocker, kOnce, 1, 4096));
	RequestRef request = server->accept();
	const uint32_t block = request->data_blk;
	client.die();
	QCOMPARE(recover(t).waiting, 1u);
	QCOMPARE(int(slabOf(t, block).state), int(XS_SLAB_FENCED));
	QCOMPARE(request.data().size(), size_t(4096));
	QVERIFY(!Peer(t, kClient).port);
	QVERIFY(server->respond(request, 0));
	QVERIFY(recover(t).complete());
	QCOMPARE(int(slabOf(t, block).state), int(XS_SLAB_FREE));
	QVERIFY(Peer(t, kClient).port);
	QCOMPARE(findings(t), std::string());
}

/// The composer made parts of a request, which use the client's buffer. While a blocker works on one of them the client must
/// not get its buffer back.
void RecoveryTest::wholeWaitsForItsParts()
{
	const auto t = makeSegment();
	Peer client(t, kClient), blocker(t, kBlocker);
	Mortal composer(t, kComposer);
	QVERIFY(submit(*client.port, kComposer, kOnce, 1, 8192));
	composer.hold(composer.port().accept());
	for (uint32_t i = 0; i < 2; ++i) {
		RequestRef part = composer.port().get();
		part->data_blk = composer.held()->data_blk;
		part->data_off = i * 4096;
		part->data_len = 4096;
		part->op = kRepeatable;
		QVERIFY(composer.port().submit(part, kBlocker));
	}
	RequestRef part = blocker->accept(); // the other is not seen yet: it is taken back
	composer.die();
	RecoveryReport report = recover(t);
	QCOMPARE(report.waiting, 2u); // the part, and so the whole
	QVERIFY(!client->receive());
	QVERIFY(!blocker->accept());
	QCOMPARE(part.data().size(), size_t(4096));
	QVERIFY(blocker->respond(part, 0));
	report = recover(t);
	QVERIFY(report.complete());
	QCOMPARE(report.failed, 1u);
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -EOWNERDEAD);
	reply.reset();
	QCOMPARE(findings(t), std::string());
}

void RecoveryTest::partsAreTakenBack()
{
	const auto t = makeSegment();
	Peer blocker(t, kBlocker);
	Mortal composer(t, kComposer);
	QVERIFY(submit(composer.port(), kBlocker, kRepeatable));
	composer.die();
	QVERIFY(recover(t).complete());
	QVERIFY(!blocker->accept()); // its entry is stale
	QVERIFY(Peer(t, kComposer).port);
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void RecoveryTest::forwardedReplyFailsBack()
{
	const auto t = makeSegment();
	Peer client(t, kClient), blocker(t, kBlocker);
	Mortal composer(t, kComposer);
	for (int i = 0; i < 2; ++i) {
		QVERIFY(submit(*client.port, kComposer, kRepeatable));
		RequestRef request = composer.port().accept();
		QVERIFY(composer.port().forward(request, kBlocker));
		request = blocker->accept();
		QVERIFY(blocker->respond(request, 0));
	}
	composer.hold(composer.port().receive()); // one reply was taken, one waits in its ring
	composer.die();
	QCOMPARE(recover(t).failed, 2u);
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
	QCOMPARE(findings(t), std::string());
}

/// Killed between SENDING and its push.
void RecoveryTest::forwardNeverPushedIsPushed()
{
	const auto t = makeSegment();
	Peer client(t, kClient), blocker(t, kBlocker);
	Mortal composer(t, kComposer);
	QVERIFY(submit(*client.port, kComposer, kOnce));
	composer.hold(composer.port().accept());
	xs_req &request = *composer.held();
	request.path[1] = uint32_t(kComposer) << 16 | t.segment.port(kComposer).gen;
	request.npath = 2;
	QVERIFY(RequestState(request).send(kComposer, kBlocker, Direction::Request));
	composer.die();
	QCOMPARE(recover(t).pushedAgain, 1u);
	RequestRef served = blocker->accept();
	QVERIFY(served);
	QVERIFY(blocker->respond(served, 0));
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
}

void RecoveryTest::twoDeadHoldEachOthers()
{
	const auto t = makeSegment();
	Mortal one(t, kClient), other(t, kComposer);
	QVERIFY(submit(one.port(), kComposer, kOnce, 0, 4096));
	QVERIFY(submit(other.port(), kClient, kRepeatable, 0, 4096));
	one.hold(one.port().accept());
	other.hold(other.port().accept());
	one.die();
	other.die(kOtherDead);
	Recovery recovery = recoveryOf(t);
	recovery.fence(kDead);
	recovery.fence(kOtherDead);
	recovery.release(kDead);
	recovery.release(kOtherDead);
	QVERIFY(recovery.release(kDead).complete());
	QVERIFY(recovery.release(kOtherDead).complete());
	QCOMPARE(findings(t), std::string());
	QCOMPARE(requestsInUse(t.segment), 0u);
}

/// Nobody consumes it, so what finds no room cannot wait: it fails.
void RecoveryTest::fullRingOfTheDead()
{
	const auto t = makeSegment();
	Peer client(t, kClient, {.maxInflight = 16}), another(t, kSecond, {.maxInflight = 16}), third(t, 5, {.maxInflight = 16});
	Mortal blocker(t, kBlocker);
	for (int i = 0; i < 16; ++i) QVERIFY(submit(*client.port, kBlocker, kRepeatable));
	while (RequestRef request = blocker.port().accept()) blocker.hold(std::move(request));
	for (int i = 0; i < 16; ++i) QVERIFY(submit(*another.port, kBlocker, kRepeatable));
	for (int i = 0; i < 16; ++i) QVERIFY(submit(*third.port, kBlocker, kRepeatable));
	blocker.die();
	const RecoveryReport report = recover(t);
	QVERIFY(report.complete());
	QCOMPARE(report.replayed, 32u);
	QCOMPARE(report.failed, 16u);
	Peer successor(t, kBlocker);
	unsigned served = 0, answers = 0;
	for (RequestRef request; (request = successor->accept()); ++served) QVERIFY(successor->respond(request, 0));
	QCOMPARE(served, 32u);
	for (Peer *peer : {&client, &another, &third}) {
		while (peer->port->receive()) ++answers;
	}
	QCOMPARE(answers, 48u);
}

void RecoveryTest::fullRingOfTheLiving()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal blocker(t, kBlocker);
	QVERIFY(submit(*client.port, kBlocker, kOnce));
	blocker.hold(blocker.port().accept());
	const Ring ring(t.segment.ring(kClient, Direction::Reply), t.segment.geometry().ringSlotsLog2);
	while (ring.push(255)) {} // stale entries
	blocker.die();
	QCOMPARE(recover(t).waiting, 1u);
	const RequestRef reply = client->receive(); // makes room, and its bell was rung
	QVERIFY(!reply);
	QVERIFY(recover(t).complete());
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
}

/// A living peer must get the dead one's requests off its hands, or the recovery would wait for ever.
void RecoveryTest::fullReplyRingOfTheDead()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	Mortal client(t, kClient);
	QVERIFY(submit(client.port(), kBlocker, kOnce, 0, 512));
	RequestRef request = server->accept();
	const Ring ring(t.segment.ring(kClient, Direction::Reply), t.segment.geometry().ringSlotsLog2);
	while (ring.push(255)) {}
	client.die();
	QVERIFY(!server->respond(request, 0));
	QCOMPARE(recover(t).waiting, 1u);
	QVERIFY(server->respond(request, 0));
	QVERIFY(recover(t).complete());
	QCOMPARE(findings(t), std::string());
}

/// The answer finds the composer dead and the client's ring full. Tried again, it must still not be a success.
void RecoveryTest::passingOverTheDeadNeverSucceeds()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal composer(t, kComposer), blocker(t, kBlocker);
	QVERIFY(submit(*client.port, kComposer, kOnce));
	RequestRef request = composer.port().accept();
	request->op = kRepeatable;
	QVERIFY(composer.port().forward(request, kBlocker));
	request = blocker.port().accept();
	composer.die(kOtherDead);
	QVERIFY(recover(t, kOtherDead).complete());
	const Ring ring(t.segment.ring(kClient, Direction::Reply), t.segment.geometry().ringSlotsLog2);
	while (ring.push(255)) {}
	QVERIFY(!blocker.port().respond(request, 0));
	QVERIFY(!blocker.port().respond(request, 0));
	QVERIFY(!client->receive()); // makes room
	const RequestIndex index = request.index();
	QVERIFY(!RequestState(t.segment.request(index)).load().direction == uint8_t(Direction::Request));

	// Killed here, the blocker leaves a request that must not be carried out again for the client behind the composer.
	blocker.hold(std::move(request));
	blocker.die();
	QCOMPARE(recover(t).replayed, 0u);
	QCOMPARE(client->receive()->status, -EOWNERDEAD);
}

/// Killed after it had claimed the port and before it had written anything else.
void RecoveryTest::earlyBinder()
{
	const auto t = makeSegment();
	QVERIFY(claimPort(t.segment, kClient, ownerWord(kDead)));
	QVERIFY(!Peer(t, kClient).port);
	QCOMPARE(recover(t).ports, 1u);
	QVERIFY(Peer(t, kClient).port);
}

void RecoveryTest::poolOutlivesItsPort()
{
	const auto t = makeSegment();
	auto pool = std::make_unique<BufferPool>(t.segment, kClient);
	const uint32_t block = pool->allocate(4096);
	Port::bind(t.segment, t.bells, *pool, kClient, {}).value().reset();
	QVERIFY(t.segment.port(kClient).owner != 0); // whoever dies now must still be known by its slabs
	QVERIFY(Port::bind(t.segment, t.bells, *pool, kClient, {}));
	pool->free(block);
	pool.reset();
	QCOMPARE(t.segment.port(kClient).owner, 0ull);
	QCOMPARE(findings(t), std::string());

	BufferPool foreign(t.segment, kComposer);
	QVERIFY(claimPort(t.segment, kComposer, ownerWord(kDead)));
	QCOMPARE(foreign.allocate(512), XS_NO_BUFFER); // it would go back with somebody else's death
}

void RecoveryTest::zombiesAreCollected()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	RequestRef request;
	{
		Peer client(t, kClient);
		QVERIFY(submit(*client.port, kBlocker, kOnce, 0, 4096));
		request = server->accept();
	}
	const uint32_t block = request->data_blk;
	QCOMPARE(int(slabOf(t, block).state), int(XS_SLAB_ZOMBIE));
	recover(t);
	QCOMPARE(int(slabOf(t, block).state), int(XS_SLAB_ZOMBIE)); // somebody works on it
	QVERIFY(server->respond(request, 0));
	QVERIFY(!Peer(t, kClient)->receive()); // its next owner frees it
	QCOMPARE(recover(t).slabs, 1u);
	QCOMPARE(int(slabOf(t, block).state), int(XS_SLAB_FREE));
	QCOMPARE(findings(t), std::string());
}

void RecoveryTest::fencedBuffersCanBeRead()
{
	const auto t = makeSegment();
	Peer server(t, kBlocker);
	Mortal client(t, kClient);
	QVERIFY(submit(client.port(), kBlocker, kOnce, 0, 1 << 20));
	const RequestRef request = server->accept();
	client.die();
	recoveryOf(t).fence(kDead);
	QCOMPARE(request.data().size(), size_t(1 << 20));
	Peer successor(t, kSecond);
	const RequestRef other = successor->get(1 << 20);
	QVERIFY(other.data().data() != request.data().data());
}

void RecoveryTest::twice()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	Mortal blocker(t, kBlocker);
	for (uint64_t i = 0; i < 4; ++i) QVERIFY(submit(*client.port, kBlocker, i % 2 ? kRepeatable : kOnce, i, 512));
	blocker.hold(blocker.port().accept());
	blocker.hold(blocker.port().accept());
	blocker.die();
	Recovery recovery = recoveryOf(t);
	recovery.fence(kDead);
	recovery.fence(kDead);
	const RecoveryReport first = recovery.release(kDead);
	QCOMPARE(first.replayed, 2u);
	QCOMPARE(first.failed, 2u);
	const RecoveryReport second = recovery.release(kDead);
	QCOMPARE(second.ports + second.replayed + second.failed + second.freed + second.slabs + second.waiting, 0u);
	Peer successor(t, kBlocker);
	unsigned served = 0, answers = 0;
	for (RequestRef request; (request = successor->accept()); ++served) QVERIFY(successor->respond(request, 0));
	while (client->receive()) ++answers;
	QCOMPARE(served, 2u);
	QCOMPARE(answers, 4u);
}

void RecoveryTest::ownersAreNamedOnce()
{
	const auto t = makeSegment();
	Peer a(t, kClient), b(t, kComposer);
	Mortal dead(t, kBlocker);
	dead.die();
	const auto owners = recoveryOf(t).owners();
	QCOMPARE(owners.size(), size_t(2));
	QVERIFY(owners[0] == thisProcess());
	QVERIFY(owners[1] == kDead);
	QVERIFY(isRunning(owners[0]));
	QVERIFY(!isRunning(owners[1]));
	QVERIFY(findings(t).find("has died") != std::string::npos);
	recover(t);
	QCOMPARE(findings(t), std::string());
}

QTEST_GUILESS_MAIN(RecoveryTest)
#include "recovery_test.moc"
