// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Each function sets header, headerBytes, text and piecesFollow; layOut() adds up.
#include "daemon/gateway/nbd/reply.h"

#include <algorithm>
#include <cstring>

namespace archipelago::gateway::nbd {

namespace {

constexpr size_t kMostText = 1024;
constexpr size_t kDescriptorBytes = 8;
constexpr uint8_t kDataHeader = kChunkBytes + 8, kHoleHeader = kChunkBytes + 12, kStatusHeader = kChunkBytes + 4,
                  kErrorHeader = kChunkBytes + 6;

bool isType(const Request &request, CommandType type) { return request.command.type == static_cast<uint16_t>(type); }

/// All data is payload, and nothing stands between.
void plainPieces(Request &request)
{
	request.piecesFollow = true;
	for (Piece *piece = request.firstPiece; piece; piece = piece->following) {
		piece->payload = piece->length;
		piece->headerBytes = 0;
	}
}

void simple(Request &request)
{
	writeReply(request.header.data(), request.fault.error, request.command.cookie);
	request.headerBytes = kReplyBytes;
	if (isType(request, CommandType::Read) && !request.fault) plainPieces(request);
}

void error(Request &request)
{
	request.text = request.fault.text.substr(0, kMostText);
	std::byte *at = request.header.data();
	const auto bytes = static_cast<uint16_t>(request.text.size());
	writeChunk(at, ChunkType::Error, true, request.command.cookie, 6u + bytes);
	write32(at + kChunkBytes, static_cast<uint32_t>(request.fault.error));
	write16(at + kChunkBytes + 4, bytes);
	request.headerBytes = kErrorHeader;
}

void read(Request &request)
{
	const Command &command = request.command;
	if (!request.firstPiece) { // of nothing
		writeChunk(request.header.data(), ChunkType::None, true, command.cookie, 0);
		request.headerBytes = kChunkBytes;
		return;
	}
	if (command.flags & kCommandDf) {
		writeChunk(request.header.data(), ChunkType::OffsetData, true, command.cookie, 8 + command.length);
		write64(request.header.data() + kChunkBytes, command.offset);
		request.headerBytes = kDataHeader;
		return plainPieces(request);
	}
	request.headerBytes = 0;
	request.piecesFollow = true;
	for (Piece *piece = request.firstPiece; piece; piece = piece->following) {
		std::byte *at = piece->header.data();
		const ChunkType type = piece->hole ? ChunkType::OffsetHole : ChunkType::OffsetData;
		writeChunk(at, type, !piece->following, command.cookie, piece->hole ? 12 : 8 + piece->length);
		write64(at + kChunkBytes, piece->offset);
		if (piece->hole) write32(at + kChunkBytes + 8, piece->length);
		piece->headerBytes = piece->hole ? kHoleHeader : kDataHeader;
		piece->payload = piece->hole ? 0 : piece->length;
	}
}

/// The buffer's BlockRuns become descriptors, in place: both have eight bytes. Bytes of it; 0 when they make no sense.
uint32_t describe(Piece &piece, bool onlyOne)
{
	const size_t runs = piece.filled / sizeof(BlockRun);
	const uint64_t end = piece.offset + piece.length;
	uint64_t at = piece.offset, edge = piece.offset & ~(kBlockBytes - 1);
	uint32_t bytes = 0;
	for (size_t n = 0; n < runs && at < end; ++n) {
		BlockRun run;
		std::memcpy(&run, piece.data + bytes, sizeof run);
		if (!run.blocks || run.mapped > 1) return 0;
		edge += uint64_t{run.blocks} << kBlockShift;
		const uint64_t to = std::min(edge, end);
		write32(piece.data + bytes, static_cast<uint32_t>(to - at));
		write32(piece.data + bytes + 4, run.mapped ? 0 : kStateHole | kStateZero);
		bytes += kDescriptorBytes;
		at = to;
		if (onlyOne) break;
	}
	return bytes;
}

void blockStatus(Request &request)
{
	Piece &piece = *request.firstPiece;
	piece.payload = describe(piece, request.command.flags & kCommandReqOne);
	piece.headerBytes = 0;
	if (!piece.payload) {
		request.fault = faultOf(ErrorCode::Failed);
		return error(request);
	}
	writeChunk(request.header.data(), ChunkType::BlockStatus, true, request.command.cookie, 4 + piece.payload);
	write32(request.header.data() + kChunkBytes, kAllocationId);
	request.headerBytes = kStatusHeader;
	request.piecesFollow = true;
}

} // namespace

void layOut(Request &request, const Dialect &dialect)
{
	static_assert(sizeof(BlockRun) == kDescriptorBytes);
	request.text = {};
	request.piecesFollow = false;
	if (!dialect.structured)
		simple(request);
	else if (request.fault)
		error(request);
	else if (isType(request, CommandType::Read))
		read(request);
	else if (isType(request, CommandType::BlockStatus))
		blockStatus(request);
	else
		simple(request);

	request.replyBytes = request.headerBytes + request.text.size();
	if (!request.piecesFollow) return;
	for (const Piece *piece = request.firstPiece; piece; piece = piece->following)
		request.replyBytes += piece->headerBytes + piece->payload;
}

} // namespace archipelago::gateway::nbd
