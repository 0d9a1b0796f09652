// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// OpenVolumes: who holds which volume open, and the operations on volumes by name.
//
//   holders of a volume = its explicit open (sticky: open ... close)  +  its attachments (NBD, FUSE, devices, tools)
//
// The first holder opens the volume, the last to leave closes it. Explicit open and attachments are independent: a client
// that leaves drops only itself, close() with clients is E-BUSY with who.
//
// A close that fails leaves the volume open without holders; the next holder takes it over, and stop tries again. One that
// fails because the volume had stopped lets go of it: its journal and header are in the store, and the next open recovers.
//
// A composer that has died gives nothing back, and one whose client has died does so later. Such attachments count no more, and go
// (with the first writes begun with them) when something is done to the volume: a successor attaches before it writes.
//
// Errors are complete sentences for operators (ux.md's recipe: what cannot be done, why, how things stand, what to do).
// Each operation holds the lock of its name. One thread.
//
// A mapper with several shards has one of these in each, for the volumes of that shard; shard 0 finds out which it is and keeps the
// name meanwhile (name_router.h). A volume of another shard is not opened here, whoever asks.
#pragma once

#include "daemon/mapper/attachments.h"
#include "daemon/mapper/catalog.h"
#include "daemon/mapper/name_locks.h"
#include "xseg/segment.h"

#include <map>

namespace archipelago::mapper {

class OpenVolumes {
public:
	OpenVolumes(const VolumeContext &context, const xseg::Segment &segment)
		: m_context(context), m_segment(segment), m_catalog(context.blockerm)
	{}

	runtime::Task<Result<VolumeId>> create(std::string name, uint64_t sizeBytes);
	/// E-BUSY with who.
	runtime::Task<Result<void>> remove(std::string name);
	runtime::Task<Result<VolumeInfo>> info(std::string name);
	runtime::Task<Result<Catalog::Page>> list(uint64_t cursor, size_t maxVolumes);
	/// A line "NAME\tE-IO\tmessage\n" for each volume that has stopped; whole lines, at most `maxBytes`.
	std::string health(size_t maxBytes) const;

	/// Some volumes that are open, by name, from behind `after` on.
	std::vector<VolumeInfo> live(const std::string &after, size_t maxVolumes) const;

	/// Succeeds when it is open explicitly already.
	runtime::Task<Result<void>> open(std::string name);
	/// E-NOTOPEN, E-BUSY with who.
	runtime::Task<Result<void>> close(std::string name);
	runtime::Task<Result<AttachReply>> attach(std::string name, AttachArgs args, Attacher by);
	/// The handle is gone at once, and its first writes that were not recorded with it. The volume closes with its last
	/// holder; when that fails it is logged, for the client has left all the same. No such handle: nothing to do.
	runtime::Task<Result<void>> detach(uint32_t handle);
	/// Drops every holder and closes every volume; nothing else is under way. The first error; the others are logged.
	runtime::Task<Result<void>> closeAll();

	/// Null: no such handle.
	const Attachment *find(uint32_t handle) const { return m_attachments.find(handle); }

private:
	/// Open, or opened now. The caller holds the name's lock and adds its holder without waiting in between.
	runtime::Task<Result<OpenVolume *>> take(std::string name);
	/// Closes a volume without holders; it is gone when that succeeds or it had stopped.
	runtime::Task<Result<void>> letGo(OpenVolume &volume);
	OpenVolume *find(const std::string &name) const;
	bool hasGone(const Attachment &attachment) const;
	uint32_t liveClients(const OpenVolume &volume) const;
	void dropDead(OpenVolume &volume);
	void addLiveState(VolumeInfo &info) const;

	VolumeContext m_context;
	const xseg::Segment &m_segment;
	Catalog m_catalog;
	NameLocks m_names;
	Attachments m_attachments;
	std::map<std::string, std::unique_ptr<OpenVolume>> m_volumes; ///< by name
};

} // namespace archipelago::mapper
