// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Names, headers and chunks of map 3: encode, decode, check. MAP_FORMAT.md is the specification, map_layout.h the bytes,
// journal_format.h the fourth structure. Pure functions, any thread.
//
// Decoders take bytes that anybody may have written: every length, count, index, flag and reserved field is checked, and
// what comes out obeys the invariants stated beside each field. They fail with E-CORRUPT (damage) or E-UNSUPPORTED (intact,
// but newer than this program); the message says what was found and expected at which byte of which object.
#pragma once

#include "daemon/base/errors.h"
#include "daemon/base/protocol.h"
#include "daemon/mapper/object_name.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace archipelago::mapper {

using Bytes = std::vector<std::byte>;

inline constexpr uint32_t kChunkShift = 13;
inline constexpr uint32_t kChunkEntries = 1u << kChunkShift;               ///< blocks that a chunk maps
inline constexpr uint64_t kChunkSpan = uint64_t(kChunkEntries) << kBlockShift; ///< 32 GiB of a volume
inline constexpr uint32_t kMaxHeaderBytes = 4u << 20;                      ///< one request carries it
inline constexpr uint32_t kMaxChunkRefs = (kMaxHeaderBytes - 256) / 32;
inline constexpr uint32_t kMaxChunkBytes = 2u << 20;

// An epoch is generation << 40 | count: two owners of a volume can never pick the same one.
inline constexpr uint32_t kEpochCountBits = 40;
inline constexpr uint64_t kMaxGeneration = (1ull << (64 - kEpochCountBits)) - 2; ///< its successor's epochs still fit
constexpr uint64_t firstEpoch(uint64_t generation) { return generation << kEpochCountBits; }

// ---- name: n.NAME says which volume bears that name; it counts only if that volume's header agrees
struct NameObject {
	VolumeId volume;
	int64_t timeNs = 0; ///< when it was written, since the Unix epoch; for people only
	std::string name;   ///< 1..82 bytes, equal to the object's own name
};
Bytes encodeName(const NameObject &name);
Result<NameObject> decodeName(const ObjectName &object, std::span<const std::byte> bytes);

// ---- header: h.VID.GEN decides everything about a volume
enum class VolumeState : uint16_t { Live = 1, Trash = 2, Purge = 3, Dead = 4 };
inline constexpr uint32_t kHeaderSnapshot = 1; ///< flag

/// Which object holds chunk `index` of the map.
struct ChunkRef {
	uint32_t index = 0;
	uint32_t crc = 0; ///< of that object, as its prologue has it
	VolumeId owner;
	uint64_t epoch = 0;
	bool operator==(const ChunkRef &) const = default;
};

struct Header {
	VolumeId volume;
	uint64_t generation = 0;   ///< 1..kMaxGeneration, equal to GEN of the object's name
	uint64_t writeCount = 0;   ///< +1 with each write of a header of this volume
	uint64_t sizeBytes = 0;    ///< a legal size of a volume
	VolumeState state = VolumeState::Live;
	uint32_t flags = 0;        ///< kHeaderSnapshot
	uint64_t epochLimit = 0;   ///< no object has this epoch yet, or a higher one; at most firstEpoch(generation + 1)
	uint64_t base = 0;         ///< own objects from here on are written in place
	uint64_t floor = 0;        ///< base <= floor <= epochLimit; a snapshot: 2^64-1
	uint64_t journalEpoch = 0; ///< 0: no journal, the volume was closed cleanly; < epochLimit
	uint32_t firstSegment = 0; ///< of the journal
	uint64_t applied = 0;      ///< records up to this sequence are in the chunks
	VolumeId originVolume;     ///< of a snapshot or clone
	uint64_t originTime = 0;
	int64_t createdNs = 0;     ///< since the Unix epoch
	int64_t removedNs = 0;     ///< 0: not removed
	uint64_t allocatedBytes = 0; ///< a hint: mapped blocks x 4 MiB
	uint64_t suspectFrom = 0;  ///< 0: none
	std::string name;          ///< 1..82 bytes
	std::vector<ChunkRef> chunks; ///< ascending by index, inside the volume's size; absent: zeros

	bool snapshot() const { return flags & kHeaderSnapshot; }
	uint32_t blockCount() const { return static_cast<uint32_t>((sizeBytes + kBlockBytes - 1) >> kBlockShift); }
};
/// At most kMaxChunkRefs chunks (the caller sees to it).
Bytes encodeHeader(const Header &header);
Result<Header> decodeHeader(const ObjectName &object, std::span<const std::byte> bytes);

// ---- chunk: c.VID.EPOCH.INDEX, immutable
/// What a block of the volume is stored in.
struct MapEntry {
	VolumeId owner; ///< zero: nothing, reads zeros
	uint64_t epoch = 0;

	bool mapped() const { return !owner.isZero(); }
	bool operator==(const MapEntry &) const = default;
};

struct EncodedChunk {
	Bytes bytes;
	uint32_t crc = 0; ///< for the header's table
};
/// `entries`: kChunkEntries of them; `object`: the chunk's own name.
EncodedChunk encodeChunk(const ObjectName &object, std::span<const MapEntry> entries);
/// kChunkEntries entries. `crc`: what the header's table says of it.
Result<std::vector<MapEntry>> decodeChunk(const ObjectName &object, uint32_t crc, std::span<const std::byte> bytes);

} // namespace archipelago::mapper
