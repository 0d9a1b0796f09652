// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The control port and the life of sessions: attach, limits, refusals, list, detach.
#include "tests/daemon/composer/composer_rig.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

std::string messageOf(const xseg::RequestRef &reply)
{
	const Result<void> result = runtime::controlResult(reply, "it");
	return result ? std::string() : result.error().message;
}

} // namespace

class AttachTest : public QObject {
	Q_OBJECT

private slots:
	void pingIsAnsweredOnBothPorts()
	{
		ComposerRig rig;
		const AttachReply session = rig.attach();
		for (const xseg::PortNo port : {kComposer, xseg::PortNo(session.sessionPort)}) {
			rig.client.submit(rig.client.make(Op::Ping), port);
			const auto reply = rig.client.reply();
			QVERIFY(reply);
			QCOMPARE(reply->status, 0);
		}
	}

	void attachGoesThroughToTheMapper()
	{
		ComposerRig rig;
		rig.submitAttach("db");
		xseg::RequestRef asked = rig.mapper.request();
		QVERIFY(asked);
		QCOMPARE(opOf(asked), Op::MapAttach);
		QCOMPARE(asked->size, uint64_t{2});
		QCOMPARE(std::memcmp(asked.data().data(), "db", 2), 0);
		QCOMPARE(asked.args<AttachArgs>().holder, Holder::Nbd);
		rig.agree(std::move(asked), 3, 41);

		const auto reply = rig.client.reply();
		QVERIFY(reply);
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolAttach);
		const auto got = reply.args<AttachReply>();
		QCOMPARE(got.volume, volumeId(3));
		QCOMPARE(got.sizeBytes, kVolumeBytes);
		QCOMPARE(got.handle, 0u); // the mapper's handle is nobody else's business
		QCOMPARE(got.sessionPort, uint16_t(kComposer + 1));
	}

	void theMappersRefusalComesWithItsMessage()
	{
		ComposerRig rig;
		rig.submitAttach("db");
		xseg::RequestRef asked = rig.mapper.request();
		runtime::respondControl(rig.mapper.port(), std::move(asked), failure(ErrorCode::NotFound, "There is no volume db."));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, wireStatus(ErrorCode::NotFound));
		QCOMPARE(messageOf(reply), std::string("There is no volume db."));
		QCOMPARE(rig.attach().sessionPort, uint16_t(kComposer + 1)); // the port it had taken is free again
	}

	void portsRunOutWithTheirNumber()
	{
		ComposerRig rig;
		for (uint8_t i = 0; i < 4; ++i) QCOMPARE(rig.attach("v", i + 1).sessionPort, uint16_t(kComposer + 1 + i));
		rig.submitAttach("v");
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, wireStatus(ErrorCode::Limit));
		QVERIFY(messageOf(reply).find("all 4 client ports") != std::string::npos);
		QVERIFY(rig.mapper.requests.empty());
	}

	void aPortThatSomebodyElseHasIsAnError()
	{
		ComposerRig rig;
		Actor squatter(rig, kComposer + 1);
		rig.submitAttach("v");
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Peer));
	}

	void malformedAttachmentsAreRefused()
	{
		ComposerRig rig;
		const auto expectInvalid = [&](xseg::RequestRef request) {
			rig.client.submit(std::move(request), kComposer);
			const auto reply = rig.client.reply();
			return reply && reply->status == wireStatus(ErrorCode::Invalid);
		};
		xseg::RequestRef noName = rig.client.make(Op::VolAttach, kControlBytes);
		QVERIFY(expectInvalid(std::move(noName)));
		xseg::RequestRef longName = rig.client.make(Op::VolAttach, kControlBytes);
		longName->size = kMaxNameBytes + 1;
		QVERIFY(expectInvalid(std::move(longName)));
		xseg::RequestRef noData = rig.client.make(Op::VolAttach);
		noData->size = 3;
		QVERIFY(expectInvalid(std::move(noData)));
		xseg::RequestRef noBuffer = rig.client.make(Op::VolAttach);
		noBuffer->size = 3;
		noBuffer->data_blk = 0xfffffff0;
		noBuffer->data_len = 512;
		QVERIFY(expectInvalid(std::move(noBuffer)));
		xseg::RequestRef holder = rig.client.make(Op::VolAttach, kControlBytes);
		holder->size = 3;
		AttachArgs args;
		args.holder = static_cast<Holder>(77);
		holder.setArgs(args);
		QVERIFY(expectInvalid(std::move(holder)));
		QVERIFY(rig.mapper.requests.empty());
	}

	void anImpossibleVolumeIsGivenBack()
	{
		ComposerRig rig;
		rig.submitAttach("v");
		xseg::RequestRef asked = rig.mapper.request();
		AttachReply says;
		says.volume = volumeId(3);
		says.sizeBytes = kMaxVolumeBytes + 512;
		says.handle = 5;
		asked.setArgs(says);
		rig.mapper.respond(std::move(asked));
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Corrupt));
		xseg::RequestRef detach = rig.mapper.request();
		QVERIFY(detach);
		QCOMPARE(opOf(detach), Op::MapDetach);
		QCOMPARE(detach.args<MapArgs>().handle, 5u);
		rig.mapper.respond(std::move(detach));
	}

	void listGoesThroughAndBack()
	{
		ComposerRig rig;
		xseg::RequestRef list = rig.client.make(Op::VolList, 4096);
		ListArgs args;
		args.cursor = 12;
		list.setArgs(args);
		rig.client.submit(std::move(list), kComposer);
		xseg::RequestRef asked = rig.mapper.request();
		QCOMPARE(opOf(asked), Op::CatList);
		QCOMPARE(asked.args<ListArgs>().cursor, uint64_t{12});
		VolumeInfo info;
		info.nameLength = 1;
		info.name[0] = 'a';
		std::memcpy(asked.data().data(), &info, sizeof info);
		asked->serviced = sizeof info;
		rig.mapper.respond(std::move(asked));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolList);
		QCOMPARE(reply->serviced, uint64_t{sizeof info});
	}

	void withoutAMapperEverythingIsEPeer()
	{
		Rig rig;
		Config config;
		RoleConfig role = composerRole();
		Actor client(rig, kClient);
		auto peer = composer::makeComposer(runtime::PeerContext(*rig.reactor, config), role);
		rig.run(start(*peer));
		xseg::RequestRef list = client.make(Op::VolList, 4096);
		client.submit(std::move(list), kComposer);
		QCOMPARE(client.reply()->status, wireStatus(ErrorCode::Peer));
		xseg::RequestRef attach = client.make(Op::VolAttach, kControlBytes, 'x');
		attach->size = 3;
		client.submit(std::move(attach), kComposer);
		QCOMPARE(client.reply()->status, wireStatus(ErrorCode::Peer));
		rig.run(stop(*peer));
	}

	void unknownOperationsAreUnsupported()
	{
		ComposerRig rig;
		const AttachReply session = rig.attach();
		for (const xseg::PortNo port : {kComposer, xseg::PortNo(session.sessionPort)}) {
			for (const uint16_t op : {uint16_t(Op::ObjRead), uint16_t(Op::MapRead), uint16_t(0), uint16_t(60000)}) {
				rig.client.submit(rig.client.make(static_cast<Op>(op), kControlBytes), port);
				QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Unsupported));
			}
		}
	}

	void detachWaitsForWhatIsInFlight()
	{
		ComposerRig rig;
		const AttachReply session = rig.attach();
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), session.sessionPort);
		xseg::RequestRef lookup = rig.mapper.request();
		QCOMPARE(opOf(lookup), Op::MapRead);
		rig.client.submit(rig.client.make(Op::VolDetach), session.sessionPort);
		settle(rig);
		QVERIFY(rig.mapper.requests.empty()); // not yet
		// What comes behind it is late.
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), session.sessionPort);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::NotOpen));

		lookup.setArgs(placed(Placement::Zero, 0));
		rig.mapper.respond(std::move(lookup));
		QCOMPARE(opOf(rig.client.reply()), Op::VolRead);
		xseg::RequestRef detach = rig.mapper.request();
		QCOMPARE(opOf(detach), Op::MapDetach);
		QCOMPARE(detach.args<MapArgs>().handle, 99u);
		rig.mapper.respond(std::move(detach));
		const auto reply = rig.client.reply();
		QCOMPARE(opOf(reply), Op::VolDetach);
		QCOMPARE(reply->status, 0);
		settle(rig);
		QCOMPARE(rig.attach().sessionPort, session.sessionPort); // its port is free again
	}

	void aFailedDetachEndsTheSessionToo()
	{
		ComposerRig rig;
		const AttachReply session = rig.attach();
		rig.client.submit(rig.client.make(Op::VolDetach), session.sessionPort);
		rig.mapper.respond(rig.mapper.request(), ErrorCode::Io);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Io));
		settle(rig);
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), session.sessionPort);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Peer)); // nobody is there
	}

private:
	static runtime::Task<void> start(runtime::Peer &peer)
	{
		const Result<void> started = co_await peer.start();
		if (!started) qFatal("start");
	}
	static runtime::Task<void> stop(runtime::Peer &peer)
	{
		const Result<void> stopped = co_await peer.stop();
		if (!stopped) qFatal("stop");
	}
};

QTEST_APPLESS_MAIN(AttachTest)
#include "tst_attach.moc"
