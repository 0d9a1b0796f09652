// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The NBD protocol as far as we speak it: numbers and layouts, all big-endian on the wire.
//
//   handshake   server: NBDMAGIC IHAVEOPT u16 flags      client: u32 flags
//   option      client: IHAVEOPT u32 option, u32 length, data
//               server: u64 reply magic, u32 option, u32 reply type, u32 length, data       (any number of them)
//               EXPORT_NAME instead: u64 size, u16 flags, 124 zero bytes (left out with NO_ZEROES), or a closed socket
//   command     client: u32 magic, u16 flags, u16 type, u64 cookie, u64 offset, u32 length; WRITE: payload
//   reply       server: u32 magic, u32 error, u64 cookie; READ without error: payload
//   chunk       server: u32 magic, u16 flags, u16 type, u64 cookie, u32 length, data. With structured replies: the answer to a READ
//               or BLOCK_STATUS, and any error. One or more, the last with DONE; data by type:
//                 OFFSET_DATA u64 offset, bytes · OFFSET_HOLE u64 offset, u32 length · BLOCK_STATUS u32 context, {u32 length,
//                 u32 flags}... · ERROR u32 error, u16 length, text · NONE -
//
// Names are ours; the numbers are the protocol's (https://github.com/NetworkBlockDevice/nbd, doc/proto.md).
#pragma once

#include "daemon/base/errors.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace archipelago::gateway::nbd {

inline constexpr uint64_t kInitMagic = 0x4e42444d41474943;        ///< "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;      ///< "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kCommandMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kChunkMagic = 0x668e33ef;

/// Handshake flags, the same bits both ways.
enum HandshakeFlag : uint16_t { kFixedNewstyle = 1u << 0, kNoZeroes = 1u << 1 };

enum class Option : uint32_t {
	ExportName = 1,
	Abort = 2,
	List = 3,
	StartTls = 5,
	Info = 6,
	Go = 7,
	StructuredReply = 8,
	ListMetaContext = 9,
	SetMetaContext = 10,
};

enum class OptionReply : uint32_t {
	Ack = 1,
	Server = 2,
	Info = 3,
	MetaContext = 4,
	Unsupported = 0x80000001,
	Policy = 0x80000002,
	Invalid = 0x80000003,
	Unknown = 0x80000006,
	ShuttingDown = 0x80000007,
	TooBig = 0x80000009,
};

enum class InfoType : uint16_t { Export = 0, Name = 1, Description = 2, BlockSize = 3 };

/// What an export can do.
enum TransmissionFlag : uint16_t {
	kHasFlags = 1u << 0,
	kReadOnly = 1u << 1,
	kSendFlush = 1u << 2,
	kSendFua = 1u << 3,
	kSendTrim = 1u << 5,
	kSendWriteZeroes = 1u << 6,
	kSendDf = 1u << 7,
	kCanMultiConn = 1u << 8,
	kSendFastZero = 1u << 11,
};

enum class CommandType : uint16_t { Read = 0, Write = 1, Disconnect = 2, Flush = 3, Trim = 4, WriteZeroes = 6, BlockStatus = 7 };
enum CommandFlag : uint16_t {
	kCommandFua = 1u << 0,
	kCommandNoHole = 1u << 1,
	kCommandDf = 1u << 2, ///< READ: in one chunk
	kCommandReqOne = 1u << 3,
	kCommandFastZero = 1u << 4,
};

/// The one meta context there is, and what its extents say.
inline constexpr std::string_view kAllocationContext = "base:allocation", kBaseContexts = "base:";
inline constexpr uint32_t kAllocationId = 1;
enum ExtentState : uint32_t { kStateHole = 1u << 0, kStateZero = 1u << 1 };

enum class ChunkType : uint16_t { None = 0, OffsetData = 1, OffsetHole = 2, BlockStatus = 5, Error = 0x8001 };
inline constexpr uint16_t kChunkDone = 1u << 0;

/// Errors a client may be told; it takes any other number for EINVAL.
enum class WireError : uint32_t {
	None = 0,
	Eperm = 1,
	Eio = 5,
	Enomem = 12,
	Einval = 22,
	Enospc = 28,
	Eoverflow = 75,
	Enotsup = 95,
	Eshutdown = 108,
};
/// Why a command failed: what its client is told, and a line for whoever reads it, which stays for ever.
struct Fault {
	WireError error = WireError::None;
	std::string_view text;
	explicit operator bool() const { return error != WireError::None; }
};
/// What a failed I/O is called here.
Fault faultOf(ErrorCode code);

inline constexpr uint32_t kMinimumBlock = 512, kPreferredBlock = 4096, kMaximumRequest = 32u << 20;
inline constexpr uint32_t kMaxNameOnWire = 4096;   ///< the protocol's limit of a name; ours is shorter (names.h)
inline constexpr uint32_t kMaxOptionBytes = 8192;  ///< a name of full length, and more requests or queries than anybody needs
inline constexpr size_t kCommandBytes = 28, kReplyBytes = 16, kChunkBytes = 20, kOptionBytes = 16, kOptionReplyBytes = 20;

/// What client and server have agreed on.
struct Dialect {
	bool structured = false;
	bool allocation = false; ///< base:allocation may be asked for
};

struct Command {
	uint32_t magic = 0;
	uint16_t flags = 0, type = 0;
	uint64_t cookie = 0; ///< the client's, returned as it came
	uint64_t offset = 0;
	uint32_t length = 0;
};
Command readCommand(std::span<const std::byte, kCommandBytes> bytes);
/// The header of a simple reply, kReplyBytes.
void writeReply(std::byte *at, WireError error, uint64_t cookie);
/// The header of a chunk, kChunkBytes; `length`: bytes behind it.
void writeChunk(std::byte *at, ChunkType type, bool done, uint64_t cookie, uint32_t length);

uint16_t read16(const std::byte *at);
uint32_t read32(const std::byte *at);
uint64_t read64(const std::byte *at);
void write16(std::byte *at, uint16_t value);
void write32(std::byte *at, uint32_t value);
void write64(std::byte *at, uint64_t value);

} // namespace archipelago::gateway::nbd
