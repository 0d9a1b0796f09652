// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// How a store lists its objects: ListEntry records into the caller's buffer, and a cursor that survives changes.
//
// Objects are grouped (a group = one directory of the file store) and ordered by hash within a group; the cursor names
// the last one given out, not a position. So whatever exists during the whole listing is listed exactly once, whatever
// comes and goes beside it (garbage collection relies on that).
//
//   cursor   bit 63 = 1   bits 62..55 group   bits 54..0 order of the last object listed, 0 = none of this group yet
//            0 = before the first (in), after the last (out)
#pragma once

#include "daemon/store/object_key.h"

#include <span>
#include <string>
#include <vector>

namespace archipelago::store {

struct ListCursor {
	uint8_t group = 0;
	uint64_t after = 0;

	uint64_t encode() const { return 1ull << 63 | uint64_t{group} << 55 | after; }
	/// Nothing when it is not a cursor of ours.
	static std::optional<ListCursor> decode(uint64_t cursor);
};

struct Listed {
	ObjectId id;
	std::string name;
	uint64_t order = 0; ///< 1..2^55-1

	Listed(const ObjectId &objectId, std::string objectName);
};

/// Does the object belong into the listing that `args` asks for?
bool matches(const ListArgs &args, const ObjectId &id);

/// Writes records one behind the other; their space is all it ever touches.
class ListWriter {
public:
	explicit ListWriter(std::span<std::byte> to) : m_to(to) {}
	uint64_t used() const { return m_used; }

	/// Appends the objects of one group behind `cursor.after`, as many as fit, and moves the cursor behind them.
	/// True: all of them. Objects of equal order go together or not at all.
	bool append(std::vector<Listed> group, ListCursor &cursor);

private:
	static uint64_t recordBytes(const Listed &object);
	void put(const Listed &object);

	std::span<std::byte> m_to;
	uint64_t m_used = 0;
};

} // namespace archipelago::store
