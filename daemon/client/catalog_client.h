// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// CatalogClient: the service's questions to the mapper, typed. Each answers exactly once, from SegmentClient::process().
// Records from the mapper are checked before they are handed on: a name that breaks the naming rule's length or a list that
// does not add up is E-CORRUPT, never read beyond.
#pragma once

#include "daemon/client/segment_client.h"

#include <string_view>

namespace archipelago::client {

/// One page of the list, in the mapper's order.
struct ListPage {
	std::vector<VolumeInfo> volumes; ///< each nameLength is at most kMaxNameBytes
	uint64_t next = 0;               ///< cursor of the next page, 0 = that was all
};

/// A volume that has stopped: every I/O fails until nobody holds it any more and it is opened again.
struct StoppedVolume {
	std::string name;
	ErrorCode code = ErrorCode::Io; ///< E-IO, or E-NOSPACE
	std::string message;            ///< sentences for the operator: what failed, what to do
};

inline std::string_view nameOf(const VolumeInfo &info) { return {info.name, info.nameLength}; }
/// 32 hex digits.
std::string formatVolumeId(const VolumeId &id);

class CatalogClient {
public:
	static constexpr uint64_t kTimeoutMs = 30'000;
	template <typename T> using Done = std::function<void(Result<T>)>;

	/// `mapper`: first port of the mapper role.
	CatalogClient(SegmentClient &client, xseg::PortNo mapper) : m_client(client), m_mapper(mapper) {}

	// Errors, for all: E-TIMEOUT, E-PEER. The mapper checks names and sizes again.
	/// E-EXISTS, E-INVALID, E-NOSPACE.
	void create(std::string_view name, uint64_t sizeBytes, Done<VolumeId> done);
	/// E-NOTFOUND.
	void info(std::string_view name, Done<VolumeInfo> done);
	/// `cursor` 0 = from the start.
	void list(uint64_t cursor, Done<ListPage> done);
	/// All pages. A list that never ends (a mapper that repeats itself) is E-CORRUPT.
	void listAll(Done<std::vector<VolumeInfo>> done);
	/// To trash. E-NOTFOUND, E-BUSY.
	void remove(std::string_view name, Done<void> done);
	/// Sticky. E-NOTFOUND.
	void open(std::string_view name, Done<void> done);
	/// E-NOTOPEN, E-BUSY.
	void close(std::string_view name, Done<void> done);
	/// What does not work; empty when all is well.
	void health(Done<std::vector<StoppedVolume>> done);

private:
	void named(Op op, std::string_view name, Done<void> done);

	SegmentClient &m_client;
	xseg::PortNo m_mapper;
};

/// Any peer answers from its event loop. `timeoutMs` 0: whenever it does.
void ping(SegmentClient &client, xseg::PortNo port, uint64_t timeoutMs, std::function<void(Result<void>)> done);

/// Who is connected to a volume through the gateway with this first port, in words; empty when nobody is, or it cannot be asked.
void clientsOf(SegmentClient &client, xseg::PortNo gateway, std::string_view name, std::function<void(std::string)> done);

} // namespace archipelago::client
