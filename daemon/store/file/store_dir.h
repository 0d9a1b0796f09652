// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// StoreDir: archip_dir as a directory: is it there, is it ours, whose is it, and the descriptors of what is in it.
//
//   archip_dir/  identity    says that this is a store and whose (identity.h)
//                lock        one process at a time (store_lock.h)
//                0..f/0..f/  256 hash directories: the objects (layout.h)
//                tmp/        objects on their way into place: new.<16 hex>; whatever is there at open is garbage of a crash
//                adopt       made by an operator: "this store is mine now, whatever the identity says"; taken away again
//
// A store is formatted only in an empty directory and only when told so (createDirs): an empty directory is what an
// unmounted filesystem looks like. Order of formatting: hash directories and tmp, synced; then the identity. So a
// directory with an identity is complete; one without, but with nothing else than empty hash directories, is an
// interrupted format and counts as empty.
//
// Temporaries lie in a directory of their own, so that a crash's leftovers are found without reading 256 directories of
// objects. A rename out of it is one transaction of the filesystem like any other, made durable by syncing its target.
//
// Plain, blocking code: runs on the helper thread, one call at a time. Owned by the store.
#pragma once

#include "daemon/store/file/identity.h"
#include "daemon/store/file/layout.h"
#include "daemon/store/file/store_lock.h"

#include <array>
#include <string>

namespace archipelago::store {

inline constexpr std::string_view kNewIdentity = "identity.new";
/// Is this the name of a file we make in tmp/?
bool isTemporary(std::string_view name);

class StoreDir {
public:
	/// `role` is for messages only.
	StoreDir(std::string path, std::string role, Purpose purpose, Owner owner);

	/// Finds the directory and opens its lock file; changes nothing in a directory that is neither a store nor blank.
	/// E-NOTFOUND, E-DENIED, E-CONFIG (not a store; blank and !createDirs).
	Result<void> find(bool createDirs);
	/// One try, see StoreLock. E-LOCKED when a living process holds it.
	Result<StoreLock::State> tryLock();
	StoreLock &lock() { return m_lock; }
	/// Under the lock: formats when blank, checks the identity, opens the directories, removes leftovers.
	/// E-CONFIG (somebody else's, other purpose, damaged identity), E-CORRUPT (a directory is missing), E-DENIED.
	Result<void> enter(bool createDirs);
	/// Closes everything, the lock last.
	void close();

	int root() const { return m_root.get(); }
	int temporaries() const { return m_temporaries.get(); }
	int directory(uint8_t n) const { return m_directories[n].get(); }
	/// An open regular file of this filesystem: fdatasync of it flushes the device.
	int barrierFile() const { return m_identityFile.get(); }
	const Identity &identity() const { return m_identity; }
	/// Does the filesystem take O_DIRECT at multiples of 512 bytes? After enter().
	bool takesDirectIo() const { return m_takesDirectIo; }
	/// "Cannot open the store DIR of role blockerm: <cause>"
	tl::unexpected<Error> refuse(ErrorCode code, const std::string &cause) const;

private:
	enum class Contents { Store, Blank, NoIdentity, Foreign };
	tl::unexpected<Error> refuse(int errnum, const std::string &what) const;
	Result<void> openRoot(bool createDirs);
	Result<Contents> look() const;
	Result<void> admit(Contents contents, bool createDirs) const;
	Result<void> format();
	Result<void> writeIdentity();
	Result<void> readIdentity();
	Result<void> checkOwner() const;
	Result<void> adopt();
	bool adoptionAsked() const;
	Result<void> openDirectories();
	Result<void> removeTemporaries() const;
	void probeDirectIo();

	std::string m_path, m_role;
	Purpose m_purpose;
	Owner m_owner;
	xseg::UniqueFd m_root, m_temporaries, m_identityFile;
	std::array<xseg::UniqueFd, kHashDirectories> m_directories;
	StoreLock m_lock;
	Identity m_identity;
	bool m_takesDirectIo = false;
};

} // namespace archipelago::store
