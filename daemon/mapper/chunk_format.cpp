// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Chunks as bytes (map_format.h). Owners are a table per chunk, in the order in which entries first name them: a volume id
// and an epoch are 24 bytes, an entry has 32 and must hold its parent's too.
//
// This version neither writes nor reads partial, content-addressed or parented entries: their flags, bitmaps and hashes are
// refused as E-UNSUPPORTED, because reading such an entry without its parent would serve wrong bytes.
#include "daemon/mapper/map_format.h"

#include "daemon/mapper/structure.h"

#include <unordered_map>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

struct VolumeIdHash {
	size_t operator()(const VolumeId &volume) const
	{
		uint64_t first = 0; // volume ids are random: any eight bytes of one will do
		std::memcpy(&first, volume.bytes.data(), sizeof first);
		return first;
	}
};

/// The owners of a chunk's entries: 1-based places by id. At most kChunkEntries of them, so 16 bits are enough.
class OwnerTable {
public:
	uint16_t place(const VolumeId &owner)
	{
		const auto [found, added] = m_places.try_emplace(owner, static_cast<uint16_t>(m_owners.size() + 1));
		if (added) m_owners.push_back(owner);
		return found->second;
	}
	const std::vector<VolumeId> &all() const { return m_owners; }

private:
	std::unordered_map<VolumeId, uint16_t, VolumeIdHash> m_places;
	std::vector<VolumeId> m_owners;
};

constexpr size_t kEntriesAt = sizeof(layout::Chunk);
constexpr size_t kOwnersAt = kEntriesAt + kChunkEntries * sizeof(layout::Entry);

Result<void> checkCounts(const ObjectName &object, const layout::Chunk &raw, size_t bytes)
{
	if (raw.epoch != object.id().epoch)
		return refuse(ErrorCode::Corrupt, object, 32, "epoch", raw.epoch, "that of its name");
	if (raw.index != object.id().index)
		return refuse(ErrorCode::Corrupt, object, 40, "index", raw.index, "that of its name");
	if (raw.entries != kChunkEntries)
		return refuse(ErrorCode::Unsupported, object, 44, "entries", raw.entries, fmt::to_string(kChunkEntries));
	if (raw.owners > 0xffff) return refuse(ErrorCode::Corrupt, object, 48, "owners", raw.owners, "at most 65535");
	if (raw.bitmaps) return refuse(ErrorCode::Unsupported, object, 52, "bitmaps", raw.bitmaps, "0");
	if (raw.hashes) return refuse(ErrorCode::Unsupported, object, 56, "hashes", raw.hashes, "0");
	if (raw.reserved) return refuse(ErrorCode::Corrupt, object, 60, "reserved field", raw.reserved, "0");
	const size_t expected = kOwnersAt + raw.owners * sizeof(VolumeId);
	if (bytes != expected) return refuse(ErrorCode::Corrupt, object, 8, "total bytes", bytes, fmt::to_string(expected));
	return {};
}

Result<MapEntry> takeEntry(const ObjectName &object, size_t at, const layout::Entry &raw,
                           std::span<const VolumeId> owners)
{
	if (raw.owner > owners.size())
		return refuse(ErrorCode::Corrupt, object, at, "owner of an entry", raw.owner,
		              fmt::format("at most {}", owners.size()));
	if (raw.flags) return refuse(ErrorCode::Unsupported, object, at + 2, "flags of an entry", raw.flags, "0");
	if (raw.parentOwner || raw.reserved || raw.parentEpoch || raw.bitmap || raw.reserved2)
		return refuse(ErrorCode::Corrupt, object, at + 4, "parent and bitmap of a whole entry", 1, "0");
	if (!raw.owner) {
		if (raw.epoch) return refuse(ErrorCode::Corrupt, object, at + 8, "epoch of an empty entry", raw.epoch, "0");
		return MapEntry{};
	}
	return MapEntry{owners[raw.owner - 1u], raw.epoch};
}

} // namespace

EncodedChunk encodeChunk(const ObjectName &object, std::span<const MapEntry> entries)
{
	ARCHIPELAGO_ASSERT(entries.size() == kChunkEntries);
	OwnerTable owners;
	Bytes bytes(sizeof(layout::Chunk));
	bytes.reserve(kOwnersAt + sizeof(VolumeId));
	for (const MapEntry &entry : entries) {
		layout::Entry raw;
		if (entry.mapped()) {
			raw.owner = owners.place(entry.owner);
			raw.epoch = entry.epoch;
		}
		appendTo(bytes, raw);
	}
	for (const VolumeId &owner : owners.all()) appendTo(bytes, owner);

	layout::Chunk raw;
	raw.prologue = prologueFor(object, sizeof raw, bytes.size());
	raw.epoch = object.id().epoch;
	raw.index = object.id().index;
	raw.entries = kChunkEntries;
	raw.owners = static_cast<uint32_t>(owners.all().size());
	std::memcpy(bytes.data(), &raw, sizeof raw);
	const uint32_t crc = seal(object, bytes);
	return EncodedChunk{std::move(bytes), crc};
}

Result<std::vector<MapEntry>> decodeChunk(const ObjectName &object, uint32_t crc, std::span<const std::byte> bytes)
{
	const auto prologue = checkPrologue(object, bytes, {.fixedBytes = sizeof(layout::Chunk)});
	if (!prologue) return tl::unexpected(prologue.error());
	if (prologue->crc != crc)
		return refuse(ErrorCode::Corrupt, object, 12, "checksum", prologue->crc,
		              fmt::format("{} by the volume's header", crc));
	const auto raw = loadAt<layout::Chunk>(bytes, 0);
	if (auto ok = checkCounts(object, raw, bytes.size()); !ok) return tl::unexpected(ok.error());

	std::vector<VolumeId> owners;
	for (size_t at = kOwnersAt; at < bytes.size(); at += sizeof(VolumeId)) {
		owners.push_back(loadAt<VolumeId>(bytes, at));
		if (owners.back().isZero()) return refuse(ErrorCode::Corrupt, object, at, "owner", 0, "a volume id");
	}
	std::vector<MapEntry> entries;
	entries.reserve(kChunkEntries);
	for (size_t at = kEntriesAt; at < kOwnersAt; at += sizeof(layout::Entry)) {
		const auto entry = takeEntry(object, at, loadAt<layout::Entry>(bytes, at), owners);
		if (!entry) return tl::unexpected(entry.error());
		entries.push_back(*entry);
	}
	return entries;
}

} // namespace archipelago::mapper
