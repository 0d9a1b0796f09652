// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ObjectKey: what two operations must share to mean the same object. Made only by objectKey(), which refuses ids whose
// unused fields are set: otherwise two different ids would end at one file, with two ideas of its state.
//
//   kind     fields that count                    the others must be
//   d c j    volume (not zero), epoch, index      zero
//   h        volume (not zero), epoch             zero
//   x        all 32 bytes are the SHA-256
//   n        the name, 1..82 bytes                ignored: the volume only says whose sync covers the object
#pragma once

#include "daemon/base/protocol.h"

#include <optional>
#include <string_view>

namespace archipelago::store {

struct ObjectKey {
	ObjectId id;
	std::string_view name; ///< kind Name only; not owned
	bool operator==(const ObjectKey &) const = default;
};

/// Nothing when `id` and `name` are no object's.
std::optional<ObjectKey> objectKey(const ObjectId &id, std::string_view name);
bool isObjectKind(ObjectKind kind);

/// Equal keys, equal values; the same in every process (a listing's order depends on it).
uint64_t hashOf(const ObjectKey &key);

/// Do the bytes lie within the largest object of the kind? 4 MiB for blocks, 64 MiB for what maps are made of.
bool withinObject(ObjectKind kind, uint64_t offset, uint64_t bytes);

} // namespace archipelago::store
