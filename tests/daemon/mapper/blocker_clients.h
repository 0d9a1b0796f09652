// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Two ObjectClients and their crash stores on one reactor, without a mapper: what tests of the mapper's parts stand on.
#pragma once

#include "daemon/mapper/object_client.h"
#include "tests/daemon/mapper/crash_store.h"
#include "tests/daemon/runtime/rig.h"

namespace archipelago::mapper::testing {

class BlockerClients : private runtime::PortHandler {
public:
	BlockerClients(archipelago::testing::Rig &rig, World &world)
	    : blockerb(*rig.reactor, world, world.blocks, 10), blockerm(*rig.reactor, world, world.maps, 12), m_rig(rig),
	      m_buffers(rig.reactor->segment(), 11)
	{
		auto port = runtime::ServedPort::bind(*rig.reactor, m_buffers, 11, 64, *this);
		if (!port) qFatal("%s", port.error().message.c_str());
		m_port = std::move(*port);
		m_caller.emplace(*m_port);
		data.emplace(*m_caller, xseg::PortNo(10), "blockerb");
		maps.emplace(*m_caller, xseg::PortNo(12), "blockerm");
	}

	template <typename T> T wait(runtime::Task<T> task)
	{
		std::optional<T> out;
		runtime::spawn(keep(std::move(task), out));
		m_rig.reactor->runUntil([&out] { return out.has_value(); });
		return std::move(*out);
	}
	void until(const std::function<bool()> &done) { m_rig.reactor->runUntil(done); }

	CrashStore blockerb, blockerm;
	std::optional<ObjectClient> data, maps;

private:
	template <typename T> static runtime::Task<void> keep(runtime::Task<T> task, std::optional<T> &out)
	{
		T value = co_await task;
		out.emplace(std::move(value));
	}
	void onRequest(runtime::ServedPort &, xseg::RequestRef) override {}
	void onReply(runtime::ServedPort &, xseg::RequestRef request) override { m_caller->deliver(request); }

	archipelago::testing::Rig &m_rig;
	xseg::BufferPool m_buffers;
	std::unique_ptr<runtime::ServedPort> m_port;
	std::optional<runtime::Caller> m_caller;
};

} // namespace archipelago::mapper::testing
