// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See block_requests.h.
#include "daemon/mapper/block_requests.h"

#include <algorithm>
#include <utility>

namespace archipelago::mapper {

using runtime::Task;

namespace {

constexpr uint32_t kMostExtentBlocks = kChunkEntries; ///< looked at for one MapExtents: no more than two chunks to load

} // namespace

bool BlockRequests::serve(Op op, xseg::RequestRef &request)
{
	switch (op) {
	case Op::MapRead: look(std::move(request), Look::Read); return true;
	case Op::MapWrite: look(std::move(request), Look::Write); return true;
	case Op::MapPunch: look(std::move(request), Look::Punch); return true;
	case Op::MapTrim: runtime::spawn(trim(std::move(request))); return true;
	case Op::MapExtents: runtime::spawn(extents(std::move(request))); return true;
	case Op::MapRecord: runtime::spawn(record(std::move(request))); return true;
	case Op::MapFlush: runtime::spawn(flush(std::move(request))); return true;
	default: return false;
	}
}

/// Why a request for blocks cannot be served; nothing when it can. A handle that is not known was given out by an earlier life
/// of this mapper, or its client has left: E-PEER says to attach anew.
std::optional<ErrorCode> BlockRequests::refusal(const MapArgs &args, uint32_t count, Look look) const
{
	const Attachment *attachment = m_volumes.find(args.handle);
	if (!attachment) return ErrorCode::Peer;
	const VolumeMap &map = *attachment->volume->map;
	if (map.stopped()) return map.stopped()->code;
	if (count == 0 || uint64_t(args.block) + count > map.header().blockCount()) return ErrorCode::Invalid;
	if (look != Look::Read && attachment->readOnly) return ErrorCode::ReadOnly;
	return std::nullopt;
}

/// A ready block.
VolumeMap::Placing BlockRequests::place(VolumeMap &map, const MapArgs &args, Look look, MapReply &reply)
{
	switch (look) {
	case Look::Read: reply = map.read(args.block); return VolumeMap::Placing::Done;
	case Look::Punch: return map.punch(args.block, reply);
	case Look::Write: break;
	}
	return map.place(args.block, args.handle, reply);
}

void BlockRequests::look(xseg::RequestRef request, Look look)
{
	const MapArgs args = request.args<MapArgs>();
	if (const auto code = refusal(args, 1, look)) return m_port.respond(std::move(request), wireStatus(*code));
	VolumeMap &map = *m_volumes.find(args.handle)->volume->map;
	MapReply reply;
	if (map.ready(args.block) && place(map, args, look, reply) == VolumeMap::Placing::Done) {
		request.setArgs(reply);
		return m_port.respond(std::move(request), 0);
	}
	runtime::spawn(lookSlowly(std::move(request), args, look));
}

/// Goes round until the block can be looked at and, for a write, placed. After each wait everything is checked anew: the
/// client may have left, the volume may have stopped.
Task<void> BlockRequests::lookSlowly(xseg::RequestRef request, MapArgs args, Look look)
{
	std::optional<RequestsInHand::Counted> hand(std::in_place, m_inHand);
	OpenVolume &volume = *m_volumes.find(args.handle)->volume;
	VolumeUse use(volume);
	for (;;) {
		if (const auto code = refusal(args, 1, look)) {
			m_port.respond(std::move(request), wireStatus(*code));
			co_return;
		}
		Result<void> waited;
		if (!volume.map->ready(args.block)) {
			waited = co_await volume.map->load(args.block);
		} else {
			MapReply reply;
			switch (place(*volume.map, args, look, reply)) {
			case VolumeMap::Placing::Done:
				request.setArgs(reply);
				m_port.respond(std::move(request), 0);
				co_return;
			case VolumeMap::Placing::BlockLocked: {
				const RequestsInHand::Waiting waiting(m_inHand);
				hand.reset();
				co_await volume.map->blockFree(args.block);
				hand.emplace(m_inHand);
				break;
			}
			case VolumeMap::Placing::NoEpoch: waited = co_await volume.map->reserveEpochs(); break;
			case VolumeMap::Placing::Full:
				waited = failure(ErrorCode::Limit, "the map's header has no room for another chunk");
				break;
			case VolumeMap::Placing::Shared:
				waited = failure(ErrorCode::Unsupported,
				                 "the block belongs to a snapshot too; this version cannot copy it on write");
				break;
			}
		}
		if (!waited) {
			answer(std::move(request), waited, volume);
			co_return;
		}
	}
}

/// Not counted as in hand: it may wait for Creates of others, which end with a MapRecord that must get in.
Task<void> BlockRequests::trim(xseg::RequestRef request)
{
	const auto args = request.args<MapArgs>();
	if (const auto code = refusal(args, args.count, Look::Write)) {
		m_port.respond(std::move(request), wireStatus(*code));
		co_return;
	}
	OpenVolume &volume = *m_volumes.find(args.handle)->volume;
	VolumeUse use(volume);
	const RequestsInHand::Waiting waiting(m_inHand);
	Result<void> done = co_await volume.map->trim(args.block, args.count);
	answer(std::move(request), done, volume);
}

/// What is mapped is what a read would find now: a first write shows when its record is written, which is before it is
/// acknowledged; a trim is gone from the map before it is acknowledged.
Task<void> BlockRequests::extents(xseg::RequestRef request)
{
	const RequestsInHand::Counted hand(m_inHand);
	const auto args = request.args<MapArgs>();
	const std::span<std::byte> data = request.data();
	const size_t room = data.size() / sizeof(BlockRun);
	auto code = room ? refusal(args, args.count, Look::Read) : ErrorCode::Invalid;
	if (code) {
		m_port.respond(std::move(request), wireStatus(*code));
		co_return;
	}
	OpenVolume &volume = *m_volumes.find(args.handle)->volume;
	VolumeUse use(volume);
	BlockRun last;
	size_t runs = 0;
	for (uint32_t at = args.block, end = at + std::min(args.count, kMostExtentBlocks); at < end;) {
		if (!volume.map->ready(at)) {
			Result<void> loaded = co_await volume.map->load(at);
			if (!loaded) {
				answer(std::move(request), loaded, volume);
				co_return;
			}
			code = refusal(args, args.count, Look::Read); // the client may have left, the volume may have stopped
			if (!code) continue;
			m_port.respond(std::move(request), wireStatus(*code));
			co_return;
		}
		const BlockRun next = volume.map->run(at, end);
		at += next.blocks;
		if (runs && next.mapped == last.mapped) {
			last.blocks += next.blocks;
		} else if (runs == room) {
			break;
		} else {
			last = next;
			++runs;
		}
		std::memcpy(data.data() + (runs - 1) * sizeof last, &last, sizeof last);
	}
	request->serviced = runs * sizeof last;
	m_port.respond(std::move(request), 0);
}

/// Block clients get a code only; what is behind a failure stands in the log, once while it stays the same.
void BlockRequests::answer(xseg::RequestRef request, const Result<void> &result, OpenVolume &volume)
{
	if (!result && !volume.map->stopped() && result.error().message != volume.lastError) {
		volume.lastError = result.error().message;
		m_log.error("volume {}: {}", volume.name, result.error().message);
	}
	m_port.respond(std::move(request), result ? 0 : wireStatus(result.error().code));
}

Task<void> BlockRequests::record(xseg::RequestRef request)
{
	const RequestsInHand::Counted hand(m_inHand);
	const auto args = request.args<RecordArgs>();
	const Attachment *attachment = m_volumes.find(args.handle);
	if (!attachment || args.stored > 1) {
		m_port.respond(std::move(request), wireStatus(attachment ? ErrorCode::Invalid : ErrorCode::Peer));
		co_return;
	}
	OpenVolume &volume = *attachment->volume;
	VolumeUse use(volume);
	Result<void> recorded = co_await volume.map->record(args);
	answer(std::move(request), recorded, volume);
}

Task<void> BlockRequests::flush(xseg::RequestRef request)
{
	const RequestsInHand::Counted hand(m_inHand);
	const auto args = request.args<MapArgs>();
	const Attachment *attachment = m_volumes.find(args.handle);
	if (!attachment) {
		m_port.respond(std::move(request), wireStatus(ErrorCode::Peer));
		co_return;
	}
	OpenVolume &volume = *attachment->volume;
	VolumeUse use(volume);
	Result<void> flushed = co_await volume.map->flush();
	answer(std::move(request), flushed, volume);
}

} // namespace archipelago::mapper
