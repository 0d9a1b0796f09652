// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Catalog: which volumes there are. The headers are the truth; a name object n.NAME only says where to look, and counts only
// if the newest header of its volume is LIVE and bears that name.
//
//   create   header, then name     cut off between: a header that no name leads to; nobody can open it, gc takes it
//   remove   header TRASH, then    cut off between: a name that does not count; the volume is in the trash, the name free
//            the name goes
//
// A name that does not count may be replaced by a creation. Where it cannot be told whether it counts (the header is missing,
// damaged or unreadable) nothing is replaced: that might cut off a volume which is still there.
//
// The caller holds the lock of the name (NameLocks) around everything but list() and describe(). One thread.
#pragma once

#include "daemon/mapper/object_client.h"
#include "daemon/mapper/volume_map.h"

namespace archipelago::mapper {

class Catalog {
public:
	explicit Catalog(ObjectClient &blockerm) : m_blockerm(blockerm) {}

	/// A new, blank volume. E-EXISTS, E-INVALID (name, size), and what find() says but E-NOTFOUND.
	runtime::Task<Result<VolumeId>> create(std::string name, uint64_t sizeBytes);
	/// E-NOTFOUND: no such name, or one that does not count. E-MISSING: it names a volume without a header. E-CORRUPT...
	runtime::Task<Result<FoundVolume>> find(std::string name);
	/// Into the trash. The volume is not open.
	runtime::Task<Result<void>> remove(Header header);

	/// Some volumes, from `cursor` (0: the start) on. One that cannot be read is a row with its error.
	struct Page {
		std::vector<VolumeInfo> volumes;
		uint64_t next = 0; ///< 0: no more
	};
	runtime::Task<Result<Page>> list(uint64_t cursor, size_t maxVolumes);

	/// A header as the service sees it: without what only an open volume knows.
	static VolumeInfo describe(const Header &header);

private:
	runtime::Task<Result<FoundVolume>> newest(VolumeId volume);
	runtime::Task<void> readRow(std::string name, std::optional<VolumeInfo> &row);

	ObjectClient &m_blockerm;
};

} // namespace archipelago::mapper
