// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Fuzzes the decoders of map 3: names, headers, chunks, journal segments. An input is one byte for the structure and one
// for how it is sealed, then the bytes. Raw they hardly pass a checksum; sealed (lengths and checksums made right again, the
// chain of a segment's records too) they reach every check behind it. What is accepted must obey the decoder's promises,
// and names and headers must encode to the very bytes they came from.
#include "daemon/mapper/crc32c.h"
#include "daemon/mapper/journal_format.h"
#include "daemon/mapper/structure.h"
#include "tests/fuzz/mutate.h"

#include <algorithm>

using namespace archipelago;
using namespace archipelago::mapper;

namespace {

constexpr uint64_t kGeneration = 3, kEpoch = kGeneration << 40;

VolumeId volume()
{
	VolumeId id;
	for (size_t n = 0; n < id.bytes.size(); ++n) id.bytes[n] = static_cast<uint8_t>(0x10 + n);
	return id;
}

ObjectName objectOf(char kind)
{
	switch (kind) {
	case 'n': return ObjectName::name("db-01");
	case 'h': return ObjectName::header(volume(), kGeneration);
	case 'c': return ObjectName::chunk(volume(), kEpoch + 3, 1);
	default: return ObjectName::journal(volume(), kEpoch, 0);
	}
}

// ---- seeds

Header seedHeader()
{
	Header header;
	header.volume = volume();
	header.generation = kGeneration;
	header.writeCount = 42;
	header.sizeBytes = 64ull << 40;
	header.epochLimit = kEpoch + (1u << 20);
	header.base = 2ull << 40;
	header.floor = header.journalEpoch = kEpoch;
	header.name = "db-01";
	header.chunks.push_back(ChunkRef{1, 2, volume(), kEpoch + 3});
	header.chunks.push_back(ChunkRef{2047, 3, volume(), 9});
	return header;
}

Bytes seedSegment()
{
	SegmentHead head;
	head.volume = volume();
	head.journalEpoch = kEpoch;
	head.generation = kGeneration;
	SegmentEncoder encoder(head);
	for (uint32_t n = 0; n < 170; ++n) {
		MapChange record;
		record.block = n;
		record.entry.owner = volume();
		record.entry.epoch = kEpoch + 1;
		encoder.appendChange(record);
		if (n % 10 == 9) {
			MapChange drop;
			drop.block = n;
			drop.count = n * 7;
			encoder.appendChange(drop);
		}
		if (n % 40 == 39) encoder.appendCommit(encoder.nextSequence() - 1);
	}
	return encoder.take().bytes;
}

std::string input(char kind, const Bytes &bytes)
{
	return std::string{kind, 's'} + std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size());
}

// ---- sealing

template <typename T> void put(Bytes &bytes, size_t at, T value)
{
	if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// Chains the records, whatever they are, as far as their lengths make sense.
void chain(Bytes &bytes)
{
	uint32_t crc = loadAt<uint32_t>(bytes, 12);
	for (size_t at = 80; bytes.size() - at >= 16;) {
		if (kJournalBlockBytes - at % kJournalBlockBytes < 16) {
			at += kJournalBlockBytes - at % kJournalBlockBytes;
			if (at >= bytes.size()) break;
			continue;
		}
		const size_t length = loadAt<uint16_t>(bytes, at + 6);
		if (length < 16 || length % 8 || length > bytes.size() - at) break;
		put(bytes, at, uint32_t(0));
		crc = crc32c(crc, std::span(bytes).subspan(at, length));
		put(bytes, at, crc);
		at += length;
	}
}

void sealAgain(char kind, Bytes &bytes)
{
	const bool segment = kind == 'j';
	if (bytes.size() < (segment ? 80u : 32u)) return;
	put(bytes, 0, layout::magic(kind));
	put(bytes, 8, static_cast<uint32_t>(segment ? 80 : bytes.size()));
	seal(objectOf(kind), segment ? std::span(bytes).first(80) : std::span(bytes));
	if (segment) chain(bytes);
}

// ---- checks

std::string checkHeader(const Header &header, const Bytes &bytes)
{
	if (encodeHeader(header) != bytes) return "a header that was accepted encodes to other bytes";
	if (header.volume != volume() || header.generation != kGeneration) return "a header of another volume";
	if (header.base > header.epochLimit || (!header.snapshot() && header.floor > header.epochLimit))
		return "epochs out of order";
	for (const ChunkRef &ref : header.chunks)
		if (ref.index >= (header.blockCount() + kChunkEntries - 1) / kChunkEntries) return "a chunk behind the end";
	return {};
}

std::string checkSegment(const SegmentContent &content)
{
	uint64_t before = content.head.firstSequence - 1;
	for (const auto &[sequence, change] : content.changes) {
		if (sequence <= before || sequence > content.lastSequence) return "sequences out of order";
		if (change.count == 0 || (change.entry.mapped() && change.count != 1)) return "a change of no block, or of two";
		before = sequence;
	}
	return content.committed > content.lastSequence ? "committed beyond the last record" : "";
}

std::string target(std::string_view text)
{
	if (text.size() < 2) return {};
	const char kind = text[0];
	const auto raw = std::as_bytes(std::span(text.data() + 2, text.size() - 2));
	Bytes bytes(raw.begin(), raw.end());
	if (text[1] == 's') sealAgain(kind, bytes);
	const ObjectName object = objectOf(kind);
	switch (kind) {
	case 'n': {
		const auto name = decodeName(object, bytes);
		return name && encodeName(*name) != bytes ? "a name that was accepted encodes to other bytes" : "";
	}
	case 'h': {
		const auto header = decodeHeader(object, bytes);
		return header ? checkHeader(*header, bytes) : "";
	}
	case 'c': {
		const auto entries = decodeChunk(object, bytes.size() >= 16 ? loadAt<uint32_t>(bytes, 12) : 0, bytes);
		if (!entries) return {};
		const EncodedChunk again = encodeChunk(object, *entries);
		const auto same = decodeChunk(object, again.crc, again.bytes);
		return same && *same == *entries ? "" : "a chunk that was accepted does not come back";
	}
	default: {
		const auto content = decodeSegment(object, bytes);
		return content && *content ? checkSegment(**content) : "";
	}
	}
}

} // namespace

int main(int argc, char **argv)
{
	fuzz::Material material;
	NameObject name;
	name.volume = volume();
	name.name = "db-01";
	std::vector<MapEntry> entries(kChunkEntries);
	entries[0] = MapEntry{volume(), kEpoch + 1};
	material.corpus = {input('n', encodeName(name)), input('h', encodeHeader(seedHeader())), input('j', seedSegment()),
	                   input('c', encodeChunk(objectOf('c'), entries).bytes)};
	material.corpus.push_back("hr" + material.corpus[1].substr(2)); // as it is, checksum and all
	material.dictionary = {std::string("AM3n"),
	                       std::string("AM3h"),
	                       std::string("\x03\0", 2),
	                       std::string("\x04\0\x20\0", 4),
	                       std::string("\x05\0\x10\0", 4),
	                       std::string("\xff\xff\xff\xff", 4),
	                       std::string(8, '\xff')};
	material.maxBytes = 300u << 10;
	return fuzz::run(argc, argv, material, target);
}
