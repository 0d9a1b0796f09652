// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Operations on volumes by name. What is done to a volume happens between taking its name's lock and returning.
#include "daemon/mapper/open_volumes.h"

#include "daemon/base/text.h"
#include "daemon/runtime/port_life.h"

#include <fmt/format.h>

namespace archipelago::mapper {

namespace {

/// A name for a message: it may be no legal one.
std::string shown(const std::string &name) { return printable(name.substr(0, kMaxNameBytes)); }

/// "Cannot VERB volume NAME: CAUSE. STATE", the cause without its own full stop.
tl::unexpected<Error> cannot(std::string_view verb, const std::string &name, Error cause, std::string_view state)
{
	while (cause.message.ends_with('.')) cause.message.pop_back();
	if (cause.code == ErrorCode::NotFound) state = "See which there are: vlmc list";
	return failure(cause.code, fmt::format("Cannot {} volume {}: {}. {}", verb, shown(name), cause.message, state));
}

tl::unexpected<Error> busy(std::string_view verb, const OpenVolume &volume)
{
	const bool one = volume.clientCount() == 1 && !volume.clients[static_cast<size_t>(Holder::Nbd)];
	return failure(
		ErrorCode::Busy,
		fmt::format("Cannot {} volume {}: it is in use by {}. It stays as it is. Disconnect {}, then {} again.", verb,
	                shown(volume.name), volume.who(), one ? "it" : "them", verb));
}

constexpr std::string_view kNothingChanged = "Nothing was changed.";

} // namespace

OpenVolume *OpenVolumes::find(const std::string &name) const
{
	const auto found = m_volumes.find(name);
	return found == m_volumes.end() ? nullptr : found->second.get();
}

runtime::Task<Result<VolumeId>> OpenVolumes::create(std::string name, uint64_t sizeBytes)
{
	const NameLocks::Held lock = co_await m_names.take(name);
	Result<VolumeId> volume = co_await m_catalog.create(name, sizeBytes);
	if (volume) co_return volume;
	switch (volume.error().code) {
	case ErrorCode::Exists:
		co_return cannot("create", name, volume.error(), "It was not touched. Look at it: vlmc info " + shown(name));
	case ErrorCode::Invalid:
	case ErrorCode::Peer: co_return cannot("create", name, volume.error(), kNothingChanged);
	default: co_return cannot("create", name, volume.error(), "See with vlmc list whether it is there now.");
	}
}

runtime::Task<Result<void>> OpenVolumes::remove(std::string name)
{
	const NameLocks::Held lock = co_await m_names.take(name);
	if (OpenVolume *volume = find(name)) {
		dropDead(*volume);
		if (volume->clientCount()) co_return busy("remove", *volume);
		if (volume->openedExplicitly)
			co_return failure(
				ErrorCode::Busy,
				fmt::format("Cannot remove volume {0}: it is open. Close it first: vlmc close {0}", shown(name)));
		Result<void> closed = co_await letGo(*volume);
		if (!closed)
			co_return cannot("remove", name, closed.error(), "It is still there. Try again when the cause is gone.");
	}
	Result<FoundVolume> found = co_await m_catalog.find(name);
	if (!found) co_return cannot("remove", name, found.error(), kNothingChanged);
	Result<void> removed = co_await m_catalog.remove(std::move(found->header));
	if (!removed)
		co_return cannot("remove", name, removed.error(),
		                 "See with vlmc list whether it is still there, then try again.");
	co_return Result<void>{};
}

/// Not under the name's lock: an open that recovers may take long, and what the header says is true meanwhile.
runtime::Task<Result<VolumeInfo>> OpenVolumes::info(std::string name)
{
	Result<FoundVolume> found = co_await m_catalog.find(name);
	if (!found) co_return cannot("look up", name, found.error(), kNothingChanged);
	VolumeInfo info = Catalog::describe(found->header);
	addLiveState(info);
	co_return info;
}

runtime::Task<Result<Catalog::Page>> OpenVolumes::list(uint64_t cursor, size_t maxVolumes)
{
	Result<Catalog::Page> page = co_await m_catalog.list(cursor, maxVolumes);
	if (!page) co_return failure(page.error().code, fmt::format("Cannot list volumes: {}.", page.error().message));
	for (VolumeInfo &info : page->volumes) addLiveState(info);
	co_return page;
}

void OpenVolumes::addLiveState(VolumeInfo &info) const
{
	const OpenVolume *volume = find(std::string(info.name, info.nameLength));
	if (!volume || info.error || volume->map->header().volume != info.volume) return;
	info.allocatedBytes = volume->map->allocatedBytes();
	info.clients = liveClients(*volume);
	info.openedExplicitly = volume->openedExplicitly;
	if (const auto &stopped = volume->map->stopped()) {
		info.stopped = 1;
		info.error = wireStatus(stopped->code);
	}
}

std::vector<VolumeInfo> OpenVolumes::live(const std::string &after, size_t maxVolumes) const
{
	std::vector<VolumeInfo> rows;
	for (auto at = m_volumes.upper_bound(after); at != m_volumes.end() && rows.size() < maxVolumes; ++at) {
		rows.push_back(Catalog::describe(at->second->map->header()));
		addLiveState(rows.back());
	}
	return rows;
}

std::string OpenVolumes::health(size_t maxBytes) const
{
	std::string lines;
	for (const auto &[name, volume] : m_volumes) {
		const auto &stopped = volume->map->stopped();
		if (!stopped) continue;
		// Names are checked when volumes are made, but those in a store may be older than the rule.
		const std::string line = fmt::format(
			"{0}\t{1}\tVolume {0} has stopped: {2}. What was flushed is safe. Disconnect its clients, then: vlmc close {0}, "
			"vlmc open {0}\n",
			shown(name), errorInfo(stopped->code).symbol, printable(stopped->message));
		if (lines.size() + line.size() > maxBytes) break;
		lines += line;
	}
	return lines;
}

runtime::Task<Result<OpenVolume *>> OpenVolumes::take(std::string name)
{
	if (OpenVolume *volume = find(name)) {
		if (!volume->map->stopped()) co_return volume;
		// With holders it stays as it is; they must see that something happened.
		if (volume->held())
			co_return cannot(
				"open", name, *volume->map->stopped(),
				"It has stopped, and its clients get errors. Disconnect them, close it, then open it again.");
		const Result<void> gone = co_await letGo(*volume); // fails: it has stopped; recovery is what comes now
		(void)gone;
	}
	Result<FoundVolume> found = co_await m_catalog.find(name);
	if (!found) co_return cannot("open", name, found.error(), kNothingChanged);
	if (shardOf(found->header.volume, m_context.shard.count) != m_context.shard.index)
		co_return failure(ErrorCode::Peer, fmt::format("Cannot open volume {}: the name has just changed hands. Nothing was "
		                                               "changed. Try again.", shown(name)));
	Result<std::unique_ptr<VolumeMap>> map = co_await VolumeMap::open(m_context, std::move(*found));
	if (!map) co_return cannot("open", name, map.error(), "It stays closed, its data as it was.");
	auto volume = std::make_unique<OpenVolume>();
	volume->name = name;
	volume->map = std::move(*map);
	co_return m_volumes.emplace(std::move(name), std::move(volume)).first->second.get();
}

runtime::Task<Result<void>> OpenVolumes::letGo(OpenVolume &volume)
{
	while (volume.requests) co_await volume.idle.wait();
	Result<void> closed = co_await volume.map->close();
	if (closed || volume.map->stopped()) m_volumes.erase(std::string(volume.name));
	co_return closed;
}

runtime::Task<Result<void>> OpenVolumes::open(std::string name)
{
	const NameLocks::Held lock = co_await m_names.take(name);
	Result<OpenVolume *> volume = co_await take(name);
	if (!volume) co_return tl::unexpected(std::move(volume.error()));
	(*volume)->openedExplicitly = true;
	co_return Result<void>{};
}

runtime::Task<Result<void>> OpenVolumes::close(std::string name)
{
	const NameLocks::Held lock = co_await m_names.take(name);
	OpenVolume *volume = find(name);
	if (!volume || !volume->openedExplicitly) {
		Result<FoundVolume> found = co_await m_catalog.find(name);
		if (!found) co_return cannot("close", name, found.error(), kNothingChanged);
		co_return failure(ErrorCode::NotOpen,
		                  fmt::format("Cannot close volume {}: it is not open. {}", shown(name), kNothingChanged));
	}
	dropDead(*volume);
	if (volume->clientCount()) co_return busy("close", *volume);
	Result<void> closed = co_await letGo(*volume);
	if (closed) co_return closed;
	if (find(name)) co_return cannot("close", name, closed.error(), "It stays open. Try again when the cause is gone.");
	co_return cannot("close", name, closed.error(),
	                 "It is closed, but not cleanly: what was flushed is safe, writes since the last flush may be "
	                 "lost. The next open "
	                 "recovers it.");
}

runtime::Task<Result<AttachReply>> OpenVolumes::attach(std::string name, AttachArgs args, Attacher by)
{
	const NameLocks::Held lock = co_await m_names.take(name);
	if (OpenVolume *volume = find(name)) dropDead(*volume);
	if (args.onlyIfOpened) {
		const OpenVolume *volume = find(name);
		if (!volume || !volume->openedExplicitly) {
			Result<FoundVolume> found = co_await m_catalog.find(name);
			if (!found) co_return cannot("attach to", name, found.error(), kNothingChanged);
			co_return failure(ErrorCode::NotOpen,
			                  fmt::format("Cannot attach to volume {0}: it is not open, and only open volumes are "
			                              "served here. Open it: vlmc open {0}",
			                              shown(name)));
		}
	}
	Result<OpenVolume *> volume = co_await take(name);
	if (!volume) co_return tl::unexpected(std::move(volume.error()));

	Attachment attachment;
	attachment.volume = *volume;
	attachment.holder = args.holder;
	attachment.readOnly = args.readOnly != 0;
	attachment.by = by;
	AttachReply reply;
	reply.handle = m_attachments.add(attachment);
	if (!reply.handle) {
		if (!(*volume)->held()) co_await letGo(**volume);
		co_return failure(ErrorCode::Limit,
		                  fmt::format("Cannot attach to volume {}: {} clients are attached, the most there can be. "
		                              "Disconnect some.",
		                              shown(name), Attachments::kMost));
	}
	++(*volume)->clients[static_cast<size_t>(args.holder)];
	const Header &header = (*volume)->map->header();
	reply.volume = header.volume;
	reply.sizeBytes = header.sizeBytes;
	reply.readOnly = attachment.readOnly;
	reply.blockShift = kBlockShift;
	co_return reply;
}

bool OpenVolumes::hasGone(const Attachment &attachment) const
{
	return runtime::hasGone(m_segment, attachment.by.client) || runtime::hasGone(m_segment, attachment.by.origin);
}

uint32_t OpenVolumes::liveClients(const OpenVolume &volume) const
{
	uint32_t live = 0;
	for (uint32_t handle : m_attachments.of(volume)) live += !hasGone(*m_attachments.find(handle));
	return live;
}

/// Under the name's lock. Of a composer that died nothing is under way when its successor attaches: who has I/O with it waits
/// until all of it is back (and recovery until its own is), and only then attaches anew. A composer that lives, but not its
/// client, may be in the middle of writes that nobody will hear of: first writes find their handle gone and are not recorded,
/// others are old or new, as any that was not acknowledged. It detaches a handle that is gone, which is nothing.
void OpenVolumes::dropDead(OpenVolume &volume)
{
	for (uint32_t handle : m_attachments.of(volume)) {
		const Attachment attachment = *m_attachments.find(handle);
		if (!hasGone(attachment)) continue;
		m_attachments.remove(handle);
		volume.map->abandon(handle);
		--volume.clients[static_cast<size_t>(attachment.holder)];
	}
}

runtime::Task<Result<void>> OpenVolumes::detach(uint32_t handle)
{
	const Attachment *found = m_attachments.find(handle);
	if (!found) co_return Result<void>{}; // of an earlier life of the mapper, perhaps
	const Attachment attachment = *found;
	m_attachments.remove(handle);
	OpenVolume &volume = *attachment.volume; // stays: this client is counted until the lock is held
	volume.map->abandon(handle);

	const NameLocks::Held lock = co_await m_names.take(volume.name);
	--volume.clients[static_cast<size_t>(attachment.holder)];
	if (volume.held()) co_return Result<void>{};
	const std::string name = volume.name;
	Result<void> closed = co_await letGo(volume);
	if (!closed)
		m_context.log.error("volume {} could not be closed after its last client left: {}. {}", name,
		                    closed.error().message, find(name) ? "It stays open." : "The next open recovers it.");
	co_return Result<void>{};
}

runtime::Task<Result<void>> OpenVolumes::closeAll()
{
	Result<void> first;
	while (!m_volumes.empty()) {
		const std::string name = m_volumes.begin()->first;
		const NameLocks::Held lock = co_await m_names.take(name);
		OpenVolume *volume = find(name);
		if (!volume) continue;
		for (uint32_t handle : m_attachments.of(*volume)) {
			m_attachments.remove(handle);
			volume->map->abandon(handle);
		}
		volume->openedExplicitly = false;
		volume->clients = {};
		Result<void> closed = co_await letGo(*volume);
		if (closed) continue;
		m_context.log.error("volume {} was not closed cleanly: {}. The next open recovers it.", name,
		                    closed.error().message);
		if (first)
			first = cannot("close", name, closed.error(), "What was flushed is safe; the next open recovers it.");
		m_volumes.erase(name);
	}
	co_return first;
}

} // namespace archipelago::mapper
