// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Object names as text and as ids; fixed width, so that equal names are equal bytes.
#include "daemon/mapper/object_name.h"

#include "daemon/mapper/crc32c.h"

#include <fmt/format.h>

namespace archipelago::mapper {

ObjectName::ObjectName(ObjectKind kind, const VolumeId &volume, uint64_t epoch, uint32_t index)
{
	m_id.kind = kind;
	m_id.volume = volume;
	m_id.epoch = epoch;
	m_id.index = index;
}

ObjectName ObjectName::name(std::string_view volumeName)
{
	ObjectName made(ObjectKind::Name, VolumeId{}, 0, 0);
	made.m_nameBytes = volumeName;
	return made;
}

ObjectName ObjectName::header(const VolumeId &volume, uint64_t generation)
{
	return ObjectName(ObjectKind::Header, volume, generation, 0);
}

ObjectName ObjectName::chunk(const VolumeId &volume, uint64_t epoch, uint32_t index)
{
	return ObjectName(ObjectKind::Chunk, volume, epoch, index);
}

ObjectName ObjectName::journal(const VolumeId &volume, uint64_t epoch, uint32_t segment)
{
	return ObjectName(ObjectKind::Journal, volume, epoch, segment);
}

ObjectName ObjectName::data(const VolumeId &volume, uint64_t epoch, uint32_t block)
{
	return ObjectName(ObjectKind::Data, volume, epoch, block);
}

std::string volumeIdText(const VolumeId &volume)
{
	std::string text;
	for (uint8_t byte : volume.bytes) text += fmt::format("{:02x}", byte);
	return text;
}

std::string ObjectName::text() const
{
	const char kind = static_cast<char>(m_id.kind);
	if (m_id.kind == ObjectKind::Name) return "n." + m_nameBytes;
	const std::string prefix = fmt::format("{}.{}.{:016x}", kind, volumeIdText(m_id.volume), m_id.epoch);
	return m_id.kind == ObjectKind::Header ? prefix : fmt::format("{}.{:08x}", prefix, m_id.index);
}

uint32_t ObjectName::seed() const { return crc32c(0, text()); }

} // namespace archipelago::mapper
