// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Operations by name: which volumes there are, who holds them open, and what is said to people about it.
#include "tests/daemon/mapper/mapper_life.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint64_t kSize = 1ull << 30;

template <typename T> QString message(const Result<T> &result)
{
	return result ? QString() : QString::fromStdString(result.error().message);
}

} // namespace

class TestNames : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	// ---- volumes by name

	void create_infoAndList()
	{
		World world;
		Life life(m_rig, world);
		const auto volume = life.wait(life.client().create("db", kSize));
		QVERIFY2(volume, qPrintable(message(volume)));
		const auto info = life.wait(life.client().info("db"));
		QVERIFY2(info, qPrintable(message(info)));
		QVERIFY(info->volume == *volume && !volume->isZero());
		QCOMPARE(info->sizeBytes, kSize);
		QCOMPARE(info->allocatedBytes, 0u);
		QCOMPARE(info->generation, 1u);
		QCOMPARE(info->state, uint16_t(VolumeState::Live));
		QCOMPARE(std::string(info->name, info->nameLength), std::string("db"));
		QVERIFY(info->createdNs > 0 && info->removedNs == 0);
		const auto list = life.wait(life.client().list());
		QVERIFY(list && list->size() == 1);
		QVERIFY((*list)[0].volume == *volume);
	}

	void create_refusesWhatIsThereAndWhatIsNotLegal()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const uint64_t steps = world.steps;
		const auto again = life.wait(life.client().create("db", kSize));
		QVERIFY(failsWith(again, ErrorCode::Exists));
		QCOMPARE(message(again),
		         "Cannot create volume db: a volume of that name exists. It was not touched. Look at it: vlmc info db");
		for (const char *name : {"", ".", "a/b", "archip_x", "x_lock", "a_0123456789abcdef", "\xff", "a\nb"})
			QVERIFY2(failsWith(life.wait(life.client().create(name, kSize)), ErrorCode::Invalid), name);
		QVERIFY(failsWith(life.wait(life.client().create(std::string(83, 'x'), kSize)), ErrorCode::Invalid));
		for (uint64_t size : {0ull, 511ull, 513ull, (1ull << 52) + 512, ~0ull})
			QVERIFY(failsWith(life.wait(life.client().create("other", size)), ErrorCode::Invalid));
		QCOMPARE(world.steps, steps);
		QVERIFY(life.wait(life.client().create(std::string(82, 'x'), 512)));
		QVERIFY(life.wait(life.client().create("largest", 1ull << 52)));
	}

	void create_ofOneNameTwiceAtOnce()
	{
		World world;
		Life life(m_rig, world);
		const auto first = life.start(life.client().create("db", kSize)),
				   second = life.start(life.client().create("db", 2 * kSize));
		const auto other = life.start(life.client().create("other", kSize));
		life.until([&] { return *first && *second && *other; });
		QVERIFY((**first).has_value() != (**second).has_value());
		QVERIFY((**other).has_value());
		QCOMPARE(life.wait(life.client().list())->size(), size_t(2));
	}

	void notFound()
	{
		World world;
		Life life(m_rig, world);
		const auto info = life.wait(life.client().info("nobody"));
		QVERIFY(failsWith(info, ErrorCode::NotFound));
		QCOMPARE(message(info),
		         "Cannot look up volume nobody: there is no volume of that name. See which there are: vlmc list");
		QVERIFY(failsWith(life.wait(life.client().info("")), ErrorCode::NotFound));
		QVERIFY(failsWith(life.wait(life.client().info(std::string(500, 'x'))), ErrorCode::NotFound));
		for (Op op : {Op::CatRemove, Op::CatOpen, Op::CatClose})
			QVERIFY(failsWith(life.wait(life.client().named(op, "nobody")), ErrorCode::NotFound));
		QVERIFY(failsWith(life.wait(life.client().attach("nobody")), ErrorCode::NotFound));
		QVERIFY(failsWith(life.wait(life.client().attach("nobody", holder(Holder::Nbd, true))), ErrorCode::NotFound));
		QCOMPARE(life.wait(life.client().list())->size(), size_t(0));
	}

	void remove_freesTheNameAndKeepsTheVolume()
	{
		World world;
		Life life(m_rig, world);
		const auto first = life.wait(life.client().create("db", kSize));
		QVERIFY(life.wait(life.client().named(Op::CatRemove, "db")));
		QVERIFY(failsWith(life.wait(life.client().info("db")), ErrorCode::NotFound));
		QVERIFY(failsWith(life.wait(life.client().named(Op::CatRemove, "db")), ErrorCode::NotFound));
		QCOMPARE(life.wait(life.client().list())->size(), size_t(0));
		const auto second = life.wait(life.client().create("db", kSize));
		QVERIFY(second && !(*second == *first));
		// The first is in the trash: its header is there, with the time.
		const Content *header = world.maps.read(diskName(ObjectName::header(*first, 1)));
		QVERIFY(header);
		const auto trashed = decodeHeader(ObjectName::header(*first, 1), *header);
		QVERIFY(trashed && trashed->state == VolumeState::Trash && trashed->removedNs >= trashed->createdNs);
	}

	/// A removal that was cut off before the name went: the header has decided, the name is free.
	void stale_nameMayBeReplaced()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const Content name = *world.maps.read(diskName(ObjectName::name("db")));
		QVERIFY(life.wait(life.client().named(Op::CatRemove, "db")));
		world.maps.writeFull(diskName(ObjectName::name("db")), name);
		QVERIFY(failsWith(life.wait(life.client().info("db")), ErrorCode::NotFound));
		QCOMPARE(life.wait(life.client().list())->size(), size_t(0));
		QVERIFY(life.wait(life.client().create("db", 2 * kSize)));
		QCOMPARE(life.wait(life.client().info("db"))->sizeBytes, 2 * kSize);
	}

	/// Where it cannot be told whether a name counts, it is not replaced, and shown with its error; the others are listed.
	void unreadable_volumeIsARowWithItsError()
	{
		World world;
		Life life(m_rig, world);
		const auto damaged = life.wait(life.client().create("damaged", kSize)),
				   headless = life.wait(life.client().create("headless", kSize));
		QVERIFY(life.wait(life.client().create("well", kSize)));
		QVERIFY(life.wait(life.client().create("misnamed", kSize)));
		(*world.maps.edit(diskName(ObjectName::header(*damaged, 1))))[60] ^= std::byte{1};
		world.maps.remove(diskName(ObjectName::header(*headless, 1)));
		(*world.maps.edit(diskName(ObjectName::name("misnamed"))))[60] ^= std::byte{1};

		const auto list = life.wait(life.client().list());
		QVERIFY(list && list->size() == 4);
		for (const VolumeInfo &info : *list) {
			const std::string name(info.name, info.nameLength);
			const int32_t expected = name == "well"
			                             ? 0
			                             : wireStatus(name == "headless" ? ErrorCode::Missing : ErrorCode::Corrupt);
			QCOMPARE(info.error, expected);
			QCOMPARE(info.sizeBytes, name == "well" ? kSize : 0u);
		}
		const uint64_t steps = world.steps;
		for (const char *name : {"damaged", "headless", "misnamed"}) {
			const ErrorCode code = std::string_view(name) == "headless" ? ErrorCode::Missing : ErrorCode::Corrupt;
			QVERIFY(failsWith(life.wait(life.client().create(name, kSize)), code));
			QVERIFY(failsWith(life.wait(life.client().attach(name)), code));
			QVERIFY(failsWith(life.wait(life.client().named(Op::CatRemove, name)), code));
		}
		QCOMPARE(world.steps, steps);
	}

	void list_inPages()
	{
		World world;
		Life life(m_rig, world);
		for (int n = 0; n < 150; ++n) QVERIFY(life.wait(life.client().create("v" + std::to_string(n), kSize)));
		for (uint32_t rows : {6u, 7u, 64u, 1000u}) { // 6: the least that kControlBytes has room for
			const auto list = life.wait(life.client().list(rows));
			QVERIFY2(list, qPrintable(message(list)));
			std::set<std::string> names;
			for (const VolumeInfo &info : *list) names.emplace(info.name, info.nameLength);
			QCOMPARE(names.size(), size_t(150));
			QCOMPARE(list->size(), size_t(150));
		}
	}

	void blank64TiB_costsTwoSmallObjects()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("huge", 64ull << 40)));
		QVERIFY(world.maps.bytes() + world.blocks.bytes() < 4096);
		world.seen.clear();
		const auto huge = life.wait(life.client().attach("huge"));
		QVERIFY(huge);
		const size_t opening = world.seen.size();
		const uint32_t last = (64u << 20) / 4 - 1;
		QCOMPARE(life.wait(life.client().read(huge->handle, last)).value(), 0u);
		QVERIFY(life.wait(life.client().write(huge->handle, last, 4711)));
		QCOMPARE(life.wait(life.client().read(huge->handle, last)).value(), 4711u);
		QVERIFY(life.wait(life.client().detach(huge->handle)));

		// A small one costs as many requests.
		QVERIFY(life.wait(life.client().create("small", 512)));
		world.seen.clear();
		QVERIFY(life.wait(life.client().attach("small")));
		QCOMPARE(world.seen.size(), opening);
		// And with all of its 2048 chunks the header is read and written, not the chunks.
		world.seen.clear();
		QVERIFY(life.wait(life.client().attach("huge")));
		QCOMPARE(world.seen.size(), opening);
	}

	// ---- holders

	void holders_openAndClose()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto notOpen = life.wait(life.client().named(Op::CatClose, "db"));
		QVERIFY(failsWith(notOpen, ErrorCode::NotOpen));
		QVERIFY(failsWith(life.wait(life.client().attach("db", holder(Holder::Nbd, true))), ErrorCode::NotOpen));

		QVERIFY(life.wait(life.client().named(Op::CatOpen, "db")));
		QVERIFY(life.wait(life.client().named(Op::CatOpen, "db"))); // again: nothing changes
		QVERIFY(life.wait(life.client().info("db"))->openedExplicitly);
		const auto client = life.wait(life.client().attach("db", holder(Holder::Nbd, true)));
		QVERIFY(client);
		QCOMPARE(life.wait(life.client().info("db"))->clients, 1u);

		const auto busy = life.wait(life.client().named(Op::CatClose, "db"));
		QVERIFY(failsWith(busy, ErrorCode::Busy));
		QCOMPARE(message(busy), "Cannot close volume db: it is in use by nbd clients. It stays as it is. Disconnect "
		                        "them, then close again.");
		QVERIFY(life.wait(life.client().detach(client->handle)));
		QVERIFY(life.wait(life.client().info("db"))->openedExplicitly); // sticky
		QCOMPARE(life.wait(life.client().info("db"))->generation, 2u);
		QVERIFY(life.wait(life.client().named(Op::CatClose, "db")));
		QVERIFY(!life.wait(life.client().info("db"))->openedExplicitly);
		QVERIFY(failsWith(life.wait(life.client().named(Op::CatClose, "db")), ErrorCode::NotOpen));
	}

	void holders_ofSeveralKinds()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		std::vector<uint32_t> handles;
		for (Holder kind : {Holder::Nbd, Holder::Device, Holder::Nbd, Holder::Tool}) {
			const auto attached = life.wait(life.client().attach("db", holder(kind)));
			QVERIFY(attached);
			handles.push_back(attached->handle);
		}
		QCOMPARE(std::set<uint32_t>(handles.begin(), handles.end()).size(), size_t(4));
		QCOMPARE(life.wait(life.client().info("db"))->generation, 2u); // opened once
		const auto busy = life.wait(life.client().named(Op::CatRemove, "db"));
		QVERIFY(failsWith(busy, ErrorCode::Busy));
		QCOMPARE(message(busy),
		         "Cannot remove volume db: it is in use by nbd clients and 1 device and 1 tool. It stays as it is. "
		         "Disconnect them, then remove again.");
		for (uint32_t handle : handles) QVERIFY(life.wait(life.client().detach(handle)));
		QVERIFY(life.wait(life.client().named(Op::CatRemove, "db")));
	}

	void remove_ofAnOpenVolume()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		QVERIFY(life.wait(life.client().named(Op::CatOpen, "db")));
		const auto open = life.wait(life.client().named(Op::CatRemove, "db"));
		QVERIFY(failsWith(open, ErrorCode::Busy));
		QCOMPARE(message(open), "Cannot remove volume db: it is open. Close it first: vlmc close db");
		QVERIFY(life.wait(life.client().named(Op::CatClose, "db")));
		QVERIFY(life.wait(life.client().named(Op::CatRemove, "db")));
	}

	void attachAndDetach_manyAtOnce()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		for (int round = 0; round < 5; ++round) {
			std::vector<std::shared_ptr<std::optional<Result<AttachReply>>>> attaching;
			for (int n = 0; n < 20; ++n) attaching.push_back(life.start(life.client().attach("db")));
			life.until([&] { return std::ranges::all_of(attaching, [](const auto &a) { return a->has_value(); }); });
			std::vector<std::shared_ptr<std::optional<Result<void>>>> leaving;
			for (const auto &attached : attaching) {
				QVERIFY((**attached).has_value());
				leaving.push_back(life.start(life.client().detach((**attached)->handle)));
			}
			life.until([&] { return std::ranges::all_of(leaving, [](const auto &l) { return l->has_value(); }); });
			for (const auto &left : leaving) QVERIFY((**left).has_value());
		}
		const auto info = life.wait(life.client().info("db"));
		QCOMPARE(info->clients, 0u);
		QCOMPARE(info->generation, 6u); // five opens, each by the first, each closed by the last
	}

	void close_thatFailsLeavesTheVolumeOpen()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		QVERIFY(life.wait(life.client().named(Op::CatOpen, "db")));
		const auto client = life.wait(life.client().attach("db"));
		QVERIFY(life.wait(life.client().write(client->handle, 1, 1)));
		QVERIFY(life.wait(life.client().flush(client->handle)));
		QVERIFY(life.wait(life.client().detach(client->handle)));
		world.failStep = world.steps + 1; // the sync of the data goes well, the chunk does not
		const auto failed = life.wait(life.client().named(Op::CatClose, "db"));
		QVERIFY(failsWith(failed, ErrorCode::Io));
		QVERIFY(message(failed).endsWith("It stays open. Try again when the cause is gone."));
		const auto again = life.wait(life.client().attach("db"));
		QVERIFY(again);
		QCOMPARE(life.wait(life.client().read(again->handle, 1)).value(), 1u);
		QVERIFY(life.wait(life.client().detach(again->handle)));
		QVERIFY(life.wait(life.client().named(Op::CatClose, "db")));
		QVERIFY(world.violations.empty()); // the second attempt's chunk has another name
	}

	void stopped_volumeIsRecoveredByTheNextOpen()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		QVERIFY(life.wait(life.client().named(Op::CatOpen, "db")));
		const auto client = life.wait(life.client().attach("db"));
		QVERIFY(life.wait(life.client().write(client->handle, 1, 1)));
		world.failStep = world.steps; // the sync of a flush
		QVERIFY(failsWith(life.wait(life.client().flush(client->handle)), ErrorCode::Io));
		// No reads either: the kernel may have dropped pages.
		QVERIFY(failsWith(life.wait(life.client().read(client->handle, 1)), ErrorCode::Io));
		QVERIFY(failsWith(life.wait(life.client().map(Op::MapWrite, client->handle, 2)), ErrorCode::Io));
		QVERIFY(failsWith(life.wait(life.client().flush(client->handle)), ErrorCode::Io));
		const auto second = life.wait(life.client().attach("db"));
		QVERIFY(failsWith(second, ErrorCode::Io));
		QVERIFY(message(second).contains("It has stopped"));
		QVERIFY(life.wait(life.client().detach(client->handle)));
		const auto closed = life.wait(life.client().named(Op::CatClose, "db"));
		QVERIFY(failsWith(closed, ErrorCode::Io));
		QVERIFY(message(closed).contains("It is closed, but not cleanly"));
		const auto after = life.wait(life.client().attach("db"));
		QVERIFY2(after, qPrintable(message(after)));
		QCOMPARE(life.wait(life.client().read(after->handle, 1)).value(), 1u);
	}

	void stop_closesWhatIsAttached()
	{
		World world;
		Life life(m_rig, world);
		QVERIFY(life.wait(life.client().create("db", kSize)));
		const auto client = life.wait(life.client().attach("db"));
		QVERIFY(life.wait(life.client().write(client->handle, 1, 1)));
		const auto create = life.wait(life.client().map(Op::MapWrite, client->handle, 2));
		QVERIFY(create && create->placement == Placement::Create);
		// Behind a Create that never ends.
		const auto waiting = life.start(life.client().map(Op::MapWrite, client->handle, 2));
		life.settle();
		QVERIFY(life.stop());
		ListArgs journals;
		journals.kind = ObjectKind::Journal;
		QVERIFY(world.maps.list(journals).empty());
		Life next(m_rig, world);
		const auto again = next.wait(next.client().attach("db"));
		QCOMPARE(next.wait(next.client().read(again->handle, 1)).value(), 1u);
	}

	/// A blocker that is away is waited for: its successor does what is asked.
	void peer_thatIsAwayIsWaitedFor()
	{
		World world;
		Life life(m_rig, world);
		life.removeBlockerm();
		const auto created = life.start(life.client().create("db", kSize));
		const auto list = life.start(life.client().list());
		life.settle();
		QVERIFY(!created->has_value() && !list->has_value());
		QVERIFY(life.wait(life.client().raw(Op::Ping, "", 0, {})));
		life.addBlockerm();
		life.until([&] { return created->has_value() && list->has_value(); });
		QVERIFY2((**created).has_value(), qPrintable(message(**created)));
		QCOMPARE(life.wait(life.client().info("db"))->sizeBytes, kSize);
	}
};

QTEST_GUILESS_MAIN(TestNames)
#include "tst_names.moc"
