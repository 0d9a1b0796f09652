// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Peers in processes of their own, each with its own mapping of the segment, woken through inherited eventfds. Payload
// written in one process is read and changed in the others, in place.
#include "tests/xseg/segment_fixture.h"

#include <algorithm>
#include <cstring>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kClient = 1, kComposer = 2, kBlocker = 3;
constexpr uint16_t kOpWork = 1, kOpQuit = 2;

/// A process that serves `number` until it is asked to quit. It forwards to `next`, if any, else inverts the payload.
pid_t startPeer(const TestSegment &t, PortNo number, std::optional<PortNo> next)
{
	return inChild(t, [=](const Segment &segment, const BellFds &bells) {
		Peer peer(segment, bells, number, {.waiter = number});
		if (!peer.port) _exit(1);
		Waiter waiter(segment, bells, number);
		bool quitting = false;
		while (!quitting) {
			while (RequestRef reply = peer->receive()) {
				quitting |= reply->op == kOpQuit;
				if (!peer->respond(reply, reply->status)) _exit(2);
			}
			while (RequestRef request = peer->accept()) {
				if (next) {
					if (!peer->forward(request, *next)) _exit(3);
					continue;
				}
				quitting |= request->op == kOpQuit;
				std::ranges::for_each(request.data(), [](std::byte &b) { b = ~b; });
				if (!peer->respond(request, 0)) _exit(4);
			}
			if (!quitting && !waitForWork(waiter)) _exit(5);
		}
		peer.port.reset();
	});
}

bool untilBound(const TestSegment &t, PortNo number)
{
	for (int i = 0; i < 1'000'000; ++i) {
		if (std::atomic_ref(t.segment.port(number).state).load() == XS_PORT_BOUND) return true;
		sched_yield();
	}
	return false;
}

/// Sends requests with 4 KiB each and compares what comes back. True when all of them came back inverted.
bool exchange(const TestSegment &t, Peer &client, PortNo to, uint64_t count)
{
	Waiter waiter(t.segment, t.bells, 0);
	uint64_t sent = 0, good = 0, back = 0;
	while (back < count) {
		while (sent < count) {
			RequestRef request = client->get(4096);
			if (!request) break;
			request->op = kOpWork;
			request->offset = sent;
			std::ranges::fill(request.data(), std::byte(sent));
			if (!client->submit(request, to)) return false;
			++sent;
		}
		while (RequestRef reply = client->receive()) {
			const auto expected = ~std::byte(reply->offset);
			good += reply->status == 0 && std::ranges::all_of(reply.data(), [&](std::byte b) { return b == expected; });
			++back;
		}
		if (client->inflight() > 0 && !waitForWork(waiter)) return false;
	}
	return good == count;
}

bool quit(const TestSegment &t, Peer &client, PortNo to)
{
	Waiter waiter(t.segment, t.bells, 0);
	RequestRef request = client->get();
	request->op = kOpQuit;
	if (!client->submit(request, to)) return false;
	while (!client->receive()) {
		if (!waitForWork(waiter)) return false;
	}
	return true;
}

} // namespace

class PortProcessTest : public QObject {
	Q_OBJECT

private slots:
	void twoProcesses();
	void threeProcesses();
	void peerIsReplaced();
	void mappingIsNotInherited();
};

void PortProcessTest::twoProcesses()
{
	const auto t = makeSegment();
	const pid_t blocker = startPeer(t, kBlocker, {});
	QVERIFY(untilBound(t, kBlocker));
	Peer client(t, kClient);
	QVERIFY(exchange(t, client, kBlocker, 3000));
	QVERIFY(quit(t, client, kBlocker));
	QCOMPARE(outcomeOf(blocker), 0);
	QCOMPARE(requestsInUse(t.segment), 0u);
	QCOMPARE(t.segment.port(kBlocker).state, quint32(XS_PORT_FREE));
	QCOMPARE(t.segment.port(kBlocker).accepted, quint64(3001));
}

void PortProcessTest::threeProcesses()
{
	const auto t = makeSegment();
	const pid_t blocker = startPeer(t, kBlocker, {});
	QVERIFY(untilBound(t, kBlocker));
	const pid_t composer = startPeer(t, kComposer, kBlocker);
	QVERIFY(untilBound(t, kComposer));
	Peer client(t, kClient);
	QVERIFY(exchange(t, client, kComposer, 2000));
	QVERIFY(quit(t, client, kComposer)); // and with it the blocker
	QCOMPARE(outcomeOf(composer), 0);
	QCOMPARE(outcomeOf(blocker), 0);
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortProcessTest::peerIsReplaced()
{
	const auto t = makeSegment();
	Peer client(t, kClient);
	for (int generation = 1; generation <= 3; ++generation) {
		const pid_t blocker = startPeer(t, kBlocker, {});
		QVERIFY(untilBound(t, kBlocker));
		QVERIFY(exchange(t, client, kBlocker, 200));
		QVERIFY(quit(t, client, kBlocker));
		QCOMPARE(outcomeOf(blocker), 0);
		QCOMPARE(t.segment.port(kBlocker).gen, quint32(generation));
	}
}

/// A forked child that goes on with its parent's ports would write where recovery has been: it has no mapping.
void PortProcessTest::mappingIsNotInherited()
{
	const auto t = makeSegment();
	const pid_t child = fork();
	if (child == 0) {
		// A write from the kernel's side says EFAULT where a plain access would be a SIGSEGV.
		const UniqueFd null(open("/dev/zero", O_RDONLY | O_CLOEXEC));
		const ssize_t got = read(null.get(), &t.segment.request(0), 8);
		_exit(got < 0 && errno == EFAULT ? 0 : 1);
	}
	QCOMPARE(outcomeOf(child), 0);
}

QTEST_GUILESS_MAIN(PortProcessTest)
#include "port_process_test.moc"
