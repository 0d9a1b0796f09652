// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Stopping: what is in flight ends, what comes later is told so, every attachment is given back.
#include "tests/daemon/composer/composer_rig.h"

using namespace archipelago;
using namespace archipelago::testing;

namespace {

struct Stopping {
	ComposerRig &rig;
	bool done = false;
	explicit Stopping(ComposerRig &r) : rig(r) { runtime::spawn(stop()); }
	runtime::Task<void> stop()
	{
		co_await rig.stopComposer();
		done = true;
	}
};

} // namespace

class StopTest : public QObject {
	Q_OBJECT

private slots:
	void stopDrainsThenDetaches()
	{
		ComposerRig rig;
		const xseg::PortNo one = rig.attach("a", 1, false, 11).sessionPort, two = rig.attach("b", 2, false, 12).sessionPort;
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), one);
		xseg::RequestRef lookup = rig.mapper.request();
		Stopping stopping(rig);
		settle(rig);
		QVERIFY(!stopping.done);
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), one); // too late: held, then refused
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), two);
		settle(rig);
		QVERIFY(rig.mapper.requests.empty());

		lookup.setArgs(placed(Placement::Zero, 0));
		rig.mapper.respond(std::move(lookup));
		std::vector<uint32_t> handles;
		for (int i = 0; i < 2; ++i) {
			xseg::RequestRef detach = rig.mapper.request();
			QVERIFY(detach);
			QCOMPARE(opOf(detach), Op::MapDetach);
			handles.push_back(detach.args<MapArgs>().handle);
			rig.mapper.respond(std::move(detach));
		}
		std::ranges::sort(handles);
		QCOMPARE(handles, (std::vector<uint32_t>{11, 12}));
		QVERIFY(turnUntil(rig, [&] { return stopping.done; }));
		QVERIFY(rig.stopped);
		unsigned ok = 0, refused = 0;
		for (int i = 0; i < 3; ++i) {
			const auto reply = rig.client.reply();
			QVERIFY(reply);
			ok += reply->status == 0;
			refused += reply->status != 0;
		}
		QCOMPARE(ok, 1u);
		QCOMPARE(refused, 2u);
	}

	void stopWaitsForAnAttachmentUnderWay()
	{
		ComposerRig rig;
		rig.submitAttach("v");
		xseg::RequestRef asked = rig.mapper.request();
		Stopping stopping(rig);
		rig.submitAttach("w"); // too late
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Peer));
		QVERIFY(!stopping.done);
		rig.agree(std::move(asked), 3, 8);
		xseg::RequestRef detach = rig.mapper.request();
		QVERIFY(detach);
		QCOMPARE(opOf(detach), Op::MapDetach);
		QCOMPARE(detach.args<MapArgs>().handle, 8u);
		rig.mapper.respond(std::move(detach), ErrorCode::Io);
		QVERIFY(turnUntil(rig, [&] { return stopping.done; }));
		QVERIFY(!rig.stopped); // what could not be detached is reported
		QCOMPARE(rig.stopped.error().code, ErrorCode::Io);
	}

	void stopWaitsForADetachUnderWay()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.client.make(Op::VolDetach), port);
		xseg::RequestRef detach = rig.mapper.request();
		Stopping stopping(rig);
		settle(rig);
		QVERIFY(!stopping.done);
		rig.mapper.respond(std::move(detach));
		QVERIFY(turnUntil(rig, [&] { return stopping.done; }));
		QVERIFY(rig.mapper.requests.empty()); // once is enough
		QCOMPARE(rig.client.reply()->status, 0);
	}

	void stopOfAnIdleComposerFreesItsPorts()
	{
		ComposerRig rig;
		Stopping stopping(rig);
		QVERIFY(turnUntil(rig, [&] { return stopping.done; }));
		QVERIFY(rig.stopped);
		Actor next(rig, kComposer);
	}
};

QTEST_APPLESS_MAIN(StopTest)
#include "tst_stop.moc"
