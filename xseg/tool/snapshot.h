// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What is in a segment, as plain values: each field copied once, nothing trusted, nothing written. With traffic the rows are
// from moments shortly after one another.
#pragma once

#include "xseg/segment.h"

#include <string>
#include <vector>

namespace xseg::tool {

struct PortRow {
	uint32_t number = 0, state = 0, generation = 0, pid = 0, role = 0, waiter = 0, maxInflight = 0;
	bool running = false; ///< the process that owns it still runs
	uint64_t submitted = 0, accepted = 0, responded = 0, received = 0, failed = 0;
	bool unused() const { return state == XS_PORT_FREE && pid == 0; }
};

struct RequestRow {
	uint32_t number = 0, state = 0, direction = 0, from = 0, to = 0, op = 0, attempts = 0, dataLength = 0;
	int64_t home = -1; ///< -1: its run is nobody's
	int32_t status = 0;
	uint64_t sequence = 0, offset = 0, size = 0;
	std::vector<uint32_t> path; ///< ports, home first
	std::string holder() const; ///< "port 3", or "port 3 -> 4, reply"
};

struct Summary {
	std::string instance; ///< hexadecimal
	Geometry geometry;
	uint32_t ports[3] = {}, requests[4] = {}, slabs[4] = {}; ///< by state
	uint32_t strangePorts = 0, strangeRequests = 0, strangeSlabs = 0;
	uint64_t backedBytes = 0; ///< of data, that have memory
	uint32_t countingPorts = 0; ///< that have a record of stats
};

const char *portStateName(uint32_t state);
const char *requestStateName(uint32_t state);

Summary summarize(const Segment &segment);
std::vector<PortRow> portsOf(const Segment &segment, bool all);
std::vector<RequestRow> requestsOf(const Segment &segment, bool all);

} // namespace xseg::tool
