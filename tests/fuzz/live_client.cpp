// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/fuzz/live_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

namespace archipelago::fuzz {

using archipelago::testing::Wire;

namespace {

constexpr auto kPatience = std::chrono::seconds(8); ///< for something to move; less than the fuzzer has for an input
constexpr uint32_t kLongestOptionReply = 64 * 1024;
constexpr uint32_t kErrors[] = {1, 5, 12, 22, 28, 75, 95, 108};

uint64_t big(std::string_view bytes)
{
	uint64_t value = 0;
	for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
	return value;
}

std::string number(uint64_t n) { return std::to_string(n); }

bool changes(uint16_t type) { return type == 1 || type == 4 || type == 6; }

} // namespace

// ---- the region

void Region::begin(uint64_t offset, uint32_t length)
{
	++m_changes;
	for (Sector &sector : sectors(offset, length)) {
		sector.tangled |= sector.inFlight != 0; // two in flight have no order
		++sector.inFlight;
		sector.changed = m_changes;
	}
}

void Region::end(uint64_t offset, uint32_t length, std::optional<uint8_t> base, bool zero)
{
	++m_changes; // a read that began before may have seen either
	for (Sector &sector : sectors(offset, length)) {
		sector.changed = m_changes;
		sector.known = base && !sector.tangled;
		sector.value = zero || !base ? 0 : valueOf(*base, offset);
		if (!--sector.inFlight) sector.tangled = false;
		offset += kSector;
	}
}

std::string Region::check(uint64_t offset, std::string_view data, uint64_t since) const
{
	for (size_t at = 0; at < data.size(); at += kSector) {
		const Sector &sector = m_sectors[(offset + at - m_offset) / kSector];
		if (!sector.known || sector.inFlight || sector.changed > since) continue;
		const std::string_view piece = data.substr(at, kSector);
		const auto wrong = std::ranges::find_if(piece, [&](char c) { return static_cast<uint8_t>(c) != sector.value; });
		if (wrong != piece.end())
			return "byte " + number(offset + at + static_cast<size_t>(wrong - piece.begin())) + " of the volume is " +
			       number(static_cast<uint8_t>(*wrong)) + " and was acknowledged as " + number(sector.value);
	}
	return {};
}

// ---- bytes

bool LiveClient::wait(short events, Clock::time_point until) const
{
	pollfd poll{m_fd, events, 0};
	const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
	return ::poll(&poll, 1, static_cast<int>(std::max<int64_t>(left, 0))) > 0;
}

/// What is there. True when something came, the end included.
bool LiveClient::take()
{
	bool some = false;
	char buffer[65536];
	while (!m_eof) {
		const ssize_t n = ::recv(m_fd, buffer, sizeof buffer, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno == EAGAIN) break;
		some = true;
		if (n > 0)
			m_in.append(buffer, static_cast<size_t>(n));
		else
			m_eof = true;
	}
	return some;
}

std::string LiveClient::send(std::string_view bytes)
{
	auto until = Clock::now() + kPatience;
	while (!bytes.empty() && !m_eof) {
		const ssize_t n = ::send(m_fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			bytes.remove_prefix(static_cast<size_t>(n));
			until = Clock::now() + kPatience;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			take();
			m_eof = true;
			break;
		}
		if (!wait(POLLIN | POLLOUT, until)) return "the server neither reads nor writes";
		if (take()) until = Clock::now() + kPatience;
		if (std::string wrong = m_transmits ? parse() : std::string(); !wrong.empty()) return wrong;
	}
	return m_eof && m_transmits && !m_rude ? "the server hung up on a client that kept the framing" : "";
}

std::string LiveClient::exactly(size_t count, std::string &out)
{
	const auto until = Clock::now() + kPatience;
	while (m_in.size() < count && !m_eof) {
		if (!wait(POLLIN, until)) return "no answer in the handshake";
		take();
	}
	if (m_in.size() < count) {
		close();
		return {};
	}
	out = m_in.substr(0, count);
	m_in.erase(0, count);
	return {};
}

uint64_t LiveClient::in(size_t at, int bytes) const { return big(std::string_view(m_in).substr(at, static_cast<size_t>(bytes))); }

// ---- the handshake

std::string LiveClient::connect()
{
	close();
	m_transmits = m_structured = m_allocation = m_rude = m_eof = false;
	m_in.clear();
	m_fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sockaddr_un address{};
	address.sun_family = AF_UNIX;
	m_path.copy(address.sun_path, sizeof address.sun_path - 1);
	if (::connect(m_fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) return "the server takes no client";
	std::string greeting;
	if (std::string wrong = exactly(18, greeting); !wrong.empty()) return wrong;
	return greeting == archipelago::testing::kGreeting ? "" : "no greeting";
}

std::string LiveClient::flags(uint32_t flags)
{
	m_zeroes = !(flags & 2);
	return send(Wire().u32(flags).bytes());
}

std::string LiveClient::option(uint32_t number_, const std::string &data, std::optional<uint32_t> length)
{
	std::string wrong = send(Wire().u64(nbd::kOptionMagic).u32(number_).u32(length.value_or(static_cast<uint32_t>(data.size()))).text(data).bytes());
	if (wrong.empty() && length && *length > data.size()) close(); // the rest of it never comes
	if (number_ == 10) m_allocation = false;
	while (wrong.empty() && !over()) {
		std::string header, body;
		wrong = exactly(nbd::kOptionReplyBytes, header);
		if (!wrong.empty() || over()) break;
		const uint64_t kind = big(std::string_view(header).substr(12, 4)), bytes = big(std::string_view(header).substr(16, 4));
		if (big(std::string_view(header).substr(0, 8)) != nbd::kOptionReplyMagic || big(std::string_view(header).substr(8, 4)) != number_)
			return "something that is no reply to option " + number(number_);
		if (bytes > kLongestOptionReply) return "an option reply of " + number(bytes) + " bytes";
		wrong = exactly(bytes, body);
		if (kind == 4 && number_ == 10) m_allocation = true;
		if (kind == 1 && number_ == 8) m_structured = true;
		if (kind == 1 && number_ == 7) m_transmits = true;
		if (kind & 0x80000000) m_refusal = body;
		if (kind == 1 || kind & 0x80000000) break;
	}
	if (number_ == 2) close(); // ABORT: so does the server
	return wrong;
}

std::string LiveClient::go(const std::string &name, bool old)
{
	if (!old) return option(7, Wire().u32(static_cast<uint32_t>(name.size())).text(name).u16(0).bytes());
	std::string answer, wrong = send(Wire::option(1, name).bytes());
	if (wrong.empty()) wrong = exactly(m_zeroes ? 134 : 10, answer);
	m_transmits = wrong.empty() && !over();
	return wrong;
}

// ---- the transmission

std::string LiveClient::command(const LiveCommand &what, size_t pieceBytes)
{
	const uint64_t cookie = m_cookie++;
	Sent sent;
	static_cast<LiveCommand &>(sent) = what;
	sent.base = static_cast<uint8_t>(cookie * 37);
	const bool ours = what.expect != Expect::Error && m_region.holds(what.offset, what.length);
	if (ours && changes(what.type)) m_region.begin(what.offset, what.length);
	sent.since = m_region.changes();
	std::string bytes = Wire::command(what.type, cookie, what.offset, what.length, what.flags);
	if (what.type == 1)
		for (uint64_t at = 0; at < what.length; at += kSector)
			bytes.append(std::min<uint64_t>(kSector, what.length - at), static_cast<char>(Region::valueOf(sent.base, what.offset + at)));
	m_sent.emplace(cookie, std::move(sent));
	std::string wrong;
	for (size_t at = 0; at < bytes.size() && wrong.empty(); at += pieceBytes ? pieceBytes : bytes.size())
		wrong = send(std::string_view(bytes).substr(at, pieceBytes ? pieceBytes : bytes.size()));
	return wrong;
}

std::string LiveClient::halfWrite(uint64_t offset, uint32_t length, uint32_t sent)
{
	LiveCommand what{1, 0, offset, length, Expect::Either};
	m_rude = true;
	m_region.begin(offset, length);
	Sent record;
	static_cast<LiveCommand &>(record) = what;
	const std::string bytes = Wire::command(1, m_cookie, offset, length).bytes() + std::string(std::min(sent, length - 1), 'h');
	m_sent.emplace(m_cookie++, std::move(record));
	return send(bytes);
}

std::string LiveClient::raw(const std::string &bytes)
{
	m_rude = true;
	return send(bytes);
}

std::string LiveClient::receive(bool all)
{
	auto until = Clock::now() + kPatience;
	for (;;) {
		if (take()) until = Clock::now() + kPatience;
		if (std::string wrong = parse(); !wrong.empty()) return wrong;
		if (m_eof && !m_rude) return "the server hung up on a client that kept the framing";
		if (!all || m_sent.empty() || m_eof) return {};
		if (!wait(POLLIN, until)) return m_rude ? "" : "no answer to " + number(m_sent.size()) + " commands";
	}
}

std::string LiveClient::finish(bool disconnect)
{
	if (over()) return {};
	const bool polite = m_transmits && !m_rude;
	if (disconnect && polite) {
		if (std::string wrong = send(Wire::command(2, 0, 0, 0).bytes()); !wrong.empty()) return wrong;
	}
	::shutdown(m_fd, SHUT_WR);
	const auto until = Clock::now() + kPatience;
	m_rude = true; // it may close now
	while (!m_eof) {
		if (!wait(POLLIN, until)) return "the connection does not end";
		take();
		if (std::string wrong = polite ? parse() : std::string(); !wrong.empty()) return wrong;
	}
	const size_t unanswered = m_sent.size();
	close();
	return polite && unanswered ? number(unanswered) + " commands without an answer at the end" : "";
}

void LiveClient::close()
{
	if (m_fd >= 0) ::close(std::exchange(m_fd, -1));
	for (const auto &[cookie, sent] : m_sent)
		if (changes(sent.type) && sent.expect != Expect::Error && m_region.holds(sent.offset, sent.length))
			m_region.end(sent.offset, sent.length, {}, false);
	m_sent.clear();
	m_transmits = false;
}

// ---- replies

std::string LiveClient::parse()
{
	bool more = true;
	std::string wrong;
	while (more && wrong.empty()) wrong = parseOne(more);
	return m_rude && !wrong.empty() && m_eof ? std::string() : wrong; // cut off anywhere
}

std::string LiveClient::parseOne(bool &more)
{
	more = false;
	if (m_in.size() < nbd::kReplyBytes) return {};
	const uint64_t magic = in(0, 4);
	if (magic == 0x668e33ef) {
		if (!m_structured) return "a chunk that was not agreed on";
		const uint64_t length = m_in.size() < 20 ? 0 : in(16, 4);
		if (length > (32u << 20) + 8) return "a chunk of " + number(length) + " bytes";
		if (m_in.size() < 20 + length) return {};
		const std::string body = m_in.substr(20, length);
		const auto flags = static_cast<uint16_t>(in(4, 2)), type = static_cast<uint16_t>(in(6, 2));
		const uint64_t cookie = in(8, 8);
		m_in.erase(0, 20 + length);
		more = true;
		return chunk(flags, type, cookie, body);
	}
	if (magic != nbd::kSimpleReplyMagic) return "something that is no reply";
	const uint64_t error = in(4, 4);
	const auto sent = m_sent.find(in(8, 8));
	if (sent == m_sent.end()) return "a reply to nothing";
	const size_t payload = sent->second.type == 0 && !error ? sent->second.length : 0;
	if (payload && m_structured) return "a simple reply to a read, and chunks were agreed on";
	if (m_in.size() < nbd::kReplyBytes + payload) return {};
	if (error && std::ranges::find(kErrors, error) == std::end(kErrors)) return "error " + number(error);
	sent->second.failed = error != 0;
	sent->second.data = m_in.substr(nbd::kReplyBytes, payload);
	sent->second.covered = static_cast<uint32_t>(payload);
	m_in.erase(0, nbd::kReplyBytes + payload);
	more = true;
	return answered(sent);
}

std::string LiveClient::chunk(uint16_t flags, uint16_t type, uint64_t cookie, std::string_view body)
{
	const auto found = m_sent.find(cookie);
	if (found == m_sent.end()) return "a chunk for nothing";
	Sent &sent = found->second;
	if (type & 0x8000) {
		if (body.size() < 6 || std::ranges::find(kErrors, big(body.substr(0, 4))) == std::end(kErrors)) return "an error chunk without an error";
		sent.failed = true;
	} else if (type == 1 || type == 2) {
		if (sent.type != 0 || body.size() < (type == 1 ? 9u : 12u)) return "data for a command that wants none, or no data";
		const uint64_t at = big(body.substr(0, 8)), bytes = type == 1 ? body.size() - 8 : big(body.substr(8, 4));
		if (at < sent.offset || at - sent.offset > sent.length || bytes > sent.length - (at - sent.offset)) return "data of another place";
		sent.data.resize(sent.length);
		if (type == 1) body.substr(8).copy(sent.data.data() + (at - sent.offset), bytes);
		sent.covered += static_cast<uint32_t>(bytes);
	} else if (type == 5) {
		if (sent.type != 7 || body.size() < 12 || body.size() % 8 != 4) return "a block status of another form";
		uint64_t bytes = 0;
		for (size_t at = 4; at < body.size(); at += 8) bytes += big(body.substr(at, 4));
		if (!bytes || ((sent.flags & 8) && (body.size() != 12 || bytes > sent.length))) return "extents that cannot be";
	} else if (type != 0) {
		return "a chunk of type " + number(type);
	}
	return flags & 1 ? answered(found) : std::string();
}

/// All of it has come.
std::string LiveClient::answered(std::map<uint64_t, Sent>::iterator found)
{
	const Sent sent = std::move(found->second);
	m_sent.erase(found);
	const std::string which = "command " + number(sent.type) + " at " + number(sent.offset) + " of " + number(sent.length) + " bytes, flags " +
	                          number(sent.flags) + ": ";
	if (sent.expect == Expect::Success && sent.failed) return which + "an error for what is good";
	if (sent.expect == Expect::Error && !sent.failed) return which + "no error for what is bad";
	const bool ours = sent.expect != Expect::Error && m_region.holds(sent.offset, sent.length);
	if (ours && changes(sent.type)) {
		// What a TRIM leaves, and a change that failed, is anybody's guess.
		const bool sure = !sent.failed && sent.type != 4;
		m_region.end(sent.offset, sent.length, sure ? std::optional(sent.base) : std::nullopt, sent.type == 6);
	}
	if (sent.type != 0 || sent.failed) return {};
	if (sent.covered != sent.length) return which + number(sent.covered) + " bytes came";
	const std::string wrong = ours ? m_region.check(sent.offset, sent.data, sent.since) : std::string();
	return wrong.empty() ? wrong : which + wrong;
}

} // namespace archipelago::fuzz
