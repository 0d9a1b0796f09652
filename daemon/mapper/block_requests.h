// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// BlockRequests: Map* for the blocks of attached volumes (daemon/base/protocol.h), by handle. Look-ups of chunks in memory are
// answered on the spot, without allocation; everything that waits is a coroutine that owns its request.
//
// Fields of a request are copied once and the copies checked: handle and its generation, block against the volume's size,
// lengths against the buffer, enums against their range.
//
// One thread. Whoever destroys it waits until `inHand` has none.
#pragma once

#include "daemon/mapper/open_volumes.h"
#include "daemon/mapper/requests_in_hand.h"

#include <optional>

namespace archipelago::mapper {

class BlockRequests {
public:
	/// All of them outlive it.
	BlockRequests(runtime::ServedPort &port, RequestsInHand &inHand, OpenVolumes &volumes, spdlog::logger &log)
		: m_port(port),
		  m_inHand(inHand),
		  m_volumes(volumes),
		  m_log(log)
	{}

	/// Answers it, now or later. False: `op` is none of these, and the request is untouched.
	bool serve(Op op, xseg::RequestRef &request);

private:
	enum class Look : uint8_t { Read, Write, Punch };
	std::optional<ErrorCode> refusal(const MapArgs &args, uint32_t count, Look look) const;
	static VolumeMap::Placing place(VolumeMap &map, const MapArgs &args, Look look, MapReply &reply);
	void look(xseg::RequestRef request, Look look);
	runtime::Task<void> lookSlowly(xseg::RequestRef request, MapArgs args, Look look);
	runtime::Task<void> trim(xseg::RequestRef request);
	runtime::Task<void> extents(xseg::RequestRef request);
	runtime::Task<void> record(xseg::RequestRef request);
	runtime::Task<void> flush(xseg::RequestRef request);
	void answer(xseg::RequestRef request, const Result<void> &result, OpenVolume &volume);

	runtime::ServedPort &m_port;
	RequestsInHand &m_inHand;
	OpenVolumes &m_volumes;
	spdlog::logger &m_log;
};

} // namespace archipelago::mapper
