// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The composer dies before, during and after an I/O: those who use a volume see a pause and no error, every I/O happens, and
// never to another volume.
#include "tests/daemon/gateway/nbd_rig.h"
#include "tests/daemon/gateway/sessions_rig.h"

using namespace archipelago;
using namespace archipelago::testing;
using gateway::OpenVolume;
using gateway::VolumeSession;
using gateway::VolumeSessions;

namespace {

constexpr int32_t kPeer = -static_cast<int32_t>(ErrorCode::Peer);

struct OutageRig : SessionsRig {
	OpenVolume volume;
	std::deque<Io> ios;
	std::vector<uint32_t> buffers;

	explicit OutageRig(uint32_t sessions = 3, bool onlyOpened = false) : SessionsRig(sessions, onlyOpened)
	{
		auto opened = open("blank");
		if (!opened) qFatal("open: %s", opened.error().message.c_str());
		volume = std::move(*opened);
	}
	~OutageRig()
	{
		turnUntil(*this, [this] { return !volume || volume->inflight() == 0; });
		volume.reset();
		for (const uint32_t buffer : buffers) volumes->buffers().free(buffer);
	}
	Io &submit(Op op, uint64_t offset = 0, uint8_t fill = 0)
	{
		const bool data = op == Op::VolRead || op == Op::VolWrite;
		uint32_t buffer = XS_NO_BUFFER;
		if (data) {
			buffer = volumes->buffers().allocate(512);
			std::memset(segment->buffer(buffer, 0, 512)->data(), fill, 512);
			buffers.push_back(buffer);
		}
		ios.emplace_back(op, offset, op == Op::VolFlush ? 0 : 512, buffer);
		volume->submit(ios.back());
		return ios.back();
	}
	std::byte stored(uint64_t offset, const std::string &name = "blank") { return composer.volumes.at(name).data[offset]; }
	bool heldBecomes(size_t count)
	{
		return turnUntil(*this, [&] { return composer.held.size() == count; });
	}
	/// All that was submitted is done, without an error.
	bool allDone()
	{
		const bool done = turnUntil(*this, [this] { return volume->inflight() == 0; });
		return done && std::ranges::all_of(ios, [](const Io &io) { return io.finished && io.ok; });
	}
	bool allFailed(ErrorCode code)
	{
		const bool done = turnUntil(*this, [this] { return volume->inflight() == 0; });
		return done && std::ranges::all_of(ios, [code](const Io &io) { return io.finished && !io.ok && io.error == code; });
	}
};

} // namespace

class OutageTest : public QObject {
	Q_OBJECT

private slots:
	void deathBefore()
	{
		OutageRig rig;
		rig.composer.die();
		rig.submit(Op::VolWrite, 512, 7);
		settle(rig);
		QVERIFY(!rig.ios[0].finished);
		rig.composer.live();
		QVERIFY(rig.allDone());
		QCOMPARE(rig.stored(512), std::byte{7});
		QCOMPARE(rig.composer.attaches, 2u);
	}

	void deathDuring()
	{
		OutageRig rig;
		rig.composer.holding = true;
		for (uint8_t i = 0; i < 5; ++i) rig.submit(Op::VolWrite, i * 512, uint8_t(i + 1));
		QVERIFY(rig.heldBecomes(5));
		rig.composer.die();
		settle(rig);
		for (uint8_t i = 5; i < 8; ++i) rig.submit(Op::VolWrite, i * 512, uint8_t(i + 1));
		settle(rig);
		QVERIFY(rig.composer.served.empty());
		rig.composer.live();
		QVERIFY(rig.allDone());
		for (uint8_t i = 0; i < 8; ++i) {
			QCOMPARE(rig.stored(i * 512), std::byte(i + 1));
			QCOMPARE(rig.composer.served[i].second, uint64_t{i} * 512); // in the order in which they came
		}
		QCOMPARE(rig.composer.served.size(), size_t{8});
	}

	/// What was answered is not done again, what was not is; also when it comes back in any order.
	void deathAfterSomeAnswers()
	{
		OutageRig rig;
		rig.composer.holding = true;
		for (uint8_t i = 0; i < 6; ++i) rig.submit(Op::VolWrite, i * 512, uint8_t(i + 1));
		QVERIFY(rig.heldBecomes(6));
		FakeComposer::Session *session = rig.composer.held.front().first;
		std::vector<xseg::RequestRef> requests;
		for (int i = 0; i < 6; ++i) requests.push_back(rig.composer.takeHeld());
		session->actor.respond(std::move(requests[4]));
		for (const size_t i : {5u, 2u, 0u}) session->actor.respond(std::move(requests[i]), -EOWNERDEAD);
		session->actor.respond(std::move(requests[1]));
		session->actor.respond(std::move(requests[3]), kPeer);
		settle(rig);
		requests.clear();
		rig.composer.release();
		QVERIFY(rig.allDone());
		using Served = std::vector<std::pair<Op, uint64_t>>;
		QCOMPARE(rig.composer.served, (Served{{Op::VolWrite, 0}, {Op::VolWrite, 1024}, {Op::VolWrite, 1536}, {Op::VolWrite, 2560}}));
	}

	/// An old copy of a write must end before anything newer sets out.
	void nothingIsSentUntilAllThatWasOutIsBack()
	{
		OutageRig rig;
		rig.composer.holding = true;
		rig.submit(Op::VolWrite, 0, 1);
		rig.submit(Op::VolWrite, 512, 2);
		QVERIFY(rig.heldBecomes(2));
		FakeComposer::Session *session = rig.composer.held.front().first;
		xseg::RequestRef first = rig.composer.takeHeld(), second = rig.composer.takeHeld();
		session->actor.respond(std::move(first), kPeer);
		settle(rig);
		rig.submit(Op::VolWrite, 1024, 3);
		settle(rig);
		QVERIFY(rig.composer.held.empty());
		QCOMPARE(rig.composer.attaches, 1u);
		QCOMPARE(rig.volume->state(), VolumeSession::State::Leaving);
		session->actor.respond(std::move(second)); // an answer is an answer
		QVERIFY(turnUntil(rig, [&] { return rig.ios[1].finished; }));
		QVERIFY(rig.ios[1].ok);
		rig.composer.holding = false;
		QVERIFY(rig.allDone());
		QCOMPARE(rig.composer.attaches, 2u);
		QCOMPARE(rig.composer.detaches, 1u); // the composer lived: its session was given back
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 1; }));
	}

	void twoOutagesInARow()
	{
		OutageRig rig;
		rig.composer.holding = true;
		rig.submit(Op::VolWrite, 0, 1);
		rig.submit(Op::VolRead, 512);
		QVERIFY(rig.heldBecomes(2));
		for (int outage = 0; outage < 3; ++outage) {
			rig.composer.die();
			settle(rig);
			rig.composer.live();
			rig.composer.holding = true;
			rig.submit(Op::VolWrite, 1024u + 512u * unsigned(outage), 9);
			QVERIFY(rig.heldBecomes(3u + size_t(outage)));
		}
		rig.composer.release();
		QVERIFY(rig.allDone());
		QCOMPARE(rig.stored(0), std::byte{1});
		QCOMPARE(rig.stored(2048), std::byte{9});
	}

	void itIsTriedUntilItWorks()
	{
		OutageRig rig;
		rig.composer.failAttachWith = kPeer;
		rig.composer.die();
		rig.composer.live();
		rig.submit(Op::VolFlush);
		QVERIFY(turnUntil(rig, [&] { return rig.composer.attaches == 6; })); // 0, 5, 10, 20, 40 ms later
		rig.composer.failAttachWith = wireStatus(ErrorCode::NoSpace); // this ends by itself too
		QVERIFY(turnUntil(rig, [&] { return rig.composer.attaches == 8; }));
		rig.composer.failAttachWith = 0;
		QVERIFY(rig.allDone());
		QVERIFY(rig.volume->longestPauseMs() >= 75);
	}

	/// I/O that brings down whoever serves it, or a composer without a mapper: again and again, but ever more slowly.
	void withoutProgressTriesGetRarer()
	{
		OutageRig rig;
		rig.composer.failIoWith = kPeer;
		rig.submit(Op::VolFlush);
		runtime::Timer timer(*rig.reactor, [] {});
		timer.startMs(600);
		QVERIFY(turnUntil(rig, [&] { return !timer.active(); }));
		QVERIFY(rig.composer.attaches >= 5u);
		QVERIFY(rig.composer.attaches <= 10u);
		rig.composer.failIoWith = 0;
		QVERIFY(rig.allDone());
		QVERIFY(rig.composer.sessionCount() == 1);
	}

	void theOperationIsRepeatedAsItWas()
	{
		OutageRig rig;
		rig.composer.holding = true;
		Io &write = rig.submit(Op::VolWrite, 0, 1);
		Io &flush = rig.submit(Op::VolFlush);
		Io &zero = rig.submit(Op::VolZero, 1024);
		QVERIFY(rig.heldBecomes(3));
		write.fua = zero.noHole = zero.fua = true; // nobody looks at them while they are out
		rig.composer.die();
		settle(rig);
		rig.submit(Op::VolWrite, 2048, 4);
		rig.composer.live();
		QVERIFY(rig.allDone());
		QCOMPARE(rig.composer.fuaWrites, 1u);
		QVERIFY(flush.ok);
		QCOMPARE(rig.composer.spans, (std::vector{FakeComposer::Span{Op::VolZero, 1024, 512, kFlagFua | kFlagNoHole}}));
		using Served = std::vector<std::pair<Op, uint64_t>>;
		QCOMPARE(rig.composer.served, (Served{{Op::VolWrite, 0}, {Op::VolFlush, 0}, {Op::VolZero, 1024}, {Op::VolWrite, 2048}}));
	}

	/// A mapper or blocker whose answer passes by a dead composer answers something else than what was asked.
	void anAnswerToSomethingElseIsNone()
	{
		OutageRig rig;
		rig.composer.holding = true;
		rig.submit(Op::VolWrite, 0, 1);
		QVERIFY(rig.heldBecomes(1));
		FakeComposer::Session *session = rig.composer.held.front().first;
		xseg::RequestRef request = rig.composer.takeHeld();
		request->op = static_cast<uint16_t>(Op::MapWrite);
		session->actor.respond(std::move(request), 0);
		settle(rig);
		QVERIFY(!rig.ios[0].finished);
		rig.composer.release();
		QVERIFY(rig.allDone());
		QCOMPARE(rig.stored(0), std::byte{1});
	}

	/// The ports of sessions are dealt anew. Whoever has not noticed must not write to the volume that has its port now.
	void aPortThatIsAnothersNow()
	{
		OutageRig rig;
		rig.composer.volumes["other"] = FakeComposer::Volume{5, false, true, std::vector<std::byte>(1u << 20), 0};
		auto other = rig.open("other");
		QVERIFY(other);
		QCOMPARE(rig.volume->attachment().sessionPort, uint16_t(kFakeSessions));
		rig.composer.die();
		rig.composer.live();
		Io flush(Op::VolFlush, 0, 0, XS_NO_BUFFER);
		(*other)->submit(flush);
		QVERIFY(turnUntil(rig, [&] { return flush.finished; }));
		QCOMPARE((*other)->attachment().sessionPort, uint16_t(kFakeSessions)); // it was the first to come back
		rig.submit(Op::VolWrite, 0, 0x66);
		QVERIFY(rig.allDone());
		QCOMPARE(rig.stored(0), std::byte{0x66});
		QCOMPARE(rig.stored(0, "other"), std::byte{0});
		QCOMPARE(rig.composer.foreign, 2u); // the write, and giving the old session back
		QCOMPARE(rig.composer.sessionCount(), size_t{2});
	}

	void anIdleVolumeComesBackToo()
	{
		OutageRig rig;
		rig.composer.die();
		rig.composer.live();
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 1; }));
		QCOMPARE(rig.composer.attaches, 2u);
		QVERIFY(turnUntil(rig, [&] { return rig.volume->state() == VolumeSession::State::Attached; }));
		rig.submit(Op::VolFlush);
		QVERIFY(rig.allDone());
	}

	// ---- not the same volume any more

	void theVolumeWasReplaced()
	{
		OutageRig rig;
		rig.composer.holding = true;
		rig.submit(Op::VolWrite, 0, 1);
		rig.submit(Op::VolFlush);
		QVERIFY(rig.heldBecomes(2));
		rig.composer.die();
		rig.composer.volumes.at("blank").id = 9;
		rig.composer.live();
		QVERIFY(rig.allFailed(ErrorCode::NotFound));
		rig.submit(Op::VolRead, 0);
		QVERIFY(!rig.ios.back().finished); // never inside submit()
		QVERIFY(rig.allFailed(ErrorCode::NotFound));
		QVERIFY(rig.composer.served.empty());
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 0; })); // the attachment was given back
		auto again = rig.open("blank"); // whoever opens now gets the new one
		QVERIFY(again);
		QCOMPARE((*again)->volume().bytes[0], uint8_t{9});
	}
	void theVolumeIsGone()
	{
		OutageRig rig;
		rig.submit(Op::VolFlush);
		QVERIFY(rig.allDone());
		rig.ios.clear();
		rig.composer.die();
		rig.composer.volumes.erase("blank");
		rig.composer.live();
		rig.submit(Op::VolWrite, 0, 1);
		QVERIFY(rig.allFailed(ErrorCode::NotFound));
	}
	void theVolumeIsSmaller()
	{
		OutageRig rig;
		rig.composer.die();
		rig.composer.volumes.at("blank").data.resize(1u << 20);
		rig.composer.live();
		rig.submit(Op::VolWrite, 0, 1);
		QVERIFY(rig.allFailed(ErrorCode::Io));
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 0; }));
	}
	void theVolumeHasGrown()
	{
		OutageRig rig;
		WatchingFront front;
		rig.volume->addFront(front);
		rig.composer.die();
		rig.composer.volumes.at("blank").data.resize(8u << 20);
		rig.composer.live();
		rig.submit(Op::VolFlush);
		QVERIFY(rig.allDone());
		QCOMPARE(front.told, uint64_t{8u << 20});
		rig.volume->removeFront(front);
	}
	void openingByNameIsNotAskedAgainWhetherItIsOpen()
	{
		OutageRig rig(3, true);
		QCOMPARE(rig.composer.lastAttach.onlyIfOpened, uint8_t{1});
		rig.composer.die();
		rig.composer.volumes.at("blank").opened = false; // the mapper has forgotten, too
		rig.composer.live();
		rig.submit(Op::VolFlush);
		QVERIFY(rig.allDone());
		QCOMPARE(rig.composer.lastAttach.onlyIfOpened, uint8_t{0});
	}

	// ---- opening, closing, stopping meanwhile

	void anOpenWaitsForTheComposer()
	{
		OutageRig rig;
		rig.composer.die();
		Result<OpenVolume> one = failure(ErrorCode::Failed, ""), two = failure(ErrorCode::Failed, "");
		runtime::spawn(rig.openInto("blank", one));
		runtime::spawn(rig.openInto("ro", two));
		settle(rig);
		rig.composer.live();
		QVERIFY(turnUntil(rig, [&] { return one && two; }));
		QCOMPARE(one->operator->(), rig.volume.operator->()); // in whatever order they came back
		rig.submit(Op::VolFlush);
		QVERIFY(rig.allDone());
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 2; }));
	}
	void anOpenDoesNotWaitForEver()
	{
		OutageRig rig;
		rig.composer.die();
		const uint64_t from = runtime::Reactor::nowNs();
		const auto opened = rig.open("ro");
		const uint64_t ms = (runtime::Reactor::nowNs() - from) / 1'000'000;
		QCOMPARE(opened.error().code, ErrorCode::Peer);
		QVERIFY(ms >= VolumeSessions::kOpenPatienceMs && ms < VolumeSessions::kOpenPatienceMs + 1500);
		rig.composer.live();
	}

	void closingMeanwhile_data()
	{
		QTest::addColumn<bool>("back");
		QTest::newRow("the composer is away") << false;
		QTest::newRow("the composer comes back") << true;
	}
	void closingMeanwhile()
	{
		QFETCH(bool, back);
		OutageRig rig;
		rig.composer.die();
		QVERIFY(turnUntil(rig, [&] { return rig.volume->state() == VolumeSession::State::Away; }));
		rig.volume.reset();
		if (back) rig.composer.live();
		rig.run(rig.stop());
		QVERIFY(rig.stopped);
		QCOMPARE(rig.composer.sessionCount(), size_t{0});
	}

	void stopFailsWhatIsHeld()
	{
		OutageRig rig;
		rig.composer.holding = true;
		rig.submit(Op::VolWrite, 0, 1);
		rig.submit(Op::VolFlush);
		QVERIFY(rig.heldBecomes(2));
		rig.composer.die();
		settle(rig);
		const uint64_t from = runtime::Reactor::nowNs();
		rig.volumes->beginStop();
		QVERIFY(rig.allFailed(ErrorCode::Peer));
		rig.volume.reset();
		rig.run(rig.stop());
		QVERIFY(rig.stopped);
		QVERIFY(runtime::Reactor::nowNs() - from < 5'000'000'000u);
	}
	void stopWaitsALittleForTheComposer()
	{
		OutageRig rig;
		rig.composer.holding = true;
		rig.submit(Op::VolWrite, 0, 1);
		QVERIFY(rig.heldBecomes(1));
		rig.composer.die();
		rig.volumes->beginStop();
		settle(rig);
		rig.composer.live();
		QVERIFY(rig.allDone());
	}

	// ---- as an NBD client sees it

	void aClientSeesAPauseAndNoError()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		const std::string data = pattern(3u << 20, 5);
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(1, 1, 2u << 20, 3u << 20).bytes() + data + Wire::command(6, 2, 0, 4096).bytes()));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 3; }));
		rig.composer->die();
		QVERIFY(client.send(Wire::command(3, 3, 0, 0)));
		QVERIFY(client.quiet());
		rig.composer->live();
		const std::string replies = client.receive(48);
		for (uint64_t cookie = 1; cookie <= 3; ++cookie) QVERIFY(replies.find(Wire::reply(0, cookie)) != std::string::npos);
		QVERIFY(std::memcmp(rig.blank().data() + (2u << 20), data.data(), data.size()) == 0);
	}
	/// It hears no error but the end of the connection: one that connects again may send it again.
	void stoppingWithoutAComposerCutsClientsOff()
	{
		NbdRig rig;
		NbdClient client = rig.connect(), idle = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(idle.go("ro"));
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(0, 1, 0, 4096).bytes() + Wire::command(3, 2, 0, 0).bytes()));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 2; }));
		rig.composer->die();
		const uint64_t from = runtime::Reactor::nowNs();
		rig.run(rig.stop());
		QVERIFY(rig.stopped);
		QVERIFY(runtime::Reactor::nowNs() - from < 5'000'000'000u);
		QVERIFY(client.atEnd());
		QVERIFY(idle.atEnd());
	}
};

QTEST_APPLESS_MAIN(OutageTest)
#include "tst_outage.moc"
