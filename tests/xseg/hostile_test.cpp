// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A broken peer writes random words into every table of the segment while others use it. Nothing of what they then do
// need make sense, but they must neither crash nor loop nor touch a byte outside of the data. Run with the address and
// undefined-behaviour sanitizers; the seed is printed (XSEG_SEED=n repeats a run).
#include "tests/xseg/segment_fixture.h"

#include "xseg/src/slab_word.h"
#include "xseg/src/state_word.h"

#include <random>

using namespace xseg;
using namespace xseg::test;

namespace {

class Vandal {
public:
	Vandal(const Segment &segment, uint64_t seed) : m_segment(segment), m_random(seed) {}

	uint64_t random() { return m_random(); }

	/// Any word of any table behind the header.
	void scribbleAnywhere()
	{
		const Geometry &g = m_segment.geometry();
		auto *const base = reinterpret_cast<uint64_t *>(m_segment.data().data() - g.offData);
		const uint64_t first = g.offPorts / 8, end = g.offData / 8;
		put(base[first + m_random() % (end - first)], m_random() >> m_random() % 64);
	}

	/// Where it hurts: plausible values in the fields that others act on.
	void scribbleCleverly()
	{
		const Geometry &g = m_segment.geometry();
		const auto index = RequestIndex(m_random() % 64);
		xs_req &request = m_segment.request(index);
		const auto port = PortNo(m_random() % 5);
		switch (m_random() % 12) {
		case 0: put(request.state, randomStateWord()); break;
		case 1: put(request.npath, uint16_t(m_random() % 20)); break;
		case 2: put(request.path[m_random() % XS_MAX_HOPS], uint32_t(m_random() % 5 << 16 | m_random() % 3)); break;
		case 3: put(request.data_blk, uint32_t(m_random() % (g.slabs * 512 + 100))); break;
		case 4: put(request.data_off, uint32_t(m_random() >> m_random() % 64)); break;
		case 5: put(request.data_len, uint32_t(m_random() >> m_random() % 64)); break;
		case 6: put(request.own_blk, uint32_t(m_random() % (g.slabs * 512))); break;
		case 7: put(m_segment.slab(uint32_t(m_random() % g.slabs)).owner, randomSlabWord()); break;
		case 8: pushEntry(port, index); break;
		case 9: put(m_segment.ring(port, anyDirection()).tail, m_random() >> m_random() % 64); break;
		case 10: put(m_segment.run(uint32_t(m_random() % 4)).owner, m_random() % 70); break;
		default: put(m_segment.ring(port, anyDirection()).slot[m_random() % 32], m_random() >> m_random() % 64); break;
		}
	}

private:
	template <typename T> void put(T &field, std::type_identity_t<T> value)
	{
		std::atomic_ref(field).store(value, std::memory_order_relaxed);
	}
	Direction anyDirection() { return m_random() % 2 ? Direction::Request : Direction::Reply; }
	uint64_t randomStateWord()
	{
		return pack(StateWord{.tag = uint32_t(m_random()),
		                      .state = uint8_t(m_random() % 5),
		                      .direction = uint8_t(m_random() % 3),
		                      .from = PortNo(m_random() % 5),
		                      .to = PortNo(m_random() % 5)});
	}
	uint64_t randomSlabWord()
	{
		return pack(SlabWord{.state = uint8_t(m_random() % 8),
		                     .backed = m_random() % 2 != 0,
		                     .classShift = uint8_t(m_random() % 30),
		                     .index = uint16_t(m_random() % 3),
		                     .port = uint16_t(m_random() % 5)});
	}
	/// Sends a request that is not ours to send, as a working ring entry.
	void pushEntry(PortNo port, RequestIndex index)
	{
		const Direction direction = anyDirection();
		xs_ring &ring = m_segment.ring(port, direction);
		const uint64_t head = std::atomic_ref(ring.head).load();
		put(m_segment.request(index).state,
		    uint64_t(XS_SENDING) << 36 | uint64_t(direction) << 32 | m_random() % 5 << 16 | port);
		put(ring.slot[head % 32], (2 * (head / 32) + 1) << 24 | index);
	}

	const Segment &m_segment;
	std::mt19937_64 m_random;
};

/// Three peers that do everything a peer can do, in one thread, whatever comes of it.
class Household {
public:
	explicit Household(const TestSegment &t) : m_t(t)
	{
		for (PortNo i = 0; i < kPeers; ++i) m_peers.push_back(std::make_unique<Peer>(t, PortNo(i + 1)));
	}

	void live(Vandal &random)
	{
		Peer &peer = *m_peers[random.random() % kPeers];
		if (!peer.port) return;
		Port &port = *peer.port;
		if (RequestRef request = port.get(uint32_t(random.random() % 70000))) {
			use(request);
			port.submit(request, PortNo(random.random() % 5));
			if (request && random.random() % 2) port.forward(request, PortNo(random.random() % 5));
		}
		if (RequestRef request = port.accept()) handle(port, std::move(request), random);
		if (RequestRef reply = port.receive()) handle(port, std::move(reply), random);
		if (m_held.size() > 40) m_held.clear();
		Waiter waiter(m_t.segment, m_t.bells, 0);
		waiter.takeReady();
		waiter.prepareSleep();
		waiter.wake();
		if (random.random() % 500 == 0) rebind(random.random() % kPeers);
		looked += m_t.segment.buffer(uint32_t(random.random()), uint32_t(random.random()), uint32_t(random.random()))
		              .has_value();
	}

	bool stayedInside() const { return m_inside; }
	uint64_t looked = 0;

private:
	static constexpr size_t kPeers = 3;

	void handle(Port &port, RequestRef request, Vandal &random)
	{
		use(request);
		switch (random.random() % 5) {
		case 0: port.respond(request, -1); break;
		case 1: port.forward(request, PortNo(random.random() % 5)); break;
		case 2: port.submit(request, PortNo(random.random() % 5)); break;
		case 3: m_held.push_back(std::move(request)); break;
		default: break; // dropped
		}
	}

	/// Touches both ends of the request's data.
	void use(const RequestRef &request)
	{
		const auto bytes = request.data();
		if (bytes.empty()) return;
		const auto all = m_t.segment.data();
		m_inside &= bytes.data() >= all.data() && bytes.data() + bytes.size() <= all.data() + all.size();
		if (!m_inside) return;
		bytes.front() = std::byte{1};
		bytes.back() = std::byte{2};
	}

	void rebind(size_t which)
	{
		m_held.clear();
		m_peers[which].reset();
		m_t.segment.port(PortNo(which + 1)).state = XS_PORT_FREE; // else a scribble here would end the test early
		m_peers[which] = std::make_unique<Peer>(m_t, PortNo(which + 1));
	}

	const TestSegment &m_t;
	std::vector<std::unique_ptr<Peer>> m_peers;
	std::vector<RequestRef> m_held; // goes before the ports do
	bool m_inside = true;
};

uint64_t seed()
{
	static const QString given = qEnvironmentVariable("XSEG_SEED");
	static const uint64_t value = given.isEmpty() ? std::random_device{}() : given.toULongLong();
	return value;
}

} // namespace

class HostileTest : public QObject {
	Q_OBJECT

private slots:
	void initTestCase() { qInfo("XSEG_SEED=%llu", static_cast<unsigned long long>(seed())); }
	void everythingIsGarbage();
	void wordByWord_data();
	void wordByWord();
	void concurrently();
	void handlesOfAllKinds();
};

/// All tables random at once, before anybody binds.
void HostileTest::everythingIsGarbage()
{
	for (uint64_t round = 0; round < 20; ++round) {
		const auto t = makeSegment();
		Vandal vandal(t.segment, seed() + round);
		auto *const base = reinterpret_cast<uint64_t *>(t.segment.data().data() - t.segment.geometry().offData);
		for (uint64_t i = t.segment.geometry().offPorts / 8; i < t.segment.geometry().offData / 8; ++i)
			base[i] = vandal.random();
		for (PortNo i = 0; i < 5; ++i) t.segment.port(i).state = XS_PORT_FREE;
		Household household(t);
		for (int i = 0; i < 100; ++i) household.live(vandal);
		QVERIFY(household.stayedInside());
	}
}

void HostileTest::wordByWord_data()
{
	QTest::addColumn<bool>("cleverly");
	QTest::newRow("anywhere") << false;
	QTest::newRow("cleverly") << true;
}

void HostileTest::wordByWord()
{
	QFETCH(bool, cleverly);
	for (uint64_t round = 0; round < 10; ++round) {
		const auto t = makeSegment();
		Vandal vandal(t.segment, seed() + round);
		Household household(t);
		for (int i = 0; i < 4000; ++i) {
			for (auto n = vandal.random() % 4; n > 0; --n)
				cleverly ? vandal.scribbleCleverly() : vandal.scribbleAnywhere();
			household.live(vandal);
		}
		QVERIFY(household.stayedInside());
	}
}

/// The same from another process, at the same time: what was checked may change before it is used.
void HostileTest::concurrently()
{
	const auto t = makeSegment();
	const uint64_t theirSeed = seed() + 1000;
	const pid_t vandalProcess = inChild(t, [=](const Segment &segment, const BellFds &) {
		Vandal vandal(segment, theirSeed);
		for (int i = 0; i < 1'500'000; ++i) vandal.scribbleCleverly();
	});
	Vandal random(t.segment, seed());
	Household household(t);
	int status = 0;
	uint64_t turns = 0;
	while (waitpid(vandalProcess, &status, WNOHANG) == 0) {
		for (int i = 0; i < 100; ++i, ++turns) household.live(random);
	}
	QVERIFY(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	QVERIFY(household.stayedInside());
	qInfo("%llu turns while the other scribbled", static_cast<unsigned long long>(turns));
}

void HostileTest::handlesOfAllKinds()
{
	const auto t = makeSegment();
	std::mt19937_64 random(seed());
	const auto all = t.segment.data();
	for (int i = 0; i < 300000; ++i) {
		t.segment.slab(uint32_t(random() % 32)).owner = random();
		const auto block = uint32_t(random() % (34 * 512));
		const auto offset = uint32_t(random() >> random() % 64), length = uint32_t(random() >> random() % 64);
		const auto bytes = t.segment.buffer(block, offset, length);
		if (!bytes) continue;
		QVERIFY(bytes->data() >= all.data() && bytes->data() + bytes->size() <= all.data() + all.size());
		QCOMPARE(bytes->size(), size_t(length));
	}
}

QTEST_GUILESS_MAIN(HostileTest)
#include "hostile_test.moc"
