// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The way of reads and writes, station by station: which request goes where, with what, and what each answer leads to.
#include "tests/daemon/composer/composer_rig.h"

#include <algorithm>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

bool allBytes(std::span<std::byte> data, uint8_t value)
{
	return std::ranges::all_of(data, [value](std::byte b) { return b == std::byte{value}; });
}

} // namespace

class DataPathTest : public QObject {
	Q_OBJECT

private slots:
	void aMappedReadTravelsWithItsOwnBuffer()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		xseg::RequestRef read = rig.io(Op::VolRead, 3 * kBlockBytes + 8192, 4096, 0xaa);
		const auto index = read.index();
		const uint32_t buffer = read->data_blk;
		rig.client.submit(std::move(read), port);

		xseg::RequestRef lookup = rig.mapper.request();
		QCOMPARE(opOf(lookup), Op::MapRead);
		QCOMPARE(lookup.index(), index); // the client's own request, not a copy
		QCOMPARE(lookup.args<MapArgs>().handle, 99u);
		QCOMPARE(lookup.args<MapArgs>().block, 3u);
		rig.place(std::move(lookup), Placement::Object);

		xseg::RequestRef object = rig.blocker.request();
		QCOMPARE(opOf(object), Op::ObjRead);
		QCOMPARE(object.index(), index);
		QCOMPARE(object->data_blk, buffer);
		QCOMPARE(object->offset, uint64_t{8192});
		QCOMPARE(object->data_len, 4096u);
		QCOMPARE(object.args<ObjectArgs>().id, objectId(3));
		QCOMPARE(object.args<ObjectArgs>().nameLength, uint16_t{0});
		std::memset(object.data().data(), 0x5b, 4096);
		rig.blocker.respond(std::move(object));

		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolRead);
		QCOMPARE(reply->offset, 3 * kBlockBytes + 8192);
		QVERIFY(allBytes(reply.data(), 0x5b));
	}

	void anUnmappedReadIsZeros()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolRead, 0, 8192, 0xaa), port);
		rig.place(rig.asked(Op::MapRead), Placement::Zero);
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QVERIFY(allBytes(reply.data(), 0));
		QVERIFY(rig.blocker.requests.empty());
	}

	void anOverwriteIsOneObjectWrite()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, 512, 512, 0x11), port);
		rig.place(rig.asked(Op::MapWrite), Placement::Object);
		xseg::RequestRef object = rig.blocker.request();
		QCOMPARE(opOf(object), Op::ObjWrite);
		QCOMPARE(object->flags, 0u);
		QVERIFY(allBytes(object.data(), 0x11));
		rig.blocker.respond(std::move(object));
		QCOMPARE(rig.client.reply()->status, 0);
		QVERIFY(rig.mapper.requests.empty());
	}

	void aFirstWriteIsCreatedRecordedThenAnswered()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, kBlockBytes + 4096, 4096, 0x22), port);
		rig.place(rig.asked(Op::MapWrite), Placement::Create);
		xseg::RequestRef create = rig.blocker.request();
		QCOMPARE(opOf(create), Op::ObjCreate);
		QCOMPARE(create->offset, uint64_t{4096});
		QCOMPARE(create.args<ObjectArgs>().id, objectId(1));
		rig.blocker.respond(std::move(create));
		xseg::RequestRef record = rig.mapper.request();
		QCOMPARE(opOf(record), Op::MapRecord);
		const auto args = record.args<RecordArgs>();
		QCOMPARE(args.handle, 99u);
		QCOMPARE(args.block, 1u);
		QCOMPARE(args.token, 1001u);
		QCOMPARE(args.stored, uint8_t{1});
		settle(rig);
		QVERIFY(rig.client.replies.empty()); // not before the record is appended
		rig.mapper.respond(std::move(record));
		QCOMPARE(rig.client.reply()->status, 0);
	}

	void aFailedCreateUnlocksTheBlockAndIsReported_data()
	{
		QTest::addColumn<int>("create");
		QTest::addColumn<int>("record");
		QTest::addColumn<int>("reported");
		const auto row = [](const char *name, ErrorCode create, int record, ErrorCode reported) {
			QTest::newRow(name) << wireStatus(create) << record << wireStatus(reported);
		};
		row("no space", ErrorCode::NoSpace, 0, ErrorCode::NoSpace);
		row("exists", ErrorCode::Exists, 0, ErrorCode::Corrupt);
		row("both fail", ErrorCode::Io, wireStatus(ErrorCode::Peer), ErrorCode::Io);
		QTest::newRow("only the record fails") << 0 << wireStatus(ErrorCode::Io) << wireStatus(ErrorCode::Io);
	}
	void aFailedCreateUnlocksTheBlockAndIsReported()
	{
		QFETCH(int, create);
		QFETCH(int, record);
		QFETCH(int, reported);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), port);
		rig.place(rig.asked(Op::MapWrite), Placement::Create);
		rig.blocker.respond(rig.blocker.request(), create);
		xseg::RequestRef unlock = rig.mapper.request();
		QCOMPARE(opOf(unlock), Op::MapRecord);
		QCOMPARE(unlock.args<RecordArgs>().stored, uint8_t(create == 0));
		rig.mapper.respond(std::move(unlock), record);
		QCOMPARE(rig.client.reply()->status, reported);
	}

	void fuaOfACommittedBlockIsTheObjectsBusiness()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096, 1, true), port);
		rig.place(rig.asked(Op::MapWrite), Placement::Object, true);
		xseg::RequestRef object = rig.blocker.request();
		QCOMPARE(object->flags, uint32_t{kFlagFua});
		rig.blocker.respond(std::move(object));
		QCOMPARE(rig.client.reply()->status, 0);
		QVERIFY(rig.mapper.requests.empty());
	}

	void fuaOfAnUncommittedBlockIsAFlush()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096, 1, true), port);
		rig.place(rig.asked(Op::MapWrite), Placement::Object, false);
		xseg::RequestRef object = rig.blocker.request();
		QCOMPARE(object->flags, 0u);
		rig.blocker.respond(std::move(object));
		xseg::RequestRef flush = rig.mapper.request();
		QCOMPARE(opOf(flush), Op::MapFlush);
		QCOMPARE(flush.args<MapArgs>().handle, 99u);
		rig.mapper.respond(std::move(flush));
		QCOMPARE(rig.client.reply()->status, 0);
	}

	void fuaOfAFirstWriteIsRecordedThenFlushed()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096, 1, true), port);
		rig.place(rig.asked(Op::MapWrite), Placement::Create, true); // "committed" means nothing here
		rig.blocker.respond(rig.blocker.request());
		xseg::RequestRef record = rig.mapper.request();
		QCOMPARE(opOf(record), Op::MapRecord);
		rig.mapper.respond(std::move(record));
		xseg::RequestRef flush = rig.mapper.request();
		QCOMPARE(opOf(flush), Op::MapFlush);
		rig.mapper.respond(std::move(flush), ErrorCode::Io);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Io));
	}

	void flushGoesToTheMapper()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.client.make(Op::VolFlush), port);
		xseg::RequestRef flush = rig.mapper.request();
		QCOMPARE(opOf(flush), Op::MapFlush);
		QCOMPARE(flush.args<MapArgs>().handle, 99u);
		rig.mapper.respond(std::move(flush));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolFlush);
	}

	void aMissingObjectIsLookedUpAgain_data()
	{
		QTest::addColumn<bool>("write");
		QTest::newRow("read") << false;
		QTest::newRow("write") << true;
	}
	void aMissingObjectIsLookedUpAgain()
	{
		QFETCH(bool, write);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(write ? Op::VolWrite : Op::VolRead, 0, 4096), port);
		rig.place(rig.asked(write ? Op::MapWrite : Op::MapRead), Placement::Object, false, 5);
		rig.blocker.respond(rig.blocker.request(), ErrorCode::NotFound);
		// The entry has moved on: the new object is used.
		rig.place(rig.asked(write ? Op::MapWrite : Op::MapRead), Placement::Object, false, 6);
		xseg::RequestRef object = rig.blocker.request();
		QCOMPARE(object.args<ObjectArgs>().id.epoch, uint64_t{6});
		rig.blocker.respond(std::move(object), ErrorCode::NotFound);
		// It has not: that is damage, and never zeros.
		rig.place(rig.asked(write ? Op::MapWrite : Op::MapRead), Placement::Object, false, 6);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Missing));
	}
	void aMissingObjectThatWasDroppedReadsZeros()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolRead, 0, 4096, 0xaa), port);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		rig.blocker.respond(rig.blocker.request(), ErrorCode::NotFound);
		rig.place(rig.asked(Op::MapRead), Placement::Zero);
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QVERIFY(allBytes(reply.data(), 0));
	}

	void errorsOfTheMapperAndOfTheBlockerAreReported()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), port);
		rig.mapper.respond(rig.mapper.request(), ErrorCode::Fenced);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Fenced));
		rig.client.submit(rig.io(Op::VolRead, 0, 4096), port);
		rig.place(rig.asked(Op::MapRead), Placement::Object);
		rig.blocker.respond(rig.blocker.request(), -4711); // no code of ours
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Failed));
	}

	void answersThatMakeNoSenseAreErrors()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		const auto answered = [&](Op op, uint8_t placement) {
			rig.client.submit(rig.io(op, 0, 4096), port);
			rig.place(rig.asked(op == Op::VolRead ? Op::MapRead : Op::MapWrite), static_cast<Placement>(placement));
			return rig.client.reply()->status;
		};
		QCOMPARE(answered(Op::VolRead, 2), wireStatus(ErrorCode::Failed));  // Create, for a read
		QCOMPARE(answered(Op::VolWrite, 0), wireStatus(ErrorCode::Failed)); // Zero, for a write
		QCOMPARE(answered(Op::VolRead, 200), wireStatus(ErrorCode::Failed));
		QVERIFY(rig.blocker.requests.empty());
	}

	void badRangesNeverReachTheMapper()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		const auto status = [&](const std::function<void(xs_req &)> &spoil) {
			xseg::RequestRef request = rig.io(Op::VolWrite, 0, 4096);
			spoil(*request);
			rig.client.submit(std::move(request), port);
			return rig.client.reply()->status;
		};
		const int32_t invalid = wireStatus(ErrorCode::Invalid);
		QCOMPARE(status([](xs_req &r) { r.offset = kVolumeBytes; }), invalid);
		QCOMPARE(status([](xs_req &r) { r.offset = UINT64_MAX - 511; }), invalid);
		QCOMPARE(status([](xs_req &r) { r.offset = 100; }), invalid);
		QCOMPARE(status([](xs_req &r) { r.size = 8192; }), invalid);
		QCOMPARE(status([](xs_req &r) { r.size = r.data_len = 0; }), invalid);
		QCOMPARE(status([](xs_req &r) { r.size = r.data_len = 8192; }), invalid);       // behind its buffer
		QCOMPARE(status([](xs_req &r) { r.data_off = 512; }), invalid);                 // over its end
		QCOMPARE(status([](xs_req &r) { r.data_blk = XS_NO_BUFFER; }), invalid);
		QCOMPARE(status([](xs_req &r) { r.data_blk = 0x00fffff1; }), invalid);          // nobody's
		QVERIFY(rig.mapper.requests.empty());
		const xseg::PortNo readOnly = rig.attach("ro", 9, true).sessionPort;
		rig.client.submit(rig.io(Op::VolWrite, 0, 4096), readOnly);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::ReadOnly));
	}

	void aRequestOverTwoBlocksIsSplitAndJoined()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		xseg::RequestRef write = rig.io(Op::VolWrite, 2 * kBlockBytes - 1024, 4096, 0x33);
		const uint32_t buffer = write->data_blk;
		rig.client.submit(std::move(write), port);
		std::array<xseg::RequestRef, 2> lookups{rig.mapper.request(), rig.mapper.request()};
		QVERIFY(lookups[0] && lookups[1]);
		QCOMPARE(lookups[0].args<MapArgs>().block, 1u);
		QCOMPARE(lookups[1].args<MapArgs>().block, 2u);
		for (auto &lookup : lookups) rig.place(std::move(lookup), Placement::Object);
		std::array<xseg::RequestRef, 2> objects{rig.blocker.request(), rig.blocker.request()};
		QVERIFY(objects[0] && objects[1]);
		QCOMPARE(objects[0]->data_blk, buffer);
		QCOMPARE(objects[0]->offset, kBlockBytes - 1024);
		QCOMPARE(objects[0]->data_off, 0u);
		QCOMPARE(objects[0]->data_len, 1024u);
		QCOMPARE(objects[1]->data_blk, buffer);
		QCOMPARE(objects[1]->offset, uint64_t{0});
		QCOMPARE(objects[1]->data_off, 1024u);
		QCOMPARE(objects[1]->data_len, 3072u);
		rig.blocker.respond(std::move(objects[1]));
		settle(rig);
		QVERIFY(rig.client.replies.empty()); // one half is not a whole
		rig.blocker.respond(std::move(objects[0]));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolWrite);
		QCOMPARE(reply->offset, 2 * kBlockBytes - 1024);
	}

	void theFirstErrorOfASplitRequestWins()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.io(Op::VolRead, kBlockBytes - 512, 1024), port);
		xseg::RequestRef first = rig.mapper.request(), second = rig.mapper.request();
		rig.mapper.respond(std::move(second), ErrorCode::Corrupt);
		settle(rig);
		QVERIFY(rig.client.replies.empty()); // the other half still has the buffer
		rig.mapper.respond(std::move(first), ErrorCode::Io);
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Corrupt));
	}

	/// More split requests at once than the session has requests for their pieces.
	void anEmptyPoolIsBackPressure()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		constexpr int kRequests = 100;
		for (int i = 0; i < kRequests; ++i)
			rig.client.submit(rig.io(Op::VolRead, kBlockBytes * (1 + uint64_t(i) % 8) - 512, 1024, 0xaa), port);
		settle(rig);
		QVERIFY(rig.mapper.requests.size() < 2 * kRequests);
		QVERIFY(!rig.mapper.requests.empty());
		unsigned answered = 0;
		rig.mapper.automatic = [&](xseg::RequestRef lookup) {
			++answered;
			rig.place(std::move(lookup), Placement::Zero);
		};
		while (!rig.mapper.requests.empty()) {
			xseg::RequestRef lookup = std::move(rig.mapper.requests.front());
			rig.mapper.requests.pop_front();
			rig.mapper.automatic(std::move(lookup));
		}
		for (int i = 0; i < kRequests; ++i) {
			const auto reply = rig.client.reply();
			QVERIFY(reply);
			QCOMPARE(reply->status, 0);
			QVERIFY(allBytes(reply.data(), 0));
		}
		QCOMPARE(answered, 2u * kRequests);
	}

	/// nr_ops bounds what the role has in hand; the rest waits in the rings, and nothing is lost.
	void nrOpsBoundsWhatIsInHand()
	{
		ComposerRig rig(16);
		const xseg::PortNo one = rig.attach("a", 1).sessionPort, two = rig.attach("b", 2).sessionPort;
		for (int i = 0; i < 40; ++i) rig.client.submit(rig.io(Op::VolRead, 0, 512), i % 2 ? one : two);
		settle(rig);
		QCOMPARE(rig.mapper.requests.size(), size_t{16});
		QCOMPARE(rig.composer->inflight(), 16u);
		for (int i = 0; i < 40; ++i) {
			xseg::RequestRef lookup = rig.mapper.request();
			QVERIFY(lookup);
			QVERIFY(rig.composer->inflight() <= 16);
			rig.place(std::move(lookup), Placement::Zero);
			QCOMPARE(rig.client.reply()->status, 0);
		}
		QCOMPARE(rig.composer->inflight(), 0u);
	}

	/// An index that carried one kind of request carries another later: nothing of the first may show.
	void contextsDoNotRememberEarlierRequests()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(rig.client.make(Op::VolFlush), port);
		rig.mapper.respond(rig.mapper.request());
		QCOMPARE(opOf(rig.client.reply()), Op::VolFlush);
		xseg::RequestRef bad = rig.io(Op::VolWrite, 100, 512); // refused before it is under way
		rig.client.submit(std::move(bad), port);
		const auto reply = rig.client.reply();
		QCOMPARE(opOf(reply), Op::VolWrite);
		QCOMPARE(reply->offset, uint64_t{100});
	}
};

QTEST_APPLESS_MAIN(DataPathTest)
#include "tst_data_path.moc"
