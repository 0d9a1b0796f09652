// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Which ids are objects, and their hash. See object_key.h for the table.
#include "daemon/store/object_key.h"

#include <algorithm>

namespace archipelago::store {

namespace {

constexpr uint64_t kLargestMapObject = 64u << 20;

uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ (hash >> 29);
}

} // namespace

bool isObjectKind(ObjectKind kind)
{
	switch (kind) {
	case ObjectKind::Data:
	case ObjectKind::Chunk:
	case ObjectKind::Header:
	case ObjectKind::Journal:
	case ObjectKind::Name:
	case ObjectKind::Content: return true;
	}
	return false;
}

std::optional<ObjectKey> objectKey(const ObjectId &id, std::string_view name)
{
	if (std::any_of(std::begin(id.reserved), std::end(id.reserved), [](uint8_t b) { return b != 0; })) return std::nullopt;
	if (id.kind == ObjectKind::Name) {
		if (name.empty() || name.size() > kMaxNameBytes) return std::nullopt;
		ObjectKey key;
		key.id.kind = ObjectKind::Name;
		key.name = name;
		return key;
	}
	if (!name.empty()) return std::nullopt;
	switch (id.kind) {
	case ObjectKind::Header:
		if (id.index != 0) return std::nullopt;
		[[fallthrough]];
	case ObjectKind::Data:
	case ObjectKind::Chunk:
	case ObjectKind::Journal:
		if (id.index2 != 0 || id.volume.isZero()) return std::nullopt;
		[[fallthrough]];
	case ObjectKind::Content: return ObjectKey{id, {}};
	default: return std::nullopt;
	}
}

uint64_t hashOf(const ObjectKey &key)
{
	uint64_t words[5];
	static_assert(sizeof words == sizeof key.id);
	std::memcpy(words, &key.id, sizeof words);
	uint64_t hash = key.name.size();
	for (const uint64_t word : words) hash = mix(hash, word);
	for (size_t at = 0; at < key.name.size(); at += 8) {
		uint64_t word = 0;
		std::memcpy(&word, key.name.data() + at, std::min<size_t>(8, key.name.size() - at));
		hash = mix(hash, word);
	}
	return mix(hash, hash >> 32);
}

bool withinObject(ObjectKind kind, uint64_t offset, uint64_t bytes)
{
	const bool block = kind == ObjectKind::Data || kind == ObjectKind::Content;
	const uint64_t limit = block ? kBlockBytes : kLargestMapObject;
	return bytes <= limit && offset <= limit - bytes;
}

} // namespace archipelago::store
