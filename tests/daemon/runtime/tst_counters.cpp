// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What is counted at a port that answers: each operation once, by its class, also when it is forwarded, dropped, or nonsense;
// and what it costs.
#include "rig.h"

#include "daemon/runtime/served_port.h"

#include <array>

using namespace archipelago;
using namespace archipelago::runtime;
using archipelago::testing::Rig;

namespace {

/// Keeps what comes, or passes it on.
struct Station : PortHandler {
	xseg::PortNo next = 0; ///< 0: keep
	std::vector<xseg::RequestRef> kept;
	void onRequest(ServedPort &port, xseg::RequestRef request) override
	{
		if (!next) return kept.push_back(std::move(request));
		request->op = static_cast<uint16_t>(Op::ObjRead); // the next one's language
		request->data_len = 0;
		port.forward(std::move(request), next);
	}
	void onReply(ServedPort &port, xseg::RequestRef request) override
	{
		if (request->npath) port.respond(std::move(request), 0);
	}
};

struct Counted {
	Rig rig;
	xseg::BufferPool buffers{*rig.segment, 1};
	Station client, station, last;
	std::unique_ptr<ServedPort> from, to, end;
	Counted()
	{
		from = bind(1, client, nullptr);
		const auto role = statsOfRole("vlmcd"), other = statsOfRole("blockerb");
		to = bind(2, station, &role);
		end = bind(3, last, &other);
	}
	std::unique_ptr<ServedPort> bind(xseg::PortNo number, PortHandler &handler, const xseg::StatsSubject *counted)
	{
		auto bound = ServedPort::bind(*rig.reactor, buffers, number, 256, handler, counted);
		if (!bound) qFatal("bind: %s", bound.error().message.c_str());
		return std::move(*bound);
	}
	void send(Op op, uint32_t bytes, uint64_t size = 0)
	{
		xseg::RequestRef request = bytes ? from->port().get(bytes) : from->port().get();
		if (!request) qFatal("no request");
		request->op = static_cast<uint16_t>(op);
		request->size = size;
		from->submit(std::move(request), 2);
	}
	void arrived(Station &where, size_t n)
	{
		rig.reactor->runUntil([&] { return where.kept.size() == n; });
	}
	void answerAll(Station &where, ServedPort &port, int32_t status)
	{
		for (auto &request : where.kept) port.respond(std::move(request), status);
		where.kept.clear();
		rig.reactor->runUntil([&] { return from->port().inflight() == 0; });
	}
	xs_stats stats(xseg::PortNo port) const
	{
		const auto copy = xseg::readStats(*rig.segment, port);
		if (!copy) qFatal("nothing is counted at port %d", port);
		return copy->record;
	}
};

uint64_t histogramSum(const xs_stat_class &c) { return latencyTotal(c.hist); }

} // namespace

class TestCounters : public QObject {
	Q_OBJECT

private slots:
	void eachOperationOnceByItsClass()
	{
		Counted c;
		c.send(Op::VolRead, 4096);
		c.send(Op::VolRead, 8192);
		c.send(Op::VolWrite, 512);
		c.send(Op::VolFlush, 0);
		c.send(Op::VolTrim, 0, 1 << 20);
		c.send(Op::VolZero, 0, 2 << 20);
		c.send(Op::VolExtents, 4096, 1 << 20);
		c.send(Op::Ping, 0);
		c.arrived(c.station, 8);
		QCOMPARE(c.stats(2).op[XS_STAT_READ].begun, uint64_t(2)); // in flight
		QCOMPARE(c.stats(2).op[XS_STAT_READ].ops, uint64_t(0));
		c.answerAll(c.station, *c.to, 0);
		const xs_stats stats = c.stats(2);
		const std::array<uint64_t, kOpClasses> ops{2, 1, 1, 2, 1, 1}, bytes{12288, 512, 0, 3 << 20, 0, 0};
		for (size_t i = 0; i < kOpClasses; ++i) {
			QCOMPARE(stats.op[i].ops, ops[i]);
			QCOMPARE(stats.op[i].begun, ops[i]);
			QCOMPARE(stats.op[i].bytes, bytes[i]);
			QCOMPARE(stats.op[i].errors, uint64_t(0));
			QCOMPARE(histogramSum(stats.op[i]), ops[i]);
		}
		QCOMPARE(std::string(reinterpret_cast<const char *>(stats.label), stats.label_len), std::string("vlmcd"));
		QVERIFY(!xseg::readStats(*c.rig.segment, 1)); // who only asks is not counted
	}

	void timeIsFromAcceptedToAnswered()
	{
		Counted c;
		c.send(Op::VolRead, 512);
		c.arrived(c.station, 1);
		const uint64_t begin = Reactor::nowNs();
		bool due = false;
		Timer timer(*c.rig.reactor, [&] { due = true; });
		timer.startMs(20);
		c.rig.reactor->runUntil([&] { return due; });
		c.answerAll(c.station, *c.to, 0);
		const uint64_t atMost = Reactor::nowNs() - begin + 50'000'000; // the accept may have been stamped somewhat earlier
		const xs_stat_class reads = c.stats(2).op[XS_STAT_READ];
		QVERIFY2(reads.ns >= 19'000'000 && reads.ns <= atMost, qPrintable(QString::number(reads.ns)));
		QCOMPARE(reads.hist[latencyBucket(reads.ns)], uint64_t(1));
	}

	void aFailureIsAnErrorAndNoBytes()
	{
		Counted c;
		c.send(Op::VolWrite, 4096);
		c.arrived(c.station, 1);
		c.answerAll(c.station, *c.to, wireStatus(ErrorCode::Io));
		const xs_stat_class writes = c.stats(2).op[XS_STAT_WRITE];
		QCOMPARE(writes.ops, uint64_t(1));
		QCOMPARE(writes.errors, uint64_t(1));
		QCOMPARE(writes.bytes, uint64_t(0));
	}

	/// Two stations on one reactor have the same request in hand, and it comes back with other fields.
	void aForwardedRequestCountsAtEachStationAsWhatItWasThere()
	{
		Counted c;
		c.station.next = 3;
		c.send(Op::VolWrite, 4096);
		c.arrived(c.last, 1);
		QCOMPARE(c.stats(2).op[XS_STAT_WRITE].begun, uint64_t(1));
		c.answerAll(c.last, *c.end, 0);
		QCOMPARE(c.stats(2).op[XS_STAT_WRITE].ops, uint64_t(1));
		QCOMPARE(c.stats(2).op[XS_STAT_WRITE].bytes, uint64_t(4096));
		QCOMPARE(c.stats(2).op[XS_STAT_READ].ops, uint64_t(0));
		QCOMPARE(c.stats(3).op[XS_STAT_READ].ops, uint64_t(1));
		QVERIFY(c.stats(2).op[XS_STAT_WRITE].ns >= c.stats(3).op[XS_STAT_READ].ns);
	}

	/// It fails back without an answer; when the request is used again it is known to have ended.
	void aDroppedRequestEndsAsAnError()
	{
		Counted c;
		for (int i = 0; i < 2; ++i) {
			c.send(Op::VolRead, 512);
			c.arrived(c.station, 1);
			c.station.kept.clear();
			c.rig.reactor->runUntil([&] { return c.from->port().inflight() == 0; });
		}
		const xs_stat_class reads = c.stats(2).op[XS_STAT_READ];
		QCOMPARE(reads.begun, uint64_t(2));
		QCOMPARE(reads.ops, uint64_t(1));
		QCOMPARE(reads.errors, uint64_t(1));
	}

	void nonsenseDoesNotSpoilTheSums()
	{
		Counted c;
		c.send(static_cast<Op>(54321), 512, ~uint64_t(0));
		c.send(Op::VolTrim, 0, ~uint64_t(0));
		c.arrived(c.station, 2);
		c.answerAll(c.station, *c.to, 0);
		QCOMPARE(c.stats(2).op[XS_STAT_OTHER].ops, uint64_t(1));
		QCOMPARE(c.stats(2).op[XS_STAT_OTHER].bytes, uint64_t(0));
		QCOMPARE(c.stats(2).op[XS_STAT_TRIM].bytes, kMaxVolumeBytes);
	}

	void aPortThatIsBoundAgainGoesOn()
	{
		Counted c;
		const auto once = [&] {
			c.send(Op::VolRead, 512);
			c.arrived(c.station, 1);
			c.answerAll(c.station, *c.to, 0);
		};
		once();
		const auto vlmcd = statsOfRole("vlmcd"), mapperd = statsOfRole("mapperd");
		c.to.reset();
		c.to = c.bind(2, c.station, &vlmcd);
		once();
		QCOMPARE(c.stats(2).op[XS_STAT_READ].ops, uint64_t(2));
		c.to.reset();
		c.to = c.bind(2, c.station, &mapperd);
		once();
		QCOMPARE(c.stats(2).op[XS_STAT_READ].ops, uint64_t(1));
	}

	/// Printed, and held to a bound that only a system call or an allocation would break.
	void whatItCosts()
	{
		Counted c;
		auto opened = ServedCounters::open(*c.rig.segment, 2, statsOfRole("vlmcd"));
		QVERIFY(opened);
		ServedCounters &counters = **opened;
		xs_req request{};
		request.op = static_cast<uint16_t>(Op::VolRead);
		request.data_len = 4096;
		constexpr int kRounds = 2'000'000;
		constexpr unsigned kInHand = 32;
		uint64_t best = UINT64_MAX;
		for (int run = 0; run < 3; ++run) {
			const uint64_t begin = Reactor::nowNs();
			for (int i = 0; i < kRounds; ++i) {
				const auto index = static_cast<xseg::RequestIndex>(i % kInHand);
				const uint64_t now = begin + static_cast<uint64_t>(i);
				counters.accepted(index, request, now);
				counters.responded(index, 0, now + 100'000 + static_cast<uint64_t>(i % 5000));
			}
			best = std::min(best, Reactor::nowNs() - begin);
		}
		uint64_t stamps = Reactor::nowNs(), sum = 0;
		for (int i = 0; i < kRounds; ++i) sum += c.rig.reactor->stampNs();
		stamps = Reactor::nowNs() - stamps;
		QVERIFY(sum != 0);
		const double perHop = static_cast<double>(best) / kRounds, perStamp = static_cast<double>(stamps) / kRounds;
		qInfo("accepted() and responded(): %.1f ns together; stampNs(): %.1f ns each", perHop, perStamp);
		QVERIFY(perHop < 500 && perStamp < 200);
	}
};

QTEST_GUILESS_MAIN(TestCounters)
#include "tst_counters.moc"
