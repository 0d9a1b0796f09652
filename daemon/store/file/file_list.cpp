// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStore: list and capacity, on the helper thread. A group of the listing is a hash directory; each call reads a
// directory anew and takes what comes behind the cursor, so that nothing has to be remembered between calls.
#include "daemon/store/file/directory_reader.h"
#include "daemon/store/file/file_store.h"

#include <sys/statvfs.h>

#include <cerrno>

namespace archipelago::store {

namespace {

/// Directories read in one job: syncs queue up for the same thread.
constexpr unsigned kGroupsAtOnce = 16;
constexpr unsigned kForeignToName = 8;

enum Outcome : int { kAll = 0, kFull = 1, kMore = 2 };

/// Where the objects of `args` can be: one directory, or any.
std::optional<uint8_t> onlyDirectory(const ListArgs &args)
{
	const bool byVolume = args.kind == ObjectKind::Header || args.kind == ObjectKind::Chunk || args.kind == ObjectKind::Journal;
	if (!byVolume || args.volume.isZero()) return std::nullopt;
	ObjectKey key;
	key.id.kind = args.kind;
	key.id.volume = args.volume;
	return directoryOf(key);
}

} // namespace

runtime::Task<void> FileStore::list(StoreOp &op)
{
	auto cursor = ListCursor::decode(op.list.cursor);
	if (!cursor || !isObjectKind(op.list.kind)) {
		fail(op, ErrorCode::Invalid);
		co_return;
	}
	const auto only = onlyDirectory(op.list);
	if (only && cursor->group < *only) *cursor = ListCursor{*only, 0};
	const unsigned lastGroup = only ? *only : kHashDirectories - 1;
	ListWriter writer(op.data);
	int outcome = cursor->group > lastGroup ? kAll : kMore;
	while (outcome == kMore) {
		std::function<int()> job = [&] { return listSome(writer, op.list, *cursor, lastGroup); };
		outcome = co_await m_reactor.offload(std::move(job));
	}
	if (outcome < 0) {
		failErrno(op, -outcome);
	} else if (outcome == kFull && writer.used() == 0) {
		fail(op, ErrorCode::Invalid); // not even one record fits
	} else {
		op.serviced = writer.used();
		op.list.cursor = outcome == kFull ? cursor->encode() : 0;
		finish(op);
	}
}

/// Helper thread. Goes on from the cursor for a few directories; an Outcome or -errno.
int FileStore::listSome(ListWriter &writer, const ListArgs &args, ListCursor &cursor, unsigned lastGroup)
{
	for (unsigned n = 0; n < kGroupsAtOnce; ++n) {
		const uint8_t directory = cursor.group;
		std::vector<Listed> found;
		const bool read = forEachEntry(m_dir.directory(directory), ".", [&](std::string_view file, unsigned char type) {
			auto object = type == DT_REG || type == DT_UNKNOWN ? parseFileName(file, directory) : std::nullopt;
			if (!object)
				warnOfForeign(directory, file);
			else if (matches(args, object->id))
				found.emplace_back(object->id, std::move(object->name));
		});
		if (!read) return -errno;
		if (!writer.append(std::move(found), cursor)) return kFull;
		if (directory == lastGroup) return kAll;
		cursor.group = static_cast<uint8_t>(directory + 1);
		cursor.after = 0;
	}
	return kMore;
}

/// Helper thread. Somebody else's file, or an attempt at us: not ours to touch, not ours to list.
void FileStore::warnOfForeign(uint8_t directory, std::string_view file)
{
	const unsigned seen = m_foreignSeen++;
	if (seen < kForeignToName) m_log->warn("{}/{}/{} is not an object: ignored", m_options.dir, directoryPath(directory), file);
	if (seen == kForeignToName) m_log->warn("{}: more files are not objects; no longer named", m_options.dir);
}

runtime::Task<void> FileStore::capacity(StoreOp &op)
{
	struct statvfs info{};
	const int root = m_dir.root();
	std::function<int()> job = [&info, root] { return fstatvfs(root, &info) != 0 ? -errno : 0; };
	const int r = co_await m_reactor.offload(std::move(job));
	if (r < 0) {
		failErrno(op, -r);
		co_return;
	}
	op.size = uint64_t{info.f_blocks} * info.f_frsize;
	op.serviced = uint64_t{info.f_bavail} * info.f_frsize;
	finish(op);
}

} // namespace archipelago::store
