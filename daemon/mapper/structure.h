// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What all structures of map 3 share: prologue, checksum, and how a decoder says no. For the codecs only.
//
// A refusal names the object, the byte, what stands there and what should. E-CORRUPT: these bytes cannot be what was
// written. E-UNSUPPORTED: they are intact, and say something this version does not know; a newer one wrote them.
#pragma once

#include "daemon/base/errors.h"
#include "daemon/mapper/map_layout.h"
#include "daemon/mapper/object_name.h"

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace archipelago::mapper {

/// "object h.NAME: byte 56: block shift is 21, expected 22".
tl::unexpected<Error> refuse(ErrorCode code, const ObjectName &object, size_t offset, std::string_view field,
                             uint64_t found, std::string_view expected);

/// A copy of the structure at `offset`; the bytes must be there.
template <typename T> T loadAt(std::span<const std::byte> bytes, size_t offset)
{
	static_assert(std::is_trivially_copyable_v<T>);
	ARCHIPELAGO_ASSERT(offset <= bytes.size() && bytes.size() - offset >= sizeof(T));
	T out;
	std::memcpy(&out, bytes.data() + offset, sizeof out);
	return out;
}

template <typename T> void appendTo(std::vector<std::byte> &out, const T &value)
{
	static_assert(std::is_trivially_copyable_v<T>);
	const size_t at = out.size();
	out.resize(at + sizeof value);
	std::memcpy(out.data() + at, &value, sizeof value);
}

/// The prologue of a structure about to be written; seal() completes it.
layout::Prologue prologueFor(const ObjectName &object, size_t fixedBytes, size_t totalBytes);
/// Puts the checksum in: over all of `bytes` with the crc field zero, seeded with the object's name. Returns it.
uint32_t seal(const ObjectName &object, std::span<std::byte> bytes);

struct PrologueRule {
	size_t fixedBytes = 0;
	bool exact = true; ///< total bytes are the object's length; false: at most that (a journal segment)
};
/// Length, magic, total bytes and checksum: are these the bytes that somebody sealed under this name? E-CORRUPT.
Result<layout::Prologue> checkSeal(const ObjectName &object, std::span<const std::byte> bytes,
                                   const PrologueRule &rule);
/// checkSeal(), then version, fixed bytes and the volume id (of a name: that there is one).
Result<layout::Prologue> checkPrologue(const ObjectName &object, std::span<const std::byte> bytes,
                                       const PrologueRule &rule);

/// First byte of `bytes` that is not zero; its size when all are.
size_t firstNonZero(std::span<const std::byte> bytes);

} // namespace archipelago::mapper
