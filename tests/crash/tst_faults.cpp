// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A node whose disks fail in one place: a bad object is a bad range, a failed flush stops one volume, a full disk pauses
// writers (or fails them). Everything else works, and nothing needs an operator to repair it.
#include "tests/crash/checker.h"

#include "daemon/base/log.h"

#include <QtTest>

using namespace archipelago;
using namespace archipelago::testing;
using store::Fault;

namespace {

constexpr uint64_t kMiB = 1u << 20;

int32_t status(ErrorCode code) { return wireStatus(code); }

struct Faulty {
	Rig rig{128u << 20};
	Disks disks;
	store::Recording recording;
	NodeClient client{rig};
	NodeOptions options;
	std::optional<Node> node;
	std::map<std::string, xseg::PortNo> sessions;

	explicit Faulty(uint64_t blocksBytes = 1ull << 30, FullPolicy policy = FullPolicy::Pause) : disks(blocksBytes)
	{
		options.recording = &recording;
		options.mapper = Run::mapperOptions();
		options.reserveBytes = 2 * kMiB;
		options.fullPolicy = policy;
		node.emplace(rig, disks, options);
	}
	bool open(const std::string &name, bool isNew = true)
	{
		if (isNew && client.create(name, Run::kVolumeBytes) != 0) return false;
		const int session = client.attach(name);
		sessions[name] = static_cast<xseg::PortNo>(session);
		return session > 0;
	}
	xseg::RequestRef write(uint64_t offset, uint64_t bytes, uint64_t version)
	{
		xseg::RequestRef request = client.io(Op::VolWrite, offset, bytes);
		for (uint64_t at = 0; at < bytes; at += kSectorBytes) fillSector(request.data().subspan(at, kSectorBytes), version);
		return request;
	}
	int32_t call(const std::string &name, xseg::RequestRef request) { return client.call(std::move(request), sessions[name])->status; }
	int32_t flush(const std::string &name) { return call(name, client.io(Op::VolFlush, 0, 0)); }
	/// The version there; nothing when it cannot be read.
	std::optional<uint64_t> read(const std::string &name, uint64_t offset)
	{
		const auto reply = client.call(client.io(Op::VolRead, offset, kSectorBytes), sessions[name]);
		return reply->status == 0 ? versionOf(reply.data()) : std::nullopt;
	}
	/// The object that a first write of the block has created.
	ObjectId objectOf(uint32_t block) const
	{
		for (const store::Step &step : recording)
			if (step.op == Op::ObjCreate && step.id.kind == ObjectKind::Data && step.id.index == block) return step.id;
		return {};
	}
};

} // namespace

class TestFaults : public QObject {
	Q_OBJECT

private slots:
	void initTestCase()
	{
		for (const char *role : {"blockerb", "blockerm", "mapperd", "vlmcd"}) roleLogger(role)->set_level(spdlog::level::off);
	}

	void aBadObjectIsABadRange()
	{
		Faulty f;
		QVERIFY(f.open("one"));
		for (uint64_t block = 0; block < 3; ++block) QCOMPARE(f.call("one", f.write(block * kBlockBytes, 8192, block + 1)), 0);
		const ObjectId bad = f.objectOf(1);
		QVERIFY(f.open("two"));
		QCOMPARE(f.call("two", f.write(kBlockBytes, 4096, 9)), 0);
		for (const Op op : {Op::ObjRead, Op::ObjWrite, Op::ObjPunch}) {
			Fault fault;
			fault.op = op;
			fault.object = bad;
			fault.times = store::kForever;
			f.node->blocks().add(fault);
		}
		QCOMPARE(f.client.call(f.client.io(Op::VolRead, kBlockBytes, 4096), f.sessions["one"])->status, status(ErrorCode::Io));
		QCOMPARE(f.call("one", f.write(kBlockBytes, 4096, 5)), status(ErrorCode::Io));
		QCOMPARE(f.call("one", f.client.io(Op::VolTrim, kBlockBytes, 4096)), status(ErrorCode::Io));
		// Across the border to a good block: the whole request failed, as block devices say it.
		QCOMPARE(f.call("one", f.write(kBlockBytes - 4096, 8192, 6)), status(ErrorCode::Io));
		for (const uint64_t block : {0, 2}) {
			QCOMPARE(f.read("one", block * kBlockBytes), std::optional(block + 1));
			QCOMPARE(f.call("one", f.write(block * kBlockBytes, 4096, block + 11)), 0);
			QCOMPARE(f.read("one", block * kBlockBytes), std::optional(block + 11));
		}
		QCOMPARE(f.call("one", f.write(4 * kBlockBytes, 4096, 15)), 0); // a new block
		QCOMPARE(f.flush("one"), 0);
		QCOMPARE(f.read("two", kBlockBytes), std::optional<uint64_t>(9));
		QCOMPARE(f.flush("two"), 0);
		f.node->blocks().clearFaults();
		QCOMPARE(f.read("one", kBlockBytes), std::optional<uint64_t>(2));
		QVERIFY(f.node->stop());
	}

	void aFailedFlushStopsItsVolumeOnly()
	{
		Faulty f;
		for (const char *name : {"one", "two"}) {
			QVERIFY(f.open(name));
			QCOMPARE(f.call(name, f.write(0, 4096, 1)), 0);
			QCOMPARE(f.flush(name), 0);
		}
		QCOMPARE(f.call("one", f.write(0, 4096, 2)), 0);
		Fault fault;
		fault.op = Op::ObjSyncVolume;
		fault.volume = f.objectOf(0).volume;
		f.node->blocks().add(fault);
		QCOMPARE(f.flush("one"), status(ErrorCode::Io));
		// The next would succeed, and must not be asked for.
		QCOMPARE(f.flush("one"), status(ErrorCode::Io));
		QCOMPARE(f.call("one", f.write(0, 4096, 3)), status(ErrorCode::Io));
		QCOMPARE(f.call("one", f.write(kBlockBytes, 4096, 3)), status(ErrorCode::Io));
		QCOMPARE(f.call("two", f.write(0, 4096, 2)), 0);
		QCOMPARE(f.flush("two"), 0);

		QCOMPARE(f.client.detach(f.sessions["one"]), 0);
		QVERIFY(f.open("one", false));
		const auto version = f.read("one", 0);
		QVERIFY(version == 1 || version == 2);
		QCOMPARE(f.call("one", f.write(0, 4096, 4)), 0);
		QCOMPARE(f.flush("one"), 0);
		QVERIFY(f.node->stop());
	}

	void aFullDiskPausesWriters()
	{
		Faulty f(13 * kMiB);
		QVERIFY(f.open("volume"));
		for (uint64_t at = 0; at < 2 * kBlockBytes; at += kMiB) QCOMPARE(f.call("volume", f.write(at, kMiB, 1)), 0);
		unsigned sent = 0;
		for (uint64_t at = 2 * kBlockBytes; at < 3 * kBlockBytes; at += kMiB, ++sent)
			f.client.actor().submit(f.write(at, kMiB, 2), f.sessions["volume"]);
		const auto capacity = [&] {
			f.client.actor().submit(f.client.actor().make(Op::ObjCapacity), kNodeBlocks);
			for (;;) {
				xseg::RequestRef reply = f.client.actor().reply();
				if (!reply) return CapacityReply{};
				if (opOf(reply) == Op::ObjCapacity) return reply.args<CapacityReply>();
				--sent;
			}
		};
		QVERIFY(turnUntil(f.rig, [&] { return capacity().waitingWrites > 0; }));
		QCOMPARE(capacity().full, uint8_t{1});
		QVERIFY(sent > 0);
		// What has its room can be written, and made durable.
		QCOMPARE(f.call("volume", f.write(0, 8192, 3)), 0);
		QCOMPARE(f.flush("volume"), 0);
		QCOMPARE(f.read("volume", kBlockBytes), std::optional<uint64_t>(1));
		// Room is made by the guest itself; those who waited go on.
		QCOMPARE(f.call("volume", f.client.io(Op::VolTrim, kBlockBytes, kBlockBytes)), 0);
		QCOMPARE(f.flush("volume"), 0);
		for (; sent > 0; --sent) {
			const auto reply = f.client.actor().reply();
			QVERIFY(reply);
			QCOMPARE(reply->status, 0);
		}
		for (uint64_t at = 2 * kBlockBytes; at < 3 * kBlockBytes; at += kMiB) QCOMPARE(f.read("volume", at), std::optional<uint64_t>(2));
		QCOMPARE(capacity().waitingWrites, 0u);
		QVERIFY(f.node->stop());
	}

	void aFullDiskFailsWritersWhenToldSo()
	{
		Faulty f(13 * kMiB, FullPolicy::Error);
		QVERIFY(f.open("volume"));
		uint64_t at = 0;
		int32_t result = 0;
		for (; at < Run::kVolumeBytes && result == 0; at += result == 0 ? kMiB : 0) result = f.call("volume", f.write(at, kMiB, 1));
		QCOMPARE(result, status(ErrorCode::NoSpace));
		QCOMPARE(f.flush("volume"), 0);
		QCOMPARE(f.call("volume", f.client.io(Op::VolTrim, 0, kBlockBytes)), 0);
		QCOMPARE(f.flush("volume"), 0);
		settle(f.rig);
		QCOMPARE(f.call("volume", f.write(at, kMiB, 2)), 0);
		QVERIFY(f.node->stop());
		f.node.emplace(f.rig, f.disks, f.options);
		QVERIFY(f.open("volume", false));
		QCOMPARE(f.read("volume", 0), std::optional<uint64_t>(0));
		QCOMPARE(f.read("volume", kBlockBytes), std::optional<uint64_t>(1));
		QCOMPARE(f.read("volume", at), std::optional<uint64_t>(2));
		QVERIFY(f.node->stop());
	}
};

QTEST_APPLESS_MAIN(TestFaults)
#include "tst_faults.moc"
