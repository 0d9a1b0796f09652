// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// NameRouter: how shard 0 of a mapper serves operations by name when volumes live on several shards (daemon/base/shards.h).
//
// Whatever is asked by name comes to shard 0. It takes the name, so that nothing changes whose it is, looks up the volume, and passes
// the request on to the shard that has it, which does all there is to do and answers through here. Only what makes a name
// (create) is done here, and what is no business of a single volume (list, health) is put together here. A shard never asks
// another one while it holds a name of its own, so nobody waits in a circle.
//
//   MapAttach       from the composer of another shard than the volume's: not attached, but told which it is (elsewhere)
//
// One thread: shard 0's. Its owner serves what route() gives back.
#pragma once

#include "daemon/mapper/catalog.h"
#include "daemon/mapper/name_locks.h"
#include "daemon/runtime/served_port.h"

namespace archipelago::mapper {

class NameRouter {
public:
	/// `firstPort`: of shard 0; the others follow.
	NameRouter(runtime::ServedPort &port, runtime::Caller &caller, ObjectClient &blockerm, xseg::PortNo firstPort, uint32_t shards)
		: m_port(port),
		  m_caller(caller),
		  m_catalog(blockerm),
		  m_firstPort(firstPort),
		  m_shards(shards)
	{}

	/// What is ours to do, with the name held until it is done; or nothing: it has been answered.
	struct Routed {
		xseg::RequestRef request;
		std::optional<NameLocks::Held> name;
	};
	runtime::Task<Routed> route(Op op, xseg::RequestRef request, std::string name);

	/// Puts the state of volumes that other shards have open into their rows. A shard that does not answer: the rows stay.
	runtime::Task<void> addLiveState(std::vector<VolumeInfo> &rows);
	/// Appends what the other shards say, whole lines, up to `maxBytes` in all.
	runtime::Task<void> addHealth(std::string &lines, size_t maxBytes);

private:
	xseg::PortNo portOf(uint32_t shard) const { return static_cast<xseg::PortNo>(m_firstPort + shard); }
	runtime::Task<xseg::RequestRef> ask(Op op, uint32_t shard, std::string name, uint32_t bytes);
	void tellElsewhere(xseg::RequestRef request, const VolumeId &volume);

	runtime::ServedPort &m_port;
	runtime::Caller &m_caller;
	Catalog m_catalog;
	const xseg::PortNo m_firstPort;
	const uint32_t m_shards;
	NameLocks m_names;
};

} // namespace archipelago::mapper
