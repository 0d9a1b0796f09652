// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ObjectClient: one blocker with its shards, as the mapper's coroutines see it. An object is asked of the shard of its
// volume, whoever asks, and a name of shard 0: no two of a blocker's stores touch the same file (daemon/base/shards.h).
// Each call is one request (readWhole: a second one when the object is larger than guessed) and waits for its answer; a
// blocker that is not there answers E-PEER at once.
//
// What comes back is another process's word: lengths are checked against the buffer, and objects are copied out of the
// segment before anybody decodes them. Names and bytes passed in must live until the call is done.
#pragma once

#include "daemon/base/shards.h"
#include "daemon/mapper/map_format.h"
#include "daemon/runtime/served_port.h"

#include <string>

namespace archipelago::mapper {

enum class Durability : uint8_t { Later, WithThisWrite }; ///< WithThisWrite: kFlagFua

class ObjectClient {
public:
	/// `role`: what the configuration calls the blocker at `port`, for messages. `shard`: ours; port is that of shard 0.
	ObjectClient(runtime::Caller &caller, xseg::PortNo port, std::string role, Shard shard = {})
		: m_caller(caller),
		  m_port(port),
		  m_role(std::move(role)),
		  m_shard(shard)
	{}

	/// All of an object. `guess`: bytes that most objects of the kind stay below. E-NOTFOUND, E-CORRUPT (longer than
	/// `maxBytes`). One request reads all of it, so an object that is replaced meanwhile comes whole, old or new.
	runtime::Task<Result<Bytes>> readWhole(const ObjectName &object, uint32_t guess, uint32_t maxBytes);
	/// Replaces or makes; whole and durable when done.
	runtime::Task<Result<void>> writeFull(const ObjectName &object, std::span<const std::byte> bytes);
	/// E-EXISTS.
	runtime::Task<Result<void>> create(const ObjectName &object, std::span<const std::byte> bytes);
	/// E-NOTFOUND.
	runtime::Task<Result<void>> write(const ObjectName &object, uint64_t offset, std::span<const std::byte> bytes,
	                                  Durability durability);
	/// Not there is success.
	runtime::Task<Result<void>> remove(const ObjectName &object);
	runtime::Task<Result<void>> sync(const ObjectName &object);
	/// Every object of the volume that was written before the call.
	runtime::Task<Result<void>> syncVolume(const VolumeId &volume);
	/// The whole store, and what a predecessor of the blocker's process wrote.
	runtime::Task<Result<void>> syncAll();

	/// One page of a listing: names of volumes, from `cursor` (0: the start) on; at most as many as fit into `bytes`.
	struct NamePage {
		std::vector<std::string> names;
		uint64_t next = 0; ///< cursor of the next page, 0 = no more
	};
	runtime::Task<Result<NamePage>> listNames(uint64_t cursor, uint32_t bytes);
	/// All objects of one kind (not Name) that one volume has.
	runtime::Task<Result<std::vector<ObjectId>>> listVolume(ObjectKind kind, const VolumeId &volume);

private:
	/// A request with room for `bytes`, its name in place behind them; data_len = bytes.
	runtime::Task<xseg::RequestRef> prepare(Op op, const ObjectName &object, uint32_t bytes);
	runtime::Task<Result<void>> send(Op op, const ObjectName &object, std::span<const std::byte> bytes, uint64_t offset,
	                                 Durability durability);
	runtime::Task<Result<void>> send(Op op, VolumeId volume);
	/// Empty when the request was carried out.
	std::optional<Error> errorOf(const xseg::RequestRef &reply, const std::string &what) const;
	xseg::PortNo portOf(ObjectKind kind, const VolumeId &volume) const
	{
		return kind == ObjectKind::Name ? m_port : static_cast<xseg::PortNo>(m_port + shardOf(volume, m_shard.count));
	}
	struct ListPage {
		std::vector<ObjectId> ids;
		std::vector<std::string> names;
		uint64_t next = 0;
	};
	runtime::Task<Result<ListPage>> list(const ListArgs &args, uint32_t bytes);

	runtime::Caller &m_caller;
	xseg::PortNo m_port;
	std::string m_role;
	const Shard m_shard;
};

} // namespace archipelago::mapper
