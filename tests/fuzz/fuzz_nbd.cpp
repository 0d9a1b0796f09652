// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Fuzzes the NBD gateway: the real server, composer, mapper and blockers above memory stores, in this process. An input is
// a script: each byte chooses what the client does next (an option, a command, raw bytes, a pause, leaving), the bytes
// behind it fill the fields, mostly from values that are at the edge of something. Whatever the script, the server
//   - speaks the protocol: greeting, well-formed option replies, replies to cookies that were sent, errors that exist; chunks
//     where structured replies were agreed on, which cover what was asked for and nothing else;
//   - answers every command of a client that kept the framing exactly once, and with an error iff it deserves one;
//   - ends the connection when its client has half-closed it;
//   - has nothing in flight afterwards, and serves the next one.
#include "tests/daemon/composer/stack.h"
#include "tests/daemon/gateway/nbd_client.h"
#include "tests/fuzz/mutate.h"

#include "daemon/gateway/nbd/server.h"

#include <QTemporaryDir>

#include <map>

using namespace archipelago;
using namespace archipelago::testing;

namespace {

constexpr uint64_t kVolumeBytes = 3 * kBlockBytes;
constexpr uint32_t kLargestPayload = 256 * 1024; ///< of one command in a script; longer ones are cut short

struct Server : Rig {
	QTemporaryDir directory;
	Config config;
	std::unique_ptr<Stack> stack;
	std::unique_ptr<Actor> service;
	std::unique_ptr<runtime::Peer> gateway;
	std::unique_ptr<NbdClient> resident; ///< keeps the volume open, so that scripts do not wait for that

	Server() : Rig(128u << 20, 160)
	{
		setLogLevel("nbd", 0); // strangers are no news here
		config.nbd.portnoStart = 40;
		config.nbd.portnoEnd = 49;
		config.nbd.composerPort = kNodeComposer;
		config.nbd.exports = NbdExports::All;
		config.nbd.socket = directory.filePath("nbd.sock").toStdString();
		stack = std::make_unique<Stack>(*this, config);
		service = std::make_unique<Actor>(*this, 1);
		if (stack->create(*service, "vol", kVolumeBytes) != 0) qFatal("create");
		gateway = gateway::nbd::makeNbdGateway(runtime::PeerContext(*reactor, config));
		run(start());
		resident = std::make_unique<NbdClient>(*this, config.nbd.socket);
		if (!resident->go("vol")) qFatal("go");
	}
	runtime::Task<void> start()
	{
		const Result<void> started = co_await gateway->start();
		if (!started) qFatal("start: %s", started.error().message.c_str());
	}
};

/// What a script's bytes mean.
class Script {
public:
	explicit Script(std::string_view bytes) : m_bytes(bytes) {}
	bool more() const { return !m_bytes.empty(); }
	uint8_t u8()
	{
		if (m_bytes.empty()) return 0;
		const auto value = static_cast<uint8_t>(m_bytes.front());
		m_bytes.remove_prefix(1);
		return value;
	}
	uint64_t number(int bytes)
	{
		uint64_t value = 0;
		for (int i = 0; i < bytes; ++i) value = value << 8 | u8();
		return value;
	}
	std::string_view text(size_t length)
	{
		const std::string_view out = m_bytes.substr(0, length);
		m_bytes.remove_prefix(out.size());
		return out;
	}
	uint64_t offset()
	{
		switch (u8() % 10) {
		case 0: return 0;
		case 1: return kBlockBytes - 512;
		case 2: return kVolumeBytes - 512;
		case 3: return kVolumeBytes - 4096;
		case 4: return kVolumeBytes;
		case 5: return UINT64_MAX - 511;
		case 6: return number(8);
		default: return number(2) * 512;
		}
	}
	uint32_t length()
	{
		switch (u8() % 12) {
		case 0: return 0;
		case 1: return static_cast<uint32_t>(number(4));
		case 2: return 32u << 20;
		case 3: return (32u << 20) + 512;
		case 4: return 5u << 20;
		case 5: return static_cast<uint32_t>(number(2));
		case 6: return kLargestPayload;
		default: return 512u << (u8() % 5);
		}
	}
	/// Of a command without payload: blocks, all there is, all there can be.
	uint32_t span()
	{
		switch (u8() % 8) {
		case 0: return static_cast<uint32_t>(kBlockBytes);
		case 1: return static_cast<uint32_t>(2 * kBlockBytes + 512);
		case 2: return static_cast<uint32_t>(kVolumeBytes);
		case 3: return ~511u;
		default: return length();
		}
	}

private:
	std::string_view m_bytes;
};

struct Sent {
	uint16_t type = 0, flags = 0;
	uint64_t offset = 0;
	uint32_t length = 0;
	bool good = false; ///< deserves success
	unsigned answers = 0;
	uint64_t covered = 0; ///< READ: bytes that chunks have told
};

/// One client that plays a script and checks what comes back.
class Player {
public:
	explicit Player(Server &server) : m_server(server), m_client(server, server.config.nbd.socket) {}

	std::string play(std::string_view input)
	{
		Script script(input);
		if (!m_client.connected()) return "cannot connect";
		const uint32_t flags = script.u8() % 16 == 0 ? static_cast<uint32_t>(script.number(4)) : 3;
		m_inStep = flags == 3;
		m_wants = script.u8();
		send(Wire().u32(flags));
		while (script.more() && !m_left) step(script);
		m_client.halfClose();
		for (;;) {
			const std::string more = m_client.receive(1u << 20);
			m_received += more;
			if (more.size() < (1u << 20)) break;
		}
		if (!m_client.atEnd()) return "the connection does not end";
		std::string wrong = checkReceived();
		m_client.close();
		if (!turnUntil(m_server, [this] { return m_server.gateway->inflight() == 0; }) && wrong.empty()) wrong = "something is left in flight";
		return wrong;
	}

private:
	void step(Script &script)
	{
		switch (script.u8() % 16) {
		case 0: return raw(script);
		case 1: settle(m_server); return;
		case 2: return option(script);
		case 3: return go(script.u8() % 8 ? 7 : 6);
		case 4: m_left = script.u8() % 8 == 0; return;
		case 5: return drainSome();
		default: return command(script);
		}
	}
	void send(const std::string &bytes)
	{
		// A client that only sends would fill both directions: what has come is taken first.
		drainSome();
		m_client.send(bytes);
	}
	void drainSome()
	{
		char buffer[65536];
		ssize_t n;
		while ((n = ::recv(m_client.fd(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) m_received.append(buffer, static_cast<size_t>(n));
	}
	void raw(Script &script)
	{
		m_inStep = false;
		send(std::string(script.text(1 + script.u8() % 40)));
	}
	void go(uint32_t option)
	{
		if (m_went) m_inStep = false; // an option in the transmission is rubbish
		const bool first = option == 7 && !std::exchange(m_went, m_went || option == 7);
		if (first && m_inStep && m_wants % 4 != 3) {
			// The context only with the right name; both only in this order.
			m_structured = true;
			m_allocation = m_wants % 4 != 2;
			send(Wire::option(8, ""));
			if (m_wants % 8 == 0) send(Wire::metaContext("vol", {"base:"}, 9));
			send(Wire::metaContext(m_allocation ? "vol" : "other", {"x:y", "base:allocation"}));
		}
		send(Wire::go("vol", option));
	}
	/// Of a LIST or SET_META_CONTEXT: almost right.
	std::string queries(Script &script)
	{
		Wire data;
		data.u32(script.u8() % 4 ? 3 : static_cast<uint32_t>(script.number(4))).text("vol");
		const uint32_t count = script.u8() % 5;
		data.u32(script.u8() % 8 ? count : static_cast<uint32_t>(script.number(4)));
		for (uint32_t n = 0; n < count; ++n) {
			const std::string query = script.u8() % 2 ? "base:allocation" : std::string(script.text(script.u8() % 20));
			data.u32(script.u8() % 8 ? static_cast<uint32_t>(query.size()) : static_cast<uint32_t>(script.number(4))).text(query);
		}
		return data;
	}
	void option(Script &script)
	{
		m_inStep = false; // the server decides whether it still negotiates
		const uint32_t number = script.u8() % 13;
		const bool meta = number == 9 || number == 10;
		const std::string data = meta && script.u8() % 4 ? queries(script) : std::string(script.text(script.u8() % 32));
		Wire bytes = Wire().u64(nbd::kOptionMagic).u32(number);
		switch (script.u8() % 8) {
		case 0: bytes.u32(static_cast<uint32_t>(script.number(4))); break;
		case 1: bytes.u32(9000); break;
		default: bytes.u32(static_cast<uint32_t>(data.size())); break;
		}
		send(bytes.text(data));
	}
	void command(Script &script)
	{
		// Most scripts are about transmission; those that begin with options have their own way there.
		if (!m_went && m_inStep) go(7);
		Sent sent;
		const uint8_t choice = script.u8();
		sent.type = kinds(choice, script);
		const bool spans = sent.type == 4 || sent.type == 6 || sent.type == 7;
		const uint16_t flags = sent.flags = script.u8() % 8 ? uint16_t(script.u8() & usualFlags(sent.type)) : static_cast<uint16_t>(script.number(2));
		const uint64_t offset = sent.offset = sent.type == 3 && script.u8() % 8 ? 0 : script.offset();
		sent.length = sent.type == 3 && !offset ? 0 : spans ? script.span() : script.length();
		sent.good = deserves(sent, flags, offset);
		const uint64_t cookie = m_nextCookie++;
		std::string bytes = Wire::command(sent.type, cookie, offset, sent.length, flags);
		if (sent.type == 1) {
			const uint32_t payload = std::min(sent.length, kLargestPayload);
			bytes += std::string(payload, static_cast<char>(cookie));
			if (payload < sent.length) m_inStep = false; // also when it is too long to be drained: then it is cut off
		}
		if (sent.type == 2) m_left = true; // and no reply
		if (m_inStep && sent.type != 2) m_sent[cookie] = sent;
		send(bytes);
	}
	static uint16_t kinds(uint8_t choice, Script &script)
	{
		if (choice < 60) return 0;
		if (choice < 80) return 7;
		if (choice < 160) return 1;
		if (choice < 185) return 4;
		if (choice < 210) return 6;
		if (choice < 230) return 3;
		return choice < 250 ? choice % 10 : static_cast<uint16_t>(script.number(2));
	}
	/// FUA for all; DF, NO_HOLE and FAST_ZERO, REQ_ONE.
	static uint16_t usualFlags(uint16_t type) { return type == 0 ? 5 : type == 6 ? 19 : type == 7 ? 9 : 1; }
	bool deserves(const Sent &sent, uint16_t flags, uint64_t offset) const
	{
		if (flags & ~uint32_t{usualFlags(sent.type)}) return false;
		if ((flags & 4) && !m_structured) return false;
		if (sent.type == 7 && (!m_allocation || !sent.length)) return false;
		if ((flags & 16) && ((flags & 2) || offset % 4096 || sent.length % 4096)) return false;
		if (sent.type == 3) return offset == 0 && sent.length == 0;
		const bool span = sent.type == 4 || sent.type == 6 || sent.type == 7;
		if ((sent.type > 1 && !span) || offset % 512 || sent.length % 512) return false;
		if (!span && sent.length > 32u << 20) return false;
		return offset <= kVolumeBytes && sent.length <= kVolumeBytes - offset;
	}

	std::string checkChunk(std::span<const std::byte> chunk, Sent &sent) const
	{
		const uint16_t flags = nbd::read16(chunk.data() + 4), type = nbd::read16(chunk.data() + 6);
		const auto body = chunk.subspan(nbd::kChunkBytes);
		if (!m_structured) return "a chunk that was not agreed on";
		if (flags > 1) return "a chunk with unknown flags";
		if (sent.answers) return "a chunk behind the last one";
		sent.answers = flags;
		if (type == 0x8001) {
			if (body.size() < 7 || nbd::read16(body.data() + 4) != body.size() - 6) return "an error without a text, or of another length";
			const uint32_t error = nbd::read32(body.data());
			if (!error || std::ranges::find(kErrors, error) == kErrors.end()) return "error " + std::to_string(error);
			if (sent.good || !flags) return "error " + std::to_string(error) + " for a command that is good, or not at its end";
			return {};
		}
		if (!sent.good) return "no error for a command that is bad";
		if (sent.type == 7 && type == 5) return checkStatus(body, sent);
		if (sent.type != 0) return "a chunk of type " + std::to_string(type) + " for a command of type " + std::to_string(sent.type);
		if (type == 1 || type == 2) {
			if (body.size() < (type == 1 ? 9u : 12u)) return "a chunk that is too short";
			const uint64_t at = nbd::read64(body.data()), bytes = type == 1 ? body.size() - 8 : nbd::read32(body.data() + 8);
			if (type == 2 && (body.size() != 12 || (sent.flags & 4))) return "a hole that may not be";
			if (at != sent.offset + sent.covered || bytes > sent.length - sent.covered) return "a chunk of another place"; // ours are in order
			sent.covered += bytes;
		} else if (type != 0 || !body.empty() || sent.length) {
			return "a chunk of type " + std::to_string(type);
		}
		return flags && sent.covered != sent.length ? "a read that is not whole" : "";
	}
	static std::string checkStatus(std::span<const std::byte> body, const Sent &sent)
	{
		if (body.size() < 12 || body.size() % 8 != 4 || nbd::read32(body.data()) != 1) return "a block status of another form";
		if ((sent.flags & 8) && body.size() != 12) return "more extents than one";
		uint64_t bytes = 0;
		for (size_t n = 4; n < body.size(); n += 8) {
			const uint32_t length = nbd::read32(body.data() + n), state = nbd::read32(body.data() + n + 4);
			if (!length || length % 512 || (state && state != 3)) return "an extent that cannot be";
			bytes += length;
		}
		return bytes > sent.length || !sent.answers ? "a block status that goes on" : "";
	}

	std::string checkReceived()
	{
		const auto *at = reinterpret_cast<const std::byte *>(m_received.data());
		size_t left = m_received.size();
		const auto take = [&](size_t n) {
			at += n;
			left -= n;
		};
		if (left < kGreeting.size() || m_received.compare(0, kGreeting.size(), kGreeting) != 0) return "no greeting";
		take(kGreeting.size());
		bool transmitting = false;
		while (left) {
			if (!transmitting && left >= 8 && nbd::read64(at) == nbd::kOptionReplyMagic) {
				if (left < nbd::kOptionReplyBytes) return "half an option reply";
				const uint32_t bytes = nbd::read32(at + 16);
				const bool gone = nbd::read32(at + 8) == 7 && nbd::read32(at + 12) == 1;
				if (bytes > 8192) return "an option reply of " + std::to_string(bytes) + " bytes";
				take(nbd::kOptionReplyBytes);
				if (left < bytes) return "an option reply that is cut off";
				take(bytes);
				transmitting = gone;
				continue;
			}
			if (!transmitting && !m_inStep) return {}; // EXPORT_NAME: no telling where it ends
			if (!transmitting) return "something that is no option reply";
			// A client that breaks the framing is cut off, wherever its replies are.
			if (left >= nbd::kChunkBytes && nbd::read32(at) == nbd::kChunkMagic) {
				const uint32_t bytes = nbd::read32(at + 16);
				if (left - nbd::kChunkBytes < bytes) return m_inStep ? "a chunk that is cut off" : "";
				const auto sent = m_sent.find(nbd::read64(at + 8));
				if (sent == m_sent.end()) return m_inStep ? "a chunk for a cookie that was not sent" : "";
				const std::string wrong = checkChunk(std::span(at, nbd::kChunkBytes + bytes), sent->second);
				if (!wrong.empty()) return wrong;
				take(nbd::kChunkBytes + bytes);
				continue;
			}
			if (left < nbd::kReplyBytes) return m_inStep ? "half a reply" : "";
			if (nbd::read32(at) != nbd::kSimpleReplyMagic) return "a reply without its magic";
			const uint32_t error = nbd::read32(at + 4);
			const uint64_t cookie = nbd::read64(at + 8);
			take(nbd::kReplyBytes);
			if (std::ranges::find(kErrors, error) == kErrors.end()) return "error " + std::to_string(error);
			const auto sent = m_sent.find(cookie);
			if (sent == m_sent.end()) return m_inStep ? "a reply to cookie " + std::to_string(cookie) : std::string();
			if (++sent->second.answers > 1) return "two replies to one command";
			if (m_structured && (error || sent->second.type == 0 || sent->second.type == 7)) return "a simple reply where a chunk belongs";
			if ((error == 0) != sent->second.good)
				return "error " + std::to_string(error) + " for a command that is " + (sent->second.good ? "good" : "bad");
			const size_t payload = sent->second.type == 0 && !error ? sent->second.length : 0;
			if (left < payload && !m_inStep) return {};
			if (left < payload) return "a payload of " + std::to_string(payload) + " bytes is cut off at " + std::to_string(left);
			take(payload);
		}
		if (!m_inStep) return {};
		for (const auto &[cookie, sent] : m_sent)
			if (!sent.answers) return "no reply to command " + std::to_string(cookie);
		return {};
	}

	Server &m_server;
	NbdClient m_client;
	std::string m_received;
	std::map<uint64_t, Sent> m_sent; ///< while the framing was kept
	uint64_t m_nextCookie = 1;
	bool m_inStep = true, m_went = false, m_left = false;
	uint8_t m_wants = 0; ///< what is agreed on before GO
	bool m_structured = false, m_allocation = false;
	static constexpr std::array kErrors{0u, 1u, 5u, 12u, 22u, 28u, 75u, 95u, 108u};
};

fuzz::Material material()
{
	fuzz::Material out;
	const auto script = [](std::initializer_list<int> bytes) {
		std::string text;
		for (const int b : bytes) text += static_cast<char>(b);
		return text;
	};
	out.corpus = {
	    script({1, 3}),
	    script({1, 3, 6, 0, 1, 0, 7, 0, 0, 7, 0}),                                                   // a read
	    script({1, 3, 6, 150, 1, 0, 7, 0, 0, 7, 3, 6, 0, 1, 0, 7, 0, 0, 7, 3, 6, 220, 1, 0, 1, 1}), // write, read, flush
	    script({1, 3, 6, 150, 1, 1, 1, 6, 6, 0, 1, 0, 1, 6, 6, 150, 1, 0, 3, 4}),                   // across a block, over the end
	    script({1, 3, 2, 3, 0, 5, 2, 7, 9, 'x', 'y', 5, 3, 1, 1, 6, 0, 1, 0, 7, 0, 0, 7, 0}),       // options first
	    script({1, 3, 2, 1, 3, 'v', 'o', 'l', 5, 6, 0, 1, 0, 7, 0, 0, 7, 0}),                       // EXPORT_NAME
	    script({1, 3, 6, 150, 1, 0, 0, 4, 6, 240, 1, 0, 0, 7, 0, 0, 10, 'G', 'E', 'T', ' ', '/'}),  // half a payload, then rubbish
	    script({1, 3, 6, 150, 1, 0, 7, 0, 0, 7, 3, 6, 170, 1, 0, 7, 0, 0, 4, 7, 3, 6, 0, 1, 0, 7, 0, 0, 7, 3}), // write, trim, read
	    script({1, 3, 6, 200, 1, 2, 1, 0, 6, 200, 1, 1, 0, 2, 6, 200, 1, 3, 0, 1, 6, 170, 1, 1, 0, 3}), // zeroes without holes, with FUA; too long
	    script({1, 0, 6, 150, 1, 0, 7, 0, 0, 7, 3, 6, 0, 1, 0, 0, 6, 4, 6, 70, 1, 0, 2, 6, 70, 1, 8, 0, 1}), // structured: write, read, block status
	    script({1, 0, 6, 0, 1, 4, 0, 6, 4, 6, 70, 1, 1, 5, 6, 200, 1, 16, 0, 0, 6, 200, 1, 18, 0, 0}),       // DF, over the end; fast zeroes
	    script({1, 3, 2, 8, 0, 7, 2, 10, 1, 1, 2, 1, 1, 9, 'x', ':', 'y', 1, 7, 3, 1, 6, 70, 1, 0, 2}),      // options one by one
	    script({0, 255, 255, 255, 255, 3, 2, 5, 0}),
	};
	out.dictionary = {script({6, 0, 1, 0}), script({6, 150, 1, 0}), script({6, 170, 1, 0}), script({6, 200, 1, 3}), script({6, 220, 1, 0, 1}), script({6, 252}), script({1}), script({5}),
	                  script({3, 1}), script({2, 7}), script({4, 0}), Wire::go("vol"), Wire::option(1, "vol"), Wire::option(3, ""), Wire::option(8, ""), Wire::metaContext("vol", {"base:allocation"}),
	                  Wire::command(0, 9, 0, 512), Wire::command(1, 9, 0, 512), Wire::command(4, 9, 0, 512), Wire::command(6, 9, 0, 512, 2), Wire::command(2, 9, 0, 0), Wire::command(7, 9, 0, 512), script({6, 70, 1, 8}), script({2, 10, 1, 1}), "IHAVEOPT"};
	out.maxBytes = 400;
	return out;
}

} // namespace

int main(int argc, char **argv)
{
	Server server;
	return fuzz::run(argc, argv, material(), [&server](std::string_view input) {
		std::string wrong = Player(server).play(input);
		if (!wrong.empty()) return wrong;
		if (!server.resident->send(Wire::command(3, 1, 0, 0)) || server.resident->receive(16) != Wire::reply(0, 1).bytes())
			return std::string("the other client is not served any more");
		return std::string();
	});
}
