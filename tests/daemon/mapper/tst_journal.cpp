// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Journal: which writes and syncs it makes, and what is left of it after power loss.
#include "daemon/mapper/journal.h"
#include "daemon/mapper/journal_replay.h"
#include "tests/daemon/mapper/blocker_clients.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;
using archipelago::testing::Rig;

namespace {

constexpr BootId kBoot{1}, kOtherBoot{2};

SegmentHead head()
{
	SegmentHead head;
	head.volume.bytes = {7};
	head.journalEpoch = 2ull << 40;
	head.bootId = kBoot;
	head.generation = 2;
	return head;
}

Header headerOf(const SegmentHead &segment)
{
	Header header;
	header.volume = segment.volume;
	header.generation = segment.generation;
	header.sizeBytes = kMaxVolumeBytes;
	header.epochLimit = segment.journalEpoch + 1000;
	header.journalEpoch = segment.journalEpoch;
	header.name = "db";
	return header;
}

MapChange entry(uint32_t block)
{
	MapChange record;
	record.block = block;
	record.entry.owner = head().volume;
	record.entry.epoch = head().journalEpoch + 1;
	return record;
}

struct Bench {
	World world;
	BlockerClients clients;
	Journal journal;
	std::vector<Result<uint64_t>> done; ///< of append(), in the order of their ends

	explicit Bench(Rig &rig, uint32_t segmentBytes = kSegmentBytes)
		: clients(rig, world), journal(*clients.maps, head(), segmentBytes)
	{}
	~Bench() { (void)clients.wait(idle(journal)); }

	void append(uint32_t block) { runtime::spawn(appendOne(journal, block, done)); }
	void appendAndWait(uint32_t block)
	{
		const size_t wanted = done.size() + 1;
		append(block); // ends at once when the journal has failed
		clients.until([this, wanted] { return done.size() >= wanted; });
	}
	Result<void> commit(uint64_t upto) { return clients.wait(journal.commit(upto)); }
	size_t count(Op op, bool fua = false) const
	{
		return static_cast<size_t>(
			std::ranges::count_if(world.seen, [&](const auto &s) { return s.op == op && s.fua == fua; }));
	}
	/// What recovery reads: the blocks of the entries that count.
	std::vector<uint32_t> replayed(const BootId &boot)
	{
		const Header header = headerOf(head());
		Result<Replay> replay = clients.wait(readJournal(*clients.maps, header, boot));
		if (!replay) qFatal("%s", replay.error().message.c_str());
		std::vector<uint32_t> blocks;
		for (const MapChange &change : replay->changes) blocks.push_back(change.block);
		return blocks;
	}

private:
	static runtime::Task<void> appendOne(Journal &journal, uint32_t block, std::vector<Result<uint64_t>> &done)
	{
		Result<uint64_t> sequence = co_await journal.append(entry(block));
		done.push_back(std::move(sequence));
	}
	static runtime::Task<bool> idle(Journal &journal)
	{
		co_await journal.idle();
		co_return true;
	}
};

std::vector<uint32_t> upTo(uint32_t count)
{
	std::vector<uint32_t> blocks(count);
	for (uint32_t n = 0; n < count; ++n) blocks[n] = n;
	return blocks;
}

} // namespace

class TestJournal : public QObject {
	Q_OBJECT
	Rig m_rig;

private slots:
	void nothingIsWrittenBeforeTheFirstRecord()
	{
		Bench bench(m_rig);
		QCOMPARE(bench.replayed(kBoot).size(), size_t(0)); // an absent segment is an empty journal
		QCOMPARE(bench.world.steps, 0u);
	}

	void firstRecord_createsTheSegmentZeroed()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		QVERIFY(bench.done[0] && *bench.done[0] == 1);
		QCOMPARE(bench.world.seen.size(), size_t(2)); // room, then the record in it
		QVERIFY(bench.world.seen[0].op == Op::ObjCreate);
		QCOMPARE(bench.world.seen[0].bytes, size_t(256 << 10));
		QVERIFY(bench.world.seen[1].op == Op::ObjWrite);
		QCOMPARE(bench.world.seen[1].bytes, size_t(4096));
		QVERIFY(bench.replayed(kBoot) == upTo(1));
	}

	void recordsGatherWhileAWriteIsInFlight()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		bench.world.hold = [](const World::Seen &) { return true; };
		for (uint32_t n = 1; n < 101; ++n) bench.append(n);
		bench.clients.until([&] { return bench.clients.blockerm.held() == 1; });
		QCOMPARE(bench.done.size(), size_t(1)); // not one before its write
		bench.clients.blockerm.release();
		bench.clients.until([&] { return bench.clients.blockerm.held() == 1; });
		QCOMPARE(bench.done.size(), size_t(2));
		QCOMPARE(bench.journal.appended(), 2u);
		bench.world.hold = nullptr;
		bench.clients.blockerm.release();
		bench.clients.until([&] { return bench.done.size() == 101; });
		QCOMPARE(bench.world.steps, 4u);
		for (uint64_t n = 0; n < 101; ++n) QVERIFY(bench.done[n] && *bench.done[n] == n + 1);
		QVERIFY(bench.replayed(kBoot) == upTo(101));
	}

	void appended_survivesAKillAndNoMore()
	{
		std::mt19937 random(1);
		Bench bench(m_rig);
		bench.appendAndWait(0);
		QVERIFY(bench.commit(1));
		bench.appendAndWait(1);
		QVERIFY(bench.replayed(kBoot) == upTo(2));      // acknowledged means recorded
		QVERIFY(bench.replayed(kOtherBoot) == upTo(1)); // on another boot only what is committed
		bench.world.maps.powerLoss(random);
		QVERIFY(bench.replayed(kOtherBoot) == upTo(1));
	}

	/// The first COMMIT of a segment must bring its directory entry along: a write with Fua does not.
	void commit_syncsANewSegment()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		QVERIFY(bench.commit(1));
		QCOMPARE(bench.count(Op::ObjSync), size_t(1));
		QCOMPARE(bench.count(Op::ObjWrite, true), size_t(0));
		QCOMPARE(bench.journal.committed(), 1u);
	}

	void commit_isOneFuaWriteWhenAllUnsyncedBytesAreInIt()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		QVERIFY(bench.commit(1));
		bench.appendAndWait(1);
		bench.appendAndWait(2); // rewrites the same block
		const uint64_t before = bench.world.steps;
		QVERIFY(bench.commit(bench.journal.appended()));
		QCOMPARE(bench.world.steps, before + 1);
		QCOMPARE(bench.count(Op::ObjWrite, true), size_t(1));
		QCOMPARE(bench.count(Op::ObjSync), size_t(1)); // the first one
	}

	void commit_syncsWhenEarlierBlocksAreUnsynced()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		QVERIFY(bench.commit(1));
		for (uint32_t n = 1; n < 100; ++n) bench.appendAndWait(n); // more than a block, block by block
		QVERIFY(bench.commit(bench.journal.appended()));
		QCOMPARE(bench.count(Op::ObjWrite, true), size_t(0));
		QCOMPARE(bench.count(Op::ObjSync), size_t(2));
	}

	void commit_syncsWhenTheSegmentGrew()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		QVERIFY(bench.commit(1));
		const auto grew = [](const World::Seen &seen) { return seen.op == Op::ObjWrite && seen.bytes == (256u << 10); };
		for (uint32_t n = 1; std::ranges::none_of(bench.world.seen, grew); ++n) {
			QVERIFY(n < 10'000);
			bench.appendAndWait(n);
		}
		QVERIFY(bench.commit(bench.journal.appended()));
		QVERIFY(bench.world.seen.back().op == Op::ObjSync);
	}

	/// Whatever is in flight and however the blocks fall: after power loss exactly the committed records count, and replay of
	/// what is left never fails.
	void committed_survivesPowerLoss()
	{
		for (unsigned seed = 0; seed < 60; ++seed) {
			std::mt19937 random(seed);
			Bench bench(m_rig);
			uint32_t next = 0, committed = 0;
			const uint64_t rounds = 1 + random() % 20;
			for (uint64_t round = 0; round < rounds; ++round) {
				const uint64_t count = 1 + random() % 150;
				const bool oneByOne = (random() & 1) != 0;
				for (uint64_t n = 0; n < count; ++n) {
					if (oneByOne)
						bench.appendAndWait(next++);
					else
						bench.append(next++);
				}
				bench.clients.until([&] { return bench.done.size() == next; });
				if (random() % 3) {
					QVERIFY(bench.commit(bench.journal.appended()));
					committed = next;
				}
			}
			QVERIFY(bench.replayed(kBoot) == upTo(next));
			bench.world.maps.powerLoss(random);
			QVERIFY2(bench.replayed(kOtherBoot) == upTo(committed), qPrintable(QString("seed %1").arg(seed)));
		}
	}

	void full_segmentIsSyncedBeforeTheNextIsMade()
	{
		Bench bench(m_rig);
		constexpr uint32_t kCount = 130'000; // a good two segments
		uint32_t next = 0;
		while (next < kCount) {
			for (unsigned n = 0; n < 1000; ++n) bench.append(next++);
			bench.clients.until([&] { return bench.done.size() == next; });
		}
		QVERIFY(bench.commit(bench.journal.appended()));
		QCOMPARE(bench.journal.segmentCount(), 3u);
		size_t created = 0;
		for (size_t n = 0; n < bench.world.seen.size(); ++n) {
			const auto &seen = bench.world.seen[n];
			if (seen.op != Op::ObjCreate) continue;
			QCOMPARE(seen.id.index, uint32_t(created));
			if (created++) {
				QVERIFY(bench.world.seen[n - 1].op == Op::ObjSync);
				QCOMPARE(bench.world.seen[n - 1].id.index, seen.id.index - 1);
			}
		}
		QCOMPARE(created, size_t(3));
		QVERIFY(bench.replayed(kBoot) == upTo(kCount));
		std::mt19937 random(1);
		bench.world.maps.powerLoss(random);
		QVERIFY(bench.replayed(kOtherBoot) == upTo(kCount));
		replay_refusesHolesBetweenSegments(bench);
	}

	void error_isFinal()
	{
		for (const auto failure : {World::Failure::NotDone, World::Failure::DoneAllTheSame}) {
			Bench bench(m_rig);
			bench.appendAndWait(0);
			bench.world.failure = failure;
			bench.world.failStep = bench.world.steps;
			bench.append(1);
			bench.append(2); // gathers behind it
			bench.clients.until([&] { return bench.done.size() == 3; });
			QVERIFY(!bench.done[1] && bench.done[1].error().code == ErrorCode::Io);
			QVERIFY(!bench.done[2]);
			const uint64_t steps = bench.world.steps;
			bench.appendAndWait(3);
			QVERIFY(!bench.done[3]);
			QVERIFY(!bench.commit(1));
			QCOMPARE(bench.world.steps, steps); // nothing more is written behind an end that nobody knows
		}
	}

	/// Room for the first records, and for those behind the first step: without it they are taken back, and nothing is in doubt.
	void noRoom_takesBackWhatWaits()
	{
		for (const bool first : {true, false}) {
			for (const auto failure : {World::Failure::NotDone, World::Failure::DoneAllTheSame}) {
				Bench bench(m_rig);
				uint32_t next = 0;
				// Up to the record that fills what there is room for: the next one needs more.
				while (!first && next < (256u << 10) / 72 - 100) bench.appendAndWait(next++);
				bench.world.hold = [](const World::Seen &seen) { return seen.bytes > (200u << 10); };
				while (!bench.clients.blockerm.held()) {
					bench.append(next++);
					bench.clients.until([&] { return bench.clients.blockerm.held() || bench.done.size() == next; });
				}
				const uint32_t kept = next - 1;
				bench.append(next); // gathers behind it
				bench.append(next);
				bench.world.failCode = ErrorCode::NoSpace;
				bench.world.failure = failure;
				bench.world.failStep = bench.world.steps;
				bench.world.hold = nullptr;
				bench.clients.blockerm.release();
				bench.clients.until([&] { return bench.done.size() == kept + 3; });
				QVERIFY(bench.world.seen.back().bytes > (200u << 10));
				for (uint32_t n = kept; n < kept + 3; ++n)
					QVERIFY(!bench.done[n] && bench.done[n].error().code == ErrorCode::NoSpace);
				QVERIFY(!bench.journal.error());
				QVERIFY(bench.replayed(kBoot) == upTo(kept));
				// There is room again: other records, with the numbers that are free.
				bench.appendAndWait(kept);
				QVERIFY(bench.done.back() && *bench.done.back() == kept + 1);
				QVERIFY(bench.commit(bench.journal.appended()));
				std::mt19937 random(1);
				bench.world.maps.powerLoss(random);
				QVERIFY(bench.replayed(kOtherBoot) == upTo(kept + 1));
				QVERIFY(bench.world.violations.empty());
			}
		}
	}

	void noRoom_forACommit()
	{
		Bench bench(m_rig, 4096);
		bench.appendAndWait(0);
		QVERIFY(bench.commit(1)); // and its PAD: the segment is full
		const Result<uint64_t> record = bench.clients.wait(bench.journal.append(entry(1)));
		QVERIFY(record && bench.journal.segmentCount() == 2);
		QVERIFY(bench.commit(bench.journal.appended()));
		const uint64_t committed = bench.journal.committed();
		bench.world.failStep = bench.world.steps + 1; // the full segment is synced, the next one has no room
		bench.world.failCode = ErrorCode::NoSpace;
		const Result<void> refused = bench.commit(bench.journal.appended());
		QVERIFY(!refused && refused.error().code == ErrorCode::NoSpace && !bench.journal.error());
		QCOMPARE(bench.journal.committed(), committed);
		QVERIFY(bench.commit(bench.journal.appended()));
		bench.appendAndWait(2);
		QVERIFY(bench.replayed(kBoot) == upTo(3));
		std::mt19937 random(2);
		bench.world.maps.powerLoss(random);
		QVERIFY(bench.replayed(kOtherBoot) == upTo(2));
	}

	void segments_closedAndForgotten()
	{
		Bench bench(m_rig, 8192);
		uint32_t next = 0;
		for (int round = 0; round < 6; ++round) {
			for (unsigned n = 0; n < 100; ++n) bench.append(next++);
			bench.clients.until([&] { return bench.done.size() == next; });
			QVERIFY(bench.commit(bench.journal.appended()));
		}
		const uint32_t segments = bench.journal.segmentCount();
		QVERIFY(segments > 5);
		QCOMPARE(bench.journal.firstSegmentAfter(0), 0u);
		const uint64_t half = bench.journal.committed() / 2;
		const uint32_t first = bench.journal.firstSegmentAfter(half);
		QVERIFY(first > 0 && first + 1 < segments);
		// Nothing after `half` is lost with the segments before that one, and all up to it may be.
		for (uint32_t n = 0; n < first; ++n)
			bench.world.maps.remove(diskName(ObjectName::journal(head().volume, head().journalEpoch, n)));
		Header header = headerOf(head());
		header.firstSegment = first;
		header.applied = half;
		const Result<Replay> replay = bench.clients.wait(readJournal(*bench.clients.maps, header, kBoot));
		QVERIFY(replay.has_value());
		QCOMPARE(replay->changes.back().block, next - 1);
		QVERIFY(replay->changes.size() < next && replay->changes.size() > next / 3);
		const uint64_t before = bench.journal.bytes();
		bench.journal.forget(first);
		QCOMPARE(bench.journal.bytes(), before - 8192 * first);
		QCOMPARE(bench.journal.firstSegmentAfter(bench.journal.appended()), segments - 1);
	}

	void error_ofASyncIsFinal()
	{
		Bench bench(m_rig);
		bench.appendAndWait(0);
		bench.world.failStep = bench.world.steps + 1; // COMMIT's write, then its sync
		const Result<void> committed = bench.commit(1);
		QVERIFY(!committed && committed.error().code == ErrorCode::Io);
		QCOMPARE(bench.journal.committed(), 0u);
		bench.appendAndWait(1);
		QVERIFY(!bench.done[1]);
	}

private:
	/// A segment that is gone, or whose end is, although its successor is there: no crash leaves that behind.
	void replay_refusesHolesBetweenSegments(Bench &bench)
	{
		const Header header = headerOf(head());
		const auto segment = [](uint32_t n) {
			return diskName(ObjectName::journal(head().volume, head().journalEpoch, n));
		};
		Content &first = *bench.world.maps.edit(segment(0));
		const Content whole = first;
		first[2 << 20] ^= std::byte{1};
		Result<Replay> replay = bench.clients.wait(readJournal(*bench.clients.maps, header, kBoot));
		QVERIFY(!replay && replay.error().code == ErrorCode::Corrupt);
		first[0] ^= std::byte{1}; // not even a head
		replay = bench.clients.wait(readJournal(*bench.clients.maps, header, kBoot));
		QVERIFY(!replay && replay.error().code == ErrorCode::Corrupt);
		first = whole;
		replay = bench.clients.wait(readJournal(*bench.clients.maps, header, kBoot));
		QVERIFY(replay.has_value());

		Content second = *bench.world.maps.edit(segment(1));
		bench.world.maps.remove(segment(1));
		replay = bench.clients.wait(readJournal(*bench.clients.maps, header, kBoot));
		QVERIFY(!replay && replay.error().code == ErrorCode::Missing);
		bench.world.maps.remove(segment(2));
		QCOMPARE(bench.replayed(kBoot).size() < 130'000, true); // the end of the journal, as far as anybody can tell
		bench.world.maps.writeFull(segment(1), second);
		bench.world.maps.remove(segment(0));
		replay = bench.clients.wait(readJournal(*bench.clients.maps, header, kBoot));
		QVERIFY(!replay && replay.error().code == ErrorCode::Missing);
	}
};

QTEST_GUILESS_MAIN(TestJournal)
#include "tst_journal.moc"
