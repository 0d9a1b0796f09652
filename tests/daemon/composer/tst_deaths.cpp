// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Mapper, blocker and clients go, at every station of a request. A port that is given up leaves what recovery leaves: it is
// bound no more, and what it held has failed back.
#include "tests/daemon/composer/composer_rig.h"

#include "daemon/runtime/port_life.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr int32_t kPeer = -static_cast<int32_t>(ErrorCode::Peer);

struct DeathRig : ComposerRig {
	xseg::PortNo port = attach().sessionPort;

	/// The mapper dies, and another one has its port.
	void newMapper()
	{
		mapper.leave();
		mapper.bind();
	}
	/// The session is of no use any more, and nobody hears of it; leaving it works.
	bool isOver()
	{
		for (const Op op : {Op::VolRead, Op::VolWrite}) {
			client.submit(io(op, 0, 4096), port);
			if (client.reply()->status != kPeer) return false;
		}
		for (const Op op : {Op::VolFlush, Op::VolDetach}) {
			client.submit(client.make(op), port);
			if (client.reply()->status != (op == Op::VolDetach ? 0 : kPeer)) return false;
		}
		settle(*this);
		return mapper.requests.empty() && attach().sessionPort == port; // its port is free again
	}
};

} // namespace

class DeathsTest : public QObject {
	Q_OBJECT

private slots:
	void anotherMapperNeverHearsOfAnOldHandle()
	{
		DeathRig rig;
		rig.newMapper();
		rig.client.submit(rig.span(Op::VolZero, 512, 9 * kBlockBytes, kFlagNoHole), rig.port);
		QCOMPARE(rig.client.reply()->status, kPeer);
		QVERIFY(rig.isOver());
	}

	/// Its client has died, it goes on in the blocker: were it to end after a write of the next client, that one would be lost.
	void whoComesNextWaitsForAWriteOfTheDead()
	{
		DeathRig rig;
		{
			Actor mortal(rig, 5);
			const xseg::PortNo session = rig.attachAs(mortal, "vol", 7, 100).sessionPort;
			QVERIFY(session);
			xseg::RequestRef write = mortal.make(Op::VolWrite, 4096, 0xaa);
			write->size = 4096;
			mortal.submit(std::move(write), session);
			rig.place(rig.asked(Op::MapWrite), Placement::Object);
		}
		xseg::RequestRef inPlace = rig.blocker.request();
		QVERIFY(inPlace);

		rig.submitAttach("vol");
		rig.agree(rig.asked(Op::MapAttach), 7, 101);
		QCOMPARE(rig.client.reply()->status, kPeer);
		xseg::RequestRef detach = rig.asked(Op::MapDetach);
		QCOMPARE(detach.args<MapArgs>().handle, 101u);
		rig.mapper.respond(std::move(detach));

		rig.blocker.respond(std::move(inPlace));
		detach = rig.asked(Op::MapDetach); // now the dead one's
		QCOMPARE(detach.args<MapArgs>().handle, 100u);
		rig.mapper.respond(std::move(detach));
		QVERIFY(rig.attach("vol", 7, false, 102).sessionPort);
	}

	void aMapperThatIsAwayIsEPeerAtOnce()
	{
		DeathRig rig;
		rig.mapper.leave();
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), rig.port);
		QCOMPARE(rig.client.reply()->status, kPeer);
		rig.submitAttach("v");
		QCOMPARE(rig.client.reply()->status, kPeer);
		rig.client.submit(rig.client.make(Op::VolDetach), rig.port);
		QCOMPARE(rig.client.reply()->status, 0);
		rig.mapper.bind();
	}

	void itDiesWithTheQuestion()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
		QVERIFY(rig.mapper.request());
		rig.newMapper();
		QCOMPARE(rig.client.reply()->status, kPeer);
		QVERIFY(rig.isOver());
	}

	void itDiesWithTheRecord()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
		rig.place(rig.asked(Op::MapWrite), Placement::Create);
		rig.blocker.respond(rig.blocker.request());
		QVERIFY(rig.asked(Op::MapRecord)); // dropped: nobody knows whether it was appended
		rig.newMapper();
		QCOMPARE(rig.client.reply()->status, kPeer); // never success
		QVERIFY(rig.isOver());
	}

	void itDiesWhileTheObjectIsCreated()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
		rig.place(rig.asked(Op::MapWrite), Placement::Create);
		xseg::RequestRef create = rig.blocker.request();
		rig.newMapper();
		rig.blocker.respond(std::move(create));
		QCOMPARE(rig.client.reply()->status, kPeer);
		settle(rig);
		QVERIFY(rig.mapper.requests.empty()); // a token of another one means nothing to it
		QVERIFY(rig.isOver());
	}

	void anOverwriteInPlaceEndsAsItEnds()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
		rig.client.submit(rig.io(Op::VolRead, kBlockBytes, 4096), rig.port);
		rig.place(rig.asked(Op::MapWrite), Placement::Object);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		xseg::RequestRef write = rig.blocker.request(), read = rig.blocker.request();
		rig.newMapper();
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), rig.port);
		QCOMPARE(rig.client.reply()->status, kPeer); // a later one is answered meanwhile
		rig.blocker.respond(std::move(write));
		QCOMPARE(rig.client.reply()->status, 0);
		rig.blocker.respond(std::move(read), ErrorCode::Io);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Io));
		QVERIFY(rig.isOver());
	}

	void fuaWithoutAMapperIsNotDone()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096, 1, true), rig.port);
		rig.place(rig.asked(Op::MapWrite), Placement::Object, false);
		xseg::RequestRef write = rig.blocker.request();
		rig.newMapper();
		rig.blocker.respond(std::move(write));
		QCOMPARE(rig.client.reply()->status, kPeer);
		QVERIFY(rig.mapper.requests.empty());
	}

	void aMissingObjectIsNotAskedAboutAnotherMapper()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), rig.port);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		xseg::RequestRef read = rig.blocker.request();
		rig.newMapper();
		rig.blocker.respond(std::move(read), ErrorCode::NotFound);
		QCOMPARE(rig.client.reply()->status, kPeer);
		QVERIFY(rig.mapper.requests.empty());
	}

	/// While one part works on the client's buffer, the client does not get it back.
	void allPartsComeBackFirst()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolRead, kBlockBytes - 512, 1024), rig.port);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		xseg::RequestRef read = rig.blocker.request();
		QVERIFY(rig.asked(Op::MapRead));
		rig.newMapper();
		settle(rig);
		QVERIFY(rig.client.replies.empty());
		rig.blocker.respond(std::move(read));
		QCOMPARE(rig.client.reply()->status, kPeer);
	}

	/// A successor that does not know the handle, on the way of a request that slipped through.
	void aMapperThatDoesNotKnowUsIsAnotherOne()
	{
		DeathRig rig;
		rig.client.submit(rig.client.make(Op::VolFlush), rig.port);
		rig.mapper.respond(rig.asked(Op::MapFlush), ErrorCode::NotOpen);
		QCOMPARE(rig.client.reply()->status, kPeer);
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
		QCOMPARE(rig.client.reply()->status, kPeer);
		QVERIFY(rig.mapper.requests.empty());
	}

	/// It said E-PEER, about somebody below it, but it lives: the attachment must be given back.
	void aMapperThatLivesIsTold()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), rig.port);
		rig.mapper.respond(rig.asked(Op::MapRead), ErrorCode::Peer);
		QCOMPARE(rig.client.reply()->status, kPeer);
		rig.client.submit(rig.client.make(Op::VolDetach), rig.port);
		xseg::RequestRef detach = rig.asked(Op::MapDetach);
		QCOMPARE(detach.args<MapArgs>().handle, 99u);
		rig.mapper.respond(std::move(detach), ErrorCode::NotOpen);
		QCOMPARE(rig.client.reply()->status, 0);
	}

	void itDiesWithTheAttachment()
	{
		DeathRig rig;
		rig.submitAttach("v");
		QVERIFY(rig.asked(Op::MapAttach));
		rig.newMapper();
		QCOMPARE(rig.client.reply()->status, kPeer);
		rig.submitAttach("v");
		rig.agree(rig.asked(Op::MapAttach), 3, 41);
		rig.newMapper(); // its answer is on the way, and worth nothing
		QCOMPARE(rig.client.reply()->status, kPeer);
		settle(rig);
		QVERIFY(rig.mapper.requests.empty());
	}

	void sessionsEndWithTheirMapper()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), rig.port);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		xseg::RequestRef read = rig.blocker.request();
		rig.newMapper();
		const uint32_t life = runtime::portLife(*rig.segment, rig.port);
		QVERIFY(life);
		rig.blocker.respond(std::move(read));
		QCOMPARE(rig.client.reply()->status, 0);
		QVERIFY(turnUntil(rig, [&] { return runtime::portLife(*rig.segment, rig.port) == 0; })); // and its client sees it
		QVERIFY(rig.mapper.requests.empty());
	}

	// ---- the blocker

	/// It comes back like this when several lives of the blocker could not do it: whoever waits may send it again.
	void whatNoBlockerCouldDoIsEPeerAndTheSessionGoesOn()
	{
		DeathRig rig;
		for (const int32_t status : {-EOWNERDEAD, -ECANCELED}) {
			rig.client.submit(rig.io(Op::VolRead, 0, 4096), rig.port);
			rig.place(rig.asked(Op::MapRead), Placement::Object);
			rig.blocker.respond(rig.blocker.request(), status);
			QCOMPARE(rig.client.reply()->status, kPeer);
		}
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
		rig.place(rig.asked(Op::MapWrite), Placement::Create);
		rig.blocker.respond(rig.blocker.request(), -EOWNERDEAD);
		xseg::RequestRef unlock = rig.asked(Op::MapRecord);
		QCOMPARE(unlock.args<RecordArgs>().stored, uint8_t{0});
		rig.mapper.respond(std::move(unlock));
		QCOMPARE(rig.client.reply()->status, kPeer);
		rig.client.submit(rig.client.make(Op::VolFlush), rig.port);
		rig.mapper.respond(rig.asked(Op::MapFlush));
		QCOMPARE(rig.client.reply()->status, 0);
	}
	void aBlockerThatIsAwayIsWaitedFor()
	{
		DeathRig rig;
		rig.client.submit(rig.io(Op::VolRead, kBlockBytes - 512, 1024, 0xaa), rig.port);
		rig.blocker.leave();
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		settle(rig);
		QVERIFY(rig.client.replies.empty());
		rig.blocker.bind();
		for (int part = 0; part < 2; ++part) rig.blocker.respond(rig.blocker.request());
		QCOMPARE(rig.client.reply()->status, 0);
	}

	// ---- clients

	void requestsOfAnotherAttachmentAreNotServed()
	{
		DeathRig rig;
		const uint64_t key = rig.client.keys.at(rig.port);
		for (const uint64_t wrong : {uint64_t{0}, key - 1, key + 1, ~key}) {
			rig.client.keys[rig.port] = wrong;
			rig.client.submit(rig.io(Op::VolWrite, 0, 4096), rig.port);
			QCOMPARE(rig.client.reply()->status, kPeer);
			rig.client.submit(rig.client.make(Op::VolDetach), rig.port);
			QCOMPARE(rig.client.reply()->status, kPeer);
		}
		QVERIFY(rig.mapper.requests.empty());
		rig.client.keys[rig.port] = key;
		rig.client.submit(rig.client.make(Op::VolFlush), rig.port);
		rig.mapper.respond(rig.asked(Op::MapFlush));
		QCOMPARE(rig.client.reply()->status, 0);
	}
	void anAttachmentAfterTheOtherHasAnotherKey()
	{
		DeathRig rig;
		const uint64_t key = rig.client.keys.at(rig.port);
		rig.client.submit(rig.client.make(Op::VolDetach), rig.port);
		rig.mapper.respond(rig.asked(Op::MapDetach));
		QCOMPARE(rig.client.reply()->status, 0);
		settle(rig);
		QCOMPARE(rig.attach().sessionPort, uint16_t(rig.port));
		QVERIFY(rig.client.keys.at(rig.port) != key);
	}

	void sessionsOfAClientThatDiedAreGivenBack()
	{
		DeathRig rig;
		auto mortal = std::make_unique<Actor>(rig, 5);
		QVERIFY(rig.attachAs(*mortal, "v", 5, 55).sessionPort);
		mortal.reset();
		xseg::RequestRef detach = rig.asked(Op::MapDetach); // within kSweepMs
		QCOMPARE(detach.args<MapArgs>().handle, 55u);
		rig.mapper.respond(std::move(detach));
		settle(rig);
		QVERIFY(rig.mapper.requests.empty()); // the other client is there still
	}

	/// No port is free because dead clients have them: they are looked for at once, and trying again works.
	void deadClientsDoNotUseUpThePorts()
	{
		DeathRig rig;
		auto mortal = std::make_unique<Actor>(rig, 5);
		for (uint32_t handle = 60; handle < 63; ++handle) QVERIFY(rig.attachAs(*mortal, "v", 6, handle).sessionPort);
		const xseg::PortNo busy = kComposer + 2;
		xseg::RequestRef read = mortal->make(Op::VolRead, 4096);
		read->size = 4096;
		mortal->submit(std::move(read), busy);
		xseg::RequestRef lookup = rig.asked(Op::MapRead);
		mortal.reset();
		rig.submitAttach("v");
		QCOMPARE(rig.client.reply()->status, kPeer);
		for (int i = 0; i < 2; ++i) {
			xseg::RequestRef detach = rig.asked(Op::MapDetach);
			QVERIFY(detach.args<MapArgs>().handle > 60); // the one with I/O in flight waits for it
			rig.mapper.respond(std::move(detach));
		}
		settle(rig);
		QVERIFY(rig.mapper.requests.empty());
		QVERIFY(rig.attach("v").sessionPort);
		lookup.setArgs(placed(Placement::Zero, 0));
		rig.mapper.respond(std::move(lookup));
		xseg::RequestRef detach = rig.asked(Op::MapDetach);
		QCOMPARE(detach.args<MapArgs>().handle, 60u);
		rig.mapper.respond(std::move(detach));
	}

	void stopWithoutAMapperEnds()
	{
		ComposerRig rig;
		rig.attach();
		rig.mapper.leave();
		rig.run(rig.stopComposer());
		QVERIFY(rig.stopped);
	}
};

QTEST_APPLESS_MAIN(DeathsTest)
#include "tst_deaths.moc"
