// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Peers in threads of one process that sleep when there is nothing to do. Every request must come back exactly once; a
// lost wake-up shows as a time-out of waitForWork(). Run with the thread sanitizer as well.
#include "tests/xseg/segment_fixture.h"

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <thread>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kComposer = 20, kBlocker = 21;
constexpr uint32_t kComposerWaiter = 1, kBlockerWaiter = 2, kClientWaiter = 0;

/// Serves a port in a thread of its own until told to stop. `serve` is called for each request, `pass` for each reply to a
/// forwarded one; what they cannot send is kept and tried again.
class PeerThread {
public:
	using Handler = std::function<bool(Port &, RequestRef &)>;

	PeerThread(const TestSegment &t, PortNo number, uint32_t waiter, Handler serve, Handler pass = {})
		: m_t(t),
		  m_number(number),
		  m_waiter(waiter),
		  m_serve(std::move(serve)),
		  m_pass(std::move(pass)),
		  m_thread([this] { run(); })
	{
		m_bound.wait(false); // std::atomic::wait: within one process it is the right thing
	}
	~PeerThread()
	{
		m_stop = true;
		ring(m_t.segment, m_t.bells, m_waiter);
		m_thread.join();
	}
	bool lostAWakeUp() const { return m_lost; }

private:
	void run()
	{
		Peer peer(m_t, m_number, {.waiter = m_waiter});
		Waiter waiter(m_t.segment, m_t.bells, m_waiter);
		std::vector<RequestRef> waiting;
		m_bound = true;
		m_bound.notify_all();
		while (!m_stop) {
			bool moved = std::erase_if(waiting, [&](RequestRef &r) { return m_serve(*peer.port, r); }) != 0;
			while (RequestRef reply = peer->receive()) {
				moved = true;
				if (m_pass) m_pass(*peer.port, reply);
			}
			while (RequestRef request = peer->accept()) {
				moved = true;
				if (!m_serve(*peer.port, request)) waiting.push_back(std::move(request));
			}
			if (moved || !waiting.empty()) continue;
			if (!waitForWork(waiter) && !m_stop) m_lost = m_stop = true;
		}
	}

	const TestSegment &m_t;
	PortNo m_number;
	uint32_t m_waiter;
	Handler m_serve, m_pass;
	std::atomic<bool> m_bound = false, m_stop = false, m_lost = false;
	std::jthread m_thread;
};

bool answerDoubled(Port &port, RequestRef &request)
{
	request->serviced = 2 * request->offset;
	return port.respond(request, 0);
}

/// Sends `count` requests with at most `window` out, and checks each reply. Returns what went wrong, or nothing.
std::string runClient(const TestSegment &t, PortNo number, uint32_t waiterIndex, PortNo to, uint64_t count,
                      uint32_t window)
{
	Peer client(t, number, {.waiter = waiterIndex, .maxInflight = window});
	Waiter waiter(t.segment, t.bells, waiterIndex);
	std::vector<bool> seen(count);
	uint64_t sent = 0, back = 0;
	while (back < count) {
		bool full = false;
		while (sent < count && !full) {
			RequestRef request = client->get(512);
			if (!request) break; // no credit
			request->offset = sent;
			std::memcpy(request.data().data(), &sent, sizeof sent);
			full = !client->submit(request, to);
			if (!full) ++sent;
		}
		bool moved = false;
		while (RequestRef reply = client->receive()) {
			uint64_t payload = 0;
			std::memcpy(&payload, reply.data().data(), sizeof payload);
			if (reply->status != 0) return "a request failed";
			if (reply->offset >= count || seen[reply->offset]) return "a reply came twice, or was never asked for";
			if (payload != reply->offset || reply->serviced != 2 * reply->offset) return "a reply with other contents";
			seen[reply->offset] = true;
			++back;
			moved = true;
		}
		if (moved || back == count) continue;
		if (full && client->inflight() == 0)
			std::this_thread::yield(); // nobody tells us of room in a ring; with replies on their way they wake us
		else if (!waitForWork(waiter))
			return "a wake-up was lost";
	}
	return {};
}

} // namespace

class PortThreadsTest : public QObject {
	Q_OBJECT

private slots:
	void pair_data();
	void pair();
	void chain();
	void manyClients();
	void leavingWhileOthersSend();
};

void PortThreadsTest::pair_data()
{
	QTest::addColumn<quint32>("window");
	QTest::newRow("one at a time") << 1u;
	QTest::newRow("sixteen") << 16u;
}

void PortThreadsTest::pair()
{
	QFETCH(quint32, window);
	const auto t = makeSegment();
	PeerThread blocker(t, kBlocker, kBlockerWaiter, answerDoubled);
	QCOMPARE(runClient(t, 1, kClientWaiter, kBlocker, 1000 + 200 * window, window), std::string());
	QVERIFY(!blocker.lostAWakeUp());
	QCOMPARE(requestsInUse(t.segment), 0u);
}

void PortThreadsTest::chain()
{
	const auto t = makeSegment();
	PeerThread blocker(t, kBlocker, kBlockerWaiter, answerDoubled);
	PeerThread composer(
		t, kComposer, kComposerWaiter, [](Port &port, RequestRef &request) { return port.forward(request, kBlocker); },
		[](Port &port, RequestRef &reply) { return port.respond(reply, reply->status); });
	QCOMPARE(runClient(t, 1, kClientWaiter, kComposer, 2000, 16), std::string());
	QVERIFY(!blocker.lostAWakeUp() && !composer.lostAWakeUp());
	QCOMPARE(requestsInUse(t.segment), 0u);
}

/// Three clients with 16 each on a ring of 32: it is full all the time.
void PortThreadsTest::manyClients()
{
	const auto t = makeSegment();
	PeerThread blocker(t, kBlocker, kBlockerWaiter, answerDoubled);
	std::array<std::string, 3> wrong;
	{
		std::vector<std::jthread> clients;
		const uint32_t waiters[] = {0, 1, 3};
		for (size_t i = 0; i < wrong.size(); ++i) {
			clients.emplace_back([&, i] { wrong[i] = runClient(t, PortNo(1 + i), waiters[i], kBlocker, 1500, 16); });
		}
	}
	for (const std::string &what : wrong) QCOMPARE(what, std::string());
	QVERIFY(!blocker.lostAWakeUp());
	QCOMPARE(requestsInUse(t.segment), 0u);
}

/// Ports that bind, serve a little and unbind under fire, each number once, so that no successor finds what was left. Each
/// submit either fails at once or is answered (done or cancelled); one that slips in between "is it bound?" and the drain
/// of the one who leaves would never come back.
void PortThreadsTest::leavingWhileOthersSend()
{
	constexpr unsigned kSegments = 4, kServedPerLife = 5;
	unsigned done = 0, cancelled = 0;
	for (unsigned i = 0; i < kSegments; ++i) {
		const auto t = makeSegment();
		const PortNo lives = PortNo(t.segment.geometry().ports);
		std::atomic<PortNo> current = 0;
		std::atomic<bool> stop = false;
		std::jthread leaver([&] {
			for (PortNo port = 2; port < lives; ++port) {
				Peer peer(t, port, {.waiter = kBlockerWaiter});
				current = port;
				for (unsigned served = 0; served < kServedPerLife && !stop;) {
					RequestRef request = peer->accept();
					if (request && peer->respond(request, 0))
						++served;
					else
						std::this_thread::yield();
				}
			}
			stop = true;
		});
		unsigned lost = 0;
		{
			Peer client(t, 1);
			Waiter waiter(t.segment, t.bells, 0);
			while (lost == 0 && (!stop || client->inflight() > 0)) {
				bool refused = stop;
				while (!refused) {
					RequestRef request = client->get();
					refused = !request || !client->submit(request, current);
				}
				while (RequestRef reply = client->receive()) ++(reply->status == 0 ? done : cancelled);
				if (client->inflight() > 0)
					lost = waitForWork(waiter) ? 0 : client->inflight();
				else
					std::this_thread::yield(); // between two lives
			}
		}
		stop = true;
		leaver.join();
		QCOMPARE(lost, 0u);
		QCOMPARE(requestsInUse(t.segment), 0u);
		QCOMPARE(done, (i + 1) * (lives - 2) * kServedPerLife);
	}
	qInfo("%u done, %u cancelled", done, cancelled);
}

QTEST_GUILESS_MAIN(PortThreadsTest)
#include "port_threads_test.moc"
