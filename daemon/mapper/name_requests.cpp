// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See name_requests.h.
#include "daemon/mapper/name_requests.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace archipelago::mapper {

using runtime::Task;

namespace {

constexpr size_t kLeastListRows = 3; ///< room for a listing with one name of the longest

} // namespace

void NameRequests::serve(Op op, xseg::RequestRef request)
{
	const auto *known = std::ranges::find(kOperations, op, &Operation::op);
	if (known == std::end(kOperations))
		return respond(std::move(request), failure(ErrorCode::Unsupported, "mapperd does not know this operation."));
	if (!mayAskByName(request))
		return respond(std::move(request), failure(ErrorCode::Invalid, "Volumes are asked for by name at the mapper's first port."));
	runtime::spawn(control(*known, std::move(request)));
}

Task<void> NameRequests::allEnded()
{
	while (m_underWay) co_await m_ended.wait();
}

Task<void> NameRequests::control(const Operation &operation, xseg::RequestRef request)
{
	const RequestsInHand::Counted hand(m_inHand);
	++m_underWay;
	const Result<void> agreed = operation.op == Op::MapAttach ? sameShards(request.args<AttachArgs>()) : Result<void>();
	if (!agreed)
		respond(std::move(request), agreed);
	else if (m_router)
		co_await routed(operation, std::move(request));
	else
		co_await (this->*operation.handler)(std::move(request));
	--m_underWay;
	m_ended.wakeAll();
}

/// A composer of another number of shards would look for volumes, sessions and objects where they are not.
Result<void> NameRequests::sameShards(const AttachArgs &args) const
{
	const uint32_t shards = std::max<uint32_t>(args.shards, 1);
	if (shards == m_shard.count) return {};
	return failure(ErrorCode::Config, fmt::format("Cannot attach: vlmcd runs with {} reactors, mapperd with {}. Give all hosts the same "
	                                              "number of reactors, then: archipelago restart", shards, m_shard.count));
}

/// The locks of names are shard 0's: nobody else may come to another shard by name. (Handles are each shard's own.)
bool NameRequests::mayAskByName(const xseg::RequestRef &request) const
{
	if (m_shard.index == 0 || static_cast<Op>(request->op) == Op::MapDetach) return true;
	const uint16_t hops = std::clamp<uint16_t>(request->npath, 1, XS_MAX_HOPS);
	return request->path[hops - 1] >> 16 == m_firstPort;
}

Task<void> NameRequests::routed(const Operation &operation, xseg::RequestRef request)
{
	switch (operation.op) {
	case Op::MapAttach:
	case Op::CatCreate:
	case Op::CatInfo:
	case Op::CatRemove:
	case Op::CatOpen:
	case Op::CatClose: {
		Result<std::string> name = nameOf(request);
		if (!name) break; // the handler says so
		NameRouter::Routed mine = co_await m_router->route(operation.op, std::move(request), std::move(*name));
		if (mine.request) co_await (this->*operation.handler)(std::move(mine.request));
		co_return;
	}
	default: break;
	}
	co_await (this->*operation.handler)(std::move(request));
}

/// The name in a request: `size` bytes at the start of its data.
Result<std::string> NameRequests::nameOf(const xseg::RequestRef &request) const
{
	const uint64_t length = request->size;
	const std::span<const std::byte> data = request.data();
	if (data.size() < kControlBytes || length > data.size())
		return failure(ErrorCode::Invalid, "The request has no room for its name, or for an answer.");
	return std::string(reinterpret_cast<const char *>(data.data()), length);
}

void NameRequests::respond(xseg::RequestRef request, const Result<void> &result)
{
	runtime::respondControl(m_port, std::move(request), result);
}

/// The value goes back in the arguments.
template <typename T> void NameRequests::respond(xseg::RequestRef request, const Result<T> &result)
{
	if (!result) return respond(std::move(request), Result<void>(tl::unexpected(result.error())));
	request.setArgs(*result);
	request->serviced = 0;
	respond(std::move(request), Result<void>{});
}

Task<void> NameRequests::mapAttach(xseg::RequestRef request)
{
	const auto args = request.args<AttachArgs>();
	// Another shard got it from shard 0, and that from the composer.
	const uint16_t least = m_shard.index == 0 ? 1 : 2, hops = std::clamp<uint16_t>(request->npath, least, XS_MAX_HOPS);
	Attacher by;
	by.client = request->path[hops - least];
	by.origin = request->path[0];
	Result<AttachReply> reply;
	Result<std::string> name = nameOf(request);
	const bool legal = args.holder >= Holder::Nbd && args.holder <= Holder::Tool && args.readOnly <= 1 &&
	                   args.onlyIfOpened <= 1;
	if (!name)
		reply = tl::unexpected(std::move(name.error()));
	else if (!legal)
		reply = failure(ErrorCode::Invalid, "Cannot attach: the request's arguments are out of range.");
	else
		reply = co_await m_volumes.attach(std::move(*name), args, by);
	respond(std::move(request), reply);
}

Task<void> NameRequests::mapDetach(xseg::RequestRef request)
{
	const auto args = request.args<MapArgs>();
	Result<void> done = co_await m_volumes.detach(args.handle);
	m_port.respond(std::move(request), done ? 0 : wireStatus(done.error().code));
}

Task<void> NameRequests::catCreate(xseg::RequestRef request)
{
	auto args = request.args<CreateArgs>();
	Result<CreateArgs> reply;
	Result<std::string> name = nameOf(request);
	if (!name) {
		reply = tl::unexpected(std::move(name.error()));
	} else {
		Result<VolumeId> volume = co_await m_volumes.create(std::move(*name), args.sizeBytes);
		if (volume) {
			args.volume = *volume;
			reply = args;
		} else {
			reply = tl::unexpected(std::move(volume.error()));
		}
	}
	respond(std::move(request), reply);
}

Task<void> NameRequests::catInfo(xseg::RequestRef request)
{
	static_assert(sizeof(VolumeInfo) <= kControlBytes);
	Result<VolumeInfo> info;
	Result<std::string> name = nameOf(request);
	if (name)
		info = co_await m_volumes.info(std::move(*name));
	else
		info = tl::unexpected(std::move(name.error()));
	if (info) {
		const std::span<std::byte> data = request.data();
		if (data.size() >= sizeof *info) {
			request.alter(); // the name is overwritten: were we killed now, a successor would look for another volume
			std::memcpy(data.data(), &*info, sizeof *info);
			request->serviced = sizeof *info;
			respond(std::move(request), Result<void>{});
			co_return;
		}
		info = failure(ErrorCode::Invalid,
		               "The request has no room for an answer."); // it had, before somebody changed it
	}
	respond(std::move(request), Result<void>(tl::unexpected(std::move(info.error()))));
}

Task<void> NameRequests::catList(xseg::RequestRef request)
{
	auto args = request.args<ListArgs>();
	const size_t rows = request.data().size() / sizeof(VolumeInfo);
	Result<Catalog::Page> page;
	if (rows < kLeastListRows)
		page = failure(ErrorCode::Invalid, "Cannot list volumes: the request has no room for an answer.");
	else
		page = co_await m_volumes.list(args.cursor, rows);
	if (!page) {
		respond(std::move(request), Result<void>(tl::unexpected(std::move(page.error()))));
		co_return;
	}
	if (m_router) co_await m_router->addLiveState(page->volumes);
	const std::span<std::byte> data = request.data();
	const size_t bytes = page->volumes.size() * sizeof(VolumeInfo);
	if (bytes > data.size()) { // it had the room, before somebody changed it
		respond(std::move(request),
		        failure(ErrorCode::Invalid, "Cannot list volumes: the request has no room for an answer."));
		co_return;
	}
	if (bytes) std::memcpy(data.data(), page->volumes.data(), bytes);
	args.cursor = page->next;
	request.setArgs(args);
	request->serviced = bytes;
	respond(std::move(request), Result<void>{});
}

Task<void> NameRequests::catHealth(xseg::RequestRef request)
{
	const size_t room = request.data().size();
	std::string lines;
	if (room >= kControlBytes) {
		lines = m_volumes.health(room);
		if (m_router) co_await m_router->addHealth(lines, room);
	}
	const std::span<std::byte> data = request.data();
	if (room < kControlBytes || data.size() < lines.size()) { // it had the room, before somebody changed it
		respond(std::move(request), failure(ErrorCode::Invalid, "The request has no room for an answer."));
		co_return;
	}
	if (!lines.empty()) std::memcpy(data.data(), lines.data(), lines.size());
	request->serviced = lines.size();
	respond(std::move(request), Result<void>{});
}

Task<void> NameRequests::catLive(xseg::RequestRef request)
{
	const Result<std::string> after = nameOf(request);
	if (!after) {
		respond(std::move(request), Result<void>(tl::unexpected(after.error())));
		co_return;
	}
	const std::span<std::byte> data = request.data();
	const std::vector<VolumeInfo> rows = m_volumes.live(*after, data.size() / sizeof(VolumeInfo));
	request.alter(); // the name is overwritten
	if (!rows.empty()) std::memcpy(data.data(), rows.data(), rows.size() * sizeof(VolumeInfo));
	request->serviced = rows.size() * sizeof(VolumeInfo);
	respond(std::move(request), Result<void>{});
}

template <auto kOperation> Task<void> NameRequests::byName(xseg::RequestRef request)
{
	Result<void> done;
	Result<std::string> name = nameOf(request);
	if (name)
		done = co_await (m_volumes.*kOperation)(std::move(*name));
	else
		done = tl::unexpected(std::move(name.error()));
	respond(std::move(request), done);
}

const NameRequests::Operation NameRequests::kOperations[] = {
	{Op::MapAttach, &NameRequests::mapAttach},
	{Op::MapDetach, &NameRequests::mapDetach},
	{Op::CatCreate, &NameRequests::catCreate},
	{Op::CatInfo, &NameRequests::catInfo},
	{Op::CatList, &NameRequests::catList},
	{Op::CatRemove, &NameRequests::byName<&OpenVolumes::remove>},
	{Op::CatOpen, &NameRequests::byName<&OpenVolumes::open>},
	{Op::CatClose, &NameRequests::byName<&OpenVolumes::close>},
	{Op::CatHealth, &NameRequests::catHealth},
	{Op::CatLive, &NameRequests::catLive},
};

} // namespace archipelago::mapper
