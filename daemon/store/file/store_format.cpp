// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// StoreDir: what writes. Formatting an empty directory, and the identity as a whole.
//
// Order (assume a power cut between any two lines): the directories, each made durable by an fsync of the one it is in (a new
// directory and its entry are one transaction); the identity aside, fdatasync; rename; fsync of archip_dir. So an identity
// is never seen without all of its directories, and never half written. No syncfs: it would write what everybody else on
// this filesystem has in the page cache.
#include "daemon/store/file/store_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace archipelago::store {

namespace {

/// The 16 directories in ARCHIP_DIR/FIRST, and the way to them but for archip_dir itself. 0 or an errno.
int makeHashDirectories(int root, unsigned first)
{
	const auto path = [first](unsigned second) { return directoryPath(static_cast<uint8_t>(first << 4 | second)); };
	const std::string parent = path(0).substr(0, 1);
	if (mkdirat(root, parent.c_str(), 0750) != 0 && errno != EEXIST) return errno;
	for (unsigned second = 0; second < 16; ++second)
		if (mkdirat(root, path(second).c_str(), 0750) != 0 && errno != EEXIST) return errno;
	const xseg::UniqueFd fd(openat(root, parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
	return fd && fsync(fd.get()) == 0 ? 0 : errno;
}

} // namespace

Result<void> StoreDir::format()
{
	for (unsigned first = 0; first < 16; ++first)
		if (const int errnum = makeHashDirectories(m_root.get(), first)) return refuse(errnum, "its directories cannot be made");
	if (mkdirat(m_root.get(), "tmp", 0750) != 0 && errno != EEXIST) return refuse(errno, "its directories cannot be made");
	if (fsync(m_root.get()) != 0) return refuse(errno, "it cannot be synced");
	auto identity = Identity::make(m_purpose, m_owner);
	if (!identity) return refuse(ErrorCode::Failed, identity.error().message + ".");
	m_identity = std::move(*identity);
	return writeIdentity();
}

Result<void> StoreDir::writeIdentity()
{
	const std::string text = m_identity.format();
	const std::string aside = "tmp/" + std::string(kNewIdentity);
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
	const xseg::UniqueFd fd(openat(m_root.get(), aside.c_str(), flags, 0640));
	if (!fd) return refuse(errno, "its identity cannot be written");
	const ssize_t n = pwrite(fd.get(), text.data(), text.size(), 0);
	if (n != static_cast<ssize_t>(text.size())) return refuse(n < 0 ? errno : ENOSPC, "its identity cannot be written");
	if (fdatasync(fd.get()) != 0) return refuse(errno, "its identity cannot be synced");
	if (renameat(m_root.get(), aside.c_str(), m_root.get(), "identity") != 0) return refuse(errno, "its identity cannot be renamed");
	if (fsync(m_root.get()) != 0) return refuse(errno, "it cannot be synced");
	return {};
}

/// Makes the store ours: its id stays where it can be read, the owner is replaced. Called when ARCHIP_DIR/adopt exists.
Result<void> StoreDir::adopt()
{
	if (m_identity.store.empty()) {
		auto identity = Identity::make(m_purpose, m_owner);
		if (!identity) return refuse(ErrorCode::Failed, identity.error().message + ".");
		m_identity = std::move(*identity);
	}
	m_identity.owner = m_owner;
	if (auto written = writeIdentity(); !written) return written;
	// After the identity is durable: a crash in between adopts once more.
	if (unlinkat(m_root.get(), "adopt", 0) != 0) return refuse(errno, "its file adopt cannot be removed");
	return {};
}

} // namespace archipelago::store
