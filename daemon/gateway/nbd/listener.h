// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Listener: the unix socket clients connect to. The file appears with its final permissions or stricter ones, never wider.
//
// A socket file that a killed server left behind is removed, but only when nobody listens on it; the decision is made
// under a lock on the directory, so that two servers starting at once cannot remove each other's. On close the file goes
// if it still is the one that was made here.
#pragma once

#include "daemon/base/errors.h"
#include "xseg/fd.h"

#include <sys/types.h>

#include <string>

namespace archipelago::gateway::nbd {

class Listener {
public:
	struct Options {
		std::string path; ///< absolute, at most 107 bytes
		mode_t mode = 0660;
		bool createDirs = false; ///< make missing directories above it (0750)
	};
	/// Errors: E-CONFIG (path, or what stands there is no socket), E-NOTFOUND (directory missing), E-DENIED, E-BUSY (who
	/// listens there).
	static Result<Listener> open(const Options &options);
	Listener(Listener &&other) noexcept = default;
	Listener &operator=(Listener &&other) = delete;
	~Listener() { close(); }

	int fd() const { return m_fd.get(); }
	/// Wakes an accept that waits; no more come.
	void shutdown();
	void close();

private:
	Listener() = default;
	xseg::UniqueFd m_fd;
	std::string m_path;
	dev_t m_device = 0;
	ino_t m_inode = 0;
};

} // namespace archipelago::gateway::nbd
