// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A client of a living NBD server, for fuzz_nbd_live: it negotiates as it is told, sends commands good and bad without waiting,
// takes the replies apart as they come and says what is wrong with them. A region of the volume is its own: what every sector
// there must hold is known, unless writes to it overlapped in flight or a connection was lost over them.
//
// Every function returns what is wrong, in words; empty: nothing. One thread; sending takes in what has come, so that neither
// side can be stuck over a full socket.
#pragma once

#include "tests/daemon/gateway/nbd_client.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace archipelago::fuzz {

namespace nbd = gateway::nbd;

constexpr uint32_t kSector = 512;
constexpr uint64_t kRegionBytes = 4u << 20;

/// What a region must hold: sector n of a write with base b holds bytes of value b + n.
class Region {
public:
	explicit Region(uint64_t offset) : m_offset(offset), m_sectors(kRegionBytes / kSector) {}
	uint64_t offset() const { return m_offset; }
	bool holds(uint64_t offset, uint64_t length) const
	{
		return offset >= m_offset && offset - m_offset <= kRegionBytes && length <= kRegionBytes - (offset - m_offset);
	}
	/// A change begins, ends well (`base`: what is there now; none: nobody knows), or is lost.
	void begin(uint64_t offset, uint32_t length);
	void end(uint64_t offset, uint32_t length, std::optional<uint8_t> base, bool zero);
	/// A read of `data` that began when changes() was `since`.
	std::string check(uint64_t offset, std::string_view data, uint64_t since) const;
	uint64_t changes() const { return m_changes; }
	static uint8_t valueOf(uint8_t base, uint64_t offset) { return static_cast<uint8_t>(base + offset / kSector); }

private:
	struct Sector {
		bool known = false, tangled = false;
		uint8_t value = 0;
		uint16_t inFlight = 0;
		uint64_t changed = 0; ///< of m_changes
	};
	std::span<Sector> sectors(uint64_t offset, uint64_t length)
	{
		return std::span(m_sectors).subspan((offset - m_offset) / kSector, length / kSector);
	}

	uint64_t m_offset, m_changes = 0;
	std::vector<Sector> m_sectors;
};

enum class Expect { Success, Error, Either };

struct LiveCommand {
	uint16_t type = 0, flags = 0;
	uint64_t offset = 0;
	uint32_t length = 0;
	Expect expect = Expect::Success;
};

class LiveClient {
public:
	LiveClient(std::string path, Region &region) : m_path(std::move(path)), m_region(region) {}
	~LiveClient() { close(); }

	// ---- the handshake: blocking
	std::string connect();
	std::string flags(uint32_t flags);
	/// Sends an option and takes its replies. The server may close instead: then over().
	std::string option(uint32_t number, const std::string &data, std::optional<uint32_t> length = {});
	/// GO or EXPORT_NAME. Over() when it was refused.
	std::string go(const std::string &name, bool old);

	const std::string &refusal() const { return m_refusal; } ///< what was said of the last option that was refused

	// ---- the transmission
	bool transmits() const { return m_transmits; }
	bool over() const { return m_fd < 0; }
	bool rude() const { return m_rude; } ///< broke the framing: all that is left is to leave
	bool structured() const { return m_structured; }
	bool allocation() const { return m_allocation; }
	/// The whole command, in pieces of `pieceBytes` when that is not 0.
	std::string command(const LiveCommand &what, size_t pieceBytes = 0);
	/// Part of a WRITE to the region, or bytes that are no command. Whatever comes then, the connection is over.
	std::string halfWrite(uint64_t offset, uint32_t length, uint32_t sent);
	std::string raw(const std::string &bytes);
	/// Takes what has come. Until all is answered when `all`.
	std::string receive(bool all);
	/// No more commands: the server answers them all and closes.
	std::string finish(bool disconnect);
	/// Leaves in the middle of everything.
	void close();

private:
	struct Sent : LiveCommand {
		uint8_t base = 0;
		uint64_t since = 0;
		std::string data; ///< READ: as far as it has come
		uint32_t covered = 0;
		bool failed = false;
	};
	using Clock = std::chrono::steady_clock;

	std::string send(std::string_view bytes);
	bool wait(short events, Clock::time_point until) const;
	bool take();
	std::string exactly(size_t count, std::string &out);
	std::string parse();
	std::string parseOne(bool &more);
	std::string chunk(uint16_t flags, uint16_t type, uint64_t cookie, std::string_view body);
	std::string answered(std::map<uint64_t, Sent>::iterator sent);
	uint64_t in(size_t at, int bytes) const;

	std::string m_path;
	Region &m_region;
	int m_fd = -1;
	bool m_transmits = false, m_structured = false, m_allocation = false, m_zeroes = false, m_rude = false, m_eof = false;
	std::string m_refusal;
	std::string m_in; ///< received and not understood yet
	std::map<uint64_t, Sent> m_sent;
	uint64_t m_cookie = 1;
};

} // namespace archipelago::fuzz
