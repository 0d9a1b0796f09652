// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Names and headers as bytes. Checks stand in the order of the fields, so that a message points at the first wrong one.
#include "daemon/mapper/map_format.h"

#include "daemon/mapper/structure.h"

#include <algorithm>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr uint64_t kSnapshotFloor = ~0ull;

/// A name inside a structure: length and bytes, the rest zero.
template <size_t N>
Result<std::string> takeName(const ObjectName &object, size_t lengthAt, uint16_t length, const char (&name)[N])
{
	static_assert(N == kMaxNameBytes);
	if (length == 0 || length > N)
		return refuse(ErrorCode::Corrupt, object, lengthAt, "length of the name", length, "1..82");
	const size_t nameAt = lengthAt + sizeof length;
	const auto rest = std::as_bytes(std::span(name)).subspan(length);
	if (const size_t n = firstNonZero(rest); n < rest.size())
		return refuse(ErrorCode::Corrupt, object, nameAt + length + n, "padding of the name",
		              std::to_integer<unsigned>(rest[n]), "0");
	return std::string(name, length);
}

template <size_t N> void putName(std::string_view from, uint16_t &length, char (&to)[N])
{
	ARCHIPELAGO_ASSERT(!from.empty() && from.size() <= N);
	length = static_cast<uint16_t>(from.size());
	std::memcpy(to, from.data(), from.size());
}

bool legalSize(uint64_t bytes) { return bytes != 0 && bytes % 512 == 0 && bytes <= kMaxVolumeBytes; }

Result<void> checkGeometry(const ObjectName &object, const layout::Header &raw)
{
	if (raw.generation != object.id().epoch || raw.generation == 0 || raw.generation > kMaxGeneration)
		return refuse(ErrorCode::Corrupt, object, 40, "generation", raw.generation, "that of its name, from 1");
	if (!legalSize(raw.sizeBytes))
		return refuse(ErrorCode::Corrupt, object, 48, "size", raw.sizeBytes, "a multiple of 512, at most 4 PiB");
	if (raw.blockShift != kBlockShift)
		return refuse(ErrorCode::Unsupported, object, 56, "block shift", raw.blockShift, fmt::to_string(kBlockShift));
	if (raw.chunkShift != kChunkShift)
		return refuse(ErrorCode::Unsupported, object, 57, "entries per chunk (log2)", raw.chunkShift,
		              fmt::to_string(kChunkShift));
	if (raw.state < uint16_t(VolumeState::Live) || raw.state > uint16_t(VolumeState::Dead))
		return refuse(ErrorCode::Corrupt, object, 58, "state", raw.state, "1..4");
	if (raw.flags & ~kHeaderSnapshot) return refuse(ErrorCode::Unsupported, object, 60, "flags", raw.flags, "0 or 1");
	return {};
}

Result<void> checkEpochs(const ObjectName &object, const layout::Header &raw)
{
	if (raw.epochLimit > firstEpoch(raw.generation + 1))
		return refuse(ErrorCode::Corrupt, object, 64, "epoch limit", raw.epochLimit,
		              "at most the end of its generation");
	if (raw.base > raw.epochLimit)
		return refuse(ErrorCode::Corrupt, object, 72, "base", raw.base, "at most the epoch limit");
	if (raw.flags & kHeaderSnapshot) {
		if (raw.floor != kSnapshotFloor)
			return refuse(ErrorCode::Corrupt, object, 80, "floor", raw.floor, "2^64-1 of a snapshot");
	} else if (raw.floor < raw.base || raw.floor > raw.epochLimit) {
		return refuse(ErrorCode::Corrupt, object, 80, "floor", raw.floor, "from base to the epoch limit");
	}
	if (raw.journalEpoch && raw.journalEpoch >= raw.epochLimit)
		return refuse(ErrorCode::Corrupt, object, 88, "journal epoch", raw.journalEpoch, "below the epoch limit");
	if (!raw.journalEpoch && raw.firstSegment)
		return refuse(ErrorCode::Corrupt, object, 96, "first segment", raw.firstSegment, "0 without a journal");
	if (raw.reserved) return refuse(ErrorCode::Corrupt, object, 100, "reserved field", raw.reserved, "0");
	return {};
}

Result<std::vector<ChunkRef>> takeTable(const ObjectName &object, const layout::Header &raw,
                                        std::span<const std::byte> bytes)
{
	const uint64_t room = (bytes.size() - sizeof raw) / sizeof(layout::ChunkRef);
	if ((bytes.size() - sizeof raw) % sizeof(layout::ChunkRef) || raw.chunkCount != room)
		return refuse(ErrorCode::Corrupt, object, 244, "chunk count", raw.chunkCount,
		              fmt::format("{} by the length", room));
	const uint64_t limit = (raw.sizeBytes + kChunkSpan - 1) / kChunkSpan;

	std::vector<ChunkRef> table;
	table.reserve(raw.chunkCount);
	for (size_t at = sizeof raw; at < bytes.size(); at += sizeof(layout::ChunkRef)) {
		const auto ref = loadAt<layout::ChunkRef>(bytes, at);
		if (ref.index >= limit || (!table.empty() && ref.index <= table.back().index))
			return refuse(ErrorCode::Corrupt, object, at, "chunk index", ref.index,
			              fmt::format("ascending, below {}", limit));
		if (ref.owner.isZero()) return refuse(ErrorCode::Corrupt, object, at + 8, "owner of a chunk", 0, "a volume id");
		if (ref.owner == raw.prologue.volume && ref.epoch >= raw.epochLimit)
			return refuse(ErrorCode::Corrupt, object, at + 24, "epoch of a chunk", ref.epoch, "below the epoch limit");
		table.push_back(ChunkRef{ref.index, ref.crc, ref.owner, ref.epoch});
	}
	return table;
}

} // namespace

Bytes encodeName(const NameObject &name)
{
	const ObjectName object = ObjectName::name(name.name);
	layout::Name raw;
	raw.prologue = prologueFor(object, sizeof raw, sizeof raw);
	raw.prologue.volume = name.volume;
	raw.timeNs = name.timeNs;
	putName(name.name, raw.nameLength, raw.name);
	Bytes bytes;
	appendTo(bytes, raw);
	seal(object, bytes);
	return bytes;
}

Result<NameObject> decodeName(const ObjectName &object, std::span<const std::byte> bytes)
{
	const auto prologue = checkPrologue(object, bytes, {.fixedBytes = sizeof(layout::Name)});
	if (!prologue) return tl::unexpected(prologue.error());
	const auto raw = loadAt<layout::Name>(bytes, 0);
	if (bytes.size() != sizeof raw)
		return refuse(ErrorCode::Corrupt, object, 8, "total bytes", bytes.size(), fmt::to_string(sizeof raw));
	auto name = takeName(object, offsetof(layout::Name, nameLength), raw.nameLength, raw.name);
	if (!name) return tl::unexpected(name.error());
	if (*name != object.nameBytes())
		return failure(ErrorCode::Corrupt, "object " + object.text() + ": byte 42: the name in it is another one");
	const auto reserved = std::as_bytes(std::span(raw.reserved));
	if (const size_t n = firstNonZero(reserved); n < reserved.size())
		return refuse(ErrorCode::Corrupt, object, offsetof(layout::Name, reserved) + n, "reserved field",
		              raw.reserved[n], "0");
	return NameObject{prologue->volume, raw.timeNs, std::move(*name)};
}

Bytes encodeHeader(const Header &header)
{
	ARCHIPELAGO_ASSERT(header.chunks.size() <= kMaxChunkRefs);
	const ObjectName object = ObjectName::header(header.volume, header.generation);
	layout::Header raw;
	raw.prologue = prologueFor(object, sizeof raw, sizeof raw + header.chunks.size() * sizeof(layout::ChunkRef));
	raw.writeCount = header.writeCount;
	raw.generation = header.generation;
	raw.sizeBytes = header.sizeBytes;
	raw.blockShift = kBlockShift;
	raw.chunkShift = kChunkShift;
	raw.state = static_cast<uint16_t>(header.state);
	raw.flags = header.flags;
	raw.epochLimit = header.epochLimit;
	raw.base = header.base;
	raw.floor = header.floor;
	raw.journalEpoch = header.journalEpoch;
	raw.firstSegment = header.firstSegment;
	raw.applied = header.applied;
	raw.originVolume = header.originVolume;
	raw.originTime = header.originTime;
	raw.createdNs = header.createdNs;
	raw.removedNs = header.removedNs;
	raw.allocatedBytes = header.allocatedBytes;
	putName(header.name, raw.nameLength, raw.name);
	raw.chunkCount = static_cast<uint32_t>(header.chunks.size());
	raw.suspectFrom = header.suspectFrom;

	Bytes bytes;
	bytes.reserve(raw.prologue.totalBytes);
	appendTo(bytes, raw);
	for (const ChunkRef &ref : header.chunks)
		appendTo(bytes, layout::ChunkRef{ref.index, ref.crc, ref.owner, ref.epoch});
	seal(object, bytes);
	return bytes;
}

Result<Header> decodeHeader(const ObjectName &object, std::span<const std::byte> bytes)
{
	const auto prologue = checkPrologue(object, bytes, {.fixedBytes = sizeof(layout::Header)});
	if (!prologue) return tl::unexpected(prologue.error());
	const auto raw = loadAt<layout::Header>(bytes, 0);
	if (auto ok = checkGeometry(object, raw); !ok) return tl::unexpected(ok.error());
	if (auto ok = checkEpochs(object, raw); !ok) return tl::unexpected(ok.error());
	auto name = takeName(object, offsetof(layout::Header, nameLength), raw.nameLength, raw.name);
	if (!name) return tl::unexpected(name.error());
	auto table = takeTable(object, raw, bytes);
	if (!table) return tl::unexpected(table.error());

	Header header;
	header.volume = prologue->volume;
	header.generation = raw.generation;
	header.writeCount = raw.writeCount;
	header.sizeBytes = raw.sizeBytes;
	header.state = static_cast<VolumeState>(raw.state);
	header.flags = raw.flags;
	header.epochLimit = raw.epochLimit;
	header.base = raw.base;
	header.floor = raw.floor;
	header.journalEpoch = raw.journalEpoch;
	header.firstSegment = raw.firstSegment;
	header.applied = raw.applied;
	header.originVolume = raw.originVolume;
	header.originTime = raw.originTime;
	header.createdNs = raw.createdNs;
	header.removedNs = raw.removedNs;
	header.allocatedBytes = raw.allocatedBytes;
	header.suspectFrom = raw.suspectFrom;
	header.name = std::move(*name);
	header.chunks = std::move(*table);
	return header;
}

} // namespace archipelago::mapper
