// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Requests to a blocker, made and read.
#include "daemon/mapper/object_client.h"

#include "daemon/base/text.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr uint32_t kSector = 512; ///< reads are asked for in multiples of it
constexpr uint32_t kListBytes = 16u << 10;
constexpr size_t kMaxListPages = 1u << 20; ///< more than there can be: a cursor that goes round in circles

constexpr uint32_t roundUp(uint32_t bytes, uint32_t unit) { return (bytes + unit - 1) / unit * unit; }

tl::unexpected<Error> nonsense(const std::string &role)
{
	return failure(ErrorCode::Corrupt, fmt::format("role {} sent a listing that makes no sense", role));
}

} // namespace

std::optional<Error> ObjectClient::errorOf(const xseg::RequestRef &reply, const std::string &what) const
{
	const int32_t status = reply->status;
	const auto code = errorFromWire(status);
	if (!code) return std::nullopt;
	if (status == -EOWNERDEAD)
		return Error{*code, fmt::format("{}: role {} died at it, time and again; what came of it is not known", what, m_role)};
	if (*code == ErrorCode::Peer)
		return Error{*code, fmt::format("role {} (port {}) does not run; start it with: archipelago start {}", m_role,
		                                m_port, m_role)};
	return Error{*code, fmt::format("{}: role {} answers {} ({})", what, m_role, errorInfo(*code).symbol,
	                                errorInfo(*code).text)};
}

runtime::Task<xseg::RequestRef> ObjectClient::prepare(Op op, const ObjectName &object, uint32_t bytes)
{
	const std::string &name = object.nameBytes();
	const uint32_t room = bytes + static_cast<uint32_t>(name.size());
	xseg::RequestRef request = co_await m_caller.acquire(room);
	if (!name.empty()) std::memcpy(request.data().data() + bytes, name.data(), name.size());
	ObjectArgs args;
	args.id = object.id();
	args.nameLength = static_cast<uint16_t>(name.size());
	request.setArgs(args);
	request->op = static_cast<uint16_t>(op);
	if (room) request->data_len = bytes;
	request->size = bytes;
	co_return std::move(request);
}

runtime::Task<Result<void>> ObjectClient::send(Op op, const ObjectName &object, std::span<const std::byte> bytes,
                                               uint64_t offset, Durability durability)
{
	xseg::RequestRef request = co_await prepare(op, object, static_cast<uint32_t>(bytes.size()));
	request->offset = offset;
	request->flags = durability == Durability::WithThisWrite ? kFlagFua : 0u;
	if (!bytes.empty()) std::memcpy(request.data().data(), bytes.data(), bytes.size());
	const xseg::PortNo to = portOf(object.id().kind, object.id().volume);
	xseg::RequestRef reply = co_await m_caller.call(std::move(request), to);
	if (auto error = errorOf(reply, "object " + printable(object.text()))) co_return tl::unexpected(std::move(*error));
	co_return Result<void>{};
}

runtime::Task<Result<void>> ObjectClient::send(Op op, VolumeId volume)
{
	const ObjectName any = ObjectName::data(volume, 0, 0);
	xseg::RequestRef request = co_await prepare(op, any, 0);
	const bool ofAll = volume.isZero(); // our own shard's: it syncs the filesystem, and so what the others wrote
	const auto to = static_cast<xseg::PortNo>(m_port + (ofAll ? m_shard.index : shardOf(volume, m_shard.count)));
	xseg::RequestRef reply = co_await m_caller.call(std::move(request), to);
	const std::string what = ofAll ? "sync of the store" : "sync of the data of volume " + volumeIdText(volume);
	if (auto error = errorOf(reply, what)) co_return tl::unexpected(std::move(*error));
	co_return Result<void>{};
}

runtime::Task<Result<Bytes>> ObjectClient::readWhole(const ObjectName &object, uint32_t guess, uint32_t maxBytes)
{
	for (uint32_t room = roundUp(guess, kSector);;) {
		xseg::RequestRef request = co_await prepare(Op::ObjRead, object, room);
		const xseg::PortNo to = portOf(object.id().kind, object.id().volume);
		xseg::RequestRef reply = co_await m_caller.call(std::move(request), to);
		if (auto error = errorOf(reply, "object " + printable(object.text())))
			co_return tl::unexpected(std::move(*error));
		const uint64_t there = reply->serviced;
		const std::span<const std::byte> data = reply.data();
		if (there < room) {
			if (data.size() < there)
				co_return failure(ErrorCode::Corrupt, "role " + m_role + " sent a read without its data");
			if (there > maxBytes) break;
			co_return Bytes(data.begin(), data.begin() + static_cast<ptrdiff_t>(there));
		}
		if (room > maxBytes) break;
		if (room == maxBytes && there == room) co_return Bytes(data.begin(), data.end());
		room = std::min(room * 4, roundUp(maxBytes, kSector));
	}
	co_return failure(ErrorCode::Corrupt, fmt::format("object {}: longer than {} bytes, the most it may have",
	                                                  printable(object.text()), maxBytes));
}

runtime::Task<Result<void>> ObjectClient::writeFull(const ObjectName &object, std::span<const std::byte> bytes)
{
	return send(Op::ObjWriteFull, object, bytes, 0, Durability::Later);
}

runtime::Task<Result<void>> ObjectClient::create(const ObjectName &object, std::span<const std::byte> bytes)
{
	return send(Op::ObjCreate, object, bytes, 0, Durability::Later);
}

runtime::Task<Result<void>> ObjectClient::write(const ObjectName &object, uint64_t offset,
                                                std::span<const std::byte> bytes, Durability durability)
{
	return send(Op::ObjWrite, object, bytes, offset, durability);
}

runtime::Task<Result<void>> ObjectClient::remove(const ObjectName &object)
{
	return send(Op::ObjRemove, object, {}, 0, Durability::Later);
}

runtime::Task<Result<void>> ObjectClient::sync(const ObjectName &object)
{
	return send(Op::ObjSync, object, {}, 0, Durability::Later);
}

runtime::Task<Result<void>> ObjectClient::syncVolume(const VolumeId &volume) { return send(Op::ObjSyncVolume, volume); }

runtime::Task<Result<void>> ObjectClient::syncAll() { return send(Op::ObjSyncAll, VolumeId{}); }

runtime::Task<Result<ObjectClient::ListPage>> ObjectClient::list(const ListArgs &args, uint32_t bytes)
{
	xseg::RequestRef request = co_await m_caller.acquire(bytes);
	request->op = static_cast<uint16_t>(Op::ObjList);
	request->data_len = bytes;
	request.setArgs(args);
	const xseg::PortNo to = portOf(args.kind, args.volume);
	xseg::RequestRef reply = co_await m_caller.call(std::move(request), to);
	if (auto error = errorOf(reply, "listing")) co_return tl::unexpected(std::move(*error));

	const uint64_t used = reply->serviced;
	const std::span<const std::byte> data = reply.data();
	if (used > data.size()) co_return nonsense(m_role);
	const Bytes copy(data.begin(), data.begin() + static_cast<ptrdiff_t>(used));
	ListPage page;
	page.next = reply.args<ListArgs>().cursor;
	for (size_t at = 0; at < copy.size();) {
		if (copy.size() - at < sizeof(ListEntry)) co_return nonsense(m_role);
		ListEntry entry;
		std::memcpy(&entry, copy.data() + at, sizeof entry);
		const size_t record = entry.recordBytes;
		if (record < sizeof entry + entry.nameLength || record % 8 || record > copy.size() - at ||
		    entry.id.kind != args.kind)
			co_return nonsense(m_role);
		page.ids.push_back(entry.id);
		page.names.emplace_back(reinterpret_cast<const char *>(copy.data() + at + sizeof entry), entry.nameLength);
		at += record;
	}
	co_return std::move(page);
}

runtime::Task<Result<ObjectClient::NamePage>> ObjectClient::listNames(uint64_t cursor, uint32_t bytes)
{
	ListArgs args;
	args.kind = ObjectKind::Name;
	args.cursor = cursor;
	Result<ListPage> page = co_await list(args, bytes);
	if (!page) co_return tl::unexpected(std::move(page.error()));
	for (const std::string &name : page->names)
		if (name.empty() || name.size() > kMaxNameBytes) co_return nonsense(m_role);
	NamePage names;
	names.names = std::move(page->names);
	names.next = page->next;
	co_return std::move(names);
}

runtime::Task<Result<std::vector<ObjectId>>> ObjectClient::listVolume(ObjectKind kind, const VolumeId &volume)
{
	ListArgs args;
	args.kind = kind;
	args.volume = volume;
	std::vector<ObjectId> all;
	for (size_t pages = 0; pages < kMaxListPages; ++pages) {
		Result<ListPage> page = co_await list(args, kListBytes);
		if (!page) co_return tl::unexpected(std::move(page.error()));
		for (const ObjectId &id : page->ids) {
			if (id.volume != volume) co_return nonsense(m_role);
			all.push_back(id);
		}
		if (page->next == 0) co_return std::move(all);
		args.cursor = page->next;
	}
	co_return nonsense(m_role);
}

} // namespace archipelago::mapper
