// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Bytes to numbers and back. Fields lie unaligned on the wire, so they are copied out.
#include "daemon/gateway/nbd/wire.h"

#include <endian.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace archipelago::gateway::nbd {

namespace {

template <typename T> T load(const std::byte *at)
{
	T value;
	std::memcpy(&value, at, sizeof value);
	return value;
}

WireError wireErrorOf(int errnum)
{
	switch (errnum) {
	case EPERM: return WireError::Eperm;
	case ENOMEM: return WireError::Enomem;
	case EINVAL: return WireError::Einval;
	case ENOSPC: return WireError::Enospc;
	case EOVERFLOW: return WireError::Eoverflow;
	case EOPNOTSUPP: return WireError::Enotsup;
	case ESHUTDOWN: return WireError::Eshutdown;
	default: return WireError::Eio;
	}
}

} // namespace

uint16_t read16(const std::byte *at) { return be16toh(load<uint16_t>(at)); }
uint32_t read32(const std::byte *at) { return be32toh(load<uint32_t>(at)); }
uint64_t read64(const std::byte *at) { return be64toh(load<uint64_t>(at)); }

void write16(std::byte *at, uint16_t value)
{
	value = htobe16(value);
	std::memcpy(at, &value, sizeof value);
}

void write32(std::byte *at, uint32_t value)
{
	value = htobe32(value);
	std::memcpy(at, &value, sizeof value);
}

void write64(std::byte *at, uint64_t value)
{
	value = htobe64(value);
	std::memcpy(at, &value, sizeof value);
}

Command readCommand(std::span<const std::byte, kCommandBytes> bytes)
{
	const std::byte *at = bytes.data();
	Command command;
	command.magic = read32(at);
	command.flags = read16(at + 4);
	command.type = read16(at + 6);
	command.cookie = read64(at + 8);
	command.offset = read64(at + 16);
	command.length = read32(at + 24);
	return command;
}

void writeReply(std::byte *at, WireError error, uint64_t cookie)
{
	write32(at, kSimpleReplyMagic);
	write32(at + 4, static_cast<uint32_t>(error));
	write64(at + 8, cookie);
}

void writeChunk(std::byte *at, ChunkType type, bool done, uint64_t cookie, uint32_t length)
{
	write32(at, kChunkMagic);
	write16(at + 4, done ? kChunkDone : 0);
	write16(at + 6, static_cast<uint16_t>(type));
	write64(at + 8, cookie);
	write32(at + 16, length);
}

Fault faultOf(ErrorCode code)
{
	// Made once: a reply refers to it.
	static const std::vector<std::string> texts = [] {
		std::vector<std::string> out;
		for (const ErrorInfo &info : allErrors()) {
			const std::string symbol(info.symbol);
			out.push_back(std::string(info.text) + " (" + symbol + ": archipelago explain " + symbol + ")");
		}
		return out;
	}();
	const ErrorInfo &info = errorInfo(code);
	return Fault{wireErrorOf(info.blockErrnum), texts[static_cast<size_t>(&info - allErrors().data())]};
}

} // namespace archipelago::gateway::nbd
