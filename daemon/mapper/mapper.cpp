// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Life of the peer: what it is made of, and which part a request goes to.
//
//   MapRead ... MapFlush, by handle         -> BlockRequests   (the fast path)
//   MapAttach, MapDetach, Cat*, by name    -> NameRequests    (-> NameRouter, with several shards)
#include "daemon/mapper/mapper.h"

#include "daemon/mapper/block_requests.h"
#include "daemon/mapper/name_requests.h"

namespace archipelago::mapper {

namespace {

using runtime::ServedPort;
using runtime::Task;

constexpr uint64_t kStopPollMs = 1; ///< answers that wait for room in a full ring

std::string roleAt(const Config &config, uint32_t port)
{
	for (const RoleConfig &role : config.roles)
		if (role.type == RoleType::FileBlocker && role.portnoStart == port) return role.name;
	return "at port " + std::to_string(port);
}

xseg::PortNo portNo(uint32_t number) { return static_cast<xseg::PortNo>(number); }

class Mapper : public runtime::Peer, private runtime::PortHandler {
public:
	Mapper(const runtime::PeerContext &context, const RoleConfig &role, const MapperOptions &options)
		: m_reactor(context.reactor),
		  m_shard(context.shard),
		  m_role(roleOfShard(role, context.shard)),
		  m_firstPort(portNo(role.portnoStart)),
		  m_blockerbRole(roleAt(context.config, role.blockerbPort)),
		  m_blockermRole(roleAt(context.config, role.blockermPort)),
		  m_log(roleLogger(role.name)),
		  m_bootId(options.bootId),
		  m_limits(options.limits),
		  m_budget(m_role.mapCacheBytes)
	{}

	Task<Result<void>> start() override;
	Task<Result<void>> stop() override;
	uint32_t inflight() const override { return m_inHand ? m_inHand->counted() : 0; }

private:
	void onRequest(ServedPort &port, xseg::RequestRef request) override;
	void onReply(ServedPort &port, xseg::RequestRef request) override;

	runtime::Reactor &m_reactor;
	const Shard m_shard;
	const RoleConfig m_role;
	const xseg::PortNo m_firstPort; ///< of shard 0
	const std::string m_blockerbRole, m_blockermRole;
	std::shared_ptr<spdlog::logger> m_log;
	std::optional<BootId> m_bootId;
	const VolumeLimits m_limits;
	ChunkBudget m_budget;
	// From start() to stop(), each using those before it.
	std::optional<xseg::BufferPool> m_buffers;
	std::unique_ptr<ServedPort> m_port;
	std::optional<runtime::Caller> m_caller;
	std::optional<ObjectClient> m_blockerb, m_blockerm;
	std::optional<OpenVolumes> m_volumes;
	std::optional<NameRouter> m_router; ///< shard 0 of several
	std::optional<RequestsInHand> m_inHand;
	std::optional<BlockRequests> m_blocks;
	std::optional<NameRequests> m_names;

	bool m_stopping = false;
};

Task<Result<void>> Mapper::start()
{
	if (!m_bootId) {
		const Result<BootId> id = readBootId();
		if (!id) co_return tl::unexpected(id.error());
		m_bootId = *id;
	}
	m_buffers.emplace(m_reactor.segment(), portNo(m_role.portnoStart));
	const xseg::StatsSubject counted = runtime::statsOfRole(m_role.name);
	auto port = ServedPort::bind(m_reactor, *m_buffers, portNo(m_role.portnoStart), m_role.nrOps, *this, &counted);
	if (!port) {
		m_buffers.reset();
		co_return tl::unexpected(port.error().within(m_role.name));
	}
	m_port = std::move(*port);
	m_caller.emplace(*m_port);
	m_blockerb.emplace(*m_caller, portNo(m_role.blockerbPort), m_blockerbRole, m_shard);
	m_blockerm.emplace(*m_caller, portNo(m_role.blockermPort), m_blockermRole, m_shard);
	const VolumeContext context{m_reactor, *m_blockerb, *m_blockerm, m_budget, *m_bootId, *m_log, m_limits, m_shard};
	m_volumes.emplace(context, m_reactor.segment());
	if (m_shard.count > 1 && m_shard.index == 0) m_router.emplace(*m_port, *m_caller, *m_blockerm, m_firstPort, m_shard.count);
	m_inHand.emplace(*m_port, m_role.nrOps);
	m_blocks.emplace(*m_port, *m_inHand, *m_volumes, *m_log);
	m_names.emplace(NameRequests::Context{.port = *m_port,
	                                      .inHand = *m_inHand,
	                                      .volumes = *m_volumes,
	                                      .router = m_router ? &*m_router : nullptr,
	                                      .shard = m_shard,
	                                      .firstPort = m_firstPort});
	m_stopping = false;
	m_log->info("serves port {}", m_role.portnoStart);
	co_return Result<void>{};
}

/// Operations by name end first, so that no volume appears or goes beside closeAll(). That ends the rest: it frees the blocks
/// which others wait for.
Task<Result<void>> Mapper::stop()
{
	m_stopping = true;
	co_await m_names->allEnded();
	Result<void> closed = co_await m_volumes->closeAll();
	// Out of the handlers that may stand below us: the port must not be destroyed under them.
	co_await m_reactor.sleepMs(0);
	while (!m_inHand->none() || m_caller->outstanding() || !m_port->idle()) co_await m_reactor.sleepMs(kStopPollMs);

	m_names.reset();
	m_blocks.reset();
	m_inHand.reset();
	m_router.reset();
	m_volumes.reset();
	m_blockerb.reset();
	m_blockerm.reset();
	m_caller.reset();
	m_port.reset();
	m_buffers.reset();
	co_return closed;
}

void Mapper::onReply(ServedPort &, xseg::RequestRef request)
{
	m_caller->deliver(request); // every reply is to a call of ours, or to what the router has passed on
}

void Mapper::onRequest(ServedPort &port, xseg::RequestRef request)
{
	const Op op = static_cast<Op>(request->op);
	if (op == Op::Ping) return port.respond(std::move(request), 0);
	if (m_stopping) return port.respond(std::move(request), wireStatus(ErrorCode::Peer));
	if (!m_blocks->serve(op, request)) m_names->serve(op, std::move(request));
}

} // namespace

std::unique_ptr<runtime::Peer> makeMapper(const runtime::PeerContext &context, const RoleConfig &role,
                                          const MapperOptions &options)
{
	return std::make_unique<Mapper>(context, role, options);
}

} // namespace archipelago::mapper
