// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The mapper as a peer: block locks, back-pressure, and requests that nobody should send.
#include "tests/daemon/mapper/mapper_life.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = 1ull << 30;

template <typename T> Content contentOf(const T &value)
{
	const auto bytes = std::as_bytes(std::span(&value, 1));
	return Content(bytes.begin(), bytes.end());
}

} // namespace

class TestPeer : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	// ---- blocks

	void block_firstWriteThenInPlace()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		const auto create = life.wait(life.client().map(Op::MapWrite, client->handle, 7));
		QVERIFY(create && create->placement == Placement::Create);
		QCOMPARE(create->id.index, 7u);
		QVERIFY(create->id.volume == client->volume && create->id.kind == ObjectKind::Data);
		QVERIFY(create->id.epoch > firstEpoch(2) && create->id.epoch < firstEpoch(3));
		// Until it is recorded, reads see nothing.
		QVERIFY(life.wait(life.client().map(Op::MapRead, client->handle, 7))->placement == Placement::Zero);
		QVERIFY(life.wait(life.client().record(client->handle, 7, create->token, true)));
		const auto write = life.wait(life.client().map(Op::MapWrite, client->handle, 7));
		QVERIFY(write->placement == Placement::Object && write->id == create->id);
		QVERIFY(!write->committed);
		QVERIFY(life.wait(life.client().flush(client->handle)));
		QVERIFY(life.wait(life.client().map(Op::MapWrite, client->handle, 7))->committed);
		QVERIFY(life.wait(life.client().map(Op::MapRead, client->handle, 7))->committed);
		QCOMPARE(life.wait(life.client().info("db"))->allocatedBytes, kBlockBytes);
		// The same object in the next generation: written in place, its entry durable.
		QVERIFY(life.wait(life.client().detach(client->handle)));
		const auto later = life.wait(life.client().attach("db"));
		const auto inPlace = life.wait(life.client().map(Op::MapWrite, later->handle, 7));
		QVERIFY(inPlace->placement == Placement::Object && inPlace->id == create->id && inPlace->committed);
		QCOMPARE(life.wait(life.client().info("db"))->allocatedBytes, kBlockBytes);
	}

	void block_writesWaitForItsCreate()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		const auto first = life.wait(life.client().map(Op::MapWrite, client->handle, 7));
		const auto second = life.start(life.client().map(Op::MapWrite, client->handle, 7));
		const auto third = life.start(life.client().map(Op::MapWrite, client->handle, 7));
		const auto other = life.wait(life.client().map(Op::MapWrite, client->handle, 8)); // others never wait
		QVERIFY(other->placement == Placement::Create);
		life.settle();
		QVERIFY(!*second && !*third);
		// It failed at the client: the second is to create it, under another name; the third goes on waiting.
		QVERIFY(life.wait(life.client().record(client->handle, 7, first->token, false)));
		life.until([&] { return second->has_value(); });
		QVERIFY((**second)->placement == Placement::Create);
		QVERIFY((**second)->id.epoch > first->id.epoch);
		life.settle();
		QVERIFY(!*third);
		QVERIFY(life.wait(life.client().record(client->handle, 7, (**second)->token, true)));
		life.until([&] { return third->has_value(); });
		QVERIFY((**third)->placement == Placement::Object && (**third)->id == (**second)->id);
	}

	void block_ofAClientThatLeaves()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto gone = life.wait(life.client().attach("db")), stays = life.wait(life.client().attach("db"));
		const auto create = life.wait(life.client().map(Op::MapWrite, gone->handle, 7));
		const auto waitsToo = life.start(life.client().map(Op::MapWrite, gone->handle, 7));
		const auto waits = life.start(life.client().map(Op::MapWrite, stays->handle, 7));
		life.settle();
		QVERIFY(life.wait(life.client().detach(gone->handle)));
		life.until([&] { return waits->has_value() && waitsToo->has_value(); });
		QVERIFY(failsWith(**waitsToo, ErrorCode::Peer));
		QVERIFY((**waits)->placement == Placement::Create);
		QVERIFY((**waits)->id.epoch > create->id.epoch); // the first one's object may still be written
		QVERIFY(failsWith(life.wait(life.client().record(gone->handle, 7, create->token, true)), ErrorCode::Peer));
		QVERIFY(failsWith(life.wait(life.client().record(stays->handle, 7, create->token, true)), ErrorCode::Invalid));
		QVERIFY(life.wait(life.client().record(stays->handle, 7, (**waits)->token, true)));
	}

	/// nr_ops requests wait for one block: the MapRecord that frees them must get in all the same.
	void block_waitersDoNotStopTheMapper()
	{
		World world;
		Life::Options options;
		options.nrOps = 16;
		Life life(m_rig, world, options);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		const auto create = life.wait(life.client().map(Op::MapWrite, client->handle, 7));
		std::vector<std::shared_ptr<std::optional<Result<MapReply>>>> waiting;
		for (int n = 0; n < 60; ++n) waiting.push_back(life.start(life.client().map(Op::MapWrite, client->handle, 7)));
		life.settle();
		QVERIFY(life.wait(life.client().record(client->handle, 7, create->token, true)));
		life.until([&] { return std::ranges::all_of(waiting, [](const auto &w) { return w->has_value(); }); });
		for (const auto &w : waiting) QVERIFY((**w)->placement == Placement::Object);
	}

	void backPressure_holdsNoMoreThanNrOps()
	{
		World world;
		Life::Options options;
		options.nrOps = 16;
		Life life(m_rig, world, options);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		world.hold = [](const World::Seen &seen) { return seen.op == Op::ObjSyncVolume; };
		std::vector<std::shared_ptr<std::optional<Result<void>>>> flushes;
		for (int n = 0; n < 60; ++n) flushes.push_back(life.start(life.client().flush(client->handle)));
		life.until([&] { return life.mapper().inflight() == 16; });
		life.settle();
		QCOMPARE(life.mapper().inflight(), 16u);
		QCOMPARE(life.blockerb().held(), size_t(1)); // one flush runs, the others share the next
		world.hold = nullptr;
		const uint64_t steps = world.steps;
		life.blockerb().release();
		life.until([&] { return std::ranges::all_of(flushes, [](const auto &f) { return f->has_value(); }); });
		QVERIFY(world.steps - steps < 16); // far fewer syncs than flushes
		life.until([&] { return life.mapper().inflight() == 0; });
	}

	/// A flush answers for what was acknowledged before it was sent, so it must not join one that is half-way through.
	void flush_doesNotJoinARunningOne()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		world.hold = [](const World::Seen &seen) { return seen.op == Op::ObjSyncVolume; };
		const auto first = life.start(life.client().flush(client->handle));
		life.until([&] { return life.blockerb().held() == 1; });
		QVERIFY(life.wait(life.client().write(client->handle, 1, 1)));
		const auto second = life.start(life.client().flush(client->handle));
		life.settle();
		life.blockerb().release();
		life.until([&] { return first->has_value(); });
		QVERIFY(!second->has_value());
		QVERIFY(!life.wait(life.client().map(Op::MapRead, client->handle, 1))->committed);
		life.until([&] { return life.blockerb().held() == 1; });
		world.hold = nullptr;
		life.blockerb().release();
		life.until([&] { return second->has_value(); });
		QVERIFY((**second).has_value());
		QVERIFY(life.wait(life.client().map(Op::MapRead, client->handle, 1))->committed);
	}

	void readOnly_attachment()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db", holder(Holder::Nbd, false, true)));
		QVERIFY(client && client->readOnly);
		QVERIFY(failsWith(life.wait(life.client().map(Op::MapWrite, client->handle, 1)), ErrorCode::ReadOnly));
		QVERIFY(life.wait(life.client().map(Op::MapRead, client->handle, 1)));
	}

	// ---- what nobody should send

	void refused_handlesAndBlocks()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		const auto blocks = static_cast<uint32_t>(kSize / kBlockBytes);
		QVERIFY(life.wait(life.client().map(Op::MapRead, client->handle, blocks - 1)));
		for (uint32_t block : {blocks, 0xffffffffu}) {
			QVERIFY(failsWith(life.wait(life.client().map(Op::MapRead, client->handle, block)), ErrorCode::Invalid));
			QVERIFY(failsWith(life.wait(life.client().map(Op::MapWrite, client->handle, block)), ErrorCode::Invalid));
			QVERIFY(failsWith(life.wait(life.client().record(client->handle, block, 1, true)), ErrorCode::Invalid));
		}
		for (uint32_t handle : {0u, client->handle + 1, client->handle + (1u << 12), 0xffffffffu}) {
			QVERIFY(failsWith(life.wait(life.client().map(Op::MapRead, handle, 0)), ErrorCode::Peer));
			QVERIFY(failsWith(life.wait(life.client().map(Op::MapWrite, handle, 0)), ErrorCode::Peer));
			QVERIFY(failsWith(life.wait(life.client().record(handle, 0, 1, true)), ErrorCode::Peer));
			QVERIFY(failsWith(life.wait(life.client().flush(handle)), ErrorCode::Peer));
			QVERIFY(failsWith(life.wait(life.client().trim(handle, 0, 1)), ErrorCode::Peer));
			QVERIFY(life.wait(life.client().detach(handle))); // there is nothing to leave
		}
		const auto create = life.wait(life.client().map(Op::MapWrite, client->handle, 3));
		QVERIFY(
			failsWith(life.wait(life.client().record(client->handle, 3, create->token + 1, true)), ErrorCode::Invalid));
		QVERIFY(failsWith(life.wait(life.client().record(client->handle, 4, create->token, true)), ErrorCode::Invalid));
		const auto other = life.wait(life.client().attach("db"));
		QVERIFY(failsWith(life.wait(life.client().record(other->handle, 3, create->token, true)), ErrorCode::Invalid));
		QVERIFY(life.wait(life.client().record(client->handle, 3, create->token, true)));
		QVERIFY(failsWith(life.wait(life.client().record(client->handle, 3, create->token, true)), ErrorCode::Invalid));
		// A handle of the past does not come back with its slot.
		QVERIFY(life.wait(life.client().detach(other->handle)));
		const auto next = life.wait(life.client().attach("db"));
		QVERIFY(next->handle != other->handle);
		QVERIFY(failsWith(life.wait(life.client().map(Op::MapRead, other->handle, 0)), ErrorCode::Peer));
	}

	void refused_requestsThatDoNotAddUp()
	{
		World world;
		Life life(m_rig, world);
		const std::string room(1024, 'x');
		QVERIFY(failsWith(life.wait(life.client().raw(Op::None, room, 0, {})), ErrorCode::Unsupported));
		QVERIFY(failsWith(life.wait(life.client().raw(static_cast<Op>(9999), room, 0, {})), ErrorCode::Unsupported));
		QVERIFY(life.wait(life.client().raw(Op::Ping, "", 0, {})));
		for (Op op : {Op::CatCreate, Op::CatInfo, Op::CatRemove, Op::CatOpen, Op::CatClose, Op::MapAttach}) {
			QVERIFY(failsWith(life.wait(life.client().raw(op, "short", 5, contentOf(holder(Holder::Nbd)))),
			                  ErrorCode::Invalid));
			QVERIFY(failsWith(life.wait(life.client().raw(op, room, 1025, contentOf(holder(Holder::Nbd)))),
			                  ErrorCode::Invalid));
			QVERIFY(failsWith(life.wait(life.client().raw(op, room, ~0ull, contentOf(holder(Holder::Nbd)))),
			                  ErrorCode::Invalid));
		}
		QVERIFY(failsWith(life.wait(life.client().raw(Op::CatList, std::string(500, ' '), 0, {})), ErrorCode::Invalid));
		for (uint8_t kind : {uint8_t(0), uint8_t(5), uint8_t(255)})
			QVERIFY(failsWith(life.wait(life.client().raw(Op::MapAttach, room, 2, contentOf(holder(Holder{kind})))),
			                  ErrorCode::Invalid));
		AttachArgs ofTwo = holder(Holder::Nbd); // from a composer on two reactors: half of its volumes would be looked for elsewhere
		ofTwo.shards = 2;
		QVERIFY(failsWith(life.wait(life.client().attach("db", ofTwo)), ErrorCode::Config));
		QCOMPARE(world.steps, 0u);
	}
};

QTEST_GUILESS_MAIN(TestPeer)
#include "tst_peer.moc"
