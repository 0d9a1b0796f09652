// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "xseg/tool/snapshot.h"

#include "xseg/src/port_word.h"
#include "xseg/src/request_pool.h"
#include "xseg/src/slab_use.h"
#include "xseg/src/state_word.h"

#include <cstdio>

namespace xseg::tool {
namespace {

PortRow portRow(const Segment &segment, PortNo number)
{
	const xs_port &port = segment.port(number);
	const uint64_t owner = ownerOf(segment, number);
	return {.number = number,
	        .state = readOnce(port.state),
	        .generation = readOnce(port.gen),
	        .pid = uint32_t(owner >> 32),
	        .role = readOnce(port.role),
	        .waiter = readOnce(port.waiter),
	        .maxInflight = readOnce(port.max_inflight),
	        .running = owner != 0 && isRunning({uint32_t(owner >> 32), uint32_t(owner)}),
	        .submitted = readOnce(port.submitted),
	        .accepted = readOnce(port.accepted),
	        .responded = readOnce(port.responded),
	        .received = readOnce(port.received),
	        .failed = readOnce(port.failed)};
}

RequestRow requestRow(const Segment &segment, RequestIndex index, const StateWord &word)
{
	const xs_req &request = segment.request(index);
	const auto home = homeOf(segment, index);
	RequestRow row{.number = index,
	               .state = word.state,
	               .direction = word.direction,
	               .from = word.from,
	               .to = word.to,
	               .op = readOnce(request.op),
	               .attempts = readOnce(request.attempts),
	               .dataLength = readOnce(request.data_blk) == XS_NO_BUFFER ? 0 : readOnce(request.data_len),
	               .home = home ? int64_t(*home) : -1,
	               .status = readOnce(request.status),
	               .sequence = readOnce(request.seq),
	               .offset = readOnce(request.offset),
	               .size = readOnce(request.size),
	               .path = {}};
	for (uint16_t i = 0, length = pathLength(request); i < length; ++i) row.path.push_back(readOnce(request.path[i]) >> 16);
	return row;
}

template <size_t N> void add(uint32_t (&counts)[N], uint32_t &strange, uint32_t state) { ++(state < N ? counts[state] : strange); }

} // namespace

const char *portStateName(uint32_t state)
{
	switch (state) {
	case XS_PORT_FREE: return "free";
	case XS_PORT_BOUND: return "bound";
	case XS_PORT_RECOVERING: return "recovering";
	default: return "broken";
	}
}

const char *requestStateName(uint32_t state)
{
	switch (state) {
	case XS_FREE: return "free";
	case XS_OWNED: return "owned";
	case XS_SENDING: return "sending";
	case XS_FENCED: return "fenced";
	default: return "broken";
	}
}

std::string RequestRow::holder() const
{
	if (state != XS_SENDING) return "port " + std::to_string(to);
	return "port " + std::to_string(from) + " -> " + std::to_string(to) + (direction == XS_RING_REPLY ? ", reply" : "");
}

Summary summarize(const Segment &segment)
{
	const Geometry &geometry = segment.geometry();
	Summary sum;
	sum.geometry = geometry;
	for (const uint8_t byte : geometry.instance) {
		char text[3];
		std::snprintf(text, sizeof text, "%02x", byte);
		sum.instance += text;
	}
	for (uint32_t i = 0; i < geometry.ports; ++i) {
		add(sum.ports, sum.strangePorts, readOnce(segment.port(PortNo(i)).state));
		sum.countingPorts += readOnce(segment.port(PortNo(i)).stats_gen) != 0;
	}
	for (RequestIndex i = 0; i < geometry.requests; ++i)
		add(sum.requests, sum.strangeRequests, RequestState(segment.request(i)).load().state);
	for (uint32_t i = 0; i < geometry.slabs; ++i) {
		const SlabWord word = slabWordOf(segment, i);
		add(sum.slabs, sum.strangeSlabs, word.state);
		if (word.backed) sum.backedBytes += uint64_t(1) << XS_SLAB_SHIFT;
	}
	return sum;
}

std::vector<PortRow> portsOf(const Segment &segment, bool all)
{
	std::vector<PortRow> rows;
	for (uint32_t i = 0; i < segment.geometry().ports; ++i) {
		PortRow row = portRow(segment, PortNo(i));
		if (all || !row.unused()) rows.push_back(row);
	}
	return rows;
}

std::vector<RequestRow> requestsOf(const Segment &segment, bool all)
{
	std::vector<RequestRow> rows;
	for (RequestIndex i = 0; i < segment.geometry().requests; ++i) {
		const StateWord word = RequestState(segment.request(i)).load();
		if (all || word.state != XS_FREE) rows.push_back(requestRow(segment, i, word));
	}
	return rows;
}

} // namespace xseg::tool
