// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Map 3 as bytes: the structures of MAP_FORMAT.md as C++ lays them out, little-endian, every field at its natural
// alignment, offsets asserted. Only the codecs (map_format, journal_format) include this; they copy a structure out of
// untrusted bytes, check the copy and use the copy.
#pragma once

#include "daemon/base/protocol.h"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace archipelago::mapper::layout {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and copied as it stands");

inline constexpr uint16_t kVersion = 3;

/// "AM3" and the kind of the structure, in memory order.
constexpr uint32_t magic(char kind)
{
	return 'A' | 'M' << 8 | '3' << 16 | uint32_t(static_cast<unsigned char>(kind)) << 24;
}

struct Prologue {
	uint32_t magic = 0;
	uint16_t version = kVersion;
	uint16_t fixedBytes = 0; ///< of the structure without its tables
	uint32_t totalBytes = 0; ///< with them: what the crc covers
	uint32_t crc = 0;
	VolumeId volume;
};
static_assert(sizeof(Prologue) == 32 && offsetof(Prologue, crc) == 12);

struct Name {
	Prologue prologue;
	int64_t timeNs = 0;
	uint16_t nameLength = 0;
	char name[kMaxNameBytes] = {};
	uint8_t reserved[4] = {};
};
static_assert(sizeof(Name) == 128 && offsetof(Name, nameLength) == 40 && offsetof(Name, name) == 42);

struct Header {
	Prologue prologue;
	uint64_t writeCount = 0;
	uint64_t generation = 0;
	uint64_t sizeBytes = 0;
	uint8_t blockShift = 0;
	uint8_t chunkShift = 0;
	uint16_t state = 0;
	uint32_t flags = 0;
	uint64_t epochLimit = 0;
	uint64_t base = 0;
	uint64_t floor = 0;
	uint64_t journalEpoch = 0;
	uint32_t firstSegment = 0;
	uint32_t reserved = 0;
	uint64_t applied = 0;
	VolumeId originVolume;
	uint64_t originTime = 0;
	int64_t createdNs = 0;
	int64_t removedNs = 0;
	uint64_t allocatedBytes = 0;
	uint16_t nameLength = 0;
	char name[kMaxNameBytes] = {};
	uint32_t chunkCount = 0;
	uint64_t suspectFrom = 0;
};
static_assert(sizeof(Header) == 256 && offsetof(Header, blockShift) == 56 && offsetof(Header, journalEpoch) == 88);
static_assert(offsetof(Header, originVolume) == 112 && offsetof(Header, nameLength) == 160);
static_assert(offsetof(Header, chunkCount) == 244 && offsetof(Header, suspectFrom) == 248);

struct ChunkRef {
	uint32_t index = 0;
	uint32_t crc = 0;
	VolumeId owner;
	uint64_t epoch = 0;
};
static_assert(sizeof(ChunkRef) == 32);

struct Chunk {
	Prologue prologue;
	uint64_t epoch = 0;
	uint32_t index = 0;
	uint32_t entries = 0;
	uint32_t owners = 0;
	uint32_t bitmaps = 0;
	uint32_t hashes = 0;
	uint32_t reserved = 0;
};
static_assert(sizeof(Chunk) == 64);

struct Entry {
	uint16_t owner = 0; ///< 1-based into the chunk's owners; 0: reads zero
	uint16_t flags = 0;
	uint16_t parentOwner = 0;
	uint16_t reserved = 0;
	uint64_t epoch = 0;
	uint64_t parentEpoch = 0;
	uint32_t bitmap = 0;
	uint32_t reserved2 = 0;
};
static_assert(sizeof(Entry) == 32);

struct Segment {
	Prologue prologue;
	uint64_t journalEpoch = 0;
	uint32_t segment = 0;
	uint32_t reserved = 0;
	uint64_t firstSequence = 0;
	uint8_t bootId[16] = {};
	uint64_t generation = 0;
};
static_assert(sizeof(Segment) == 80);

struct Record {
	uint32_t crc = 0;
	uint16_t type = 0;
	uint16_t bytes = 0; ///< of the record, this head included; a multiple of 8
	uint64_t sequence = 0;
};
static_assert(sizeof(Record) == 16);

/// Body of an ENTRY record.
struct EntryBody {
	uint32_t block = 0;
	uint32_t flags = 0;
	VolumeId owner;
	uint64_t epoch = 0;
	VolumeId parent;
	uint64_t parentEpoch = 0;
};
static_assert(sizeof(EntryBody) == 56);

/// Body of a DROP record.
struct DropBody {
	uint32_t block = 0;
	uint32_t count = 0;
};
static_assert(sizeof(DropBody) == 8);

struct CommitBody {
	uint64_t upto = 0;
	uint64_t generation = 0;
};
static_assert(sizeof(CommitBody) == 16);

} // namespace archipelago::mapper::layout
