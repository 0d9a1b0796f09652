// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Where an object of the file store lies: ARCHIP_DIR/A/B/FILE, two levels of one hex digit (256 directories, made when the
// store is formatted) and a name that says everything. This is the on-disk format; changing it needs a new format number
// in the identity.
//
//   object                     FILE                                  directory = low 8 bits of CRC32C over
//   d.VID.EPOCH.BLOCK          d.<32 hex>.<16 hex>.<8 hex>           volume id, block (u32 LE): versions of a block together
//   h.VID.GEN                  h.<32 hex>.<16 hex>                   volume id: listing one volume reads one directory
//   c.VID.EPOCH.INDEX          c.<32 hex>.<16 hex>.<8 hex>           volume id
//   j.VID.EPOCH.SEGMENT        j.<32 hex>.<16 hex>.<8 hex>           volume id
//   x.SHA256                   x.<64 hex>                            (first byte of the SHA-256)
//   n.NAME                     n.<escaped>                           the name's bytes
//
// Hex is lowercase. Escaped: letters, digits, '-', '_' and '.' stand for themselves, every other byte is %XX (uppercase),
// so that any name of 82 bytes is a plain ASCII file name of at most 248 on any filesystem, whatever its normalisation.
#pragma once

#include "daemon/store/object_key.h"

#include <optional>
#include <string>
#include <string_view>

namespace archipelago::store {

inline constexpr unsigned kHashDirectories = 256;

std::string fileName(const ObjectKey &key);
uint8_t directoryOf(const ObjectKey &key);
/// "3/f", relative to archip_dir.
std::string directoryPath(uint8_t directory);

struct ParsedObject {
	ObjectId id;
	std::string name; ///< kind Name only
};
/// The object a file in `directory` holds. Nothing for any other name than the one fileName() makes and for a file in
/// the wrong directory: no operation would ever open it.
std::optional<ParsedObject> parseFileName(std::string_view file, uint8_t directory);

} // namespace archipelago::store
