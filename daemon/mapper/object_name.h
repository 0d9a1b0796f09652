// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ObjectName: what an object is called, as the blockers take it (ObjectId, plus the bytes of an n. object) and as text.
//
//   n.NAME   h.VID.GEN   c.VID.EPOCH.INDEX   j.VID.EPOCH.SEGMENT   d.VID.EPOCH.BLOCK
//
// VID is 32, GEN and EPOCH are 16, the last numbers 8 lower-case hex digits. The text is part of the format: its CRC32C
// seeds the CRC of what the object holds, so that a structure found under a wrong name fails its check (MAP_FORMAT.md).
#pragma once

#include "daemon/base/protocol.h"

#include <string>
#include <string_view>

namespace archipelago::mapper {

class ObjectName {
public:
	static ObjectName name(std::string_view volumeName);
	static ObjectName header(const VolumeId &volume, uint64_t generation);
	static ObjectName chunk(const VolumeId &volume, uint64_t epoch, uint32_t index);
	static ObjectName journal(const VolumeId &volume, uint64_t epoch, uint32_t segment);
	static ObjectName data(const VolumeId &volume, uint64_t epoch, uint32_t block);

	const ObjectId &id() const { return m_id; }
	/// Kind Name: the volume's name; else empty.
	const std::string &nameBytes() const { return m_nameBytes; }
	std::string text() const;
	/// CRC32C of text().
	uint32_t seed() const;

private:
	ObjectName(ObjectKind kind, const VolumeId &volume, uint64_t epoch, uint32_t index);

	ObjectId m_id;
	std::string m_nameBytes;
};

/// 32 lower-case hex digits.
std::string volumeIdText(const VolumeId &volume);

} // namespace archipelago::mapper
