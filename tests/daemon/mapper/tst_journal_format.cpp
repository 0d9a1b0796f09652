// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Segments of the journal: golden vectors both ways, tails torn at every byte, and records that must not come to life again.
#include "daemon/mapper/crc32c.h"
#include "daemon/mapper/journal_format.h"
#include "daemon/mapper/structure.h"
#include "tests/daemon/mapper/golden_file.h"

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;

namespace {

constexpr uint64_t kGeneration = 3, kEpoch = kGeneration << 40;

SegmentHead goldenHead(uint32_t segment = 0, uint64_t firstSequence = 1)
{
	SegmentHead head;
	head.volume = goldenVolume();
	head.journalEpoch = kEpoch;
	head.segment = segment;
	head.firstSequence = firstSequence;
	head.bootId = {0x6a, 0x1f, 0x9f, 0x58, 0xe1, 0xf0, 0x4c, 0x4b, 0x9c, 0x0d, 0x3d, 0x2f, 0x5a, 0x7b, 0x8c, 0x9d};
	head.generation = kGeneration;
	return head;
}

ObjectName nameOf(const SegmentHead &head) { return ObjectName::journal(head.volume, head.journalEpoch, head.segment); }

MapChange entry(uint32_t block, uint64_t epoch = kEpoch + 1)
{
	MapChange record;
	record.block = block;
	record.entry.owner = goldenVolume();
	record.entry.epoch = epoch;
	return record;
}

/// What a segment looks like in the store after these pieces.
void store(Bytes &segment, const SegmentEncoder::Piece &piece)
{
	segment.resize(std::max(segment.size(), piece.offset + piece.bytes.size()));
	std::memcpy(segment.data() + piece.offset, piece.bytes.data(), piece.bytes.size());
}

MapChange dropOf(uint32_t block, uint32_t count)
{
	MapChange change;
	change.block = block;
	change.count = count;
	return change;
}

/// ENTRY 1, ENTRY 2, COMMIT{2}, PAD, ENTRY 5.
Bytes goldenSegment()
{
	SegmentEncoder encoder(goldenHead());
	encoder.appendChange(entry(8192));
	encoder.appendChange(entry(16777215));
	encoder.appendCommit(2);
	encoder.appendChange(entry(0, kEpoch + 2));
	Bytes bytes;
	store(bytes, encoder.take());
	return bytes;
}

/// Offsets of goldenSegment()'s records: head, entries, COMMIT, PAD, entry.
constexpr size_t kFirst = 80, kCommit = kFirst + 2 * 72, kPad = kCommit + 32, kLast = 4096;

/// Makes the chain of checksums valid again, whatever the records say.
void rechain(Bytes &bytes)
{
	seal(nameOf(goldenHead()), std::span(bytes).first(80));
	uint32_t chain = loadAt<uint32_t>(bytes, 12);
	for (size_t at : {kFirst, kFirst + 72, kCommit, kPad, kLast}) {
		const auto length = loadAt<uint16_t>(bytes, at + 6);
		std::memset(bytes.data() + at, 0, 4);
		chain = crc32c(chain, std::span(bytes).subspan(at, length));
		std::memcpy(bytes.data() + at, &chain, 4);
	}
}

Result<std::optional<SegmentContent>> decode(const Bytes &bytes) { return decodeSegment(nameOf(goldenHead()), bytes); }

} // namespace

class TestJournalFormat : public QObject {
	Q_OBJECT
private slots:
	void golden_segment()
	{
		const Bytes golden = readGolden("journal.hex");
		QCOMPARE(firstDifference(goldenSegment(), golden), -1);
		const auto content = decode(golden);
		QVERIFY2(content && *content, content ? "torn" : content.error().message.c_str());
		QCOMPARE((**content).lastSequence, 5u);
		QCOMPARE((**content).committed, 2u);
		QCOMPARE((**content).changes.size(), size_t(3));
		QCOMPARE((**content).changes[1].change.block, 16777215u);
		QCOMPARE((**content).changes[2].sequence, 5u);
		QVERIFY((**content).changes[2].change.entry == entry(0, kEpoch + 2).entry);
		QVERIFY((**content).head.bootId == goldenHead().bootId);
		QCOMPARE((**content).head.generation, kGeneration);
	}

	/// A COMMIT that ends 8 bytes before a block boundary: no PAD fits, and none is needed.
	void golden_edgeOfABlock()
	{
		const SegmentHead head = goldenHead(2, 1000);
		SegmentEncoder encoder(head);
		for (uint32_t block = 0; block < 169; ++block) encoder.appendChange(entry(block));
		QCOMPARE(encoder.appendCommit(1168), 1169u);
		QCOMPARE(encoder.appendChange(entry(0, kEpoch + 2)), 1170u);
		Bytes bytes;
		store(bytes, encoder.take());
		const Bytes golden = readGolden("journal_edge.hex");
		QCOMPARE(firstDifference(bytes, golden), -1);
		const auto content = decodeSegment(nameOf(head), golden);
		QVERIFY2(content && *content, content ? "torn" : content.error().message.c_str());
		QCOMPARE((**content).changes.size(), size_t(170));
		QCOMPARE((**content).lastSequence, 1170u);
	}

	void golden_drop()
	{
		const Bytes golden = readGolden("journal_drop.hex");
		SegmentEncoder encoder(goldenHead());
		encoder.appendChange(entry(7));
		encoder.appendChange(dropOf(7, 1));
		encoder.appendChange(dropOf(8191, 16769025));
		encoder.appendCommit(3);
		encoder.appendChange(entry(7, kEpoch + 2));
		Bytes bytes;
		store(bytes, encoder.take());
		QCOMPARE(firstDifference(bytes, golden), -1);
		const auto content = decode(golden);
		QVERIFY2(content && *content, content ? "torn" : content.error().message.c_str());
		const std::vector<ReplayedChange> &changes = (**content).changes;
		QCOMPARE(changes.size(), size_t(4));
		QVERIFY(!changes[2].change.entry.mapped());
		QCOMPARE(changes[2].change.block, 8191u);
		QCOMPARE(changes[2].change.count, 16769025u);
		QVERIFY(changes[3].change.entry.mapped());
	}

	void drop_thatIsWholeMustMakeSense()
	{
		SegmentEncoder encoder(goldenHead());
		encoder.appendChange(dropOf(7, 3));
		Bytes bytes;
		store(bytes, encoder.take());
		const auto withBody = [&bytes](uint32_t count, uint16_t length) {
			Bytes changed = bytes;
			std::memcpy(changed.data() + kFirst + 20, &count, sizeof count);
			std::memcpy(changed.data() + kFirst + 6, &length, sizeof length);
			uint32_t chain = loadAt<uint32_t>(changed, 12);
			std::memset(changed.data() + kFirst, 0, 4);
			chain = crc32c(chain, std::span(changed).subspan(kFirst, length));
			std::memcpy(changed.data() + kFirst, &chain, 4);
			return decode(changed);
		};
		const auto good = withBody(3, 24);
		QVERIFY(good && *good && (**good).changes.size() == 1);
		for (const auto &[count, length] : {std::pair<uint32_t, uint16_t>{0, 24}, {3, 32}, {3, 16}}) {
			const auto wrong = withBody(count, length);
			QVERIFY(!wrong && wrong.error().code == ErrorCode::Corrupt);
		}
	}

	/// Records that no piece has had go, and the next ones are what they would have been without them.
	void withdrawn_recordsLeaveNoTrace()
	{
		for (const uint32_t before : {0u, 1u, 56u, 200u}) {
			SegmentEncoder plain(goldenHead()), withdrawing(goldenHead());
			Bytes expected, bytes;
			for (uint32_t n = 0; n < before; ++n) {
				plain.appendChange(entry(n));
				withdrawing.appendChange(entry(n));
			}
			if (before) {
				store(expected, plain.take());
				store(bytes, withdrawing.take());
			}
			for (uint32_t n = 0; n < 100; ++n) withdrawing.appendChange(entry(9999 + n));
			withdrawing.appendCommit(before);
			withdrawing.withdraw();
			QVERIFY(!withdrawing.pending());
			QCOMPARE(withdrawing.nextSequence(), plain.nextSequence());
			for (auto *encoder : {&plain, &withdrawing}) {
				encoder->appendChange(entry(5));
				encoder->appendCommit(before + 1);
			}
			store(expected, plain.take());
			store(bytes, withdrawing.take());
			QCOMPARE(firstDifference(bytes, expected), -1);
		}
	}

	void pieces_areWholeBlocksAndRewriteTheLastOne()
	{
		SegmentEncoder encoder(goldenHead());
		QVERIFY(!encoder.pending()); // a head alone is not worth a write
		Bytes stored;
		uint32_t block = 0;
		for (unsigned round = 1; round < 120; ++round) {
			for (unsigned n = 0; n < round % 7 + 1; ++n) encoder.appendChange(entry(block++));
			const bool commit = round % 5 == 0;
			if (commit) encoder.appendCommit(encoder.nextSequence() - 1);
			QVERIFY(encoder.pending());
			const size_t before = stored.size();
			const auto piece = encoder.take();
			QVERIFY(!encoder.pending());
			QCOMPARE(piece.offset % kJournalBlockBytes, 0u);
			QCOMPARE(piece.bytes.size() % kJournalBlockBytes, size_t(0));
			QVERIFY(piece.offset <= before); // no gap
			store(stored, piece);
			const auto content = decode(stored);
			QVERIFY2(content && *content, content ? "torn" : content.error().message.c_str());
			QCOMPARE((**content).changes.size(), size_t(block));
			QCOMPARE((**content).lastSequence, piece.lastSequence);
			// A block with a committed record is never written again.
			if (commit) {
				encoder.appendChange(entry(block++));
				const auto next = encoder.take();
				QCOMPARE(next.offset, uint32_t(stored.size()));
				store(stored, next);
			}
		}
	}

	/// Every prefix of a write, with zeros and with old bytes behind it: exactly the whole records before the tear count.
	void torn_atEveryByte()
	{
		const Bytes whole = goldenSegment();
		const struct {
			size_t end;
			size_t entries;
			uint64_t last;
		} steps[] = {{80, 0, 0}, {152, 1, 1}, {224, 2, 2}, {256, 2, 3}, {4096, 2, 4}, {4168, 3, 5}};
		for (size_t tear = 0; tear <= 4168; ++tear) {
			for (const std::byte behind : {std::byte{0}, std::byte{0xff}, std::byte{0x48}}) {
				Bytes torn(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(tear));
				torn.resize(whole.size(), behind);
				const auto content = decode(torn);
				QVERIFY2(content.has_value(), content ? "" : content.error().message.c_str());
				if (tear < 80 && !*content) continue; // no whole head: as if it were absent
				QVERIFY(*content);
				size_t n = 0;
				// Bytes behind the tear may happen to be what was to be written there.
				for (size_t k = 0; k < std::size(steps); ++k)
					if (std::equal(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(steps[k].end), torn.begin()))
						n = k;
				QCOMPARE((**content).changes.size(), steps[n].entries);
				QCOMPARE((**content).lastSequence, steps[n].last);
			}
		}
	}

	/// Whole records behind a tail that was torn off: a later append must not make them valid again (chained checksums).
	void stale_recordsNeverComeBack()
	{
		// First life: three entries in one write, of which the middle one does not reach the disk.
		SegmentEncoder first(goldenHead());
		for (uint32_t block : {1u, 2u, 3u}) first.appendChange(entry(block));
		Bytes disk;
		store(disk, first.take());
		Bytes torn = disk;
		std::memset(torn.data() + 80 + 72, 0, 72);
		const auto after = decode(torn);
		QVERIFY(after && *after);
		QCOMPARE((**after).changes.size(), size_t(1));
		// Even when somebody appended another record of the same length at its place, with the right sequence and chain.
		SegmentEncoder second(goldenHead());
		second.appendChange(entry(1));
		second.appendChange(entry(7));
		std::memcpy(torn.data() + 152, second.take().bytes.data() + 152, 72);
		const auto content = decode(torn);
		QVERIFY(content && *content);
		QCOMPARE((**content).changes.size(), size_t(2)); // record 3 is whole, but chained to the old record 2
		QCOMPARE((**content).changes[1].change.block, 7u);
	}

	/// Records of another segment, even of the same sequence, chain to another head.
	void stale_recordsOfARecycledSegment()
	{
		SegmentEncoder old(goldenHead(0)), fresh(goldenHead(1));
		for (uint32_t n = 0; n < 100; ++n) old.appendChange(entry(n));
		fresh.appendChange(entry(1000));
		Bytes disk;
		store(disk, old.take());
		store(disk, fresh.take()); // over the first block
		const auto content = decodeSegment(nameOf(goldenHead(1)), disk);
		QVERIFY(content && *content);
		QCOMPARE((**content).changes.size(), size_t(1));
	}

	void head_notWholeIsAbsent()
	{
		const Bytes whole = goldenSegment();
		for (size_t length = 0; length < 80; ++length) {
			const auto content = decode(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)));
			QVERIFY(content && !*content);
		}
		for (size_t bit = 0; bit < 80 * 8; ++bit) {
			Bytes flipped = whole;
			flipped[bit / 8] ^= std::byte(1u << bit % 8);
			const auto content = decode(flipped);
			QVERIFY(content && !*content);
		}
		const auto other = decodeSegment(nameOf(goldenHead(1)), whole); // under another name
		QVERIFY(other && !*other);
	}

	void head_thatIsWholeMustMakeSense()
	{
		const struct {
			const char *what;
			size_t offset;
			uint64_t value;
			ErrorCode code;
		} wrongs[] = {
			{"version", 4, 4 | 80u << 16 | 80ull << 32, ErrorCode::Unsupported},
			{"journal epoch", 32, kEpoch + 1, ErrorCode::Corrupt},
			{"segment", 40, 1, ErrorCode::Corrupt},
			{"reserved", 40, 1ull << 32, ErrorCode::Corrupt},
			{"first sequence", 48, 0, ErrorCode::Corrupt},
		};
		for (const auto &wrong : wrongs) {
			Bytes bytes = goldenSegment();
			std::memcpy(bytes.data() + wrong.offset, &wrong.value, sizeof wrong.value);
			rechain(bytes);
			const auto content = decode(bytes);
			QVERIFY2(!content && content.error().code == wrong.code, wrong.what);
		}
	}

	void record_thatIsWholeMustMakeSense()
	{
		const struct {
			const char *what;
			size_t offset;
			uint64_t value;
			size_t width;
			ErrorCode code;
		} wrongs[] = {
			{"type 0", kFirst + 4, 0, 2, ErrorCode::Unsupported},
			{"type PRESENT", kFirst + 4, 2, 2, ErrorCode::Unsupported},
			{"an ENTRY as a DROP", kFirst + 4, 3, 2, ErrorCode::Corrupt},
			{"type 6", kFirst + 4, 6, 2, ErrorCode::Unsupported},
			{"sequence", kFirst + 8, 2, 8, ErrorCode::Corrupt},
			{"flags", kFirst + 16 + 4, 1, 4, ErrorCode::Unsupported},
			{"parent", kFirst + 16 + 32, 1, 1, ErrorCode::Corrupt},
			{"parent epoch", kFirst + 16 + 48, 1, 8, ErrorCode::Corrupt},
			{"an ENTRY as a COMMIT", kFirst + 4, 4, 2, ErrorCode::Corrupt},
			{"a COMMIT as an ENTRY", kCommit + 4, 1, 2, ErrorCode::Corrupt},
			{"upto of the future", kCommit + 16, 3, 8, ErrorCode::Corrupt},
			{"generation of a COMMIT", kCommit + 24, 2, 8, ErrorCode::Corrupt},
			{"a PAD with something in it", kPad + 100, 1, 1, ErrorCode::Corrupt},
			{"an ENTRY as a PAD", kFirst + 4, 5, 2, ErrorCode::Corrupt},
		};
		for (const auto &wrong : wrongs) {
			Bytes bytes = goldenSegment();
			std::memcpy(bytes.data() + wrong.offset, &wrong.value, wrong.width);
			rechain(bytes);
			const auto content = decode(bytes);
			QVERIFY2(!content, wrong.what);
			QVERIFY2(content.error().code == wrong.code, (wrong.what + (": " + content.error().message)).c_str());
		}
		Bytes noOwner = goldenSegment();
		std::memset(noOwner.data() + kFirst + 16 + 8, 0, 16);
		rechain(noOwner);
		QVERIFY(!decode(noOwner));
		Bytes untouched = goldenSegment();
		rechain(untouched);
		QCOMPARE(firstDifference(untouched, goldenSegment()), -1); // the test's own chain is the right one
	}

	void full_segmentTakesNoMore()
	{
		SegmentEncoder encoder(goldenHead());
		uint32_t count = 0;
		while (encoder.roomForRecord()) encoder.appendChange(entry(count++));
		Bytes bytes;
		store(bytes, encoder.take());
		QVERIFY(bytes.size() <= kSegmentBytes);
		QVERIFY(bytes.size() + kJournalBlockBytes > kSegmentBytes);
		const auto content = decode(bytes);
		QVERIFY(content && *content);
		QCOMPARE((**content).changes.size(), size_t(count));
		// A COMMIT as its last record has its PAD.
		SegmentEncoder committed(goldenHead());
		for (uint32_t n = 0; n + 1 < count; ++n) committed.appendChange(entry(n));
		QVERIFY(committed.roomForRecord());
		committed.appendCommit(1);
		QVERIFY(!committed.roomForRecord());
		QVERIFY(committed.take().bytes.size() <= kSegmentBytes);
	}

	void bootId_ofThisKernel()
	{
		const auto first = readBootId(), second = readBootId();
		QVERIFY(first && second);
		QVERIFY(*first == *second);
		QVERIFY(*first != BootId{});
	}
};

QTEST_GUILESS_MAIN(TestJournalFormat)
#include "tst_journal_format.moc"
