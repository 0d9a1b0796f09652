// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Ports under a reactor: hand-over, back-pressure through the outbox, destinations that are not there, calls with deadlines.
#include "rig.h"

#include "daemon/runtime/served_port.h"

using namespace archipelago;
using namespace archipelago::runtime;
using archipelago::testing::Rig;

namespace {

/// Answers Ping at once and keeps everything else.
struct Echo : PortHandler {
	std::vector<xseg::RequestRef> kept;
	unsigned answered = 0;
	bool answer = true;
	void onRequest(ServedPort &port, xseg::RequestRef request) override
	{
		if (!answer) {
			kept.push_back(std::move(request));
			return;
		}
		++answered;
		request->serviced = request->offset + 1;
		port.respond(std::move(request), 0);
	}
	void onReply(ServedPort &, xseg::RequestRef) override {}
};

struct Client : PortHandler {
	Caller *caller = nullptr;
	unsigned replies = 0, failed = 0;
	void onRequest(ServedPort &, xseg::RequestRef) override {}
	void onReply(ServedPort &, xseg::RequestRef reply) override
	{
		if (caller && caller->deliver(reply)) return;
		++replies;
		if (reply->status) ++failed;
	}
};

struct Pair {
	Rig rig;
	xseg::BufferPool buffers{*rig.segment, 1};
	Echo echo;
	Client client;
	std::unique_ptr<ServedPort> a, b;
	Pair()
	{
		auto one = ServedPort::bind(*rig.reactor, buffers, 1, 256, client);
		auto two = ServedPort::bind(*rig.reactor, buffers, 2, 256, echo);
		if (!one || !two) qFatal("bind");
		a = std::move(*one);
		b = std::move(*two);
	}
};

} // namespace

class TestServedPort : public QObject {
	Q_OBJECT

	static Task<void> callOnce(Caller &caller, uint64_t offset, xseg::PortNo to, uint64_t timeoutMs, int64_t &out)
	{
		xseg::RequestRef request = co_await caller.acquire(0);
		request->op = static_cast<uint16_t>(Op::Ping);
		request->offset = offset;
		xseg::RequestRef reply = co_await caller.call(std::move(request), to, timeoutMs);
		if (!reply)
			out = -1;
		else
			out = reply->status ? reply->status : static_cast<int64_t>(reply->serviced);
	}

private slots:
	void aCallComesBackWithItsAnswer()
	{
		Pair p;
		Caller caller(*p.a);
		p.client.caller = &caller;
		int64_t out = 0;
		p.rig.run(callOnce(caller, 41, 2, 0, out));
		QCOMPARE(out, 42);
		QCOMPARE(caller.outstanding(), 0u);
		QCOMPARE(p.a->port().inflight(), 0u);
	}

	void nobodyThereIsPeerUnavailable()
	{
		Pair p;
		Caller caller(*p.a);
		p.client.caller = &caller;
		int64_t out = 0;
		p.rig.run(callOnce(caller, 1, 77, 0, out));
		QCOMPARE(out, wireStatus(ErrorCode::Peer));
		p.rig.run(callOnce(caller, 1, 9999, 0, out)); // out of range
		QCOMPARE(out, wireStatus(ErrorCode::Peer));
		QCOMPARE(p.a->port().inflight(), 0u);
	}

	void manyCallsWaitForCredit()
	{
		Pair p;
		Caller caller(*p.a);
		p.client.caller = &caller;
		std::vector<int64_t> out(2000, 0);
		for (size_t i = 0; i < out.size(); ++i) spawn(callOnce(caller, i, 2, 0, out[i]));
		p.rig.reactor->runUntil([&] { return std::count(out.begin(), out.end(), 0) == 0; });
		for (size_t i = 0; i < out.size(); ++i) QCOMPARE(out[i], static_cast<int64_t>(i + 1));
		QCOMPARE(p.echo.answered, 2000u);
	}

	void aDeadlineAbandonsTheWaitingNotTheRequest()
	{
		Pair p;
		Caller caller(*p.a);
		p.client.caller = &caller;
		p.echo.answer = false;
		int64_t out = 0;
		p.rig.run(callOnce(caller, 1, 2, 20, out));
		QCOMPARE(out, -1);
		QCOMPARE(p.a->port().inflight(), 1u); // still out: its buffer may be in use
		QCOMPARE(p.echo.kept.size(), size_t(1));
		p.b->respond(std::move(p.echo.kept.front()), 0);
		p.echo.kept.clear();
		p.rig.reactor->runUntil([&] { return p.a->port().inflight() == 0; });
		QCOMPARE(caller.outstanding(), 0u);
	}

	void aFullRingIsWaitedOutInOrder()
	{
		// Three clients of 256 against one ring of 512 slots whose owner does not look.
		Pair p;
		p.echo.answer = false;
		p.b->pauseRequests(true);
		std::vector<std::unique_ptr<ServedPort>> clients;
		for (xseg::PortNo n = 10; n < 13; ++n) {
			auto port = ServedPort::bind(*p.rig.reactor, p.buffers, n, 256, p.client);
			QVERIFY(port);
			clients.push_back(std::move(*port));
		}
		unsigned sent = 0;
		for (auto &port : clients)
			for (int i = 0; i < 256; ++i) {
				xseg::RequestRef request = port->port().get();
				QVERIFY(request);
				request->offset = sent++;
				port->submit(std::move(request), 2);
			}
		QVERIFY(!clients.back()->idle());
		p.b->pauseRequests(false);
		p.rig.reactor->runUntil([&] { return p.echo.kept.size() == sent; });
		for (auto &request : p.echo.kept) p.b->respond(std::move(request), 0);
		p.rig.reactor->runUntil([&] { return p.client.replies == sent; });
		QCOMPARE(p.client.failed, 0u);
	}

	void anObjectOperationWaitsForItsBlocker()
	{
		Pair p;
		for (int i = 0; i < 100; ++i) {
			xseg::RequestRef request = p.a->port().get();
			QVERIFY(request);
			request->op = static_cast<uint16_t>(Op::ObjRead);
			request->offset = static_cast<uint64_t>(i);
			p.a->submit(std::move(request), 50);
		}
		QVERIFY(!p.a->idle());
		p.rig.run(p.rig.reactor->sleepMs(30)); // some rounds of looking in vain
		QCOMPARE(p.client.replies, 0u);
		auto late = ServedPort::bind(*p.rig.reactor, p.buffers, 50, 256, p.echo);
		QVERIFY(late);
		p.rig.reactor->runUntil([&] { return p.client.replies == 100; });
		QCOMPARE(p.client.failed, 0u);
		QVERIFY(p.a->idle());
		QCOMPARE(p.a->port().inflight(), 0u);
	}

	void whatWaitsIsGivenBackWhenItsSenderGoes()
	{
		Pair p;
		xseg::RequestRef request = p.a->port().get(4096);
		request->op = static_cast<uint16_t>(Op::ObjWrite);
		p.a->submit(std::move(request), 50);
		QVERIFY(!p.a->idle());
		p.a.reset(); // nothing is out and nothing leaks: the port could unbind
		QCOMPARE(p.buffers.bytesInUse(), 0u);
	}

	void aControlMessageCarriesItsReason()
	{
		struct Refuser : PortHandler {
			void onRequest(ServedPort &port, xseg::RequestRef request) override
			{
				respondControl(port, std::move(request), failure(ErrorCode::Busy, "Cannot close db: 2 clients use it."));
			}
			void onReply(ServedPort &, xseg::RequestRef) override {}
		} refuser;
		Pair p;
		auto third = ServedPort::bind(*p.rig.reactor, p.buffers, 3, 64, refuser);
		QVERIFY(third);
		Caller caller(*p.a);
		p.client.caller = &caller;
		Result<void> result;
		auto go = [](Caller &c, Result<void> &out) -> Task<void> {
			xseg::RequestRef request = co_await c.acquire(kControlBytes);
			xseg::RequestRef reply = co_await c.call(std::move(request), 3);
			out = controlResult(reply, "closing db");
		};
		p.rig.run(go(caller, result));
		QVERIFY(!result);
		QCOMPARE(result.error().code, ErrorCode::Busy);
		QCOMPARE(result.error().message, std::string("Cannot close db: 2 clients use it."));
	}

	void closingAPortFailsItsCallersBack()
	{
		Pair p;
		Caller caller(*p.a);
		p.client.caller = &caller;
		p.echo.answer = false;
		int64_t out = 0;
		spawn(callOnce(caller, 1, 2, 0, out));
		p.rig.reactor->runUntil([&] { return p.echo.kept.size() == 1; });
		p.echo.kept.clear(); // dropped: fails back
		p.rig.reactor->runUntil([&] { return out != 0; });
		QVERIFY(out < 0);
		p.b.reset();
		out = 0;
		p.rig.run(callOnce(caller, 1, 2, 0, out));
		QCOMPARE(out, wireStatus(ErrorCode::Peer));
	}
};

QTEST_APPLESS_MAIN(TestServedPort)
#include "tst_served_port.moc"
