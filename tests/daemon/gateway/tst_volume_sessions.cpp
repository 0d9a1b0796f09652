// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Opening, sharing and closing volumes at the composer, and I/O through a session.
#include "tests/daemon/gateway/sessions_rig.h"

using namespace archipelago;
using namespace archipelago::testing;
using gateway::OpenVolume;
using gateway::VolumeIo;
using gateway::VolumeSessions;

class VolumeSessionsTest : public QObject {
	Q_OBJECT

private slots:
	void openTellsTheShape()
	{
		SessionsRig rig;
		auto volume = rig.open("ro");
		QVERIFY(volume);
		QCOMPARE((*volume)->shape().sizeBytes, uint64_t{4u << 20});
		QVERIFY((*volume)->shape().readOnly);
		volume->reset();
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 0; }));
		QCOMPARE(rig.composer.detaches, 1u);
	}

	/// It sends us away from where, by our own count, the volume is: going there again would not help.
	void aComposerWithAnotherNumberOfShardsIsNotAskedAgain()
	{
		SessionsRig rig;
		unsigned asked = 0;
		rig.composer.control.automatic = [&](xseg::RequestRef request) {
			++asked;
			AttachReply reply;
			reply.volume.bytes.fill(1);
			reply.elsewhere = 1;
			request.setArgs(reply);
			rig.composer.control.respond(std::move(request));
		};
		const auto volume = rig.open("blank");
		QVERIFY(!volume);
		QCOMPARE(volume.error().code, ErrorCode::Config);
		QCOMPARE(asked, 1u);
	}

	void ioIsDoneLaterAndWritesWhatItSays()
	{
		SessionsRig rig;
		auto volume = rig.open("blank");
		const uint32_t buffer = rig.volumes->buffers().allocate(4096);
		std::memset(rig.segment->buffer(buffer, 0, 4096)->data(), 0x6d, 4096);
		Io write(Op::VolWrite, 8192, 4096, buffer);
		(*volume)->submit(write);
		QVERIFY(!write.finished); // never inside submit()
		QVERIFY(turnUntil(rig, [&] { return write.finished; }));
		QVERIFY(write.ok);
		QCOMPARE(rig.composer.volumes.at("blank").data[8192 + 4095], std::byte{0x6d});
		rig.composer.failIoWith = wireStatus(ErrorCode::Missing);
		Io read(Op::VolRead, 0, 4096, buffer);
		(*volume)->submit(read);
		QVERIFY(turnUntil(rig, [&] { return read.finished; }));
		QVERIFY(!read.ok);
		QCOMPARE(read.error, ErrorCode::Missing);
		rig.volumes->buffers().free(buffer);
	}

	void clientsIoIsCountedByVolume()
	{
		SessionsRig rig;
		auto volume = rig.open("blank");
		const uint32_t buffer = rig.volumes->buffers().allocate(4096);
		const auto io = [&](Op op, uint32_t bytes) {
			Io one(op, 0, bytes, op == Op::VolRead || op == Op::VolWrite ? buffer : XS_NO_BUFFER);
			(*volume)->submit(one);
			QVERIFY(turnUntil(rig, [&] { return one.finished; }));
		};
		for (int i = 0; i < 3; ++i) io(Op::VolRead, 4096);
		io(Op::VolWrite, 512);
		io(Op::VolFlush, 0);
		io(Op::VolTrim, 1u << 20);
		rig.composer.failIoWith = wireStatus(ErrorCode::Io);
		io(Op::VolRead, 4096);
		rig.composer.failIoWith = 0;
		rig.composer.holding = true;
		Io held(Op::VolRead, 0, 4096, buffer);
		(*volume)->submit(held);
		settle(rig);

		const auto counted = xseg::readStats(*rig.segment, (*volume)->port());
		QVERIFY(counted);
		QCOMPARE(counted->label, std::string("blank"));
		QCOMPARE(counted->record.kind, static_cast<uint32_t>(CounterKind::Volume));
		QVERIFY(std::ranges::equal(counted->record.subject, (*volume)->volume().bytes));
		const auto &op = counted->record.op;
		QCOMPARE(op[XS_STAT_READ].ops, uint64_t(4));
		QCOMPARE(op[XS_STAT_READ].begun, uint64_t(5));
		QCOMPARE(op[XS_STAT_READ].bytes, uint64_t(3 * 4096));
		QCOMPARE(op[XS_STAT_READ].errors, uint64_t(1));
		QCOMPARE(latencyTotal(op[XS_STAT_READ].hist), uint64_t(4));
		QVERIFY(op[XS_STAT_READ].ns > 0);
		QCOMPARE(op[XS_STAT_WRITE].bytes, uint64_t(512));
		QCOMPARE(op[XS_STAT_FLUSH].ops, uint64_t(1));
		QCOMPARE(op[XS_STAT_TRIM].bytes, uint64_t(1) << 20);
		QCOMPARE(op[XS_STAT_OTHER].begun, uint64_t(0));
		rig.composer.release();
		QVERIFY(turnUntil(rig, [&] { return held.finished; }));
		rig.volumes->buffers().free(buffer);
	}

	/// A volume gets the port where it was counted before; another one does not wipe that out while there are ports without.
	void aVolumeGoesOnCountingWhereItWas()
	{
		SessionsRig rig(3);
		const auto readOnce = [&rig](const std::string &name) {
			auto volume = rig.open(name);
			const uint32_t buffer = rig.volumes->buffers().allocate(512);
			Io read(Op::VolRead, 0, 512, buffer);
			(*volume)->submit(read);
			turnUntil(rig, [&] { return read.finished; });
			rig.volumes->buffers().free(buffer);
			const xseg::PortNo port = (*volume)->port();
			volume->reset();
			turnUntil(rig, [&] { return rig.composer.sessionCount() == 0; });
			settle(rig); // its port is free again
			return port;
		};
		const xseg::PortNo blank = readOnce("blank"), other = readOnce("ro");
		QVERIFY(blank != other);
		QCOMPARE(readOnce("blank"), blank);
		QCOMPARE(readOnce("ro"), other);
		QCOMPARE(xseg::readStats(*rig.segment, blank)->record.op[XS_STAT_READ].ops, uint64_t(2));
		QCOMPARE(xseg::readStats(*rig.segment, other)->record.op[XS_STAT_READ].ops, uint64_t(2));
	}

	void moreThanThePortCarriesWaitsInLine()
	{
		SessionsRig rig;
		auto volume = rig.open("blank");
		const uint32_t buffer = rig.volumes->buffers().allocate(512);
		rig.composer.holding = true;
		std::deque<Io> ios;
		for (int i = 0; i < 700; ++i) {
			ios.emplace_back(Op::VolRead, 0u, 512u, buffer);
			(*volume)->submit(ios.back());
		}
		settle(rig);
		QCOMPARE((*volume)->inflight(), 700u);
		QVERIFY(rig.composer.held.size() <= 256);
		rig.composer.release();
		QVERIFY(turnUntil(rig, [&] { return (*volume)->inflight() == 0; }));
		QVERIFY(std::ranges::all_of(ios, [](const Io &io) { return io.finished && io.ok; }));
		QCOMPARE(rig.composer.reads, 700u);
		rig.volumes->buffers().free(buffer);
	}

	/// The segment's requests are all in others' hands: I/O waits, without anything of its own to wake it.
	void anExhaustedSegmentIsWaitedFor()
	{
		SessionsRig rig;
		auto volume = rig.open("blank");
		std::vector<std::unique_ptr<Actor>> hogs;
		std::vector<xseg::RequestRef> hogged;
		for (xseg::PortNo port = 60; port < 120; ++port) {
			hogs.push_back(std::make_unique<Actor>(rig, port));
			for (;;) {
				xseg::RequestRef request = hogs.back()->port().port().get();
				if (!request) break;
				hogged.push_back(std::move(request));
			}
		}
		Io flush(Op::VolFlush, 0, 0, XS_NO_BUFFER);
		(*volume)->submit(flush);
		settle(rig);
		if (!flush.finished) hogged.clear();
		hogs.clear();
		QVERIFY(turnUntil(rig, [&] { return flush.finished; }));
		QVERIFY(flush.ok);
	}

	void twoOpensShareASessionAndTheNewAttachmentIsGivenBack()
	{
		SessionsRig rig;
		auto one = rig.open("blank"), two = rig.open("blank");
		QVERIFY(one && two);
		QCOMPARE(one->operator->(), two->operator->());
		QCOMPARE(rig.composer.attaches, 2u);
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 1; }));
		one->reset();
		settle(rig);
		QCOMPARE(rig.composer.sessionCount(), size_t{1});
		two->reset();
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 0; }));
	}

	/// A name is asked for each time: it may belong to another volume by now.
	void aNameThatMovedOnIsAnotherVolume()
	{
		SessionsRig rig;
		auto one = rig.open("blank");
		rig.composer.volumes.at("blank").id = 9;
		auto two = rig.open("blank");
		QVERIFY(one && two);
		QVERIFY(one->operator->() != two->operator->());
		QCOMPARE((*two)->volume().bytes[0], uint8_t{9});
	}

	void simultaneousOpensEndInOneSession()
	{
		SessionsRig rig;
		Result<OpenVolume> one = failure(ErrorCode::Failed, ""), two = failure(ErrorCode::Failed, "");
		runtime::spawn(rig.openInto("blank", one));
		runtime::spawn(rig.openInto("blank", two));
		QVERIFY(turnUntil(rig, [&] { return one && two; }));
		QCOMPARE(one->operator->(), two->operator->());
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 1; }));
	}

	void openingAgainWhileItClosesWorks()
	{
		SessionsRig rig;
		auto one = rig.open("blank");
		one->reset(); // the detach is under way
		auto two = rig.open("blank");
		QVERIFY(two);
		Io flush(Op::VolFlush, 0, 0, XS_NO_BUFFER);
		(*two)->submit(flush);
		QVERIFY(turnUntil(rig, [&] { return flush.finished; }));
		QVERIFY(flush.ok);
	}

	void portsRunOutWithTheirNumberAndTheAttachmentIsGivenBack()
	{
		SessionsRig rig(1);
		auto one = rig.open("blank");
		auto two = rig.open("ro");
		QVERIFY(one);
		QVERIFY(!two);
		QCOMPARE(two.error().code, ErrorCode::Limit);
		QVERIFY(two.error().message.find("all 1 client ports") != std::string::npos);
		QVERIFY(turnUntil(rig, [&] { return rig.composer.sessionCount() == 1; }));
	}

	void errorsComeThroughWithTheirMessage()
	{
		SessionsRig rig(3, true);
		const auto closed = rig.open("ro");
		QCOMPARE(closed.error().code, ErrorCode::NotOpen);
		QCOMPARE(closed.error().message, std::string("ro is not open."));
		QCOMPARE(rig.open("nothere").error().code, ErrorCode::NotFound);
	}

	void listFollowsThePages()
	{
		SessionsRig rig;
		std::vector<std::string> names;
		rig.run(listInto(*rig.volumes, names));
		QCOMPARE(names, (std::vector<std::string>{"blank", "ro"}));
	}

	void theSizeIsNewsToTheFronts()
	{
		SessionsRig rig;
		auto one = rig.open("blank");
		WatchingFront front;
		(*one)->addFront(front);
		auto two = rig.open("blank");
		QCOMPARE(front.told, uint64_t{0}); // no news
		rig.composer.volumes.at("blank").data.resize(8u << 20);
		auto three = rig.open("blank");
		QCOMPARE(front.told, uint64_t{8u << 20});
		QCOMPARE((*one)->shape().sizeBytes, uint64_t{8u << 20});
		(*one)->removeFront(front);
	}

private:
	static runtime::Task<void> listInto(VolumeSessions &volumes, std::vector<std::string> &names)
	{
		auto listed = co_await volumes.list();
		if (listed) names = std::move(*listed);
	}
};

QTEST_APPLESS_MAIN(VolumeSessionsTest)
#include "tst_volume_sessions.moc"
