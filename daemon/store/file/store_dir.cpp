// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Finding, judging and entering archip_dir; every refusal says what to do. Formatting is in store_format.cpp.
#include "daemon/store/file/store_dir.h"

#include "daemon/store/file/directory_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>

namespace archipelago::store {

namespace {

bool exists(int dirFd, const char *name)
{
	struct stat s{};
	return fstatat(dirFd, name, &s, AT_SYMLINK_NOFOLLOW) == 0;
}

/// mkdir -p, each entry durable. 0 or an errno.
int makePath(const std::string &path)
{
	for (size_t slash = 0; slash != std::string::npos;) {
		slash = path.find('/', slash + 1);
		const std::string part = path.substr(0, slash);
		if (mkdir(part.c_str(), slash == std::string::npos ? 0750 : 0755) == 0) {
			const xseg::UniqueFd parent(::open((part + "/..").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
			if (!parent || fsync(parent.get()) != 0) return errno;
		} else if (errno != EEXIST) {
			return errno;
		}
	}
	return 0;
}

bool isHashDigit(std::string_view name)
{
	return name.size() == 1 && std::string_view("0123456789abcdef").find(name[0]) != std::string_view::npos;
}

/// What our own directories hold when there is no identity to vouch for them.
struct Skeleton {
	unsigned directories = 0; ///< of the 256
	bool objects = false;     ///< something lies in one of them
	bool foreign = false;     ///< something we never make
};

void lookIntoHashDirectory(int root, const std::string &first, Skeleton &found)
{
	found.foreign |= !forEachEntry(root, first.c_str(), [&](std::string_view name, unsigned char) {
		if (!isHashDigit(name)) {
			found.foreign = true;
			return;
		}
		++found.directories;
		const std::string below = first + "/" + std::string(name);
		found.foreign |= !forEachEntry(root, below.c_str(), [&](std::string_view, unsigned char) { found.objects = true; });
	});
}

} // namespace

bool isTemporary(std::string_view name)
{
	return name == kNewIdentity ||
	       (name.size() == 20 && name.starts_with("new.") &&
	        name.substr(4).find_first_not_of("0123456789abcdef") == std::string_view::npos);
}

StoreDir::StoreDir(std::string path, std::string role, Purpose purpose, Owner owner)
    : m_path(std::move(path)), m_role(std::move(role)), m_purpose(purpose), m_owner(std::move(owner))
{
}

tl::unexpected<Error> StoreDir::refuse(ErrorCode code, const std::string &cause) const
{
	return failure(code, fmt::format("Cannot open the store {} of role {}: {}", m_path, m_role, cause));
}

tl::unexpected<Error> StoreDir::refuse(int errnum, const std::string &what) const
{
	const Error error = systemFailure(errnum, what).value();
	if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
		return refuse(ErrorCode::Denied, fmt::format("{}. It must be readable and writable for the user its peer runs as "
		                                             "(uid {}).", error.message, geteuid()));
	return refuse(error.code, error.message + ".");
}

Result<void> StoreDir::openRoot(bool createDirs)
{
	m_root.reset(::open(m_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!m_root && errno == ENOENT) {
		if (!createDirs)
			return refuse(ErrorCode::NotFound, "there is no such directory. Is its filesystem mounted? For a first start: "
			                                   "archipelago start --create-dirs");
		if (const int errnum = makePath(m_path)) return refuse(errnum, "it cannot be made");
		m_root.reset(::open(m_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	}
	if (!m_root && errno == ENOTDIR) return refuse(ErrorCode::Config, "it is not a directory. Correct archip_dir.");
	if (!m_root) return refuse(errno, "it cannot be opened");
	if (faccessat(m_root.get(), ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0) return refuse(errno, "no access to it");
	return {};
}

Result<StoreDir::Contents> StoreDir::look() const
{
	if (exists(m_root.get(), "identity")) return Contents::Store;
	Skeleton found;
	const bool readable = forEachEntry(m_root.get(), ".", [&](std::string_view name, unsigned char) {
		if (name == "lock" || name == "lost+found" || name == "adopt") return; // lost+found: a filesystem's own root
		if (isHashDigit(name))
			lookIntoHashDirectory(m_root.get(), std::string(name), found);
		else if (name == "tmp")
			found.foreign |= !forEachEntry(m_root.get(), "tmp", [&](std::string_view inside, unsigned char) {
				found.foreign |= !isTemporary(inside);
			});
		else
			found.foreign = true;
	});
	if (!readable) return refuse(errno, "it cannot be listed");
	if (found.directories == kHashDirectories && (found.objects || adoptionAsked())) return Contents::NoIdentity;
	return found.foreign || found.objects ? Contents::Foreign : Contents::Blank;
}

bool StoreDir::adoptionAsked() const { return exists(m_root.get(), "adopt"); }

Result<void> StoreDir::admit(Contents contents, bool createDirs) const
{
	switch (contents) {
	case Contents::Store: return {};
	case Contents::Blank:
		if (createDirs) return {};
		return failure(ErrorCode::Config, m_path + " is empty and not a store: is its filesystem mounted? For a first start: "
		                                           "archipelago start --create-dirs");
	case Contents::NoIdentity:
		if (adoptionAsked()) return {};
		return refuse(ErrorCode::Config, fmt::format("it holds objects, but its identity is missing. If it is this role's: touch "
		                                             "{}/adopt and start again.", m_path));
	case Contents::Foreign: break;
	}
	return refuse(ErrorCode::Config, "it holds files, but is not a store. Correct archip_dir, or choose an empty directory and "
	                                 "archipelago start --create-dirs");
}

Result<void> StoreDir::find(bool createDirs)
{
	if (auto opened = openRoot(createDirs); !opened) return opened;
	const auto contents = look();
	if (!contents) return tl::unexpected<Error>(contents.error());
	if (auto admitted = admit(*contents, createDirs); !admitted) return admitted;
	auto lock = StoreLock::open(m_root.get());
	if (!lock) return refuse(lock.error().code == ErrorCode::ReadOnly ? ErrorCode::Denied : lock.error().code,
		                         lock.error().message + ".");
	m_lock = std::move(*lock);
	return {};
}

Result<StoreLock::State> StoreDir::tryLock()
{
	const auto state = m_lock.tryLock();
	if (!state) return refuse(ErrorCode::Io, state.error().message + ".");
	if (*state == StoreLock::State::Taken) m_lock.sign(LockHolder::self(m_owner, m_role));
	if (*state != StoreLock::State::Held) return *state;
	const LockHolder holder = m_lock.holder();
	if (holder.pid == getpid() && holder.onThisBoot())
		return refuse(ErrorCode::Locked, fmt::format("role {} of the same process serves it. Give each role an archip_dir of "
		                                             "its own.", holder.role));
	return refuse(ErrorCode::Locked, fmt::format("{} serves it. Stop that one first, or give this role another archip_dir.",
	                                             holder.describe()));
}

Result<void> StoreDir::enter(bool createDirs)
{
	// Once more, now that nobody else can change it: another process may have formatted it, or died doing so.
	const auto contents = look();
	if (!contents) return tl::unexpected<Error>(contents.error());
	if (auto admitted = admit(*contents, createDirs); !admitted) return admitted;
	if (*contents == Contents::Blank)
		if (auto formatted = format(); !formatted) return formatted;
	if (auto opened = openDirectories(); !opened) return opened;
	if (*contents == Contents::NoIdentity)
		if (auto adopted = adopt(); !adopted) return adopted;
	if (auto read = readIdentity(); !read) return read;
	if (auto removed = removeTemporaries(); !removed) return removed;
	probeDirectIo();
	return {};
}

Result<void> StoreDir::readIdentity()
{
	for (;;) {
		m_identityFile.reset(openat(m_root.get(), "identity", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
		if (!m_identityFile) return refuse(errno, "its identity cannot be opened");
		std::string text(kIdentityBytes + 1, '\0');
		const ssize_t n = pread(m_identityFile.get(), text.data(), text.size(), 0);
		if (n < 0) return refuse(errno, "its identity cannot be read");
		text.resize(static_cast<size_t>(n));

		auto identity = Identity::parse(text);
		Result<void> judged;
		if (identity) {
			m_identity = std::move(*identity);
			judged = checkOwner();
		} else {
			judged = refuse(ErrorCode::Config, fmt::format("{}. If it is this role's store: touch {}/adopt and start again.",
			                                               identity.error().message, m_path));
		}
		if (!adoptionAsked()) return judged;
		// Also when it was ours already: the wish has been fulfilled and must not wait for another day.
		if (auto adopted = adopt(); !adopted) return adopted;
	}
}

Result<void> StoreDir::checkOwner() const
{
	if (m_purpose != Purpose::Any && m_identity.purpose != Purpose::Any && m_identity.purpose != m_purpose)
		return refuse(ErrorCode::Config, fmt::format("it is a store of {}, this role needs one of {}. Correct archip_dir: are the "
		                                             "directories of two roles exchanged?", purposeName(m_identity.purpose),
		                                             purposeName(m_purpose)));
	if (m_identity.owner.sameAs(m_owner)) return {};
	const bool otherHost = m_identity.owner.host != m_owner.host;
	return refuse(ErrorCode::Config,
	              fmt::format("it belongs to {} {} of host {}. Once that one will never use it again: touch {}/adopt and start "
	                          "again.", otherHost ? "an installation" : "another installation", m_identity.owner.instance,
	                          m_identity.owner.hostName, m_path));
}

Result<void> StoreDir::openDirectories()
{
	struct stat top{};
	if (fstat(m_root.get(), &top) != 0) return refuse(errno, "it cannot be examined");
	for (unsigned n = 0; n < kHashDirectories; ++n) {
		const std::string name = directoryPath(static_cast<uint8_t>(n));
		auto &fd = m_directories[n];
		fd.reset(openat(m_root.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
		if (!fd && errno == ENOENT)
			return refuse(ErrorCode::Corrupt, fmt::format("its directory {} is missing, and the objects in it. Put it back from a "
			                                              "backup.", name));
		if (!fd) return refuse(errno, fmt::format("its directory {} cannot be opened", name));
		if (faccessat(fd.get(), ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0)
			return refuse(errno, fmt::format("no access to its directory {}", name));
		struct stat s{};
		if (fstat(fd.get(), &s) != 0 || s.st_dev != top.st_dev)
			return refuse(ErrorCode::Config, fmt::format("its directory {} is on another filesystem. A store is one filesystem.",
			                                             name));
	}
	if (mkdirat(m_root.get(), "tmp", 0750) != 0 && errno != EEXIST) return refuse(errno, "its directory tmp cannot be made");
	m_temporaries.reset(openat(m_root.get(), "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
	if (!m_temporaries) return refuse(errno, "its directory tmp cannot be opened");
	return {};
}

Result<void> StoreDir::removeTemporaries() const
{
	int errnum = 0;
	const bool readable = forEachEntry(m_temporaries.get(), ".", [&](std::string_view name, unsigned char) {
		if (isTemporary(name) && unlinkat(m_temporaries.get(), std::string(name).c_str(), 0) != 0) errnum = errno;
	});
	if (!readable) return refuse(errno, "its directory tmp cannot be listed");
	if (errnum) return refuse(errnum, "leftovers in its directory tmp cannot be removed");
	return {};
}

void StoreDir::probeDirectIo()
{
	// 512 bytes at an odd multiple of 512, in memory and in the file: what a block size above 512 refuses.
	const xseg::UniqueFd fd(openat(m_root.get(), "identity", O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW));
	if (!fd) return;
	const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(4096, 4096), std::free);
	if (memory) m_takesDirectIo = pread(fd.get(), static_cast<char *>(memory.get()) + 512, 512, 512) == 512;
}

void StoreDir::close()
{
	for (auto &fd : m_directories) fd.reset();
	m_temporaries.reset();
	m_identityFile.reset();
	m_lock.unlock();
	m_root.reset();
}

} // namespace archipelago::store
