// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Names, headers and chunks: golden vectors both ways, and every field that a decoder must not believe.
#include "daemon/mapper/crc32c.h"
#include "daemon/mapper/map_format.h"
#include "daemon/mapper/structure.h"
#include "tests/daemon/mapper/golden_file.h"

#include <functional>

using namespace archipelago;
using namespace archipelago::mapper;
using namespace archipelago::mapper::testing;

namespace {

constexpr uint64_t kGeneration = 3, kEpoch = kGeneration << 40;

NameObject goldenName() { return NameObject{goldenVolume(), 1'700'000'000'123'456'789, "db-01"}; }

std::vector<MapEntry> goldenEntries()
{
	std::vector<MapEntry> entries(kChunkEntries);
	entries[0] = MapEntry{goldenVolume(), kEpoch + 1};
	entries[5] = MapEntry{goldenVolume(0xa0), 7};
	entries[8191] = MapEntry{goldenVolume(), kEpoch + 2};
	return entries;
}

ObjectName goldenChunkName() { return ObjectName::chunk(goldenVolume(), kEpoch + 3, 1); }

Header goldenHeader()
{
	Header header;
	header.volume = goldenVolume();
	header.generation = kGeneration;
	header.writeCount = 42;
	header.sizeBytes = 64ull << 40;
	header.epochLimit = kEpoch + (1u << 20);
	header.base = 2ull << 40;
	header.floor = header.journalEpoch = kEpoch;
	header.originVolume = goldenVolume(0xa0);
	header.originTime = 77;
	header.createdNs = 1'700'000'000'000'000'000;
	header.allocatedBytes = 3ull << 22;
	header.name = "db-01";
	header.chunks.push_back(
		ChunkRef{1, encodeChunk(goldenChunkName(), goldenEntries()).crc, goldenVolume(), kEpoch + 3});
	header.chunks.push_back(ChunkRef{2047, 0xdeadbeef, goldenVolume(0xa0), 9});
	return header;
}

/// Bytes changed at one place and sealed again: only the check of that field can refuse them.
template <typename T> Bytes changed(const ObjectName &object, Bytes bytes, size_t offset, T value)
{
	std::memcpy(bytes.data() + offset, &value, sizeof value);
	seal(object, bytes);
	return bytes;
}

struct Wrong {
	const char *what;
	size_t offset;
	uint64_t value;
	size_t width;
	ErrorCode code;
};

Bytes applied(const ObjectName &object, const Bytes &bytes, const Wrong &wrong)
{
	switch (wrong.width) {
	case 1: return changed(object, bytes, wrong.offset, static_cast<uint8_t>(wrong.value));
	case 2: return changed(object, bytes, wrong.offset, static_cast<uint16_t>(wrong.value));
	case 4: return changed(object, bytes, wrong.offset, static_cast<uint32_t>(wrong.value));
	default: return changed(object, bytes, wrong.offset, wrong.value);
	}
}

template <typename T> void verifyRefused(const Result<T> &result, const Wrong &wrong)
{
	QVERIFY2(!result, wrong.what);
	QVERIFY2(result.error().code == wrong.code, (wrong.what + (": " + result.error().message)).c_str());
}

} // namespace

class TestMapFormat : public QObject {
	Q_OBJECT
private slots:
	void crc32c_isThatOfTheStandards()
	{
		QCOMPARE(crc32c(0, "123456789"), 0xe3069283u);
		const Bytes zeros(32);
		QCOMPARE(crc32c(0, zeros), 0x8a9136aau); // RFC 3720 B.4
		QCOMPARE(crc32c(crc32c(0, "12345"), "6789"), 0xe3069283u);
		QCOMPARE(crc32c(7, ""), 7u);
	}

	void names_ofObjects()
	{
		const VolumeId volume = goldenVolume();
		const std::string id = "101112131415161718191a1b1c1d1e1f";
		QCOMPARE(ObjectName::name("db-01").text(), std::string("n.db-01"));
		QCOMPARE(ObjectName::header(volume, 3).text(), "h." + id + ".0000000000000003");
		QCOMPARE(ObjectName::chunk(volume, kEpoch + 3, 1).text(), "c." + id + ".0000030000000003.00000001");
		QCOMPARE(ObjectName::journal(volume, kEpoch, 0x1f).text(), "j." + id + ".0000030000000000.0000001f");
		QCOMPARE(ObjectName::data(volume, 1, 0xffffff).text(), "d." + id + ".0000000000000001.00ffffff");
	}

	void golden_name()
	{
		const Bytes golden = readGolden("name.hex");
		QCOMPARE(firstDifference(encodeName(goldenName()), golden), -1);
		const auto name = decodeName(ObjectName::name("db-01"), golden);
		QVERIFY(name.has_value());
		QVERIFY(name->volume == goldenVolume());
		QCOMPARE(name->timeNs, goldenName().timeNs);
		QCOMPARE(name->name, std::string("db-01"));
	}

	void golden_header()
	{
		const Bytes golden = readGolden("header.hex");
		QCOMPARE(firstDifference(encodeHeader(goldenHeader()), golden), -1);
		const auto header = decodeHeader(ObjectName::header(goldenVolume(), kGeneration), golden);
		QVERIFY2(header.has_value(), header ? "" : header.error().message.c_str());
		QCOMPARE(firstDifference(encodeHeader(*header), golden), -1);
		QCOMPARE(header->name, std::string("db-01"));
		QCOMPARE(header->blockCount(), 1u << 24);
		QCOMPARE(header->chunks.size(), size_t(2));
		QVERIFY(header->chunks == goldenHeader().chunks);
	}

	void golden_chunk()
	{
		const Bytes golden = readGolden("chunk.hex");
		const EncodedChunk chunk = encodeChunk(goldenChunkName(), goldenEntries());
		QCOMPARE(firstDifference(chunk.bytes, golden), -1);
		const auto entries = decodeChunk(goldenChunkName(), chunk.crc, golden);
		QVERIFY2(entries.has_value(), entries ? "" : entries.error().message.c_str());
		QVERIFY(*entries == goldenEntries());
	}

	/// A structure that is found under another name than it was written under.
	void refused_underAWrongName()
	{
		const Bytes name = readGolden("name.hex"), header = readGolden("header.hex"), chunk = readGolden("chunk.hex");
		const uint32_t crc = goldenHeader().chunks[0].crc;
		QVERIFY(!decodeName(ObjectName::name("db-02"), name));
		QVERIFY(!decodeHeader(ObjectName::header(goldenVolume(), 4), header));
		QVERIFY(!decodeHeader(ObjectName::header(goldenVolume(0x11), kGeneration), header));
		QVERIFY(!decodeChunk(ObjectName::chunk(goldenVolume(), kEpoch + 3, 2), crc, chunk));
		QVERIFY(!decodeChunk(goldenChunkName(), crc + 1, chunk)); // another chunk than the header means
	}

	void refused_atEveryLengthAndFlippedBit()
	{
		const ObjectName object = ObjectName::header(goldenVolume(), kGeneration);
		const Bytes golden = readGolden("header.hex");
		for (size_t length = 0; length < golden.size(); ++length) {
			const auto header = decodeHeader(object, std::span(golden).first(length));
			QVERIFY(!header && header.error().code == ErrorCode::Corrupt);
		}
		Bytes longer = golden;
		longer.push_back(std::byte{});
		QVERIFY(!decodeHeader(object, longer));
		for (size_t bit = 0; bit < golden.size() * 8; ++bit) {
			Bytes flipped = golden;
			flipped[bit / 8] ^= std::byte(1u << bit % 8);
			const auto header = decodeHeader(object, flipped);
			QVERIFY(!header && header.error().code == ErrorCode::Corrupt);
		}
	}

	void refused_fieldsOfAName()
	{
		const ObjectName object = ObjectName::name("db-01");
		const Bytes golden = readGolden("name.hex");
		const Wrong wrongs[] = {
			{"magic", 3, 'h', 1, ErrorCode::Corrupt},        {"version", 4, 4, 2, ErrorCode::Unsupported},
			{"fixed bytes", 6, 96, 2, ErrorCode::Corrupt},   {"length 0", 40, 0, 2, ErrorCode::Corrupt},
			{"length 83", 40, 83, 2, ErrorCode::Corrupt},    {"another name", 42, 'D', 1, ErrorCode::Corrupt},
			{"a longer name", 40, 6, 2, ErrorCode::Corrupt}, {"padding", 60, 1, 1, ErrorCode::Corrupt},
			{"reserved", 127, 1, 1, ErrorCode::Corrupt},
		};
		for (const Wrong &wrong : wrongs) verifyRefused(decodeName(object, applied(object, golden, wrong)), wrong);
		Bytes noVolume = golden;
		std::memset(noVolume.data() + 16, 0, 16);
		seal(object, noVolume);
		QVERIFY(!decodeName(object, noVolume));
	}

	void refused_fieldsOfAHeader()
	{
		const ObjectName object = ObjectName::header(goldenVolume(), kGeneration);
		const Bytes golden = readGolden("header.hex");
		const Wrong wrongs[] = {
			{"version", 4, 2, 2, ErrorCode::Unsupported},
			{"volume id", 16, 0x11, 1, ErrorCode::Corrupt},
			{"generation", 40, 4, 8, ErrorCode::Corrupt},
			{"size 0", 48, 0, 8, ErrorCode::Corrupt},
			{"size not a multiple", 48, 1000, 8, ErrorCode::Corrupt},
			{"size too large", 48, (1ull << 52) + 512, 8, ErrorCode::Corrupt},
			{"block shift", 56, 23, 1, ErrorCode::Unsupported},
			{"chunk shift", 57, 12, 1, ErrorCode::Unsupported},
			{"state 0", 58, 0, 2, ErrorCode::Corrupt},
			{"state 5", 58, 5, 2, ErrorCode::Corrupt},
			{"flags", 60, 2, 4, ErrorCode::Unsupported},
			{"epoch limit of another generation", 64, (5ull << 40), 8, ErrorCode::Corrupt},
			{"base", 72, (4ull << 40), 8, ErrorCode::Corrupt},
			{"floor below base", 80, 1, 8, ErrorCode::Corrupt},
			{"floor above the limit", 80, (4ull << 40) + 1, 8, ErrorCode::Corrupt},
			{"floor of a snapshot", 80, ~0ull, 8, ErrorCode::Corrupt},
			{"journal epoch", 88, kEpoch + (1u << 20), 8, ErrorCode::Corrupt},
			{"reserved", 100, 1, 4, ErrorCode::Corrupt},
			{"name length", 160, 0, 2, ErrorCode::Corrupt},
			{"name padding", 200, 1, 1, ErrorCode::Corrupt},
			{"chunk count", 244, 3, 4, ErrorCode::Corrupt},
			{"chunk count 0", 244, 0, 4, ErrorCode::Corrupt},
			{"chunk index not ascending", 256, 2047, 4, ErrorCode::Corrupt},
			{"chunk index behind the end", 288, 2048, 4, ErrorCode::Corrupt},
			{"chunk epoch not used yet", 280, kEpoch + (1u << 20), 8, ErrorCode::Corrupt},
		};
		for (const Wrong &wrong : wrongs) verifyRefused(decodeHeader(object, applied(object, golden, wrong)), wrong);

		Header noJournal = goldenHeader();
		noJournal.journalEpoch = 0;
		noJournal.firstSegment = 1;
		QVERIFY(!decodeHeader(object, encodeHeader(noJournal)));
		Header noOwner = goldenHeader();
		noOwner.chunks[1].owner = {};
		QVERIFY(!decodeHeader(object, encodeHeader(noOwner)));
	}

	void accepted_headersAtTheLimits()
	{
		Header blank;
		blank.volume = goldenVolume();
		blank.generation = 1;
		blank.epochLimit = 1;
		blank.sizeBytes = 512;
		blank.name = std::string(kMaxNameBytes, 'x');
		const auto smallest = decodeHeader(ObjectName::header(blank.volume, 1), encodeHeader(blank));
		QVERIFY2(smallest.has_value(), smallest ? "" : smallest.error().message.c_str());
		QCOMPARE(smallest->blockCount(), 1u);

		Header snapshot = blank;
		snapshot.flags = kHeaderSnapshot;
		snapshot.floor = ~0ull;
		QVERIFY(decodeHeader(ObjectName::header(blank.volume, 1), encodeHeader(snapshot)).has_value());

		Header largest = blank;
		largest.generation = kMaxGeneration;
		largest.sizeBytes = kMaxVolumeBytes;
		largest.epochLimit = firstEpoch(kMaxGeneration + 1);
		for (uint32_t index = 0; index < kMaxChunkRefs; ++index)
			largest.chunks.push_back(ChunkRef{index, 0, goldenVolume(), 1});
		const Bytes bytes = encodeHeader(largest);
		QCOMPARE(bytes.size(), size_t(kMaxHeaderBytes));
		QVERIFY(decodeHeader(ObjectName::header(blank.volume, kMaxGeneration), bytes).has_value());
	}

	void refused_fieldsOfAChunk()
	{
		const ObjectName object = goldenChunkName();
		const Bytes golden = readGolden("chunk.hex");
		constexpr size_t kEntry1 = 64 + 32, kOwners = 64 + 8192 * 32;
		const Wrong wrongs[] = {
			{"version", 4, 4, 2, ErrorCode::Unsupported},
			{"epoch", 32, 1, 8, ErrorCode::Corrupt},
			{"index", 40, 2, 4, ErrorCode::Corrupt},
			{"entries", 44, 4096, 4, ErrorCode::Unsupported},
			{"owners", 48, 3, 4, ErrorCode::Corrupt},
			{"owners", 48, 0xffffffff, 4, ErrorCode::Corrupt},
			{"bitmaps", 52, 1, 4, ErrorCode::Unsupported},
			{"hashes", 56, 1, 4, ErrorCode::Unsupported},
			{"reserved", 60, 1, 4, ErrorCode::Corrupt},
			{"owner of an entry", 64, 3, 2, ErrorCode::Corrupt},
			{"partial entry", 66, 1, 2, ErrorCode::Unsupported},
			{"unknown flag", 66, 8, 2, ErrorCode::Unsupported},
			{"parent", 68, 1, 2, ErrorCode::Corrupt},
			{"reserved of an entry", 70, 1, 2, ErrorCode::Corrupt},
			{"parent epoch", 80, 1, 8, ErrorCode::Corrupt},
			{"bitmap", 88, 1, 4, ErrorCode::Corrupt},
			{"reserved of an entry", 92, 1, 4, ErrorCode::Corrupt},
			{"epoch of an empty entry", kEntry1 + 8, 1, 8, ErrorCode::Corrupt},
		};
		for (const Wrong &wrong : wrongs) {
			const Bytes bytes = applied(object, golden, wrong);
			verifyRefused(decodeChunk(object, loadAt<uint32_t>(bytes, 12), bytes), wrong);
		}
		Bytes noOwner = golden;
		std::memset(noOwner.data() + kOwners, 0, 16);
		seal(object, noOwner);
		QVERIFY(!decodeChunk(object, loadAt<uint32_t>(noOwner, 12), noOwner));
	}

	void chunk_withEveryEntryOfAnotherOwner()
	{
		std::vector<MapEntry> entries(kChunkEntries);
		for (uint32_t n = 0; n < kChunkEntries; ++n) {
			entries[n].owner.bytes = {1, uint8_t(n), uint8_t(n >> 8)};
			entries[n].epoch = n;
		}
		const EncodedChunk chunk = encodeChunk(goldenChunkName(), entries);
		QVERIFY(chunk.bytes.size() <= kMaxChunkBytes);
		const auto decoded = decodeChunk(goldenChunkName(), chunk.crc, chunk.bytes);
		QVERIFY(decoded && *decoded == entries);
	}

	void message_namesObjectByteAndValues()
	{
		const ObjectName object = ObjectName::header(goldenVolume(), kGeneration);
		const Bytes bytes = changed(object, readGolden("header.hex"), 56, uint8_t(21));
		const auto header = decodeHeader(object, bytes);
		QCOMPARE(header.error().message,
		         "object h.101112131415161718191a1b1c1d1e1f.0000000000000003: byte 56: block shift is 21, "
		         "expected 22");
	}
};

QTEST_GUILESS_MAIN(TestMapFormat)
#include "tst_map_format.moc"
