// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The way of trims and zeros, station by station: parts are punched, whole blocks dropped in one go, and zeros that must be
// there are written.
#include "tests/daemon/composer/composer_rig.h"

#include <algorithm>
#include <map>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint32_t kFill = 256 * 1024; ///< zeros are written in pieces of this much

/// Answers every question of the mapper's and the blocker's by itself, and counts them.
struct Automatic {
	std::map<Op, unsigned> count;
	explicit Automatic(ComposerRig &rig)
	{
		rig.mapper.automatic = [this, &rig](xseg::RequestRef r) {
			const Op op = opOf(r);
			++count[op];
			if (op == Op::MapWrite || op == Op::MapRead) r.setArgs(placed(Placement::Object, r.args<MapArgs>().block));
			rig.mapper.respond(std::move(r));
		};
		rig.blocker.automatic = [this, &rig](xseg::RequestRef r) {
			++count[opOf(r)];
			rig.blocker.respond(std::move(r));
		};
	}
};

} // namespace

class SpansTest : public QObject {
	Q_OBJECT

private slots:
	void partOfABlockIsPunched_data()
	{
		QTest::addColumn<int>("op");
		QTest::newRow("trim") << int(Op::VolTrim);
		QTest::newRow("zero") << int(Op::VolZero);
	}
	void partOfABlockIsPunched()
	{
		QFETCH(int, op);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		xseg::RequestRef trim = rig.span(static_cast<Op>(op), 3 * kBlockBytes + 8192, 12288);
		const auto index = trim.index();
		rig.client.submit(std::move(trim), port);
		xseg::RequestRef lookup = rig.mapper.request();
		QCOMPARE(opOf(lookup), Op::MapPunch);
		QCOMPARE(lookup.index(), index); // the client's own request
		QCOMPARE(lookup.args<MapArgs>().handle, 99u);
		QCOMPARE(lookup.args<MapArgs>().block, 3u);
		lookup.setArgs(placed(Placement::Object, 3));
		rig.mapper.respond(std::move(lookup));
		xseg::RequestRef punch = rig.blocker.request();
		QCOMPARE(opOf(punch), Op::ObjPunch);
		QCOMPARE(punch->offset, uint64_t{8192});
		QCOMPARE(punch->size, uint64_t{12288});
		QCOMPARE(punch->data_len, 0u);
		QCOMPARE(punch->flags, 0u);
		QCOMPARE(punch.args<ObjectArgs>().id, objectId(3));
		settle(rig);
		QVERIFY(rig.client.replies.empty());
		rig.blocker.respond(std::move(punch));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), static_cast<Op>(op));
		QCOMPARE(reply->offset, 3 * kBlockBytes + 8192);
		QCOMPARE(reply->size, uint64_t{12288});
	}

	void partOfNothingIsDone()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.span(Op::VolTrim, 0, 4096), port);
		xseg::RequestRef lookup = rig.mapper.request();
		lookup.setArgs(placed(Placement::Zero, 0));
		rig.mapper.respond(std::move(lookup));
		QCOMPARE(rig.client.reply()->status, 0);
		QVERIFY(rig.blocker.requests.empty());
	}

	void wholeBlocksAreOneQuestion_data()
	{
		QTest::addColumn<int>("op");
		QTest::addColumn<uint>("blocks");
		QTest::newRow("one") << int(Op::VolTrim) << 1u;
		QTest::newRow("thirteen") << int(Op::VolZero) << 13u;
		QTest::newRow("all") << int(Op::VolTrim) << uint(kVolumeBytes / kBlockBytes);
	}
	void wholeBlocksAreOneQuestion()
	{
		QFETCH(int, op);
		QFETCH(uint, blocks);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		const uint64_t offset = kVolumeBytes - blocks * kBlockBytes;
		rig.client.submit(rig.span(static_cast<Op>(op), offset, blocks * kBlockBytes), port);
		xseg::RequestRef trim = rig.mapper.request();
		QCOMPARE(opOf(trim), Op::MapTrim);
		QCOMPARE(trim.args<MapArgs>().handle, 99u);
		QCOMPARE(trim.args<MapArgs>().block, uint32_t(offset / kBlockBytes));
		QCOMPARE(trim.args<MapArgs>().count, blocks);
		settle(rig);
		QVERIFY(rig.client.replies.empty()); // not before it is recorded
		rig.mapper.respond(std::move(trim));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), static_cast<Op>(op));
		QVERIFY(rig.blocker.requests.empty());
	}

	void headBlocksAndTailAreThreePieces()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.span(Op::VolTrim, 2 * kBlockBytes - 1024, 5 * kBlockBytes + 1024 + 512), port);
		std::array<xseg::RequestRef, 3> asked{rig.mapper.request(), rig.mapper.request(), rig.mapper.request()};
		QVERIFY(asked[2]);
		QCOMPARE(opOf(asked[0]), Op::MapPunch);
		QCOMPARE(asked[0].args<MapArgs>().block, 1u);
		QCOMPARE(opOf(asked[1]), Op::MapTrim);
		QCOMPARE(asked[1].args<MapArgs>().block, 2u);
		QCOMPARE(asked[1].args<MapArgs>().count, 5u);
		QCOMPARE(opOf(asked[2]), Op::MapPunch);
		QCOMPARE(asked[2].args<MapArgs>().block, 7u);
		for (const size_t part : {0u, 2u}) {
			asked[part].setArgs(placed(Placement::Object, asked[part].args<MapArgs>().block));
			rig.mapper.respond(std::move(asked[part]));
		}
		xseg::RequestRef head = rig.blocker.request(), tail = rig.blocker.request();
		QCOMPARE(head->offset, kBlockBytes - 1024);
		QCOMPARE(head->size, uint64_t{1024});
		QCOMPARE(tail->offset, uint64_t{0});
		QCOMPARE(tail->size, uint64_t{512});
		rig.blocker.respond(std::move(tail));
		rig.mapper.respond(std::move(asked[1]));
		settle(rig);
		QVERIFY(rig.client.replies.empty());
		rig.blocker.respond(std::move(head));
		QCOMPARE(rig.client.reply()->status, 0);
		settle(rig);
		QVERIFY(rig.mapper.requests.empty() && rig.blocker.requests.empty());
	}

	void fuaOfAPart_data()
	{
		QTest::addColumn<int>("placement");
		QTest::addColumn<bool>("committed");
		QTest::addColumn<bool>("flush");
		QTest::newRow("of a committed object") << int(Placement::Object) << true << false;
		QTest::newRow("of an object that is not committed") << int(Placement::Object) << false << true;
		QTest::newRow("of nothing, and that is committed") << int(Placement::Zero) << true << false;
		QTest::newRow("of nothing, dropped just now") << int(Placement::Zero) << false << true;
	}
	void fuaOfAPart()
	{
		QFETCH(int, placement);
		QFETCH(bool, committed);
		QFETCH(bool, flush);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.span(Op::VolZero, 512, 512, kFlagFua), port);
		xseg::RequestRef lookup = rig.mapper.request();
		lookup.setArgs(placed(static_cast<Placement>(placement), 0, committed));
		rig.mapper.respond(std::move(lookup));
		if (static_cast<Placement>(placement) == Placement::Object) {
			xseg::RequestRef punch = rig.blocker.request();
			QCOMPARE(punch->flags, committed ? uint32_t{kFlagFua} : 0u);
			rig.blocker.respond(std::move(punch));
		}
		if (flush) {
			xseg::RequestRef asked = rig.mapper.request();
			QVERIFY(asked);
			QCOMPARE(opOf(asked), Op::MapFlush);
			QVERIFY(rig.client.replies.empty());
			rig.mapper.respond(std::move(asked));
		}
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolZero);
		QVERIFY(rig.mapper.requests.empty());
	}
	void fuaOfWholeBlocksIsAFlush()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.span(Op::VolTrim, 0, 2 * kBlockBytes, kFlagFua), port);
		rig.mapper.respond(rig.mapper.request());
		xseg::RequestRef flush = rig.mapper.request();
		QCOMPARE(opOf(flush), Op::MapFlush);
		QVERIFY(rig.client.replies.empty());
		rig.mapper.respond(std::move(flush), ErrorCode::Io);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Io));
	}
	void fuaOfManyPiecesIsOneFlushBehindAllOfThem_data()
	{
		QTest::addColumn<uint>("flags");
		QTest::addColumn<int>("piece");
		QTest::newRow("holes") << 0u << int(Op::ObjPunch);
		QTest::newRow("no holes") << uint(kFlagNoHole) << int(Op::ObjWrite);
	}
	void fuaOfManyPiecesIsOneFlushBehindAllOfThem()
	{
		QFETCH(uint, flags);
		QFETCH(int, piece);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		Automatic automatic(rig);
		std::deque<xseg::RequestRef> flushes;
		auto answer = rig.mapper.automatic;
		rig.mapper.automatic = [&](xseg::RequestRef r) {
			if (opOf(r) == Op::MapFlush) return flushes.push_back(std::move(r));
			if (opOf(r) == Op::MapPunch) r.setArgs(placed(Placement::Object, r.args<MapArgs>().block, true));
			if (opOf(r) == Op::MapPunch || opOf(r) == Op::MapTrim) return rig.mapper.respond(std::move(r));
			answer(std::move(r));
		};
		rig.client.submit(rig.span(Op::VolZero, 512, 3 * kBlockBytes, kFlagFua | flags), port);
		QVERIFY(turnUntil(rig, [&] { return !flushes.empty(); }));
		settle(rig);
		QCOMPARE(flushes.size(), size_t{1});
		QVERIFY(automatic.count[static_cast<Op>(piece)] >= 2);
		QVERIFY(rig.client.replies.empty());
		rig.mapper.respond(std::move(flushes.front()));
		QCOMPARE(rig.client.reply()->status, 0);
	}

	void aMissingObjectIsLookedUpAgain()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.span(Op::VolTrim, 0, 4096), port);
		for (const uint64_t epoch : {5u, 6u}) {
			xseg::RequestRef lookup = rig.mapper.request();
			QCOMPARE(opOf(lookup), Op::MapPunch);
			lookup.setArgs(placed(Placement::Object, 0, false, epoch));
			rig.mapper.respond(std::move(lookup));
			xseg::RequestRef punch = rig.blocker.request();
			QCOMPARE(punch.args<ObjectArgs>().id.epoch, epoch);
			QCOMPARE(punch->size, uint64_t{4096});
			rig.blocker.respond(std::move(punch), ErrorCode::NotFound);
		}
		xseg::RequestRef lookup = rig.mapper.request(); // no change since: damage
		lookup.setArgs(placed(Placement::Object, 0, false, 6));
		rig.mapper.respond(std::move(lookup));
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Missing));
		rig.client.submit(rig.span(Op::VolTrim, 0, 4096), port); // gone meanwhile: done
		lookup = rig.mapper.request();
		lookup.setArgs(placed(Placement::Object, 0, false, 6));
		rig.mapper.respond(std::move(lookup));
		rig.blocker.respond(rig.blocker.request(), ErrorCode::NotFound);
		lookup = rig.mapper.request();
		lookup.setArgs(placed(Placement::Zero, 0));
		rig.mapper.respond(std::move(lookup));
		QCOMPARE(rig.client.reply()->status, 0);
	}

	void withoutHolesZerosAreWritten()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		// What the buffer of zeros is cut from was full of something else before.
		{
			Actor dirty(rig, 40);
			std::vector<xseg::RequestRef> used;
			for (int i = 0; i < 40; ++i) used.push_back(dirty.make(Op::Ping, kFill, 0xdd));
		}
		constexpr uint64_t kOffset = 2 * kBlockBytes - 512, kBytes = kBlockBytes + 1024;
		rig.client.submit(rig.span(Op::VolZero, kOffset, kBytes, kFlagNoHole), port);
		rig.mapper.automatic = [&](xseg::RequestRef r) {
			if (opOf(r) == Op::MapWrite) r.setArgs(placed(Placement::Create, r.args<MapArgs>().block));
			rig.mapper.respond(std::move(r));
		};
		std::map<uint64_t, uint64_t> written; // offset in the volume, bytes
		bool zeros = true;
		rig.blocker.automatic = [&](xseg::RequestRef r) {
			if (opOf(r) != Op::ObjCreate) qFatal("not a create");
			const auto data = r.data();
			zeros = zeros && std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
			written[r.args<ObjectArgs>().id.index * kBlockBytes + r->offset] = data.size();
			rig.blocker.respond(std::move(r));
		};
		QCOMPARE(rig.client.reply()->status, 0);
		QVERIFY(zeros);
		uint64_t at = kOffset;
		for (const auto &[offset, bytes] : written) {
			QCOMPARE(offset, at);
			QVERIFY(offset % kBlockBytes + bytes <= kBlockBytes && bytes <= kFill);
			at += bytes;
		}
		QCOMPARE(at, kOffset + kBytes);
	}

	/// A single piece of zeros speaks of the composer's buffer, so it must be the composer's request.
	void zerosNeverTravelInTheClientsRequest()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		xseg::RequestRef zero = rig.span(Op::VolZero, 0, 4096, kFlagNoHole);
		const auto index = zero.index();
		rig.client.submit(std::move(zero), port);
		xseg::RequestRef lookup = rig.mapper.request();
		QCOMPARE(opOf(lookup), Op::MapWrite);
		QVERIFY(lookup.index() != index);
		QCOMPARE(lookup->home, uint16_t(port));
		lookup.setArgs(placed(Placement::Object, 0));
		rig.mapper.respond(std::move(lookup));
		xseg::RequestRef write = rig.blocker.request();
		QCOMPARE(opOf(write), Op::ObjWrite);
		QCOMPARE(write.data().size(), size_t{4096});
		rig.blocker.respond(std::move(write));
		const auto reply = rig.client.reply();
		QCOMPARE(reply.index(), index);
		QCOMPARE(opOf(reply), Op::VolZero);
		QCOMPARE(reply->data_blk, XS_NO_BUFFER);
	}

	/// One that needs many pieces does not keep another one waiting until it is done.
	void longRangesTakeTurns()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		Automatic automatic(rig);
		auto answer = rig.blocker.automatic;
		rig.blocker.automatic = nullptr;
		rig.client.submit(rig.span(Op::VolZero, 0, kVolumeBytes, kFlagNoHole), port);
		settle(rig);
		rig.client.submit(rig.io(Op::VolRead, kBlockBytes - 512, 1024), port);
		settle(rig);
		const unsigned all = kVolumeBytes / kFill;
		while (rig.client.replies.empty()) {
			xseg::RequestRef next = rig.blocker.request();
			QVERIFY(next);
			answer(std::move(next));
			settle(rig);
		}
		QCOMPARE(opOf(rig.client.replies.front()), Op::VolRead);
		QVERIFY(automatic.count[Op::ObjWrite] < all / 2);
		rig.client.replies.clear();
		rig.blocker.automatic = answer;
		while (!rig.blocker.requests.empty()) {
			xseg::RequestRef next = std::move(rig.blocker.requests.front());
			rig.blocker.requests.pop_front();
			answer(std::move(next));
		}
		QCOMPARE(rig.client.reply()->status, 0);
		QCOMPARE(automatic.count[Op::ObjWrite], all);
	}

	void theFirstErrorEndsALongRange()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		Automatic automatic(rig);
		rig.blocker.automatic = [&](xseg::RequestRef r) {
			++automatic.count[opOf(r)];
			rig.blocker.respond(std::move(r), ErrorCode::NoSpace);
		};
		rig.client.submit(rig.span(Op::VolZero, 0, kVolumeBytes, kFlagNoHole), port);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::NoSpace));
		QVERIFY(automatic.count[Op::ObjWrite] <= 64u); // what was under way
		settle(rig);
		QCOMPARE(rig.composer->inflight(), 0u);
	}

	void badRangesNeverReachTheMapper()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		const auto status = [&](Op op, uint64_t offset, uint64_t size, uint32_t flags = 0) {
			rig.client.submit(rig.span(op, offset, size, flags), port);
			return rig.client.reply()->status;
		};
		const int32_t invalid = wireStatus(ErrorCode::Invalid);
		for (const Op op : {Op::VolTrim, Op::VolZero}) {
			QCOMPARE(status(op, 0, 0), invalid);
			QCOMPARE(status(op, 100, 512), invalid);
			QCOMPARE(status(op, 0, 100), invalid);
			QCOMPARE(status(op, kVolumeBytes, 512), invalid);
			QCOMPARE(status(op, 512, kVolumeBytes), invalid);
			QCOMPARE(status(op, UINT64_MAX - 511, 1024), invalid);
			QCOMPARE(status(op, 512, UINT64_MAX - 511), invalid);
			QCOMPARE(status(op, 0, 512, 4), invalid); // no such flag
		}
		QCOMPARE(status(Op::VolTrim, 0, 512, kFlagNoHole), invalid);
		xseg::RequestRef data = rig.io(Op::VolTrim, 0, 4096);
		rig.client.submit(std::move(data), port);
		QCOMPARE(rig.client.reply()->status, invalid);
		QVERIFY(rig.mapper.requests.empty());
		const xseg::PortNo readOnly = rig.attach("ro", 9, true).sessionPort;
		for (const uint32_t flags : {0u, uint32_t{kFlagNoHole}}) {
			rig.client.submit(rig.span(Op::VolZero, 0, 4096, flags), readOnly);
			QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::ReadOnly));
		}
		QVERIFY(rig.mapper.requests.empty());
	}
};

QTEST_APPLESS_MAIN(SpansTest)
#include "tst_spans.moc"
