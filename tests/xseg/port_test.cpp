// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Requests on their ways, in one thread: submit, accept, forward, respond, receive; buffers; back-pressure; credit; what
// happens to a RequestRef that is dropped; binding.
#include "tests/xseg/segment_fixture.h"

#include "xseg/src/state_word.h"

#include <algorithm>
#include <cstring>

using namespace xseg;
using namespace xseg::test;

namespace {

struct Range {
	uint64_t start;
	uint32_t count;
	uint32_t flags;
};

} // namespace

class PortTest : public QObject {
	Q_OBJECT

private slots:
	void oneHop();
	void freshRequestIsClean();
	void payloadIsNotCopied();
	void argsByValue();
	void forwardedOnTheWay();
	void throughManyHops();
	void toItself();
	void orderIsKept();
	void fullRingIsBackPressure();
	void fullReplyRingIsBackPressure();
	void forwardingIsCreditedToo();
	void credit();
	void requestsRunOut();
	void memoryRunsOut();
	void wrongDestinations();
	void wrongRequests();
	void droppedRequestFailsBack();
	void droppedRequestAtHomeIsFreed();
	void droppedReplyOfAForwardedRequestFailsBack();
	void failedBackIntoAFullRingIsRetried();
	void staleEntriesAreSkipped();
	void dataIsBoundsChecked();
	void bindRefusals();
	void bindPublishesItself();
	void counters();
	void bellOfTheDestinationRings();
};

void PortTest::oneHop()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	RequestRef request = client->get();
	QVERIFY(request);
	const RequestIndex index = request.index();
	request->op = 17;
	request->offset = 4096;
	request->size = 512;
	QVERIFY(client->submit(request, 2));
	QVERIFY(!request);
	QCOMPARE(client->inflight(), 1u);
	QVERIFY(!client->accept() && !client->receive() && !server->receive());

	RequestRef served = server->accept();
	QVERIFY(served);
	QCOMPARE(served.index(), index);
	QCOMPARE(served->op, quint16(17));
	QCOMPARE(served->home, quint16(1));
	QCOMPARE(served->npath, quint16(1));
	served->serviced = served->size;
	QVERIFY(server->respond(served, -5));
	QVERIFY(!served);
	QVERIFY(!server->accept());

	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply.index(), index);
	QCOMPARE(reply->status, -5);
	QCOMPARE(reply->serviced, quint64(512));
	QCOMPARE(reply->npath, quint16(0));
	QCOMPARE(client->inflight(), 0u);
	reply.reset();
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortTest::freshRequestIsClean()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	uint64_t seq = 0;
	for (int life = 0; life < 3; ++life) {
		RequestRef request = client->get(4096);
		QVERIFY(request);
		QVERIFY(request->seq > seq);
		seq = request->seq;
		QCOMPARE(request->op, quint16(0));
		QCOMPARE(request->flags, 0u);
		QCOMPARE(request->status, 0);
		QCOMPARE(request->attempts, quint16(0));
		QCOMPARE(request->offset | request->size | request->serviced | request->deadline, quint64(0));
		QCOMPARE(request->data_off, 0u);
		QCOMPARE(request->data_len, 4096u);
		for (const uint8_t byte : request->args) QCOMPARE(byte, quint8(0));
		for (const uint64_t word : request->cookie) QCOMPARE(word, quint64(0));
		request->op = request->attempts = 9;
		request->flags = 9;
		request->offset = request->size = request->serviced = request->deadline = 9;
		std::memset(request->args, 9, sizeof request->args);
		std::memset(request->cookie, 9, sizeof request->cookie);
		QVERIFY(client->submit(request, 2));
		RequestRef served = server->accept();
		QVERIFY(server->respond(served, -9));
		RequestRef reply = client->receive();
		QCOMPARE(reply->status, -9);
	}
	RequestRef bare = client->get();
	QCOMPARE(bare->data_blk, quint32(XS_NO_BUFFER));
	QVERIFY(bare.data().empty());
	QVERIFY(client->attachBuffer(bare, 100));
	QCOMPARE(bare.data().size(), size_t(100));
	QVERIFY(!client->attachBuffer(bare, 100)); // has one
	QCOMPARE(client->lastError(), EINVAL);
}

void PortTest::payloadIsNotCopied()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	RequestRef request = client->get(65536);
	const auto bytes = request.data();
	QCOMPARE(bytes.size(), size_t(65536));
	std::ranges::fill(bytes, std::byte{0x11});
	QVERIFY(client->submit(request, 2));
	RequestRef served = server->accept();
	QCOMPARE(served.data().data(), bytes.data());
	QVERIFY(std::ranges::all_of(served.data(), [](std::byte b) { return b == std::byte{0x11}; }));
	served.data()[7] = std::byte{0x22};
	QVERIFY(server->respond(served, 0));
	RequestRef reply = client->receive();
	QCOMPARE(reply.data()[7], std::byte{0x22});
	QCOMPARE(client->buffers().bytesInUse(), quint64(65536));
	reply.reset();
	QCOMPARE(client->buffers().bytesInUse(), quint64(0));
}

void PortTest::argsByValue()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	RequestRef request = client->get();
	request.setArgs(Range{.start = 1u << 30, .count = 7, .flags = 3});
	QVERIFY(client->submit(request, 2));
	RequestRef served = server->accept();
	const auto range = served.args<Range>();
	QCOMPARE(range.start, quint64(1) << 30);
	QCOMPARE(range.count, 7u);
	QCOMPARE(range.flags, 3u);
}

void PortTest::forwardedOnTheWay()
{
	const auto t = makeSegment();
	Peer client(t, 1), composer(t, 2), blocker(t, 3);
	RequestRef request = client->get(4096);
	QVERIFY(client->submit(request, 2));
	RequestRef atComposer = composer->accept();
	QVERIFY(composer->forward(atComposer, 3));
	QVERIFY(!atComposer);
	RequestRef atBlocker = blocker->accept();
	QCOMPARE(atBlocker->npath, quint16(2));
	QVERIFY(blocker->respond(atBlocker, 0));
	QVERIFY(!client->receive()); // first to the composer, who asked
	RequestRef back = composer->receive();
	QVERIFY(back);
	QCOMPARE(back->npath, quint16(1));
	QVERIFY(composer->forward(back, 3)); // once more, then done
	atBlocker = blocker->accept();
	QVERIFY(blocker->respond(atBlocker, 0));
	back = composer->receive();
	QVERIFY(composer->respond(back, -7));
	RequestRef reply = client->receive();
	QCOMPARE(reply->status, -7);
	QCOMPARE(reply->npath, quint16(0));
	QCOMPARE(composer->inflight(), 0u);
}

void PortTest::throughManyHops()
{
	const auto t = makeSegment();
	std::vector<std::unique_ptr<Peer>> peers;
	for (PortNo i = 0; i < XS_MAX_HOPS + 1; ++i) peers.push_back(std::make_unique<Peer>(t, i));
	RequestRef request = (*peers[0])->get();
	QVERIFY((*peers[0])->submit(request, 1));
	for (PortNo i = 1; i < XS_MAX_HOPS; ++i) {
		RequestRef here = (*peers[i])->accept();
		QVERIFY(here);
		QVERIFY((*peers[i])->forward(here, PortNo(i + 1)));
	}
	RequestRef last = (*peers[XS_MAX_HOPS])->accept();
	QCOMPARE(last->npath, quint16(XS_MAX_HOPS));
	QVERIFY(!(*peers[XS_MAX_HOPS])->forward(last, 1));
	QCOMPARE((*peers[XS_MAX_HOPS])->lastError(), ELOOP);
	QVERIFY((*peers[XS_MAX_HOPS])->respond(last, 0));
	for (PortNo i = XS_MAX_HOPS - 1; i > 0; --i) {
		RequestRef here = (*peers[i])->receive();
		QVERIFY(here);
		QVERIFY((*peers[i])->respond(here, 0));
	}
	QVERIFY((*peers[0])->receive());
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortTest::toItself()
{
	const auto t = makeSegment();
	Peer both(t, 1), other(t, 2);
	RequestRef request = both->get();
	QVERIFY(both->submit(request, 1));
	RequestRef served = both->accept();
	QVERIFY(both->forward(served, 2));
	RequestRef away = other->accept();
	QVERIFY(other->respond(away, 0));
	RequestRef passing = both->receive();
	QCOMPARE(passing->npath, quint16(1)); // not home yet: it is here as its own peer
	QCOMPARE(both->inflight(), 1u);
	QVERIFY(both->respond(passing, -3));
	RequestRef reply = both->receive();
	QCOMPARE(reply->npath, quint16(0));
	QCOMPARE(reply->status, -3);
	QCOMPARE(both->inflight(), 0u);
}

void PortTest::orderIsKept()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	uint64_t sent = 0, seen = 0, answered = 0;
	while (answered < 1000) { // many laps of a ring of 32
		for (int i = 0; i < 7; ++i) {
			RequestRef request = client->get();
			if (!request) break;
			request->offset = sent;
			if (client->submit(request, 2)) ++sent;
		}
		while (RequestRef served = server->accept()) {
			QCOMPARE(served->offset, seen++);
			QVERIFY(server->respond(served, 0));
		}
		while (RequestRef reply = client->receive()) QCOMPARE(reply->offset, answered++);
	}
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortTest::fullRingIsBackPressure()
{
	const auto t = makeSegment();
	Peer a(t, 1), b(t, 2), c(t, 3), server(t, 9); // 16 in flight each, 32 slots
	for (Peer *client : {&a, &b}) {
		for (int i = 0; i < 16; ++i) {
			RequestRef request = (*client)->get();
			QVERIFY((*client)->submit(request, 9));
		}
	}
	RequestRef refused = c->get();
	refused->op = 77;
	const RequestIndex index = refused.index();
	QVERIFY(!c->submit(refused, 9));
	QCOMPARE(c->lastError(), EAGAIN);
	QVERIFY(refused);
	QCOMPARE(refused.index(), index);
	QCOMPARE(refused->npath, quint16(0));
	QCOMPARE(c->inflight(), 0u);
	QVERIFY(server->accept()); // dropped at once: fails back, and makes room
	QVERIFY(c->submit(refused, 9));
	unsigned served = 0;
	uint16_t lastOp = 0;
	while (RequestRef request = server->accept()) {
		++served;
		lastOp = request->op;
	}
	QCOMPARE(served, 32u);
	QCOMPARE(lastOp, quint16(77));
}

void PortTest::fullReplyRingIsBackPressure()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, 2));
	RequestRef served = server->accept();
	// Cannot happen by itself (credit), only after recoveries that pushed many twice: fill it with entries of nothing.
	xs_ring &ring = t.segment.ring(1, Direction::Reply);
	for (uint64_t i = 0; i < 32; ++i) ring.slot[i] = uint64_t(1) << 24 | 200;
	QVERIFY(!server->respond(served, -4));
	QCOMPARE(server->lastError(), EAGAIN);
	QVERIFY(served);
	QVERIFY(!client->receive()); // clears all of it
	QVERIFY(server->respond(served, -4));
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -4);
}

void PortTest::forwardingIsCreditedToo()
{
	const auto t = makeSegment();
	Peer a(t, 1), b(t, 2), composer(t, 3), blocker(t, 4);
	std::vector<RequestRef> held;
	for (Peer *client : {&a, &b}) {
		for (int i = 0; i < 16; ++i) {
			RequestRef request = (*client)->get();
			QVERIFY((*client)->submit(request, 3));
		}
	}
	while (RequestRef request = composer->accept()) held.push_back(std::move(request));
	QCOMPARE(held.size(), size_t(32));
	for (int i = 0; i < 16; ++i) QVERIFY(composer->forward(held[size_t(i)], 4));
	QVERIFY(!composer->forward(held[16], 4)); // else the replies might not fit into the composer's ring
	QCOMPARE(composer->lastError(), EAGAIN);
	QCOMPARE(held[16]->npath, quint16(1));
	RequestRef one = blocker->accept();
	QVERIFY(blocker->respond(one, 0));
	QVERIFY(composer->receive());
	QVERIFY(composer->forward(held[16], 4));
}

void PortTest::credit()
{
	const auto t = makeSegment();
	Peer client(t, 1, {.maxInflight = 3}), server(t, 2), unlimited(t, 3, {.maxInflight = 100000});
	std::vector<RequestRef> ready;
	for (int i = 0; i < 4; ++i) ready.push_back(client->get()); // having them is free, sending them is not
	for (int i = 0; i < 3; ++i) QVERIFY(client->submit(ready[size_t(i)], 2));
	QVERIFY(!client->submit(ready[3], 2));
	QCOMPARE(client->lastError(), EAGAIN);
	QVERIFY(!client->get());
	QCOMPARE(client->lastError(), EAGAIN);
	RequestRef served = server->accept();
	QVERIFY(server->respond(served, 0));
	QVERIFY(client->receive());
	QVERIFY(client->submit(ready[3], 2));
	QCOMPARE(t.segment.port(3).max_inflight, 16u); // half of a ring
}

void PortTest::requestsRunOut()
{
	const auto t = makeSegment();
	Peer client(t, 1), other(t, 2);
	std::vector<RequestRef> all;
	while (RequestRef request = client->get()) all.push_back(std::move(request));
	QCOMPARE(client->lastError(), ENOBUFS);
	QCOMPARE(all.size(), size_t(256));
	QVERIFY(!other->get());
	all.pop_back();
	QVERIFY(!other->get()); // runs belong to their port as long as it lives
	QVERIFY(client->get());
	all.clear();
	client.port.reset();
	QVERIFY(other->get());
}

void PortTest::memoryRunsOut()
{
	const auto t = makeSegment();
	Peer client(t, 1);
	RequestRef a = client->get(4u << 20), b = client->get(4u << 20);
	QVERIFY(a && b);
	QVERIFY(!client->get(512));
	QCOMPARE(client->lastError(), ENOMEM);
	RequestRef bare = client->get();
	QVERIFY(bare);
	QVERIFY(!client->attachBuffer(bare, 512));
	a.reset();
	QVERIFY(client->attachBuffer(bare, 512));
	QVERIFY(!client->get((4u << 20) + 1));
}

void PortTest::wrongDestinations()
{
	const auto t = makeSegment();
	Peer client(t, 1);
	RequestRef request = client->get();
	for (const PortNo to : {PortNo(2), PortNo(64), PortNo(XS_NO_PORT)}) {
		QVERIFY(!client->submit(request, to));
		QCOMPARE(client->lastError(), ENOTCONN);
		QVERIFY(request);
		QCOMPARE(request->npath, quint16(0));
	}
	Peer server(t, 2);
	QVERIFY(client->submit(request, 2));
	RequestRef served = server->accept();
	QVERIFY(!server->forward(served, 3));
	QCOMPARE(server->lastError(), ENOTCONN);
	QCOMPARE(served->npath, quint16(1));
	QVERIFY(server->respond(served, 0));
}

void PortTest::wrongRequests()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2), other(t, 3);
	RequestRef request = client->get();
	QVERIFY(!client->forward(request, 2)); // at home there is nothing to pass on
	QCOMPARE(client->lastError(), EINVAL);
	QVERIFY(client->submit(request, 2));
	RequestRef served = server->accept();
	QVERIFY(!server->submit(served, 3)); // not its own
	QCOMPARE(server->lastError(), EINVAL);
	QVERIFY(server->respond(served, 0));
	RequestRef reply = client->receive();
	QVERIFY(client->respond(reply, -1)); // nobody to answer: freed
	QVERIFY(!reply);
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortTest::droppedRequestFailsBack()
{
	const auto t = makeSegment();
	Peer client(t, 1), composer(t, 2), blocker(t, 3);
	RequestRef request = client->get(4096);
	QVERIFY(client->submit(request, 2));
	RequestRef served = composer->accept();
	QVERIFY(composer->forward(served, 3));
	served = blocker->accept();
	served = RequestRef(); // assigning over it drops it as well
	RequestRef back = composer->receive();
	QVERIFY(back);
	QCOMPARE(back->status, -ECANCELED);
	back.reset();
	RequestRef reply = client->receive();
	QCOMPARE(reply->status, -ECANCELED);
	QCOMPARE(client->inflight(), 0u);
	reply.reset();
	QCOMPARE(requestsInUse(t.segment), 0u);
	QCOMPARE(client->buffers().bytesInUse(), quint64(0));
}

void PortTest::droppedRequestAtHomeIsFreed()
{
	const auto t = makeSegment();
	Peer client(t, 1);
	{
		RequestRef never = client->get(4096);
		RequestRef moved = std::move(never);
		QVERIFY(moved && !never);
		QCOMPARE(requestsInUse(t.segment), 1u);
	}
	QCOMPARE(requestsInUse(t.segment), 0u);
	QCOMPARE(client->buffers().bytesInUse(), quint64(0));
}

void PortTest::droppedReplyOfAForwardedRequestFailsBack()
{
	const auto t = makeSegment();
	Peer client(t, 1), composer(t, 2), blocker(t, 3);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, 2));
	RequestRef served = composer->accept();
	QVERIFY(composer->forward(served, 3));
	served = blocker->accept();
	QVERIFY(blocker->respond(served, 0));
	QVERIFY(composer->receive()); // looked at and dropped
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -ECANCELED);
}

void PortTest::failedBackIntoAFullRingIsRetried()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	RequestRef request = client->get();
	QVERIFY(client->submit(request, 2));
	xs_ring &ring = t.segment.ring(1, Direction::Reply);
	for (uint64_t i = 0; i < 32; ++i) ring.slot[i] = uint64_t(1) << 24 | 200;
	QVERIFY(server->accept());   // dropped, and there is no room for it
	QVERIFY(!client->receive()); // but now there is
	QVERIFY(!client->receive());
	QVERIFY(!server->accept()); // any look at its rings sends what was left over
	RequestRef reply = client->receive();
	QVERIFY(reply);
	QCOMPARE(reply->status, -ECANCELED);
}

void PortTest::staleEntriesAreSkipped()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2), other(t, 3);
	RequestRef request = client->get();
	const RequestIndex index = request.index();
	QVERIFY(client->submit(request, 2));
	// What a recovery may do: push what is in the ring already, and to be sure once more into the wrong ones.
	xs_ring &ring = t.segment.ring(2, Direction::Request);
	ring.slot[1] = uint64_t(1) << 24 | index;
	ring.slot[2] = uint64_t(1) << 24 | 255; // a request that is FREE
	ring.slot[3] = uint64_t(1) << 24 | 256; // one beyond the table
	ring.slot[4] = uint64_t(1) << 24 | 0xffffff;
	t.segment.ring(2, Direction::Reply).slot[0] = uint64_t(1) << 24 | index;
	t.segment.ring(3, Direction::Request).slot[0] = uint64_t(1) << 24 | index;
	QVERIFY(!other->accept());
	QVERIFY(!server->receive());
	RequestRef served = server->accept();
	QVERIFY(served);
	QCOMPARE(served.index(), index);
	QVERIFY(!server->accept());
	QVERIFY(server->respond(served, 0));
	QVERIFY(client->receive());
	// The next life of the same request is not mistaken for the old one.
	request = client->get();
	QCOMPARE(request.index(), index);
	QVERIFY(client->submit(request, 3));
	QVERIFY(!server->accept());
	QVERIFY(other->accept());
}

void PortTest::dataIsBoundsChecked()
{
	const auto t = makeSegment();
	Peer client(t, 1);
	RequestRef request = client->get(4096);
	QCOMPARE(request.data().size(), size_t(4096));
	request->data_off = 4000;
	QVERIFY(request.data().empty());
	request->data_len = 96;
	QCOMPARE(request.data().size(), size_t(96));
	request->data_off = 0xffffffff;
	QVERIFY(request.data().empty());
	request->data_off = 0;
	for (const uint32_t block : {XS_NO_BUFFER, 0xfffffffeu, 31u * 512, request->data_blk + 1}) {
		request->data_blk = block;
		QVERIFY(request.data().empty());
	}
	request.reset(); // frees the buffer it was given, whatever the fields say now
	QCOMPARE(client->buffers().bytesInUse(), quint64(0));
}

void PortTest::bindRefusals()
{
	const auto t = makeSegment();
	BufferPool buffers(t.segment, 1);
	const auto errorOf = [&](PortNo number, const BindOptions &options) {
		const auto port = Port::bind(t.segment, t.bells, buffers, number, options);
		return port ? 0 : port.error().errnum;
	};
	QCOMPARE(errorOf(64, {}), EINVAL);
	QCOMPARE(errorOf(1, {.waiter = 4}), EINVAL);
	Peer first(t, 1);
	QVERIFY(first.port);
	QCOMPARE(errorOf(1, {}), EBUSY);
	first.port.reset();
	QCOMPARE(errorOf(1, {}), 0);
	t.segment.port(2).state = XS_PORT_RECOVERING;
	QCOMPARE(errorOf(2, {}), EBUSY);
}

void PortTest::bindPublishesItself()
{
	const auto t = makeSegment();
	Peer peer(t, 5, {.waiter = 3, .maxInflight = 7, .role = 11});
	const xs_port &port = t.segment.port(5);
	QCOMPARE(port.state, quint32(XS_PORT_BOUND));
	QCOMPARE(port.gen, 1u);
	QCOMPARE(port.waiter, 3u);
	QCOMPARE(port.max_inflight, 7u);
	QCOMPARE(port.role, 11u);
	QCOMPARE(port.pid, quint32(getpid()));
	QVERIFY(port.start_time > 0);
	Waiter waiter(t.segment, t.bells, 3);
	QCOMPARE(waiter.takeReady(), std::optional<PortNo>(5)); // to look at what a predecessor left
	peer.port.reset();
	QCOMPARE(port.state, quint32(XS_PORT_FREE));
	Peer again(t, 5);
	QCOMPARE(port.gen, 2u);
}

void PortTest::counters()
{
	const auto t = makeSegment();
	Peer client(t, 1), server(t, 2);
	for (int i = 0; i < 3; ++i) {
		RequestRef request = client->get();
		QVERIFY(client->submit(request, 2));
		RequestRef served = server->accept();
		if (i < 2) QVERIFY(server->respond(served, 0));
		served.reset();
		QVERIFY(client->receive());
	}
	QCOMPARE(t.segment.port(1).submitted, quint64(3));
	QCOMPARE(t.segment.port(1).received, quint64(3));
	QCOMPARE(t.segment.port(2).accepted, quint64(3));
	QCOMPARE(t.segment.port(2).responded, quint64(2));
	QCOMPARE(t.segment.port(2).failed, quint64(1));
}

void PortTest::bellOfTheDestinationRings()
{
	const auto t = makeSegment();
	Peer client(t, 1, {.waiter = 0}), server(t, 2, {.waiter = 1});
	Waiter clientWaiter(t.segment, t.bells, 0), serverWaiter(t.segment, t.bells, 1);
	QCOMPARE(clientWaiter.takeReady(), std::optional<PortNo>(1)); // from binding
	QCOMPARE(serverWaiter.takeReady(), std::optional<PortNo>(2));
	QVERIFY(serverWaiter.prepareSleep());
	RequestRef request = client->get();
	QVERIFY(client->submit(request, 2));
	uint64_t rung = 0;
	QCOMPARE(read(serverWaiter.eventFd(), &rung, sizeof rung), ssize_t(sizeof rung));
	serverWaiter.wake();
	QCOMPARE(serverWaiter.takeReady(), std::optional<PortNo>(2));
	QVERIFY(!clientWaiter.anyReady());
	RequestRef served = server->accept();
	QVERIFY(server->respond(served, 0));
	QCOMPARE(clientWaiter.takeReady(), std::optional<PortNo>(1));
}

QTEST_GUILESS_MAIN(PortTest)
#include "port_test.moc"
