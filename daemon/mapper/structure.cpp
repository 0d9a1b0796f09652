// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The checksum comes before the version: only whole bytes may claim to be newer than this program. For that the place and
// the rule of the checksum never change from version to version (MAP_FORMAT.md, Versions).
#include "daemon/mapper/structure.h"

#include "daemon/base/text.h"
#include "daemon/mapper/crc32c.h"

#include <algorithm>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr size_t kCrcAt = offsetof(layout::Prologue, crc);

uint32_t checksum(const ObjectName &object, std::span<const std::byte> bytes)
{
	constexpr std::byte kZero[sizeof(uint32_t)] = {};
	const uint32_t before = crc32c(object.seed(), bytes.first(kCrcAt));
	return crc32c(crc32c(before, kZero), bytes.subspan(kCrcAt + sizeof kZero));
}

} // namespace

tl::unexpected<Error> refuse(ErrorCode code, const ObjectName &object, size_t offset, std::string_view field,
                             uint64_t found, std::string_view expected)
{
	return failure(code, fmt::format("object {}: byte {}: {} is {}, expected {}", printable(object.text()), offset,
	                                 field, found, expected));
}

layout::Prologue prologueFor(const ObjectName &object, size_t fixedBytes, size_t totalBytes)
{
	layout::Prologue prologue;
	prologue.magic = layout::magic(static_cast<char>(object.id().kind));
	prologue.fixedBytes = static_cast<uint16_t>(fixedBytes);
	prologue.totalBytes = static_cast<uint32_t>(totalBytes);
	prologue.volume = object.id().volume;
	return prologue;
}

uint32_t seal(const ObjectName &object, std::span<std::byte> bytes)
{
	const uint32_t crc = checksum(object, bytes);
	std::memcpy(bytes.data() + kCrcAt, &crc, sizeof crc);
	return crc;
}

Result<layout::Prologue> checkSeal(const ObjectName &object, std::span<const std::byte> bytes, const PrologueRule &rule)
{
	if (bytes.size() < rule.fixedBytes)
		return refuse(ErrorCode::Corrupt, object, 0, "length of the object", bytes.size(),
		              fmt::format("at least {}", rule.fixedBytes));
	const auto prologue = loadAt<layout::Prologue>(bytes, 0);
	const uint32_t magic = layout::magic(static_cast<char>(object.id().kind));
	if (prologue.magic != magic)
		return refuse(ErrorCode::Corrupt, object, 0, "magic", prologue.magic, fmt::to_string(magic));

	const uint32_t total = prologue.totalBytes;
	const bool fits = rule.exact ? total == bytes.size() : total <= bytes.size();
	if (!fits || total < rule.fixedBytes)
		return refuse(ErrorCode::Corrupt, object, 8, "total bytes", total, fmt::format("{} as stored", bytes.size()));
	const uint32_t crc = checksum(object, bytes.first(total));
	if (prologue.crc != crc)
		return refuse(ErrorCode::Corrupt, object, kCrcAt, "checksum", prologue.crc, fmt::to_string(crc));
	return prologue;
}

Result<layout::Prologue> checkPrologue(const ObjectName &object, std::span<const std::byte> bytes,
                                       const PrologueRule &rule)
{
	const auto sealed = checkSeal(object, bytes, rule);
	if (!sealed) return tl::unexpected(sealed.error());
	const layout::Prologue prologue = *sealed;
	if (prologue.version != layout::kVersion)
		return refuse(ErrorCode::Unsupported, object, 4, "version", prologue.version, fmt::to_string(layout::kVersion));

	if (prologue.fixedBytes != rule.fixedBytes)
		return refuse(ErrorCode::Corrupt, object, 6, "fixed bytes", prologue.fixedBytes,
		              fmt::to_string(rule.fixedBytes));
	const bool named = object.id().kind == ObjectKind::Name;
	if (named ? prologue.volume.isZero() : prologue.volume != object.id().volume)
		return failure(ErrorCode::Corrupt,
		               fmt::format("object {}: byte 16: volume id is {}, expected {}", printable(object.text()),
		                           volumeIdText(prologue.volume), named ? "one" : "that of its name"));
	return prologue;
}

size_t firstNonZero(std::span<const std::byte> bytes)
{
	return static_cast<size_t>(std::ranges::find_if(bytes, [](std::byte b) { return b != std::byte{}; }) -
	                           bytes.begin());
}

} // namespace archipelago::mapper
