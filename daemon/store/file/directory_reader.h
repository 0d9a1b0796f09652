// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reading a directory, without "." and "..". Blocks: helper thread.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace archipelago::store {

/// Calls `each(name, d_type)` for the entries of `path` below `dirFd`. False with errno set when it cannot be read.
template <typename Each> bool forEachEntry(int dirFd, const char *path, Each each)
{
	// A descriptor of its own: the position in a directory belongs to the open file.
	const int fd = openat(dirFd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return false;
	DIR *dir = fdopendir(fd);
	if (!dir) {
		::close(fd);
		return false;
	}
	for (;;) {
		errno = 0;
		const dirent *entry = readdir(dir);
		if (!entry) break;
		const std::string_view name(entry->d_name);
		if (name != "." && name != "..") each(name, entry->d_type);
	}
	const int errnum = errno;
	closedir(dir);
	errno = errnum;
	return errnum == 0;
}

} // namespace archipelago::store
