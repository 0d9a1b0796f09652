// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The composer with the real mapper and blockers above memory stores: what a client writes is what it reads, whatever the
// range, in whatever order, and after detaching and attaching again.
#include "tests/daemon/composer/stack.h"

#include <random>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint64_t kBytes = 5 * kBlockBytes; ///< of the volume

struct StackRig : Rig {
	Config config;
	Stack stack{*this, config};
	Actor client{*this, 1};

	StackRig() : Rig(128u << 20) {}

	AttachReply attach(const std::string &name, bool readOnly = false)
	{
		xseg::RequestRef request = client.make(Op::VolAttach, kControlBytes);
		std::memcpy(request.data().data(), name.data(), name.size());
		request->size = name.size();
		AttachArgs args;
		args.holder = Holder::Nbd;
		args.readOnly = readOnly;
		request.setArgs(args);
		client.submit(std::move(request), kNodeComposer);
		const auto reply = client.reply();
		if (reply && reply->status) qWarning("%s", runtime::controlResult(reply, "attach").error().message.c_str());
		if (!reply || reply->status) return {};
		const auto attached = reply.args<AttachReply>();
		client.keys[attached.sessionPort] = attached.key;
		return attached;
	}
	int32_t detach(xseg::PortNo port)
	{
		client.submit(client.make(Op::VolDetach), port);
		return client.reply()->status;
	}
	xseg::RequestRef io(Op op, uint64_t offset, uint32_t bytes, uint8_t fill = 0)
	{
		xseg::RequestRef request = client.make(op, bytes, fill);
		request->offset = offset;
		request->size = bytes;
		return request;
	}
	/// The answer to one request.
	xseg::RequestRef call(xseg::RequestRef request, xseg::PortNo port)
	{
		client.submit(std::move(request), port);
		return client.reply();
	}
};

bool isZero(const std::vector<std::byte> &bytes, uint64_t offset, uint64_t length)
{
	const std::byte *at = bytes.data() + offset;
	return length == 0 || (*at == std::byte{0} && std::memcmp(at, at + 1, length - 1) == 0); // each like the one before
}

} // namespace

class StackTest : public QObject {
	Q_OBJECT

private slots:
	void aBlankVolumeReadsZeros()
	{
		StackRig rig;
		QCOMPARE(rig.stack.create(rig.client, "blank", 1ull << 46), 0); // 64 TiB
		const AttachReply attached = rig.attach("blank");
		QCOMPARE(attached.sizeBytes, uint64_t{1} << 46);
		for (const uint64_t offset : {uint64_t{0}, uint64_t{1} << 40, (uint64_t{1} << 46) - 4096}) {
			const auto reply = rig.call(rig.io(Op::VolRead, offset, 4096, 0xaa), attached.sessionPort);
			QCOMPARE(reply->status, 0);
			QVERIFY(std::ranges::all_of(reply.data(), [](std::byte b) { return b == std::byte{0}; }));
		}
		const uint64_t end = (uint64_t{1} << 46) - 4096;
		QCOMPARE(rig.call(rig.io(Op::VolWrite, end, 4096, 0x5c), attached.sessionPort)->status, 0);
		const auto reply = rig.call(rig.io(Op::VolRead, end, 4096), attached.sessionPort);
		QVERIFY(std::ranges::all_of(reply.data(), [](std::byte b) { return b == std::byte{0x5c}; }));
		QCOMPARE(rig.detach(attached.sessionPort), 0);
		QVERIFY(rig.stack.stop());
	}

	/// Random reads, writes, FUA writes and flushes, one after the other, against a copy in memory.
	void whatIsWrittenIsRead()
	{
		StackRig rig;
		QCOMPARE(rig.stack.create(rig.client, "vol", kBytes), 0);
		std::vector<std::byte> model(kBytes);
		std::mt19937 random(20261122);
		for (int life = 0; life < 3; ++life) {
			const AttachReply attached = rig.attach("vol");
			QVERIFY(attached.sessionPort);
			for (int i = 0; i < 300; ++i) {
				const uint32_t bytes = 512u << (random() % 12);
				const uint64_t offset = random() % ((kBytes - bytes) / 512 + 1) * 512;
				const auto fill = static_cast<uint8_t>(random());
				const unsigned what = random() % 8;
				if (what == 0) {
					QCOMPARE(rig.call(rig.client.make(Op::VolFlush), attached.sessionPort)->status, 0);
				} else if (what < 5) {
					xseg::RequestRef write = rig.io(Op::VolWrite, offset, bytes, fill);
					write->flags = what == 1 ? kFlagFua : 0u;
					QCOMPARE(rig.call(std::move(write), attached.sessionPort)->status, 0);
					std::memset(model.data() + offset, fill, bytes);
				} else {
					const auto reply = rig.call(rig.io(Op::VolRead, offset, bytes, 0xee), attached.sessionPort);
					QCOMPARE(reply->status, 0);
					QVERIFY(std::memcmp(reply.data().data(), model.data() + offset, bytes) == 0);
				}
			}
			QCOMPARE(rig.detach(attached.sessionPort), 0);
			settle(rig);
		}
		QVERIFY(rig.stack.stop());
	}

	/// Many first writes to the same and to neighbouring blocks at once: each block is created once, nothing is lost.
	void firstWritesAtOnce()
	{
		StackRig rig;
		QCOMPARE(rig.stack.create(rig.client, "vol", kBytes), 0);
		const AttachReply attached = rig.attach("vol");
		constexpr uint64_t kStep = 128 * 1024;
		constexpr unsigned kWrites = kBytes / kStep;
		for (unsigned i = 0; i < kWrites; ++i) {
			xseg::RequestRef write = rig.io(Op::VolWrite, i * kStep, 4096, static_cast<uint8_t>(i + 1));
			write->flags = i % 7 ? 0u : uint32_t{kFlagFua};
			rig.client.submit(std::move(write), attached.sessionPort);
		}
		for (unsigned i = 0; i < kWrites; ++i) QCOMPARE(rig.client.reply()->status, 0);
		for (unsigned i = 0; i < kWrites; ++i) {
			const auto reply = rig.call(rig.io(Op::VolRead, i * kStep, 8192), attached.sessionPort);
			QCOMPARE(reply.data()[0], static_cast<std::byte>(i + 1));
			QCOMPARE(reply.data()[4095], static_cast<std::byte>(i + 1));
			QCOMPARE(reply.data()[4096], std::byte{0});
		}
		QVERIFY(rig.stack.stop()); // with the session open: stop detaches it
	}

	void readOnlyAndUnknownVolumes()
	{
		StackRig rig;
		QCOMPARE(rig.stack.create(rig.client, "vol", kBytes), 0);
		QCOMPARE(rig.attach("nothere").sessionPort, uint16_t{0});
		const AttachReply attached = rig.attach("vol", true);
		QCOMPARE(attached.readOnly, uint8_t{1});
		QCOMPARE(rig.call(rig.io(Op::VolWrite, 0, 512), attached.sessionPort)->status, wireStatus(ErrorCode::ReadOnly));
		QVERIFY(rig.stack.stop());
	}

	/// Nobody detaches what a composer that died had attached; yet no volume stays in use for that.
	void aComposerThatDiedHoldsNothing()
	{
		StackRig rig;
		const auto byName = [&rig](Op op) {
			xseg::RequestRef request = rig.client.make(op, kControlBytes);
			std::memcpy(request.data().data(), "vol", 3);
			request->size = 3;
			return rig.call(std::move(request), kNodeMapper)->status;
		};
		QCOMPARE(rig.stack.create(rig.client, "vol", kBytes), 0);
		const AttachReply attached = rig.attach("vol");
		QCOMPARE(rig.call(rig.io(Op::VolWrite, 0, 4096, 0x17), attached.sessionPort)->status, 0);
		QCOMPARE(byName(Op::CatOpen), 0);
		QCOMPARE(byName(Op::CatClose), wireStatus(ErrorCode::Busy));
		rig.stack.killComposer();
		QCOMPARE(byName(Op::CatClose), 0);
		rig.stack.startComposer();
		QVERIFY(rig.attach("vol").sessionPort);
		QCOMPARE(byName(Op::CatRemove), wireStatus(ErrorCode::Busy));
		rig.stack.killComposer();
		QCOMPARE(byName(Op::CatRemove), 0);
		QVERIFY(rig.stack.stop());
	}

	/// Nor what a gateway had that died while its composer lives. The composer looks for dead clients now and then; here nothing
	/// waits for that.
	void aGatewayThatDiedHoldsNothing()
	{
		StackRig rig;
		const auto byName = [&rig](Op op) {
			xseg::RequestRef request = rig.client.make(op, kControlBytes);
			std::memcpy(request.data().data(), "vol", 3);
			request->size = 3;
			return rig.call(std::move(request), kNodeMapper);
		};
		const auto clients = [&byName] {
			const auto reply = byName(Op::CatInfo);
			VolumeInfo info;
			std::memcpy(&info, reply.data().data(), sizeof info);
			return info.clients;
		};
		const auto attachMortal = [&rig](Actor &mortal) {
			xseg::RequestRef request = mortal.make(Op::VolAttach, kControlBytes);
			std::memcpy(request.data().data(), "vol", 3);
			request->size = 3;
			AttachArgs args;
			args.holder = Holder::Nbd;
			request.setArgs(args);
			mortal.submit(std::move(request), kNodeComposer);
			const auto reply = mortal.reply();
			return reply && !reply->status ? reply.args<AttachReply>().sessionPort : uint16_t{0};
		};
		QCOMPARE(rig.stack.create(rig.client, "vol", kBytes), 0);
		QCOMPARE(byName(Op::CatOpen)->status, 0);
		for (const Op op : {Op::CatClose, Op::CatRemove}) {
			Actor mortal(rig, 2);
			QVERIFY(attachMortal(mortal));
			QCOMPARE(byName(op)->status, wireStatus(ErrorCode::Busy));
			QCOMPARE(clients(), 1u);
			mortal.leave();
			QCOMPARE(clients(), 0u);
			QCOMPARE(byName(op)->status, 0);
		}
		QVERIFY(rig.stack.stop());
	}

	/// The whole way of trims and zeros: random ones among reads and writes, against a copy in memory. What is called a hole, by
	/// a read or as an extent, is zeros.
	void whatIsZeroedIsZero()
	{
		StackRig rig;
		QCOMPARE(rig.stack.create(rig.client, "vol", kBytes), 0);
		std::vector<std::byte> model(kBytes);
		std::mt19937 random(1122);
		for (int life = 0; life < 3; ++life) {
			const AttachReply attached = rig.attach("vol");
			for (int i = 0; i < 150; ++i) {
				const bool span = random() % 2;
				const uint64_t longest = span ? kBytes : uint64_t{1} << 20;
				const uint64_t bytes = random() % 3 ? 512 + random() % (longest / 512) * 512 : (1 + random() % (longest / 512 / 64)) * 512;
				uint64_t offset = random() % ((kBytes - bytes) / 512 + 1) * 512;
				if (random() % 3 == 0) offset &= ~(kBlockBytes - 1);
				if (span) {
					xseg::RequestRef zero = rig.client.make(random() % 2 ? Op::VolTrim : Op::VolZero);
					zero->offset = offset;
					zero->size = bytes;
					zero->flags = random() % 4 ? 0u : uint32_t{kFlagFua};
					if (opOf(zero) == Op::VolZero && random() % 3 == 0) zero->flags |= kFlagNoHole;
					QCOMPARE(rig.call(std::move(zero), attached.sessionPort)->status, 0);
					std::memset(model.data() + offset, 0, bytes);
				} else if (random() % 2) {
					const auto fill = static_cast<uint8_t>(random());
					QCOMPARE(rig.call(rig.io(Op::VolWrite, offset, static_cast<uint32_t>(bytes), fill), attached.sessionPort)->status, 0);
					std::memset(model.data() + offset, fill, bytes);
				} else {
					xseg::RequestRef read = rig.io(Op::VolRead, offset, static_cast<uint32_t>(bytes), 0xee);
					read->flags = kFlagTakesHoles;
					const auto reply = rig.call(std::move(read), attached.sessionPort);
					QCOMPARE(reply->status, 0);
					const bool hole = reply->flags & kFlagHole;
					QVERIFY(hole ? isZero(model, offset, bytes) : std::memcmp(reply.data().data(), model.data() + offset, bytes) == 0);
				}
				xseg::RequestRef extents = rig.client.make(Op::VolExtents, 512);
				extents->size = kBytes;
				const auto told = rig.call(std::move(extents), attached.sessionPort);
				QCOMPARE(told->status, 0);
				uint64_t at = 0;
				for (uint64_t n = 0; n < told->serviced; n += sizeof(BlockRun)) {
					BlockRun run;
					std::memcpy(&run, told.data().data() + n, sizeof run);
					QVERIFY(run.mapped || isZero(model, at, run.blocks * kBlockBytes));
					at += run.blocks * kBlockBytes;
				}
				QCOMPARE(at, kBytes);
			}
			QCOMPARE(rig.detach(attached.sessionPort), 0);
			settle(rig);
		}
		QVERIFY(rig.stack.stop());
	}

	void theListHasWhatWasCreated()
	{
		StackRig rig;
		QCOMPARE(rig.stack.create(rig.client, "one", kBytes), 0);
		QCOMPARE(rig.stack.create(rig.client, "two", kBytes), 0);
		std::vector<std::string> names;
		uint64_t cursor = 0;
		do {
			xseg::RequestRef list = rig.client.make(Op::VolList, 4096);
			ListArgs args;
			args.cursor = cursor;
			list.setArgs(args);
			const auto reply = rig.call(std::move(list), kNodeComposer);
			QCOMPARE(reply->status, 0);
			for (uint64_t at = 0; at < reply->serviced; at += sizeof(VolumeInfo)) {
				VolumeInfo info;
				std::memcpy(&info, reply.data().data() + at, sizeof info);
				names.emplace_back(info.name, info.nameLength);
			}
			cursor = reply.args<ListArgs>().cursor;
		} while (cursor);
		std::ranges::sort(names);
		QCOMPARE(names, (std::vector<std::string>{"one", "two"}));
		QVERIFY(rig.stack.stop());
	}
};

QTEST_APPLESS_MAIN(StackTest)
#include "tst_stack.moc"
