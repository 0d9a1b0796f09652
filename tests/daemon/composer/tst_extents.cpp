// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolExtents: the mapper fills the client's buffer. And the flags of a read by which a hole is told instead of zeros.
#include "tests/daemon/composer/composer_rig.h"

#include <algorithm>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

xseg::RequestRef extents(ComposerRig &rig, uint64_t offset, uint64_t size, uint32_t room = 512)
{
	xseg::RequestRef request = rig.client.make(Op::VolExtents, room, 0xee);
	request->offset = offset;
	request->size = size;
	return request;
}

bool allAre(const xseg::RequestRef &request, uint8_t value)
{
	return std::ranges::all_of(request.data(), [value](std::byte b) { return b == std::byte{value}; });
}

} // namespace

class ExtentsTest : public QObject {
	Q_OBJECT

private slots:
	void theMapperIsAskedForTheBlocks_data()
	{
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<quint64>("size");
		QTest::addColumn<uint>("block");
		QTest::addColumn<uint>("count");
		const quint64 b = kBlockBytes;
		QTest::newRow("a sector") << quint64(0) << quint64(512) << 0u << 1u;
		QTest::newRow("a block") << 3 * b << b << 3u << 1u;
		QTest::newRow("over a border") << 4 * b - 512 << quint64(1024) << 3u << 2u;
		QTest::newRow("up to a border") << 4 * b - 512 << quint64(512) << 3u << 1u;
		QTest::newRow("all") << quint64(0) << quint64(kVolumeBytes) << 0u << uint(kVolumeBytes / kBlockBytes);
	}
	void theMapperIsAskedForTheBlocks()
	{
		QFETCH(quint64, offset);
		QFETCH(quint64, size);
		QFETCH(uint, block);
		QFETCH(uint, count);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.client.submit(extents(rig, offset, size), port);
		xseg::RequestRef asked = rig.mapper.request();
		QCOMPARE(opOf(asked), Op::MapExtents);
		QCOMPARE(asked.args<MapArgs>().handle, 99u);
		QCOMPARE(asked.args<MapArgs>().block, block);
		QCOMPARE(asked.args<MapArgs>().count, count);
		QCOMPARE(asked.data().size(), size_t{512}); // the client's own buffer
		const BlockRun run{.blocks = count, .mapped = 1};
		std::memcpy(asked.data().data(), &run, sizeof run);
		asked->serviced = sizeof run;
		rig.mapper.respond(std::move(asked));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(opOf(reply), Op::VolExtents);
		QCOMPARE(reply->offset, uint64_t{offset});
		QCOMPARE(reply->size, uint64_t{size});
		QCOMPARE(reply->serviced, uint64_t{sizeof run});
		QCOMPARE(std::memcmp(reply.data().data(), &run, sizeof run), 0);
		QVERIFY(rig.blocker.requests.empty());
	}

	void whatNobodyShouldAsk()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		const auto status = [&](xseg::RequestRef request) {
			rig.client.submit(std::move(request), port);
			return rig.client.reply()->status;
		};
		const int32_t invalid = wireStatus(ErrorCode::Invalid);
		QCOMPARE(status(extents(rig, 0, 0)), invalid);
		QCOMPARE(status(extents(rig, 1, 512)), invalid);
		QCOMPARE(status(extents(rig, 0, 513)), invalid);
		QCOMPARE(status(extents(rig, kVolumeBytes, 512)), invalid);
		QCOMPARE(status(extents(rig, kVolumeBytes - 512, 1024)), invalid);
		QCOMPARE(status(extents(rig, ~uint64_t{511}, 1024)), invalid);
		QCOMPARE(status(extents(rig, 512, ~uint64_t{511})), invalid);
		xseg::RequestRef flagged = extents(rig, 0, 512), small = extents(rig, 0, 512), none = rig.span(Op::VolExtents, 0, 512);
		flagged->flags = kFlagFua;
		small->data_len = sizeof(BlockRun) - 1;
		QCOMPARE(status(std::move(flagged)), invalid);
		QCOMPARE(status(std::move(small)), invalid);
		QCOMPARE(status(std::move(none)), invalid);
		QVERIFY(rig.mapper.requests.empty());
	}

	/// Read-only is no obstacle, and the mapper's word is passed on; that it knows no such handle means that it is another one.
	void theMappersAnswerIsTheAnswer()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach("ro", 8, true).sessionPort;
		for (const auto &[said, expected] : {std::pair{ErrorCode::Io, ErrorCode::Io}, {ErrorCode::NotOpen, ErrorCode::Peer}}) {
			rig.client.submit(extents(rig, 0, 512), port);
			rig.mapper.respond(rig.mapper.request(), said);
			QCOMPARE(rig.client.reply()->status, wireStatus(expected));
		}
		rig.client.submit(extents(rig, 0, 512), port); // it has gone: not asked any more
		QCOMPARE(rig.client.reply()->status, wireStatus(ErrorCode::Peer));
		QVERIFY(rig.mapper.requests.empty());
	}

	// ---- holes of reads

	void aHoleIsToldAndItsDataLeftAlone()
	{
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		xseg::RequestRef read = rig.io(Op::VolRead, 8192, 4096, 0xee);
		read->flags = kFlagTakesHoles;
		rig.client.submit(std::move(read), port);
		xseg::RequestRef asked = rig.mapper.request();
		asked.setArgs(placed(Placement::Zero, 0));
		rig.mapper.respond(std::move(asked));
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(reply->flags, uint32_t{kFlagHole});
		QVERIFY(allAre(reply, 0xee));
	}

	/// Whatever else its flags say.
	void whoDoesNotAskGetsZeros_data()
	{
		QTest::addColumn<uint>("flags");
		QTest::addColumn<quint64>("offset");
		QTest::newRow("no flag") << 0u << quint64(0);
		QTest::newRow("the flag of the answer") << uint(kFlagHole) << quint64(0);
		QTest::newRow("all others") << ~uint(kFlagTakesHoles) << quint64(0);
		QTest::newRow("parts of two blocks are never a hole") << uint(kFlagTakesHoles | kFlagHole) << quint64(kBlockBytes - 512);
	}
	void whoDoesNotAskGetsZeros()
	{
		QFETCH(uint, flags);
		QFETCH(quint64, offset);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		rig.mapper.automatic = [&rig](xseg::RequestRef r) {
			r.setArgs(placed(Placement::Zero, r.args<MapArgs>().block));
			rig.mapper.respond(std::move(r));
		};
		xseg::RequestRef read = rig.io(Op::VolRead, offset, 4096, 0xee);
		read->flags = flags;
		rig.client.submit(std::move(read), port);
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, 0);
		QCOMPARE(reply->flags, 0u);
		QVERIFY(allAre(reply, 0));
	}

	void whatIsStoredIsNoHole_data()
	{
		QTest::addColumn<int>("status");
		QTest::newRow("read") << 0;
		QTest::newRow("failed") << wireStatus(ErrorCode::Io);
	}
	void whatIsStoredIsNoHole()
	{
		QFETCH(int, status);
		ComposerRig rig;
		const xseg::PortNo port = rig.attach().sessionPort;
		xseg::RequestRef read = rig.io(Op::VolRead, 0, 4096, 0xee);
		read->flags = kFlagTakesHoles | kFlagHole;
		rig.client.submit(std::move(read), port);
		xseg::RequestRef asked = rig.mapper.request();
		asked.setArgs(placed(Placement::Object, 0));
		rig.mapper.respond(std::move(asked));
		xseg::RequestRef object = rig.blocker.request();
		object->flags = kFlagHole; // not its business
		rig.blocker.respond(std::move(object), status);
		const auto reply = rig.client.reply();
		QCOMPARE(reply->status, status);
		QCOMPARE(reply->flags, 0u);
	}
};

QTEST_APPLESS_MAIN(ExtentsTest)
#include "tst_extents.moc"
