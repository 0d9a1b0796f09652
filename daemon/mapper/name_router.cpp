// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See name_router.h. What other shards answer is checked like anybody's word.
#include "daemon/mapper/name_router.h"

#include <algorithm>
#include <map>

namespace archipelago::mapper {

using runtime::Task;

namespace {

constexpr uint32_t kLiveBytes = 16u << 10;
constexpr size_t kMostHealthBytes = 64u << 10;

} // namespace

Task<NameRouter::Routed> NameRouter::route(Op op, xseg::RequestRef request, std::string name)
{
	Routed out;
	// Not for a look: an open that recovers may take long, and what the header says is true meanwhile.
	if (op != Op::CatInfo) {
		NameLocks::Held held = co_await m_names.take(name);
		out.name.emplace(std::move(held));
	}
	if (op == Op::CatCreate) {
		out.request = std::move(request);
		co_return std::move(out);
	}
	const Result<FoundVolume> found = co_await m_catalog.find(std::move(name));
	const uint32_t shard = found ? shardOf(found->header.volume, m_shards) : 0;
	if (found && op == Op::MapAttach && request.args<AttachArgs>().shard != shard) {
		tellElsewhere(std::move(request), found->header.volume);
		co_return std::move(out);
	}
	if (shard == 0) { // ours, or we say why it cannot be
		out.request = std::move(request);
		co_return std::move(out);
	}
	xseg::RequestRef answered = co_await m_caller.pass(std::move(request), portOf(shard));
	const int32_t status = answered->status;
	m_port.respond(std::move(answered), status);
	co_return std::move(out);
}

void NameRouter::tellElsewhere(xseg::RequestRef request, const VolumeId &volume)
{
	AttachReply reply;
	reply.volume = volume;
	reply.elsewhere = 1;
	request.setArgs(reply);
	request->serviced = 0;
	m_port.respond(std::move(request), 0);
}

/// Empty when the shard has no good answer.
Task<xseg::RequestRef> NameRouter::ask(Op op, uint32_t shard, std::string name, uint32_t bytes)
{
	xseg::RequestRef request = co_await m_caller.acquire(std::max(bytes, kControlBytes));
	request->op = static_cast<uint16_t>(op);
	request->size = name.size();
	if (!name.empty()) std::memcpy(request.data().data(), name.data(), name.size());
	xseg::RequestRef reply = co_await m_caller.call(std::move(request), portOf(shard));
	if (reply->status != 0 || reply->serviced > reply.data().size()) reply.reset();
	co_return std::move(reply);
}

Task<void> NameRouter::addLiveState(std::vector<VolumeInfo> &rows)
{
	std::map<VolumeId, VolumeInfo *> wanted;
	for (VolumeInfo &row : rows)
		if (!row.error && shardOf(row.volume, m_shards) != 0) wanted.emplace(row.volume, &row);
	for (uint32_t shard = 1; shard < m_shards && !wanted.empty(); ++shard) {
		for (std::string after;;) {
			const xseg::RequestRef reply = co_await ask(Op::CatLive, shard, after, kLiveBytes);
			if (!reply) break;
			const uint64_t bytes = std::min<uint64_t>(reply->serviced, reply.data().size());
			std::string last;
			for (uint64_t at = 0; at + sizeof(VolumeInfo) <= bytes; at += sizeof(VolumeInfo)) {
				VolumeInfo live;
				std::memcpy(&live, reply.data().data() + at, sizeof live);
				if (live.nameLength > kMaxNameBytes) break;
				last.assign(live.name, live.nameLength);
				const auto row = wanted.find(live.volume);
				if (row == wanted.end()) continue;
				row->second->allocatedBytes = live.allocatedBytes;
				row->second->clients = live.clients;
				row->second->openedExplicitly = live.openedExplicitly;
				row->second->stopped = live.stopped;
				row->second->error = live.error;
			}
			if (last <= after) break; // nothing more; or it does not go on
			after = std::move(last);
		}
	}
}

Task<void> NameRouter::addHealth(std::string &lines, size_t maxBytes)
{
	for (uint32_t shard = 1; shard < m_shards && lines.size() < maxBytes; ++shard) {
		const std::string none;
		const auto room = static_cast<uint32_t>(std::min<size_t>(maxBytes, kMostHealthBytes));
		const xseg::RequestRef reply = co_await ask(Op::CatHealth, shard, none, room);
		if (!reply) continue;
		const uint64_t bytes = std::min<uint64_t>({reply->serviced, reply.data().size(), maxBytes - lines.size()});
		const std::string_view said(reinterpret_cast<const char *>(reply.data().data()), bytes);
		lines += said.substr(0, said.rfind('\n') + 1);
	}
}

} // namespace archipelago::mapper
