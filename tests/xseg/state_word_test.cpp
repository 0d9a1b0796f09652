// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The state word: layout, each legal transition, and that every other one changes nothing.
#include "xseg/src/state_word.h"

#include <QtTest>

using namespace xseg;

namespace {

constexpr PortNo kHome = 3, kPeer = 7, kOther = 9;

xs_req requestIn(const StateWord &word)
{
	xs_req request{};
	request.state = pack(word);
	return request;
}

} // namespace

class StateWordTest : public QObject {
	Q_OBJECT

private slots:
	void layout();
	void roundTrip();
	void aWholeLife();
	void recallGivesBack();
	void recallLosesAgainstTake();
	void recallOfAnEarlierLifeFails();
	void illegalTransitionsChangeNothing_data();
	void illegalTransitionsChangeNothing();
	void zeroIsFree();
};

void StateWordTest::layout()
{
	const uint64_t word = pack(
		{.tag = 0xabcdef, .state = XS_SENDING, .direction = XS_RING_REPLY, .from = 0x1234, .to = 0x5678});
	QCOMPARE(word, uint64_t(0xabcdef2112345678));
}

void StateWordTest::roundTrip()
{
	for (const uint64_t word : {uint64_t(0), ~uint64_t(0), uint64_t(0x0123456789abcdef)})
		QCOMPARE(pack(unpack(word)), word);
}

void StateWordTest::aWholeLife()
{
	xs_req request{};
	RequestState state(request);
	uint32_t tag = state.load().tag;
	const auto raised = [&] { return state.load().tag == ++tag; };
	QVERIFY(state.get(kHome) && raised());
	QVERIFY(state.ownedBy(kHome));
	QVERIFY(state.send(kHome, kPeer, Direction::Request) && raised());
	QVERIFY(!state.ownedBy(kHome) && !state.ownedBy(kPeer));
	QVERIFY(!state.take(kPeer, Direction::Reply)); // an entry in the wrong ring
	QVERIFY(!state.take(kOther, Direction::Request));
	QVERIFY(state.take(kPeer, Direction::Request) && raised());
	QVERIFY(!state.take(kPeer, Direction::Request)); // the second entry of a request that was pushed twice
	QCOMPARE(state.load().from, kHome);
	QVERIFY(state.send(kPeer, kHome, Direction::Reply) && raised());
	QVERIFY(state.take(kHome, Direction::Reply) && raised());
	QVERIFY(state.put(kHome) && raised());
	QCOMPARE(state.load().state, uint8_t(XS_FREE));
}

void StateWordTest::recallGivesBack()
{
	xs_req request{};
	RequestState state(request);
	QVERIFY(state.get(kHome));
	const auto sent = state.send(kHome, kPeer, Direction::Request);
	QVERIFY(sent && state.recall(*sent));
	QVERIFY(state.ownedBy(kHome));
	QVERIFY(!state.take(kPeer, Direction::Request)); // its entry is stale now
}

void StateWordTest::recallLosesAgainstTake()
{
	xs_req request{};
	RequestState state(request);
	QVERIFY(state.get(kHome));
	const auto sent = state.send(kHome, kPeer, Direction::Request);
	QVERIFY(sent && state.take(kPeer, Direction::Request));
	QVERIFY(!state.recall(*sent));
	QVERIFY(state.ownedBy(kPeer));
}

void StateWordTest::recallOfAnEarlierLifeFails()
{
	xs_req request{};
	RequestState state(request);
	QVERIFY(state.get(kHome));
	const auto first = state.send(kHome, kPeer, Direction::Request);
	QVERIFY(first && state.recall(*first));
	const auto second = state.send(kHome, kPeer, Direction::Request);
	QVERIFY(second);
	QVERIFY(!state.recall(*first)); // looks the same but for the tag
	QVERIFY(state.take(kPeer, Direction::Request));
}

void StateWordTest::illegalTransitionsChangeNothing_data()
{
	QTest::addColumn<uint8_t>("from");
	QTest::addColumn<QString>("transition");
	QTest::addColumn<bool>("legal");
	const std::pair<const char *, int> legalFrom[] = {
		{"get", XS_FREE}, {"put", XS_OWNED}, {"send", XS_OWNED}, {"take", XS_SENDING}};
	for (const auto &[transition, legal] : legalFrom) {
		for (int from = 0; from < 16; ++from) { // 4..15 are values that only a broken peer writes
			QTest::addRow("%s from %d", transition, from) << uint8_t(from) << QString(transition) << (from == legal);
		}
	}
}

void StateWordTest::illegalTransitionsChangeNothing()
{
	QFETCH(uint8_t, from);
	QFETCH(QString, transition);
	QFETCH(bool, legal);
	xs_req request = requestIn({.tag = 5, .state = from, .direction = XS_RING_REQUEST, .from = kPeer, .to = kHome});
	const uint64_t before = request.state;
	RequestState state(request);
	const bool done = transition == "get"    ? state.get(kHome)
	                  : transition == "put"  ? state.put(kHome)
	                  : transition == "send" ? state.send(kHome, kPeer, Direction::Request).has_value()
	                                         : state.take(kHome, Direction::Request);
	QCOMPARE(done, legal);
	QCOMPARE(request.state == before, !legal);

	// The right state, but somebody else's: never legal, except that anybody with the run may get a FREE one.
	if (transition == "get") return;
	xs_req foreign = requestIn({.tag = 5, .state = from, .direction = XS_RING_REQUEST, .from = kPeer, .to = kOther});
	const uint64_t foreignBefore = foreign.state;
	RequestState foreignState(foreign);
	QVERIFY(!foreignState.put(kHome) && !foreignState.send(kHome, kPeer, Direction::Request) &&
	        !foreignState.take(kHome, Direction::Request));
	QCOMPARE(foreign.state, foreignBefore);
}

void StateWordTest::zeroIsFree()
{
	QCOMPARE(unpack(0), StateWord{});
	QCOMPARE(unpack(0).state, uint8_t(XS_FREE));
}

QTEST_GUILESS_MAIN(StateWordTest)
#include "state_word_test.moc"
