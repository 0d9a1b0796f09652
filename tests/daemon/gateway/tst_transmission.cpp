// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Commands and replies, byte for byte; errors, and that the stream stays in step behind them.
#include "tests/daemon/gateway/nbd_rig.h"

#include <set>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint16_t kRead = 0, kWrite = 1, kDisconnect = 2, kFlush = 3, kTrim = 4, kZero = 6;
constexpr uint16_t kFua = 1, kNoHole = 2;
constexpr uint32_t kEperm = 1, kEio = 5, kEinval = 22, kEnospc = 28, kEnotsup = 95;
constexpr uint32_t kMiB = 1u << 20;

} // namespace

class TransmissionTest : public QObject {
	Q_OBJECT

private slots:
	void whatIsWrittenIsRead_data()
	{
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<uint>("bytes");
		QTest::newRow("a sector") << quint64(0) << 512u;
		QTest::newRow("4 KiB") << quint64(8192) << 4096u;
		QTest::newRow("larger than the stage") << quint64(512) << 65536u;
		QTest::newRow("across a block") << quint64(kBlockBytes - 512) << 1024u;
		QTest::newRow("a block") << quint64(kBlockBytes) << uint(kBlockBytes);
		QTest::newRow("everything") << quint64(0) << 16 * kMiB;
		QTest::newRow("the last sector") << quint64(16 * kMiB - 512) << 512u;
	}
	void whatIsWrittenIsRead()
	{
		QFETCH(quint64, offset);
		QFETCH(uint, bytes);
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		const std::string data = pattern(bytes, 1);
		QVERIFY(client.send(Wire::command(kWrite, 77, offset, bytes).bytes() + data));
		QCOMPARE(client.receive(16), Wire::reply(0, 77).bytes());
		QCOMPARE(std::memcmp(rig.blank().data() + offset, data.data(), bytes), 0);
		QVERIFY(client.send(Wire::command(kRead, 78, offset, bytes)));
		QVERIFY(client.receive(16 + bytes) == Wire::reply(0, 78).bytes() + data);
	}

	void largeRequestsAreSentBlockByBlock()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kWrite, 1, 512, 12 * kMiB).bytes() + pattern(12 * kMiB, 2)));
		QCOMPARE(client.receive(16), Wire::reply(0, 1).bytes());
		QCOMPARE(rig.composer->writes, 4u); // 512..4M, 2 whole blocks, the rest
	}

	void manyCommandsInOnePacketAreAllAnswered()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		std::string bytes;
		constexpr unsigned kCount = 150;
		for (unsigned i = 0; i < kCount; ++i) {
			if (i % 3 == 0)
				bytes += Wire::command(kWrite, i, i * 4096, 4096).bytes() + pattern(4096, i);
			else
				bytes += Wire::command(kRead, i, i * 4096, 512);
		}
		QVERIFY(client.send(bytes));
		std::set<uint64_t> cookies;
		for (unsigned i = 0; i < kCount; ++i) {
			const std::string header = client.receive(16);
			QCOMPARE(header.size(), size_t{16});
			const auto *at = reinterpret_cast<const std::byte *>(header.data());
			QCOMPARE(nbd::read32(at + 4), 0u);
			const uint64_t cookie = nbd::read64(at + 8);
			QVERIFY(cookie < kCount && cookies.insert(cookie).second);
			if (cookie % 3) QCOMPARE(client.receive(512).size(), size_t{512});
		}
		QVERIFY(client.quiet());
	}

	void repliesComeInTheOrderThingsEnd()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(kRead, 1, 0, 512)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 1; }));
		rig.composer->holding = false;
		QVERIFY(client.send(Wire::command(kFlush, 2, 0, 0)));
		QCOMPARE(client.receive(16), Wire::reply(0, 2).bytes());
		rig.composer->release();
		QCOMPARE(client.receive(16 + 512), Wire::reply(0, 1).bytes() + std::string(512, '\0'));
	}

	void flushAndFuaReachTheVolume()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kFlush, 1, 0, 0)));
		QCOMPARE(client.receive(16), Wire::reply(0, 1).bytes());
		QCOMPARE(rig.composer->flushes, 1u);
		QVERIFY(client.send(Wire::command(kWrite, 2, 0, 512, 1).bytes() + pattern(512, 1)));
		QCOMPARE(client.receive(16), Wire::reply(0, 2).bytes());
		QCOMPARE(rig.composer->fuaWrites, 1u);
		QVERIFY(client.send(Wire::command(kRead, 3, 0, 512, 1))); // allowed everywhere, means nothing here
		QCOMPARE(client.receive(16 + 512), Wire::reply(0, 3).bytes() + pattern(512, 1));
	}

	void badCommandsGetTheirErrorAndTheStreamGoesOn_data()
	{
		QTest::addColumn<uint>("type");
		QTest::addColumn<quint64>("offset");
		QTest::addColumn<uint>("length");
		QTest::addColumn<uint>("flags");
		QTest::addColumn<uint>("error");
		const quint64 end = 16 * kMiB;
		const auto row = [](const char *name, uint type, quint64 offset, uint length, uint flags, uint error) {
			QTest::newRow(name) << type << offset << length << flags << error;
		};
		row("read not aligned", kRead, 1, 512, 0, kEinval);
		row("read of an odd length", kRead, 0, 513, 0, kEinval);
		row("read behind the end", kRead, end, 512, 0, kEinval);
		row("read over the end", kRead, end - 512, 1024, 0, kEinval);
		row("read far away", kRead, ~quint64{511}, 512, 0, kEinval);
		row("read too long", kRead, 0, 32 * kMiB + 512, 0, kEinval);
		row("read of everything", kRead, 0, ~511u, 0, kEinval);
		row("read, unknown flag", kRead, 0, 512, 2, kEinval);
		row("read, all flags", kRead, 0, 512, 0xffff, kEinval);
		row("write not aligned", kWrite, 7, 512, 0, kEinval);
		row("write of one byte", kWrite, 0, 1, 0, kEinval);
		row("write over the end", kWrite, end - 512, 1024, 0, kEnospc);
		row("write behind the end", kWrite, end + 512, 512, 0, kEnospc);
		row("write far away", kWrite, ~quint64{511}, 512, 0, kEnospc);
		row("write too long", kWrite, 0, 32 * kMiB + 512, 0, kEinval);
		row("write, as long as is still drained", kWrite, 0, 64 * kMiB, 0, kEinval);
		row("write, unknown flag", kWrite, 0, 4096, 16, kEinval);
		row("flush with a range", kFlush, 0, 512, 0, kEinval);
		row("flush with an offset", kFlush, 512, 0, 0, kEinval);
		row("trim not aligned", kTrim, 100, 512, 0, kEinval);
		row("trim of an odd length", kTrim, 0, 100, 0, kEinval);
		row("trim behind the end", kTrim, end, 512, 0, kEinval);
		row("trim over the end", kTrim, end - 512, 1024, 0, kEinval);
		row("trim far away", kTrim, ~quint64{511}, 512, 0, kEinval);
		row("trim of everything there can be", kTrim, 0, ~511u, 0, kEinval);
		row("trim without holes", kTrim, 0, 512, kNoHole, kEinval);
		row("cache", 5, 0, 512, 0, kEinval);
		row("zeroes not aligned", kZero, 0, 513, 0, kEinval);
		row("zeroes over the end", kZero, end - 512, 1024, 0, kEnospc);
		row("zeroes behind the end", kZero, end + 512, 512, kNoHole, kEnospc);
		row("zeroes far away", kZero, ~quint64{511}, 512, 0, kEnospc);
		row("zeroes, all there can be", kZero, 512, ~511u, 0, kEnospc);
		row("zeroes, fast, but not all can be holes", kZero, 0, 512, 16, kEnotsup);
		row("zeroes, fast, from the middle of a page", kZero, 512, 4096, 16, kEnotsup);
		row("zeroes, fast, without holes", kZero, 0, 4096, 16 | kNoHole, kEnotsup);
		row("zeroes, fast, behind the end", kZero, end, 4096, 16, kEnospc);
		row("trim, fast", kTrim, 0, 4096, 16, kEinval);
		row("read in one chunk", kRead, 0, 512, 4, kEinval); // without structured replies
		row("block status", 7, 0, 512, 0, kEinval);
		row("unknown", 4711, 0, 512, 0, kEinval);
		row("unknown, all bits", 0xffff, ~quint64{0}, ~0u, 0xffff, kEinval);
	}
	void badCommandsGetTheirErrorAndTheStreamGoesOn()
	{
		QFETCH(uint, type);
		QFETCH(quint64, offset);
		QFETCH(uint, length);
		QFETCH(uint, flags);
		QFETCH(uint, error);
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		std::string bytes = Wire::command(static_cast<uint16_t>(type), 1, offset, length, static_cast<uint16_t>(flags));
		if (type == kWrite) bytes += pattern(length, 3);
		bytes += Wire::command(kRead, 2, 0, 512);
		QVERIFY(client.send(bytes));
		QCOMPARE(client.receive(16), Wire::reply(error, 1).bytes());
		QCOMPARE(client.receive(16 + 512), Wire::reply(0, 2).bytes() + std::string(512, '\0'));
		QCOMPARE(rig.composer->writes, 0u);
		QVERIFY(rig.composer->spans.empty());
	}

	void trimAndZeroesReachTheVolume_data()
	{
		QTest::addColumn<uint>("type");
		QTest::addColumn<uint>("flags");
		QTest::addColumn<int>("op");
		QTest::addColumn<uint>("asked");
		QTest::newRow("trim") << uint(kTrim) << 0u << int(Op::VolTrim) << 0u;
		QTest::newRow("trim, FUA") << uint(kTrim) << uint(kFua) << int(Op::VolTrim) << uint(kFlagFua);
		QTest::newRow("zeroes") << uint(kZero) << 0u << int(Op::VolZero) << 0u;
		QTest::newRow("zeroes without holes") << uint(kZero) << uint(kNoHole) << int(Op::VolZero) << uint(kFlagNoHole);
		QTest::newRow("zeroes, both") << uint(kZero) << uint(kNoHole | kFua) << int(Op::VolZero) << uint(kFlagNoHole | kFlagFua);
	}
	void trimAndZeroesReachTheVolume()
	{
		QFETCH(uint, type);
		QFETCH(uint, flags);
		QFETCH(int, op);
		QFETCH(uint, asked);
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		std::memset(rig.blank().data(), 0x77, rig.blank().size());
		const uint32_t length = 6 * kMiB;
		QVERIFY(client.send(Wire::command(static_cast<uint16_t>(type), 9, 512, length, static_cast<uint16_t>(flags))));
		QCOMPARE(client.receive(16), Wire::reply(0, 9).bytes());
		QCOMPARE(rig.composer->spans, (std::vector{FakeComposer::Span{static_cast<Op>(op), 512, length, asked}}));
		QVERIFY(client.send(Wire::command(kRead, 10, 0, 1024)));
		QVERIFY(client.receive(16 + 1024) == Wire::reply(0, 10).bytes() + std::string(512, 0x77) + std::string(512, '\0'));
		QCOMPARE(rig.composer->flushes, 0u);
	}
	void aReadOnlyVolumeIsNotZeroed()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("ro"));
		QVERIFY(client.send(Wire::command(kTrim, 1, 0, 4096).bytes() + Wire::command(kZero, 2, 0, 4096).bytes()));
		QCOMPARE(client.receive(32), Wire::reply(kEperm, 1).bytes() + Wire::reply(kEperm, 2).bytes());
		QVERIFY(rig.composer->spans.empty());
	}

	/// As long as the protocol allows. The composer here answers without keeping anything.
	void longSpansGoInPartsOneAfterTheOther_data()
	{
		QTest::addColumn<uint>("type");
		QTest::addColumn<uint>("flags");
		QTest::addColumn<uint>("longest");
		QTest::newRow("trim") << uint(kTrim) << 0u << 1024 * kMiB;
		QTest::newRow("trim, FUA") << uint(kTrim) << uint(kFua) << 1024 * kMiB;
		QTest::newRow("zeroes") << uint(kZero) << 0u << 1024 * kMiB;
		QTest::newRow("zeroes without holes") << uint(kZero) << uint(kNoHole) << 32 * kMiB;
		QTest::newRow("zeroes without holes, FUA") << uint(kZero) << uint(kNoHole | kFua) << 32 * kMiB;
	}
	void longSpansGoInPartsOneAfterTheOther()
	{
		QFETCH(uint, type);
		QFETCH(uint, flags);
		QFETCH(uint, longest);
		NbdRig rig;
		rig.composer->volumes.at("blank").statedBytes = uint64_t{1} << 40;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		constexpr uint64_t kOffset = (uint64_t{1} << 39) + 4096;
		constexpr uint32_t kLength = ~511u;
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(static_cast<uint16_t>(type), 9, kOffset, kLength, static_cast<uint16_t>(flags))));
		uint64_t at = kOffset, parts = 0, flushes = 0;
		while (client.quiet()) {
			QVERIFY(turnUntil(rig, [&] { return !rig.composer->held.empty(); }));
			QCOMPARE(rig.composer->held.size(), size_t{1});
			auto [session, request] = std::move(rig.composer->held.front());
			rig.composer->held.pop_front();
			if (opOf(request) == Op::VolFlush) {
				++flushes;
			} else {
				QCOMPARE(flushes, uint64_t{0});
				QCOMPARE(request->offset, at);
				QCOMPARE(request->flags, flags & kNoHole ? uint32_t{kFlagNoHole} : 0u); // FUA is the flush behind them
				at += request->size;
				QVERIFY(at % longest == 0 || at == kOffset + kLength);
				++parts;
			}
			session->actor.respond(std::move(request));
		}
		QCOMPARE(client.receive(16), Wire::reply(0, 9).bytes());
		QCOMPARE(at, kOffset + kLength);
		QCOMPARE(parts, uint64_t{kLength} / longest + 2);
		QCOMPARE(flushes, uint64_t{flags & kFua});
	}
	void aLongSpanEndsWithItsFirstError()
	{
		NbdRig rig;
		rig.composer->volumes.at("blank").statedBytes = uint64_t{1} << 40;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(kZero, 9, 0, 3u << 30)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 1; }));
		auto [session, request] = std::move(rig.composer->held.front());
		rig.composer->held.pop_front();
		session->actor.respond(std::move(request), ErrorCode::NoSpace);
		QCOMPARE(client.receive(16), Wire::reply(kEnospc, 9).bytes());
		QVERIFY(rig.composer->held.empty());
	}
	void leavingInTheMiddleOfALongSpanEndsIt()
	{
		NbdRig rig;
		rig.composer->volumes.at("blank").statedBytes = uint64_t{1} << 40;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		rig.composer->holding = true;
		QVERIFY(client.send(Wire::command(kZero, 9, 0, 3u << 30, kNoHole)));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->held.size() == 1; }));
		QVERIFY(client.send(std::string(28, 'x'))); // no command: it is cut off
		QVERIFY(client.atEnd());
		auto [session, request] = std::move(rig.composer->held.front());
		rig.composer->held.pop_front();
		session->actor.respond(std::move(request));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
		QVERIFY(rig.composer->held.empty());
	}

	void fastZeroesReachTheVolumeAsZeroes()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kZero, 9, 4096, 8192, 16 | kFua)));
		QCOMPARE(client.receive(16), Wire::reply(0, 9).bytes());
		QCOMPARE(rig.composer->spans, (std::vector{FakeComposer::Span{Op::VolZero, 4096, 8192, kFlagFua}}));
	}

	void aWriteOfAbsurdLengthEndsTheConnection()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kWrite, 1, 0, 64 * kMiB + 512)));
		QVERIFY(client.atEnd());
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}

	void emptyReadsAndWritesAreDoneAlready()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kRead, 1, 512, 0).bytes() + Wire::command(kWrite, 2, 512, 0).bytes()));
		QCOMPARE(client.receive(32), Wire::reply(0, 1).bytes() + Wire::reply(0, 2).bytes());
		QCOMPARE(rig.composer->reads + rig.composer->writes, 0u);
	}

	void aReadOnlyVolumeIsNotWritten()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("ro"));
		QVERIFY(client.send(Wire::command(kWrite, 1, 0, 4096).bytes() + pattern(4096, 1) + Wire::command(kRead, 2, 0, 512).bytes()));
		QCOMPARE(client.receive(16), Wire::reply(kEperm, 1).bytes());
		QCOMPARE(client.receive(16 + 512), Wire::reply(0, 2).bytes() + std::string(512, '\0'));
	}

	void errorsOfTheVolumeAreTold_data()
	{
		QTest::addColumn<int>("status");
		QTest::addColumn<uint>("error");
		const auto row = [](const char *name, ErrorCode code, uint error) { QTest::newRow(name) << wireStatus(code) << error; };
		row("missing", ErrorCode::Missing, kEio);
		row("corrupt", ErrorCode::Corrupt, kEio);
		row("fenced", ErrorCode::Fenced, kEio);
		row("no space", ErrorCode::NoSpace, kEnospc);
		row("read-only", ErrorCode::ReadOnly, kEperm);
		row("timeout", ErrorCode::Timeout, kEio);
		QTest::newRow("no code of ours") << -99999 << kEio;
	}
	void errorsOfTheVolumeAreTold()
	{
		QFETCH(int, status);
		QFETCH(uint, error);
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		rig.composer->failIoWith = status;
		QVERIFY(client.send(Wire::command(kRead, 1, 0, 512)));
		QCOMPARE(client.receive(16), Wire::reply(error, 1).bytes()); // and no payload
		QVERIFY(client.send(Wire::command(kWrite, 2, 0, 512).bytes() + pattern(512, 1)));
		QCOMPARE(client.receive(16), Wire::reply(error, 2).bytes());
		QVERIFY(client.send(Wire::command(kFlush, 3, 0, 0)));
		QCOMPARE(client.receive(16), Wire::reply(error, 3).bytes());
		rig.composer->failIoWith = 0;
		QVERIFY(client.send(Wire::command(kRead, 4, 0, 512)));
		QCOMPARE(client.receive(16 + 512).size(), size_t{528});
	}

	void disconnectEndsTheConnectionAndDetaches()
	{
		NbdRig rig;
		NbdClient client = rig.connect();
		QVERIFY(client.go("blank"));
		QVERIFY(client.send(Wire::command(kRead, 1, 0, 512).bytes() + Wire::command(kDisconnect, 2, 0, 0).bytes()));
		QCOMPARE(client.receive(16 + 512).size(), size_t{528}); // what was asked before is answered
		QVERIFY(client.atEnd());
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}

	void twoConnectionsShareOneSession()
	{
		NbdRig rig;
		NbdClient one = rig.connect(), two = rig.connect();
		QVERIFY(one.go("blank"));
		QVERIFY(two.go("blank"));
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 1; }));
		QCOMPARE(rig.composer->attaches, 2u); // each was let in by its name
		QVERIFY(one.send(Wire::command(kWrite, 1, 0, 512).bytes() + pattern(512, 9)));
		QCOMPARE(one.receive(16), Wire::reply(0, 1).bytes());
		one.close();
		QVERIFY(two.send(Wire::command(kRead, 2, 0, 512)));
		QCOMPARE(two.receive(16 + 512), Wire::reply(0, 2).bytes() + pattern(512, 9));
		QCOMPARE(rig.composer->sessionCount(), size_t{1});
		two.close();
		QVERIFY(turnUntil(rig, [&] { return rig.composer->sessionCount() == 0; }));
	}

	void aGrownVolumeIsUsedByThoseAlreadyThere()
	{
		NbdRig rig;
		NbdClient one = rig.connect();
		QVERIFY(one.go("blank"));
		QVERIFY(one.send(Wire::command(kRead, 1, 16 * kMiB, 512)));
		QCOMPARE(one.receive(16), Wire::reply(kEinval, 1).bytes());
		rig.blank().resize(20 * kMiB);
		NbdClient two = rig.connect();
		QVERIFY(two.go("blank"));
		QVERIFY(one.send(Wire::command(kRead, 2, 16 * kMiB, 512)));
		QCOMPARE(one.receive(16 + 512), Wire::reply(0, 2).bytes() + std::string(512, '\0'));
	}
};

QTEST_APPLESS_MAIN(TransmissionTest)
#include "tst_transmission.moc"
