// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// VolumeMap by itself: epochs that run out, entries that are not ours to write, headers that must not be opened, and records
// that contradict their volume.
#include "daemon/mapper/volume_map.h"
#include "tests/daemon/mapper/blocker_clients.h"

#include <QtTest>

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr uint32_t kHandle = 1;
constexpr BootId kBoot{1};

struct Bench {
	World world;
	BlockerClients clients;
	ChunkBudget budget{1u << 30};
	VolumeContext context;
	FoundVolume found;
	std::unique_ptr<VolumeMap> map;

	explicit Bench(Rig &rig)
		: clients(rig, world), context{*rig.reactor, *clients.data, *clients.maps, budget, kBoot, *roleLogger("test"), {}}
	{
		roleLogger("test")->set_level(spdlog::level::off);
		found.header.volume.bytes = {9};
		found.header.generation = 1;
		found.header.sizeBytes = 2 * kChunkSpan;
		found.header.epochLimit = 1;
		found.header.name = "db";
		found.generations = {1};
	}
	~Bench()
	{
		if (!map) return;
		map->abandon(kHandle);
		(void)clients.wait(map->close());
	}

	/// Puts the header into the store and opens the volume. Empty: it worked.
	std::optional<Error> open()
	{
		const Bytes bytes = encodeHeader(found.header);
		world.maps.writeFull(diskName(ObjectName::header(found.header.volume, found.header.generation)), bytes);
		Result<std::unique_ptr<VolumeMap>> opened = clients.wait(VolumeMap::open(context, found));
		if (!opened) return opened.error();
		map = std::move(*opened);
		return std::nullopt;
	}
	/// A chunk in the store, named by the header.
	void addChunk(uint32_t index, uint32_t place, const MapEntry &entry)
	{
		std::vector<MapEntry> entries(kChunkEntries);
		entries[place] = entry;
		const ObjectName object = ObjectName::chunk(found.header.volume, 0, index);
		const EncodedChunk chunk = encodeChunk(object, entries);
		world.maps.writeFull(diskName(object), chunk.bytes);
		found.header.chunks.push_back(ChunkRef{index, chunk.crc, found.header.volume, 0});
	}
	/// A journal segment in the store, named by the header, with these records.
	void addJournal(const std::vector<MapChange> &records, uint64_t firstSequence = 1, uint64_t generation = 1)
	{
		SegmentHead head;
		head.volume = found.header.volume;
		head.journalEpoch = found.header.journalEpoch = firstEpoch(1);
		head.firstSequence = firstSequence;
		head.bootId = kBoot;
		head.generation = generation;
		found.header.epochLimit = firstEpoch(1) + 100;
		SegmentEncoder encoder(head);
		for (const MapChange &record : records) encoder.appendChange(record);
		world.maps.writeFull(diskName(ObjectName::journal(head.volume, head.journalEpoch, 0)), encoder.take().bytes);
	}
	Header stored(uint64_t generation) const
	{
		const ObjectName object = ObjectName::header(found.header.volume, generation);
		const Content *bytes = world.maps.read(diskName(object));
		return bytes ? decodeHeader(object, *bytes).value_or(Header{}) : Header{};
	}
};

MapChange record(uint32_t block, uint64_t epoch)
{
	MapChange record;
	record.block = block;
	record.entry.owner.bytes = {9}; // the volume of every bench
	record.entry.epoch = epoch;
	return record;
}

} // namespace

class TestVolumeMap : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void epochs_areReservedBeforeTheyAreUsed()
	{
		Bench bench(m_rig);
		bench.context.limits.epochsPerHeader = 1;
		QVERIFY(!bench.open());
		QCOMPARE(bench.map->header().epochLimit, firstEpoch(2) + 1); // that one is the journal's and the chunks'
		std::set<uint64_t> used;
		for (uint32_t n = 0; n < 5; ++n) {
			MapReply reply;
			QVERIFY(bench.map->place(7, kHandle, reply) == VolumeMap::Placing::NoEpoch);
			QVERIFY(bench.clients.wait(bench.map->reserveEpochs()));
			QVERIFY(bench.map->place(7, kHandle, reply) == VolumeMap::Placing::Done);
			QVERIFY(used.insert(reply.id.epoch).second);
			QVERIFY(bench.stored(2).epochLimit > reply.id.epoch); // durable before anybody sees the name
			QVERIFY(bench.map->place(7, kHandle, reply) == VolumeMap::Placing::BlockLocked);
			bench.map->abandon(kHandle);
		}
		QCOMPARE(bench.stored(2).writeCount, bench.found.header.writeCount + 6);
	}

	void epochs_ofAClose()
	{
		Bench bench(m_rig);
		bench.context.limits.epochsPerHeader = 1;
		QVERIFY(!bench.open());
		MapReply reply;
		QVERIFY(bench.clients.wait(bench.map->reserveEpochs()));
		QVERIFY(bench.map->place(7, kHandle, reply) == VolumeMap::Placing::Done);
		RecordArgs args;
		args.handle = kHandle;
		args.block = 7;
		args.token = reply.token;
		args.stored = 1;
		QVERIFY(bench.clients.wait(bench.map->record(args)));
		QVERIFY(bench.clients.wait(bench.map->close()));
		const Header header = bench.stored(2);
		QCOMPARE(header.journalEpoch, 0u);
		QCOMPARE(header.chunks.size(), size_t(1));
		QVERIFY(header.chunks[0].epoch > reply.id.epoch && header.chunks[0].epoch < header.epochLimit);
		bench.map.reset();
	}

	void epochs_endWithTheGeneration()
	{
		Bench bench(m_rig);
		bench.context.limits.epochsPerHeader = 1ull << kEpochCountBits; // all of them
		QVERIFY(!bench.open());
		QCOMPARE(bench.map->header().epochLimit, firstEpoch(3));
		MapReply reply;
		QVERIFY(bench.map->place(7, kHandle, reply) == VolumeMap::Placing::Done);
		const Result<void> more = bench.clients.wait(bench.map->reserveEpochs()); // nothing is used up yet
		QVERIFY(more.has_value());
		QCOMPARE(bench.stored(2).epochLimit, firstEpoch(3));
	}

	void entry_ofAnotherOwnerIsReadAndNotWritten()
	{
		Bench bench(m_rig);
		MapEntry parent;
		parent.owner.bytes = {42};
		parent.epoch = 77;
		bench.addChunk(1, 5, parent);
		QVERIFY(!bench.open());
		const uint32_t block = kChunkEntries + 5;
		QVERIFY(!bench.map->ready(block));
		QVERIFY(bench.map->ready(5)); // a chunk that nobody stored
		QVERIFY(bench.clients.wait(bench.map->load(block)));
		const MapReply reply = bench.map->read(block);
		QVERIFY(reply.placement == Placement::Object && reply.id.volume == parent.owner && reply.id.epoch == 77 &&
		        reply.committed);
		MapReply write;
		QVERIFY(bench.map->place(block, kHandle, write) == VolumeMap::Placing::Shared);
	}

	void entry_belowBaseIsNotWritten()
	{
		for (const bool shared : {false, true}) {
			Bench bench(m_rig);
			MapEntry own;
			own.owner = bench.found.header.volume;
			own.epoch = 100;
			bench.found.header.epochLimit = 200;
			bench.found.header.base = bench.found.header.floor = shared ? 101 : 100;
			bench.addChunk(0, 5, own);
			QVERIFY(!bench.open());
			QVERIFY(bench.clients.wait(bench.map->load(5)));
			MapReply write;
			QVERIFY(bench.map->place(5, kHandle, write) ==
			        (shared ? VolumeMap::Placing::Shared : VolumeMap::Placing::Done));
		}
	}

	/// What is trimmed goes out of this map; an object that a snapshot or another volume may have stays.
	void trim_leavesObjectsThatAreNotOursAlone()
	{
		Bench bench(m_rig);
		MapEntry parent, shared;
		parent.owner.bytes = {42};
		parent.epoch = 77;
		shared.owner = bench.found.header.volume;
		shared.epoch = 100;
		bench.found.header.epochLimit = 200;
		bench.found.header.base = bench.found.header.floor = 101;
		bench.addChunk(0, 5, parent);
		bench.addChunk(1, 5, shared);
		QVERIFY(!bench.open());
		bench.world.seen.clear();
		QVERIFY(bench.clients.wait(bench.map->trim(0, 2 * kChunkEntries)));
		QVERIFY(bench.map->read(5).placement == Placement::Zero);
		QVERIFY(bench.map->read(kChunkEntries + 5).placement == Placement::Zero);
		QVERIFY(bench.clients.wait(bench.map->flush()));
		QVERIFY(bench.clients.wait(bench.map->close()));
		for (const auto &seen : bench.world.seen)
			QVERIFY(seen.op != Op::ObjRemove || seen.id.kind != ObjectKind::Data);
		bench.map.reset();
	}

	/// A chunk of before the base belongs to a snapshot as well: it stays when this volume's map moves on.
	void chunk_belowBaseIsNotRemoved()
	{
		for (const bool shared : {false, true}) {
			Bench bench(m_rig);
			bench.found.header.base = bench.found.header.floor = shared ? 1 : 0;
			bench.addChunk(0, 5, MapEntry{});
			const ObjectName chunk = ObjectName::chunk(bench.found.header.volume, 0, 0);
			bench.addJournal({record(6, firstEpoch(1) + 1)});
			QVERIFY(!bench.open());
			QCOMPARE(bench.world.maps.exists(diskName(chunk)), shared);
		}
	}

	void entry_ofAnEpochNotUsedYetIsDamage()
	{
		Bench bench(m_rig);
		MapEntry own;
		own.owner = bench.found.header.volume;
		own.epoch = firstEpoch(2) + (1u << 20);
		bench.addChunk(0, 5, own);
		QVERIFY(!bench.open());
		const Result<void> loaded = bench.clients.wait(bench.map->load(5));
		QVERIFY(!loaded && loaded.error().code == ErrorCode::Corrupt);
	}

	void header_withoutRoomForAnotherChunk()
	{
		Bench bench(m_rig);
		bench.found.header.sizeBytes = kMaxVolumeBytes;
		for (uint32_t index = 0; index < kMaxChunkRefs - 1; ++index)
			bench.found.header.chunks.push_back(ChunkRef{index, 0, bench.found.header.volume, 0});
		QVERIFY(!bench.open());
		MapReply reply;
		QVERIFY(bench.map->place((kMaxChunkRefs - 1) * kChunkEntries, kHandle, reply) == VolumeMap::Placing::Done);
		// The one under way may take the last place.
		QVERIFY(bench.map->place(kMaxChunkRefs * kChunkEntries, kHandle, reply) == VolumeMap::Placing::Full);
		bench.map->abandon(kHandle);
		QVERIFY(bench.map->place(kMaxChunkRefs * kChunkEntries, kHandle, reply) == VolumeMap::Placing::Done);
	}

	void refused_headers()
	{
		const auto opened = [this](auto change) {
			Bench bench(m_rig);
			change(bench.found.header);
			const std::optional<Error> error = bench.open();
			return std::make_pair(error ? error->code : ErrorCode{}, bench.world.steps);
		};
		using Outcome = std::pair<ErrorCode, uint64_t>;
		QVERIFY(opened([](Header &h) { h.suspectFrom = 1; }) == Outcome(ErrorCode::Unsupported, 0));
		QVERIFY(opened([](Header &h) {
					h.flags = kHeaderSnapshot;
					h.floor = ~0ull;
				}) == Outcome(ErrorCode::Unsupported, 0));
		QVERIFY(opened([](Header &h) { h.generation = kMaxGeneration; }) == Outcome(ErrorCode::Limit, 0));
		QVERIFY(opened([](Header &h) { h.generation = kMaxGeneration - 1; }).first == ErrorCode{});
	}

	void refused_records()
	{
		const auto opened = [this](const std::vector<MapChange> &records, uint64_t firstSequence,
		                           uint64_t generation) {
			Bench bench(m_rig);
			bench.addJournal(records, firstSequence, generation);
			const std::optional<Error> error = bench.open();
			return error ? error->code : ErrorCode{};
		};
		const uint64_t epoch = firstEpoch(1) + 1;
		constexpr uint32_t blocks = 2 * kChunkEntries;
		QVERIFY(opened({record(blocks - 1, epoch)}, 1, 1) == ErrorCode{});
		QVERIFY(opened({record(blocks, epoch)}, 1, 1) == ErrorCode::Corrupt);
		QVERIFY(opened({record(0, firstEpoch(1) + 100)}, 1, 1) == ErrorCode::Corrupt);
		QVERIFY(opened({record(0, epoch)}, 2, 1) == ErrorCode::Corrupt); // a record before it is gone
		QVERIFY(opened({record(0, epoch)}, 1, 2) == ErrorCode::Corrupt); // another owner's journal
	}
};

QTEST_GUILESS_MAIN(TestVolumeMap)
#include "tst_volume_map.moc"
