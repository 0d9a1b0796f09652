// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The identity of a file store: the file `identity` in archip_dir says that this directory is one, and whose. Text, so that
// an operator can read it; 4096 bytes, newlines behind the last line, so that one direct read gets it.
//
//   archipelago object store
//   format 1
//   store <32 hex>                       random, made when the store is formatted
//   purpose any|data|maps
//   mode exclusive                       one installation on one host (shared = false)
//   host <32 hex or -> <node name>       who: hash of machine-id; the name is for people
//   instance <32 hex or ->               which of that host's installations
//   crc32c <8 hex>                       over all bytes before this line
//
// Replaced only as a whole (write aside, fdatasync, rename, fsync of the directory), so a crash leaves the old or the new.
#pragma once

#include "daemon/base/errors.h"

#include <string>
#include <string_view>

namespace archipelago::store {

inline constexpr size_t kIdentityBytes = 4096;

/// What the store is used for: objects of blocks, of maps, or both.
enum class Purpose { Any, Data, Maps };
std::string_view purposeName(Purpose purpose);

/// An installation on a host. Empty fields are not known and match everything.
struct Owner {
	std::string host;     ///< 32 hex
	std::string hostName; ///< for messages
	std::string instance; ///< 32 hex

	bool sameAs(const Owner &other) const;
};
/// This host; the instance is left empty.
Owner thisHost();

struct Identity {
	std::string store; ///< 32 hex
	Purpose purpose = Purpose::Any;
	Owner owner;

	/// A new store with a random id. E-FAILED when the kernel gives no random bytes.
	static Result<Identity> make(Purpose purpose, Owner owner);
	/// kIdentityBytes long.
	std::string format() const;
	/// E-CONFIG with the cause, as the end of a sentence: "its identity is damaged".
	static Result<Identity> parse(std::string_view text);
};

} // namespace archipelago::store
