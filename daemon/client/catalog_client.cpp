// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Requests of protocol.h, made and read. A request with a name carries it at the start of its data and its length in `size`
// (SegmentClient does both); its buffer always has room for an error's message.
#include "daemon/client/catalog_client.h"

#include "daemon/base/text.h"

#include <algorithm>

namespace archipelago::client {

namespace {

constexpr uint32_t kPageBytes = 64u << 10; // about 370 volumes
/// More pages than volumes can exist: a cursor that goes round in circles.
constexpr size_t kMaxPages = 1u << 20;
constexpr uint64_t kClientsTimeoutMs = 2000; ///< it only adds to what is known already

ControlRequest requestTo(xseg::PortNo port, Op op, std::string_view name)
{
	ControlRequest request;
	request.op = op;
	request.to = port;
	request.payload = std::string(name);
	request.replyCapacity = kControlBytes;
	request.timeoutMs = CatalogClient::kTimeoutMs;
	return request;
}

Result<VolumeInfo> readInfo(std::span<const std::byte> bytes)
{
	if (bytes.size() < sizeof(VolumeInfo)) return failure(ErrorCode::Corrupt, "The mapper's answer is too short.");
	VolumeInfo info;
	std::memcpy(&info, bytes.data(), sizeof info);
	if (info.nameLength == 0 || info.nameLength > kMaxNameBytes)
		return failure(ErrorCode::Corrupt, "The mapper's answer has a name of impossible length.");
	return info;
}

Result<ListPage> readPage(const ControlReply &reply)
{
	const uint64_t used = reply.serviced;
	if (used > reply.data.size() || used % sizeof(VolumeInfo) != 0)
		return failure(ErrorCode::Corrupt, "The mapper's list does not add up.");
	ListPage page;
	page.next = reply.argsAs<ListArgs>().cursor;
	page.volumes.reserve(static_cast<size_t>(used / sizeof(VolumeInfo)));
	for (uint64_t at = 0; at < used; at += sizeof(VolumeInfo)) {
		auto info = readInfo(std::span(reply.data).subspan(static_cast<size_t>(at), sizeof(VolumeInfo)));
		if (!info) return tl::unexpected<Error>(std::move(info.error()));
		page.volumes.push_back(*info);
	}
	return page;
}

/// Lines "NAME\tSYMBOL\tmessage\n". A symbol that is not known is one of a newer mapper: E-FAILED.
Result<std::vector<StoppedVolume>> readHealth(const ControlReply &reply)
{
	if (reply.serviced > reply.data.size())
		return failure(ErrorCode::Corrupt, "The mapper's answer is longer than its buffer.");
	std::string_view text(reinterpret_cast<const char *>(reply.data.data()), static_cast<size_t>(reply.serviced));
	std::vector<StoppedVolume> stopped;
	while (!text.empty()) {
		const size_t name = text.find('\t'), end = text.find('\n');
		const size_t symbol = name == text.npos ? text.npos : text.find('\t', name + 1);
		if (end == text.npos || symbol == text.npos || symbol > end || name == 0)
			return failure(ErrorCode::Corrupt, "The mapper's report of stopped volumes does not add up.");
		StoppedVolume volume;
		volume.name = text.substr(0, name);
		volume.code = errorFromSymbol(text.substr(name + 1, symbol - name - 1)).value_or(ErrorCode::Failed);
		volume.message = text.substr(symbol + 1, end - symbol - 1);
		stopped.push_back(std::move(volume));
		text.remove_prefix(end + 1);
	}
	return stopped;
}

/// A list over several pages, owned by the callbacks that carry it on.
struct Listing {
	std::vector<VolumeInfo> volumes;
	size_t pages = 0;
};

void listOn(CatalogClient catalog, uint64_t cursor, std::shared_ptr<Listing> listing,
            CatalogClient::Done<std::vector<VolumeInfo>> done)
{
	catalog.list(cursor, [catalog, listing, done = std::move(done)](Result<ListPage> page) mutable {
		if (!page) return done(tl::unexpected<Error>(std::move(page.error())));
		std::ranges::move(page->volumes, std::back_inserter(listing->volumes));
		if (page->next == 0) return done(std::move(listing->volumes));
		if (++listing->pages > kMaxPages) return done(failure(ErrorCode::Corrupt, "The mapper's list does not end."));
		listOn(catalog, page->next, listing, std::move(done));
	});
}

} // namespace

std::string formatVolumeId(const VolumeId &id)
{
	static constexpr char kHex[] = "0123456789abcdef";
	std::string out;
	for (const uint8_t byte : id.bytes) {
		out += kHex[byte >> 4];
		out += kHex[byte & 15];
	}
	return out;
}

void CatalogClient::create(std::string_view name, uint64_t sizeBytes, Done<VolumeId> done)
{
	ControlRequest request = requestTo(m_mapper, Op::CatCreate, name);
	CreateArgs args;
	args.sizeBytes = sizeBytes;
	request.setArgs(args);
	m_client.request(std::move(request), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done(reply->argsAs<CreateArgs>().volume);
	});
}

void CatalogClient::info(std::string_view name, Done<VolumeInfo> done)
{
	m_client.request(requestTo(m_mapper, Op::CatInfo, name), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done(readInfo(reply->data));
	});
}

void CatalogClient::list(uint64_t cursor, Done<ListPage> done)
{
	ControlRequest request = requestTo(m_mapper, Op::CatList, {});
	request.replyCapacity = kPageBytes;
	ListArgs args;
	args.cursor = cursor;
	request.setArgs(args);
	m_client.request(std::move(request), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done(readPage(*reply));
	});
}

void CatalogClient::listAll(Done<std::vector<VolumeInfo>> done)
{
	listOn(*this, 0, std::make_shared<Listing>(), std::move(done));
}

void CatalogClient::named(Op op, std::string_view name, Done<void> done)
{
	m_client.request(requestTo(m_mapper, op, name), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done({});
	});
}

void CatalogClient::remove(std::string_view name, Done<void> done)
{
	named(Op::CatRemove, name, std::move(done));
}

void CatalogClient::open(std::string_view name, Done<void> done)
{
	named(Op::CatOpen, name, std::move(done));
}

void CatalogClient::close(std::string_view name, Done<void> done)
{
	named(Op::CatClose, name, std::move(done));
}

void CatalogClient::health(Done<std::vector<StoppedVolume>> done)
{
	ControlRequest request = requestTo(m_mapper, Op::CatHealth, {});
	request.replyCapacity = kPageBytes;
	m_client.request(std::move(request), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done(readHealth(*reply));
	});
}

void ping(SegmentClient &client, xseg::PortNo port, uint64_t timeoutMs, std::function<void(Result<void>)> done)
{
	ControlRequest request;
	request.op = Op::Ping;
	request.to = port;
	request.timeoutMs = timeoutMs;
	client.request(std::move(request), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		done({});
	});
}

void clientsOf(SegmentClient &client, xseg::PortNo gateway, std::string_view name, std::function<void(std::string)> done)
{
	ControlRequest request = requestTo(gateway, Op::FrontClients, name);
	request.timeoutMs = kClientsTimeoutMs;
	client.request(std::move(request), [done = std::move(done)](Result<ControlReply> reply) {
		if (!reply || reply->serviced > reply->data.size()) return done({});
		// Nothing of it is trusted to be text for a terminal.
		done(printable(std::string(reinterpret_cast<const char *>(reply->data.data()), static_cast<size_t>(reply->serviced))));
	});
}

} // namespace archipelago::client
