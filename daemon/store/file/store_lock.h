// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The lock of a store that one host process serves: flock(LOCK_EX) on ARCHIP_DIR/lock.
//
// The open file description behind the lock has two holders: this object's descriptor, and the reactor's ring, where it is
// registered. A process that is killed loses its descriptor at once, its ring only when the last of its I/O is done; so the
// lock is free exactly when nothing of the dead process can reach an object any more, which is what a successor needs to
// know (a pidfd or waitpid() tell too early). A store that is closed in order has no I/O left and unlocks explicitly.
//
// What stands in the file is for messages only: whoever holds the lock writes who it is.
//   pid <decimal>\n started <clock ticks>\n boot <uuid>\n host <32 hex or -> <node name>\n role <name>\n
#pragma once

#include "daemon/base/errors.h"
#include "daemon/store/file/identity.h"
#include "xseg/fd.h"

#include <cstdint>
#include <string>

namespace archipelago::store {

/// Who holds a lock, as the lock file tells it.
struct LockHolder {
	int64_t pid = 0;
	uint64_t started = 0; ///< as in /proc/PID/stat; with pid and boot it names one process for ever
	std::string boot, host, hostName, role;

	static LockHolder self(const Owner &owner, std::string_view role);
	std::string format() const;
	/// Whatever can be read; fields that cannot stay empty.
	static LockHolder parse(std::string_view text);
	bool onThisBoot() const;
	/// The process runs: not merely a zombie, whose I/O the kernel may still be finishing.
	bool alive() const;
	/// "process 4121 (role blockerb) on this host"
	std::string describe() const;
};

class StoreLock {
public:
	enum class State {
		Taken,
		Held,   ///< by a process that lives, here or elsewhere
		Ending, ///< by one that is dead: its I/O is being finished; try again
	};

	/// Opens the lock file of the store at `dirFd`; makes it when missing. Error: errno, as a system call.
	static Result<StoreLock> open(int dirFd);
	/// Never waits.
	Result<State> tryLock();
	/// After tryLock() said Taken: leaves our name in the file.
	void sign(const LockHolder &self);
	/// After it said Held or Ending.
	LockHolder holder() const;
	/// A second descriptor of the lock, for the ring.
	xseg::UniqueFd duplicate() const;
	/// Lets go although the ring still has it open. All I/O of the store must be done.
	void unlock();

	StoreLock() = default;

private:
	xseg::UniqueFd m_fd;
};

} // namespace archipelago::store
