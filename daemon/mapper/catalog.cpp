// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Names and headers in blockerm.
#include "daemon/mapper/catalog.h"

#include "daemon/base/names.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"
#include "daemon/mapper/task_group.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

constexpr uint32_t kNameBytes = 512;
constexpr uint32_t kHeaderGuess = 4096;
constexpr unsigned kReadsAtATime = 32;
constexpr unsigned kGenerationTries = 8;
/// Least space of one name in a listing: its record with a one-byte name.
constexpr uint32_t kLeastListEntry = sizeof(ListEntry) + 8;

int64_t nowNs()
{
	using namespace std::chrono;
	return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

Result<VolumeId> randomVolumeId()
{
	VolumeId id;
	// Up to 256 bytes come whole or not at all.
	while (id.isZero())
		if (::getrandom(id.bytes.data(), id.bytes.size(), 0) < 0 && errno != EINTR)
			return systemFailure(errno, "Cannot get random bytes for a volume id");
	return id;
}

Result<void> checkSize(uint64_t bytes)
{
	if (bytes != 0 && bytes % 512 == 0 && bytes <= kMaxVolumeBytes) return {};
	return failure(ErrorCode::Invalid,
	               fmt::format("{} bytes is no size of a volume; legal are multiples of 512 bytes from 512 B to {}",
	                           bytes, formatSize(kMaxVolumeBytes)));
}

} // namespace

runtime::Task<Result<VolumeId>> Catalog::create(std::string name, uint64_t sizeBytes)
{
	if (auto ok = checkName(name); !ok) co_return tl::unexpected(std::move(ok.error()));
	if (auto ok = checkSize(sizeBytes); !ok) co_return tl::unexpected(std::move(ok.error()));
	Result<FoundVolume> there = co_await find(name);
	if (there) co_return failure(ErrorCode::Exists, "a volume of that name exists");
	if (there.error().code != ErrorCode::NotFound) co_return tl::unexpected(std::move(there.error()));

	Result<VolumeId> volume = randomVolumeId();
	if (!volume) co_return volume;
	Header header;
	header.volume = *volume;
	header.generation = 1;
	header.writeCount = 1;
	header.sizeBytes = sizeBytes;
	header.epochLimit = 1; // nothing is reserved before the first open
	header.createdNs = nowNs();
	header.name = name;
	const ObjectName headerObject = ObjectName::header(*volume, header.generation);
	const Bytes headerBytes = encodeHeader(header);
	Result<void> done = co_await m_blockerm.writeFull(headerObject, headerBytes);
	if (!done) co_return tl::unexpected(std::move(done.error()));

	NameObject nameObject;
	nameObject.volume = *volume;
	nameObject.timeNs = header.createdNs;
	nameObject.name = name;
	const Bytes nameBytes = encodeName(nameObject);
	const ObjectName object = ObjectName::name(name);
	done = co_await m_blockerm.writeFull(object, nameBytes);
	// Not undone when it fails: the name may be there all the same, and must not lead to a header that is gone.
	if (!done) co_return tl::unexpected(std::move(done.error()));
	co_return *volume;
}

runtime::Task<Result<FoundVolume>> Catalog::find(std::string name)
{
	// Names outside of our rule may be older than it: what fits into an object's name is looked up.
	if (name.empty() || name.size() > kMaxNameBytes)
		co_return failure(ErrorCode::NotFound, "there is no volume of that name");
	const ObjectName object = ObjectName::name(name);
	Result<Bytes> bytes = co_await m_blockerm.readWhole(object, kNameBytes, kNameBytes);
	if (!bytes) {
		if (bytes.error().code == ErrorCode::NotFound) bytes.error().message = "there is no volume of that name";
		co_return tl::unexpected(std::move(bytes.error()));
	}
	Result<NameObject> named = decodeName(object, *bytes);
	if (!named) co_return tl::unexpected(std::move(named.error()));
	Result<FoundVolume> found = co_await newest(named->volume);
	if (found && (found->header.state != VolumeState::Live || found->header.name != name))
		co_return failure(ErrorCode::NotFound, "there is no volume of that name");
	co_return found;
}

/// The header of the newest generation. An open may replace it between the listing and the read; then there is a newer one.
runtime::Task<Result<FoundVolume>> Catalog::newest(VolumeId volume)
{
	for (unsigned tries = 0; tries < kGenerationTries; ++tries) {
		Result<std::vector<ObjectId>> ids = co_await m_blockerm.listVolume(ObjectKind::Header, volume);
		if (!ids) co_return tl::unexpected(std::move(ids.error()));
		if (ids->empty()) break;
		FoundVolume found;
		for (const ObjectId &id : *ids) found.generations.push_back(id.epoch);
		const ObjectName object = ObjectName::header(volume, std::ranges::max(found.generations));
		Result<Bytes> bytes = co_await m_blockerm.readWhole(object, kHeaderGuess, kMaxHeaderBytes);
		if (!bytes && bytes.error().code == ErrorCode::NotFound) continue;
		if (!bytes) co_return tl::unexpected(std::move(bytes.error()));
		Result<Header> header = decodeHeader(object, *bytes);
		if (!header) co_return tl::unexpected(std::move(header.error()));
		found.header = std::move(*header);
		co_return std::move(found);
	}
	co_return failure(ErrorCode::Missing,
	                  fmt::format("the header of volume {} is not in the store", volumeIdText(volume)));
}

runtime::Task<Result<void>> Catalog::remove(Header header)
{
	const ObjectName name = ObjectName::name(header.name);
	header.state = VolumeState::Trash;
	header.removedNs = nowNs();
	++header.writeCount;
	const ObjectName object = ObjectName::header(header.volume, header.generation);
	const Bytes bytes = encodeHeader(header);
	Result<void> done = co_await m_blockerm.writeFull(object, bytes);
	if (!done) co_return done;
	// The header has decided. A name that stays (this fails, or power loss brings it back) does not count any more.
	const Result<void> gone = co_await m_blockerm.remove(name);
	(void)gone;
	co_return Result<void>{};
}

runtime::Task<Result<Catalog::Page>> Catalog::list(uint64_t cursor, size_t maxVolumes)
{
	Result<ObjectClient::NamePage> names = co_await m_blockerm.listNames(cursor, static_cast<uint32_t>(maxVolumes) *
	                                                                                 kLeastListEntry);
	if (!names) co_return tl::unexpected(std::move(names.error()));
	if (names->names.size() > maxVolumes)
		co_return failure(ErrorCode::Corrupt, "the listing of names is longer than its buffer");

	std::vector<std::optional<VolumeInfo>> rows(names->names.size());
	TaskGroup group(kReadsAtATime);
	for (size_t n = 0; n < rows.size(); ++n) co_await group.start(readRow(std::move(names->names[n]), rows[n]));
	co_await group.wait();
	Page page;
	for (const auto &row : rows)
		if (row) page.volumes.push_back(*row);
	page.next = names->next;
	co_return std::move(page);
}

/// No row for a name that does not count. Without the name's lock: what is seen was true at some moment of the call.
runtime::Task<void> Catalog::readRow(std::string name, std::optional<VolumeInfo> &row)
{
	Result<FoundVolume> found = co_await find(name);
	if (found) {
		row = describe(found->header);
	} else if (found.error().code != ErrorCode::NotFound) {
		VolumeInfo info;
		info.error = wireStatus(found.error().code);
		info.nameLength = static_cast<uint16_t>(name.size());
		std::memcpy(info.name, name.data(), name.size());
		row = info;
	}
}

VolumeInfo Catalog::describe(const Header &header)
{
	VolumeInfo info;
	info.volume = header.volume;
	info.sizeBytes = header.sizeBytes;
	info.allocatedBytes = header.allocatedBytes;
	info.createdNs = header.createdNs;
	info.removedNs = header.removedNs;
	info.generation = header.generation;
	info.state = static_cast<uint16_t>(header.state);
	info.snapshot = header.snapshot();
	info.nameLength = static_cast<uint16_t>(header.name.size());
	std::memcpy(info.name, header.name.data(), header.name.size());
	return info;
}

} // namespace archipelago::mapper
