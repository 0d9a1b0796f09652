// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Records, order and cursor of listings. See listing.h.
#include "daemon/store/listing.h"

#include <algorithm>

namespace archipelago::store {

namespace {

constexpr uint64_t kOrderMask = (1ull << 55) - 1;

} // namespace

std::optional<ListCursor> ListCursor::decode(uint64_t cursor)
{
	if (cursor == 0) return ListCursor{};
	if (!(cursor >> 63)) return std::nullopt;
	return ListCursor{static_cast<uint8_t>(cursor >> 55 & 0xff), cursor & kOrderMask};
}

Listed::Listed(const ObjectId &objectId, std::string objectName)
    : id(objectId), name(std::move(objectName)), order(std::max<uint64_t>(1, hashOf(ObjectKey{id, name}) & kOrderMask))
{
}

bool matches(const ListArgs &args, const ObjectId &id)
{
	return id.kind == args.kind && (args.volume.isZero() || id.volume == args.volume);
}

uint64_t ListWriter::recordBytes(const Listed &object)
{
	return (sizeof(ListEntry) + object.name.size() + 7) / 8 * 8;
}

void ListWriter::put(const Listed &object)
{
	ListEntry entry;
	entry.id = object.id;
	entry.nameLength = static_cast<uint16_t>(object.name.size());
	entry.recordBytes = static_cast<uint16_t>(recordBytes(object));
	std::byte *at = m_to.data() + m_used;
	std::memset(at, 0, entry.recordBytes);
	std::memcpy(at, &entry, sizeof entry);
	std::memcpy(at + sizeof entry, object.name.data(), object.name.size());
	m_used += entry.recordBytes;
}

bool ListWriter::append(std::vector<Listed> group, ListCursor &cursor)
{
	std::erase_if(group, [&](const Listed &object) { return object.order <= cursor.after; });
	// Equal orders are next to impossible, but must not depend on how a directory is read.
	std::sort(group.begin(), group.end(), [](const Listed &a, const Listed &b) {
		return a.order != b.order ? a.order < b.order : a.id != b.id ? a.id < b.id : a.name < b.name;
	});
	for (auto first = group.begin(); first != group.end();) {
		auto last = first;
		uint64_t bytes = 0;
		for (; last != group.end() && last->order == first->order; ++last) bytes += recordBytes(*last);
		if (bytes > m_to.size() - m_used) return false;
		cursor.after = first->order;
		for (; first != last; ++first) put(*first);
	}
	return true;
}

} // namespace archipelago::store
