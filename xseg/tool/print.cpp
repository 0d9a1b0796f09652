// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "xseg/tool/print.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace xseg::tool {
namespace {

using nlohmann::ordered_json;
using Rows = std::vector<std::vector<std::string>>;

/// The first row is the titles. Two spaces between columns; the last column is not filled up.
void printTable(const Rows &rows)
{
	std::vector<size_t> widths(rows.front().size());
	for (const auto &row : rows) {
		for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
	}
	for (const auto &row : rows) {
		std::string line;
		for (size_t i = 0; i < row.size(); ++i) {
			line += row[i];
			if (i + 1 < row.size()) line.append(widths[i] + 2 - row[i].size(), ' ');
		}
		std::puts(line.c_str());
	}
}

void printJson(const ordered_json &value) { std::puts(value.dump(2).c_str()); }

std::string text(uint64_t number) { return std::to_string(number); }

std::string pathText(const std::vector<uint32_t> &path)
{
	std::string out;
	for (const uint32_t port : path) out += (out.empty() ? "" : " ") + std::to_string(port);
	return out;
}

std::string mebibytes(uint64_t bytes) { return text(bytes >> 20) + " MiB"; }

} // namespace

void print(const Summary &sum, const std::string &source, bool json)
{
	const Geometry &geometry = sum.geometry;
	if (json) {
		printJson({{"source", source},
		           {"instance", sum.instance},
		           {"size_bytes", geometry.sizeBytes},
		           {"data_bytes", geometry.dataBytes},
		           {"backed_bytes", sum.backedBytes},
		           {"waiters", geometry.waiters},
		           {"ring_slots", 1u << geometry.ringSlotsLog2},
		           {"ports", {{"total", geometry.ports}, {"bound", sum.ports[XS_PORT_BOUND]},
		                      {"recovering", sum.ports[XS_PORT_RECOVERING]}, {"broken", sum.strangePorts}}},
		           {"stats", {{"ports", sum.countingPorts}, {"record_bytes", sizeof(xs_stats)}}},
		           {"requests", {{"total", geometry.requests}, {"owned", sum.requests[XS_OWNED]},
		                         {"sending", sum.requests[XS_SENDING]}, {"fenced", sum.requests[XS_FENCED]},
		                         {"broken", sum.strangeRequests}}},
		           {"slabs", {{"total", geometry.slabs}, {"used", sum.slabs[XS_SLAB_USED]},
		                      {"zombie", sum.slabs[XS_SLAB_ZOMBIE]}, {"fenced", sum.slabs[XS_SLAB_FENCED]},
		                      {"broken", sum.strangeSlabs}}}});
		return;
	}
	const auto strange = [](uint32_t count) { return count ? ", " + text(count) + " broken" : std::string(); };
	printTable({{"segment", sum.instance + " from " + source},
	            {"size", mebibytes(geometry.sizeBytes) + ", " + mebibytes(geometry.dataBytes) + " for data, " +
	                         mebibytes(sum.backedBytes) + " of it in memory"},
	            {"ports", text(geometry.ports) + ", " + text(sum.ports[XS_PORT_BOUND]) + " bound, " +
	                          text(sum.ports[XS_PORT_RECOVERING]) + " recovering" + strange(sum.strangePorts)},
	            {"requests", text(geometry.requests) + ", " + text(sum.requests[XS_OWNED]) + " owned, " +
	                             text(sum.requests[XS_SENDING]) + " sending, " + text(sum.requests[XS_FENCED]) + " fenced" +
	                             strange(sum.strangeRequests)},
	            {"slabs", text(geometry.slabs) + " of 256 KiB, " + text(sum.slabs[XS_SLAB_USED]) + " used, " +
	                          text(sum.slabs[XS_SLAB_ZOMBIE]) + " zombie, " + text(sum.slabs[XS_SLAB_FENCED]) + " fenced" +
	                          strange(sum.strangeSlabs)},
	            {"stats", text(sum.countingPorts) + " ports count, " + text(sizeof(xs_stats)) + " bytes each"},
	            {"waiters", text(geometry.waiters)},
	            {"rings", "2 per port, " + text(1u << geometry.ringSlotsLog2) + " slots each"}});
}

void print(const std::vector<PortRow> &rows, bool json)
{
	if (json) {
		ordered_json out = ordered_json::array();
		for (const PortRow &row : rows) {
			out.push_back({{"port", row.number}, {"state", portStateName(row.state)}, {"generation", row.generation},
			               {"pid", row.pid}, {"running", row.running}, {"role", row.role}, {"waiter", row.waiter},
			               {"max_inflight", row.maxInflight}, {"submitted", row.submitted}, {"accepted", row.accepted},
			               {"responded", row.responded}, {"received", row.received}, {"failed", row.failed}});
		}
		return printJson(out);
	}
	Rows table{{"PORT", "STATE", "PID", "GEN", "WAITER", "SUBMITTED", "RECEIVED", "ACCEPTED", "RESPONDED", "FAILED"}};
	for (const PortRow &row : rows) {
		const std::string pid = row.pid == 0 ? "-" : text(row.pid) + (row.running ? "" : " (dead)");
		table.push_back({text(row.number), portStateName(row.state), pid, text(row.generation), text(row.waiter),
		                 text(row.submitted), text(row.received), text(row.accepted), text(row.responded), text(row.failed)});
	}
	printTable(table);
}

void print(const std::vector<RequestRow> &rows, bool json)
{
	if (json) {
		ordered_json out = ordered_json::array();
		for (const RequestRow &row : rows) {
			out.push_back({{"request", row.number}, {"state", requestStateName(row.state)}, {"from", row.from}, {"to", row.to},
			               {"reply", row.state == XS_SENDING && row.direction == XS_RING_REPLY},
			               {"home", row.home < 0 ? ordered_json() : ordered_json(row.home)}, {"sequence", row.sequence},
			               {"op", row.op}, {"status", row.status}, {"attempts", row.attempts}, {"offset", row.offset},
			               {"size", row.size}, {"data_bytes", row.dataLength}, {"path", row.path}});
		}
		return printJson(out);
	}
	Rows table{{"REQUEST", "STATE", "AT", "HOME", "OP", "OFFSET", "SIZE", "DATA", "STATUS", "ATTEMPTS", "PATH"}};
	for (const RequestRow &row : rows) {
		table.push_back({text(row.number), requestStateName(row.state), row.holder(), row.home < 0 ? "-" : std::to_string(row.home),
		                 text(row.op), text(row.offset), text(row.size), text(row.dataLength), std::to_string(row.status),
		                 text(row.attempts), pathText(row.path)});
	}
	printTable(table);
}

void print(const std::vector<Finding> &findings, bool json)
{
	if (json) {
		ordered_json list = ordered_json::array();
		for (const Finding &finding : findings) list.push_back({{"kind", name(finding.kind)}, {"text", finding.text}});
		return printJson({{"ok", findings.empty()}, {"findings", list}});
	}
	for (const Finding &finding : findings) std::printf("%-6s  %s\n", std::string(name(finding.kind)).c_str(), finding.text.c_str());
	if (findings.empty()) std::puts("Nothing is held, leaked or broken.");
}

void print(const std::vector<Recovered> &recovered, bool json)
{
	if (json) {
		ordered_json list = ordered_json::array();
		for (const Recovered &one : recovered) {
			const RecoveryReport &report = one.report;
			list.push_back({{"pid", one.process.pid}, {"complete", report.complete()}, {"ports", one.ports},
			                {"failed", report.failed}, {"freed", report.freed}, {"pushed_again", report.pushedAgain},
			                {"slabs", report.slabs}, {"waiting", report.waiting}});
		}
		return printJson({{"ok", std::ranges::all_of(recovered, [](const Recovered &one) { return one.report.complete(); })},
		                  {"recovered", list}});
	}
	for (const Recovered &one : recovered) {
		const RecoveryReport &report = one.report;
		std::printf("process %u: %u ports, %u requests failed back, %u freed, %u slabs returned", one.process.pid, one.ports,
		            report.failed, report.freed, report.slabs);
		if (!report.complete()) std::printf("; %u requests are still with others: run this again later", report.waiting);
		std::putchar('\n');
	}
	if (recovered.empty()) std::puts("Every port belongs to a running process: there is nothing to recover.");
}

} // namespace xseg::tool
