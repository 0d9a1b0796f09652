// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The table behind errors.h, and the look-ups in it. Rows stand in code order, so that errorInfo() is an index; a
// static_assert keeps it so. Texts and explanations are what `archipelago explain` prints: they name only commands that
// exist, and say what an operator can do by hand where none does. Everything here is constant and thread-safe.
#include "daemon/base/errors.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace archipelago {

namespace {

// Block clients know few errnos (NBD: EPERM EIO ENOMEM EINVAL ENOSPC EOVERFLOW ENOTSUP ESHUTDOWN), and ESHUTDOWN would
// tell them that the server is going away. So whatever says "this range failed" is EIO there, a write to a read-only
// volume is EPERM as the NBD specification asks, and a quota is ENOSPC.
constexpr std::array kErrors{
	ErrorInfo{ErrorCode::Failed, "E-FAILED", "Failed", 1, EIO, EIO, "The operation failed.",
	          "Something failed for which there is no code of its own; the message beside the code says what. How far "
	          "the operation came is not known: look at the volume with `vlmc info NAME` and at the roles with "
	          "`archipelago status` before trying again. The log of the role that is named in the message has the line "
	          "with the cause."},
	ErrorInfo{ErrorCode::Invalid, "E-INVALID", "InvalidArgument", 2, EINVAL, EINVAL, "An argument is not legal.",
	          "A name, size, offset or option is outside of what is allowed; the message names the rule and, where "
	          "there is one, the nearest legal value. The request was refused before anything was done: nothing has "
	          "changed. Correct the argument and repeat the command."},
	ErrorInfo{ErrorCode::Config, "E-CONFIG", "InvalidConfiguration", 2, EINVAL, EIO, "The configuration is not usable.",
	          "The configuration file has an error, or names something this machine does not have (a directory, a port "
	          "that is not there, a feature that is not built yet). Nothing was started or changed; what was running "
	          "before still runs with the configuration it was started with. `archipelago check-config` lists every "
	          "problem with its line; correct them, then start again."},
	ErrorInfo{ErrorCode::Peer, "E-PEER", "PeerUnavailable", 3, EHOSTDOWN, EIO, "A role does not run or does not answer.",
	          "The service or one of the roles behind it (blockerb, blockerm, mapperd, vlmcd, nbd) is stopped, is just "
	          "starting, or did not answer. A request that was already with that role may have been carried out or "
	          "not; acknowledged data is safe. `archipelago status` shows which role it is; `archipelago start` starts "
	          "what is stopped, `archipelago restart ROLE` replaces one that hangs."},
	ErrorInfo{ErrorCode::NotFound, "E-NOTFOUND", "NotFound", 4, ENOENT, EIO, "There is no such thing.",
	          "No volume, role, file or object of that name exists here. A volume that was removed is in the trash and "
	          "no longer found by its name. Nothing has changed. `vlmc list` shows the volumes, `archipelago status` "
	          "the roles; names are case-sensitive."},
	ErrorInfo{ErrorCode::Busy, "E-BUSY", "Busy", 5, EBUSY, EIO, "It is in use.",
	          "The volume, store or role is used by somebody else; the message says by whom as far as it is known. "
	          "Nothing was changed. Disconnect the clients first (for NBD: stop the virtual machine, or `nbd-client "
	          "-d` on the device), close an explicit open with `vlmc close NAME`, then repeat. A store that is in use "
	          "belongs to another running instance: two instances never share an archip_dir."},
	ErrorInfo{ErrorCode::Mapped, "E-MAPPED", "AlreadyMapped", 5, EBUSY, EIO, "The volume is mapped as a device.",
	          "The volume is attached to a block device of this node, and what was asked would pull it from under the "
	          "device or attach it a second time. Nothing was changed; the message names the device. Unmount file "
	          "systems on it and let go of the device first."},
	ErrorInfo{ErrorCode::Locked, "E-LOCKED", "Locked", 5, EBUSY, EIO, "It is locked by another owner.",
	          "Another process or node holds the exclusive lock, so that two writers can never work on the same data. "
	          "Nothing was changed. Find the owner (the message names it when it is known) and stop it there with "
	          "`archipelago stop`. The lock of a process that died goes away by itself once the kernel has finished "
	          "its last write; on a slow device that takes some seconds: wait, then repeat."},
	ErrorInfo{ErrorCode::NotLocked, "E-NOTLOCKED", "NotLocked", 5, EIO, EIO, "It is not locked.",
	          "A lock was to be released that nobody holds, or that is held by somebody else than the caller. Nothing "
	          "was changed, and nothing has to be done when the lock was to be gone anyway."},
	ErrorInfo{ErrorCode::NotOpen, "E-NOTOPEN", "NotOpen", 5, EIO, EIO, "The volume is not open.",
	          "The operation needs a volume that was opened explicitly, and this one is not: `vlmc close` has nothing "
	          "to close, and an NBD server with exports = \"opened\" does not offer it. Nothing was changed. `vlmc "
	          "open NAME` opens it; `vlmc info NAME` shows who uses it."},
	ErrorInfo{ErrorCode::Fenced, "E-FENCED", "Fenced", 5, ESHUTDOWN, EIO, "This owner has been replaced.",
	          "Another process has taken the volume over, and this one may no longer write: its requests are refused "
	          "so that they cannot overwrite newer data. What was acknowledged before is safe; what was in flight is "
	          "answered with an error to its client. Close and open the volume again (`vlmc close NAME`, `vlmc open "
	          "NAME`) on the node that is to own it."},
	ErrorInfo{ErrorCode::Protected, "E-PROTECTED", "Protected", 5, EPERM, EPERM, "The volume is protected.",
	          "The volume carries a protection against removal and overwriting, set on purpose by an operator. Nothing "
	          "was changed. Take the protection away first if the volume really is to go."},
	ErrorInfo{ErrorCode::ReadOnly, "E-READONLY", "ReadOnly", 5, EROFS, EPERM, "It is read-only.",
	          "A write went to a snapshot, to a volume that was attached read-only, or to a store on a file system "
	          "that is mounted read-only. Nothing was written. Attach the volume writable, or for a store: look at the "
	          "kernel's log for why the file system went read-only, repair and remount it, then `archipelago "
	          "restart`."},
	ErrorInfo{ErrorCode::Exists, "E-EXISTS", "AlreadyExists", 6, EEXIST, EIO, "It exists already.",
	          "A volume of that name, or the file or object that was to be made, is there already, and nothing is ever "
	          "overwritten silently. Nothing was changed. Choose another name, or look at what is there with `vlmc "
	          "info NAME` and remove it first with `vlmc remove NAME`."},
	ErrorInfo{ErrorCode::NoSpace, "E-NOSPACE", "NoSpace", 8, ENOSPC, ENOSPC, "There is no space left.",
	          "The store's file system, its quota, or the shared memory segment is full. Data that was acknowledged is "
	          "safe; the write that failed was not done. Look with `df` at the file system of archip_dir (the message "
	          "names the role) and free space there or enlarge it; a full segment needs a larger SEGMENT_SIZE and "
	          "`archipelago restart`."},
	ErrorInfo{ErrorCode::Limit, "E-LIMIT", "LimitExceeded", 8, EDQUOT, ENOSPC, "A limit is reached.",
	          "A number that is bounded by the configuration or by the kernel is used up: client ports of vlmcd "
	          "(portno_start to portno_end), open files, memory that may be locked. What runs goes on; only the new "
	          "request was refused. Disconnect clients that are no longer needed, or raise the limit that the message "
	          "names and `archipelago restart`."},
	ErrorInfo{ErrorCode::Io, "E-IO", "InputOutput", 9, EIO, EIO, "The storage below reported an I/O error.",
	          "The kernel could not read or write the store. A failed read leaves everything as it was. After a failed "
	          "write or sync the kernel may have dropped data it had promised to write: what was flushed before is "
	          "safe, what came after is not certain. Look at the kernel's log (`dmesg`) and at the disk, repair it, "
	          "then close and open the volume again or `archipelago restart`."},
	ErrorInfo{ErrorCode::Corrupt, "E-CORRUPT", "CorruptMetadata", 9, EUCLEAN, EIO, "Stored metadata is damaged.",
	          "A map, a journal or another structure of the store failed its checksum or contradicts itself, so it is "
	          "not used: wrong data is never served in its place, and nothing is repaired by guessing. The affected "
	          "volume cannot be opened; the others are not touched. Keep the store as it is (a copy of archip_dir is "
	          "the best evidence), check disk and memory, and restore the damaged object named in the message from a "
	          "backup."},
	ErrorInfo{ErrorCode::Missing, "E-MISSING", "MissingObject", 9, EIO, EIO,
	          "An object that must exist is not in the store.",
	          "The volume's map points to a data object that the blocker does not find. It was deleted behind our "
	          "back, or the directory is not the right one (a file system that is not mounted). Reads of that block "
	          "fail with EIO; zeros are never invented. Check that archip_dir is mounted and complete, and restore the "
	          "object that the log names from a backup; the rest of the volume stays readable."},
	ErrorInfo{ErrorCode::Timeout, "E-TIMEOUT", "Timeout", 10, ETIMEDOUT, EIO, "It took too long.",
	          "The answer did not come within the deadline, so waiting was given up. The operation itself may still be "
	          "carried out: look at its result before repeating it (`vlmc info NAME`, `archipelago status`). A role "
	          "that does not answer at all is shown by `archipelago status`; slow disks show in `iostat`. For volume "
	          "I/O the deadline is io_timeout in the configuration; 0 waits."},
	ErrorInfo{ErrorCode::Cancelled, "E-CANCELLED", "Cancelled", 11, ECANCELED, EIO, "It was cancelled.",
	          "The operation was ended on request, or because the role that worked on it was stopped. What was "
	          "acknowledged before stays; the message says what remains. Repeat the command when it was not meant to "
	          "be ended."},
	ErrorInfo{ErrorCode::Unsupported, "E-UNSUPPORTED", "NotSupported", 1, EOPNOTSUPP, EOPNOTSUPP,
	          "This is not supported here.",
	          "This version, this kernel or this file system cannot do what was asked. Nothing was changed. The "
	          "message says which of them it is; ROADMAP.md says what is built and what comes next."},
	ErrorInfo{ErrorCode::NotMapped, "E-NOTMAPPED", "NotMapped", 5, EIO, EIO, "The volume is not mapped as a device.",
	          "A device was to be taken away from a volume that has none on this node. Nothing was changed, and "
	          "nothing has to be done when the device was to be gone anyway."},
	ErrorInfo{ErrorCode::Denied, "E-DENIED", "", 7, EPERM, EPERM, "You are not permitted to do that.",
	          "The caller, or the user the service runs as, lacks a permission: on the bus to command this instance, "
	          "on disk to use a file or directory (the message names it). Nothing was changed. Run the command as the "
	          "user who started the instance or as root, or correct owner and mode of the path."},
};

constexpr bool inCodeOrder()
{
	for (std::size_t i = 0; i < kErrors.size(); ++i)
		if (static_cast<std::size_t>(kErrors[i].code) != i + 1) return false;
	return true;
}
static_assert(inCodeOrder() && kErrors.size() == static_cast<std::size_t>(ErrorCode::Denied));

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool equalIgnoringCase(std::string_view a, std::string_view b)
{
	return std::ranges::equal(a, b, [](char x, char y) { return upper(x) == upper(y); });
}

} // namespace

std::span<const ErrorInfo> allErrors() { return kErrors; }

const ErrorInfo &errorInfo(ErrorCode code)
{
	// A code outside the table can only come from a cast: what other processes say goes through errorFromWire().
	const auto index = static_cast<std::size_t>(code) - 1;
	ARCHIPELAGO_ASSERT(index < kErrors.size());
	return kErrors[index];
}

std::optional<ErrorCode> errorFromSymbol(std::string_view symbol)
{
	for (const ErrorInfo &info : kErrors)
		if (equalIgnoringCase(symbol, info.symbol) || equalIgnoringCase(symbol, info.symbol.substr(2))) return info.code;
	return std::nullopt;
}

std::optional<ErrorCode> errorFromDBusName(std::string_view name)
{
	// The two standard names by which a bus refuses a caller.
	if (name == "AccessDenied" || name == "InteractiveAuthorizationRequired") return ErrorCode::Denied;
	for (const ErrorInfo &info : kErrors)
		if (!name.empty() && name == info.dbusName) return info.code;
	return std::nullopt;
}

ErrorCode errorFromErrno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT: // of a file system: to the operator the disk is full
		return ErrorCode::NoSpace;
	case ENOENT: return ErrorCode::NotFound;
	case EEXIST: return ErrorCode::Exists;
	case EACCES:
	case EPERM: return ErrorCode::Denied;
	case EROFS: return ErrorCode::ReadOnly;
	case EBUSY:
	case ETXTBSY:
	case EADDRINUSE:
	case ENOTEMPTY: return ErrorCode::Busy;
	case EAGAIN: return ErrorCode::Locked; // flock(LOCK_NB), fcntl locks; elsewhere EAGAIN is handled, not reported
	case EINVAL:
	case EISDIR:
	case ENOTDIR:
	case ELOOP:
	case ENAMETOOLONG: return ErrorCode::Invalid;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EFBIG: return ErrorCode::Limit;
	case ETIMEDOUT: return ErrorCode::Timeout;
	case ECANCELED: return ErrorCode::Cancelled;
	case EOPNOTSUPP:
	case ENOSYS: return ErrorCode::Unsupported;
	case EHOSTDOWN:
	case ECONNREFUSED:
	case ECONNRESET:
	case ENOTCONN:
	case EPIPE: return ErrorCode::Peer;
	case ESHUTDOWN: return ErrorCode::Fenced;
	case EUCLEAN:
	case EBADMSG: return ErrorCode::Corrupt; // what ext4 and XFS say when their own checksums fail
	default: return ErrorCode::Io;
	}
}

Error Error::within(std::string_view context) const &
{
	std::string text(context);
	text += ": ";
	text += message;
	return Error{code, std::move(text)};
}

tl::unexpected<Error> systemFailure(int errnum, std::string_view what)
{
	std::string text(what);
	text += ": ";
	text += std::generic_category().message(errnum); // not strerror(): threads
	return failure(errorFromErrno(errnum), std::move(text));
}

std::optional<ErrorCode> errorFromWire(int32_t status)
{
	if (status == 0) return std::nullopt;
	// What the segment says itself: the peer that held the request has died (EOWNERDEAD), or let go of it (ECANCELED).
	if (status == -EOWNERDEAD || status == -ECANCELED) return ErrorCode::Peer;
	// Compared before negating: -INT32_MIN does not exist.
	if (status > 0 || status < wireStatus(ErrorCode::Denied)) return ErrorCode::Failed;
	return static_cast<ErrorCode>(-status);
}

void assertFailed(const char *expression, const char *file, int line)
{
	std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
	std::abort();
}

} // namespace archipelago
