// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A client of the NBD server under test, in the same thread: sending and receiving turn the reactor, and fail after five
// seconds. Wire builds messages field by field, big-endian.
#pragma once

#include "tests/daemon/composer/actor.h"

#include "daemon/gateway/nbd/wire.h"

#include <sys/socket.h>
#include <sys/un.h>

namespace archipelago::testing {

namespace nbd = gateway::nbd;

/// Bytes, put together.
class Wire {
public:
	Wire &u8(uint8_t v) { return put(v, 1); }
	Wire &u16(uint16_t v) { return put(v, 2); }
	Wire &u32(uint32_t v) { return put(v, 4); }
	Wire &u64(uint64_t v) { return put(v, 8); }
	Wire &text(std::string_view t)
	{
		m_bytes += t;
		return *this;
	}
	Wire &zeros(size_t n)
	{
		m_bytes.append(n, '\0');
		return *this;
	}
	const std::string &bytes() const { return m_bytes; }
	operator const std::string &() const { return m_bytes; }

	static Wire option(uint32_t option, std::string_view data)
	{
		return Wire().u64(nbd::kOptionMagic).u32(option).u32(static_cast<uint32_t>(data.size())).text(data);
	}
	static Wire go(std::string_view name, uint32_t option = 7)
	{
		return Wire::option(option, Wire().u32(static_cast<uint32_t>(name.size())).text(name).u16(0).bytes());
	}
	/// SET_META_CONTEXT, or with another option the list of them.
	static Wire metaContext(std::string_view name, std::initializer_list<std::string_view> queries, uint32_t option = 10)
	{
		Wire data;
		data.u32(static_cast<uint32_t>(name.size())).text(name).u32(static_cast<uint32_t>(queries.size()));
		for (const std::string_view query : queries) data.u32(static_cast<uint32_t>(query.size())).text(query);
		return Wire::option(option, data.bytes());
	}
	static Wire optionReply(uint32_t option, uint32_t type, std::string_view data)
	{
		return Wire().u64(nbd::kOptionReplyMagic).u32(option).u32(type).u32(static_cast<uint32_t>(data.size())).text(data);
	}
	static Wire command(uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length, uint16_t flags = 0)
	{
		return Wire().u32(nbd::kCommandMagic).u16(flags).u16(type).u64(cookie).u64(offset).u32(length);
	}
	static Wire chunk(bool done, uint16_t type, uint64_t cookie, std::string_view data)
	{
		const auto bytes = static_cast<uint32_t>(data.size());
		return Wire().u32(nbd::kChunkMagic).u16(done).u16(type).u64(cookie).u32(bytes).text(data);
	}
	static Wire data(bool done, uint64_t cookie, uint64_t offset, std::string_view bytes)
	{
		return Wire::chunk(done, 1, cookie, Wire().u64(offset).text(bytes).bytes());
	}
	static Wire hole(bool done, uint64_t cookie, uint64_t offset, uint32_t bytes)
	{
		return Wire::chunk(done, 2, cookie, Wire().u64(offset).u32(bytes).bytes());
	}
	static Wire reply(uint32_t error, uint64_t cookie) { return Wire().u32(nbd::kSimpleReplyMagic).u32(error).u64(cookie); }

private:
	Wire &put(uint64_t v, int bytes)
	{
		for (int i = bytes - 1; i >= 0; --i) m_bytes += static_cast<char>(v >> (8 * i));
		return *this;
	}
	std::string m_bytes;
};

inline const std::string kGreeting = Wire().u64(nbd::kInitMagic).u64(nbd::kOptionMagic).u16(3);

class NbdClient {
public:
	NbdClient(Rig &rig, const std::string &path) : m_rig(rig), m_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
	{
		sockaddr_un address{};
		address.sun_family = AF_UNIX;
		path.copy(address.sun_path, sizeof address.sun_path - 1);
		m_connected = ::connect(m_fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0;
	}
	NbdClient(Rig &rig, int fd) : m_rig(rig), m_fd(fd), m_connected(true) {}

	bool connected() const { return m_connected; }
	int fd() const { return m_fd.get(); }
	void close() { m_fd.reset(); }
	void halfClose() { ::shutdown(m_fd.get(), SHUT_WR); }

	/// All of it, turning the reactor while the socket is full. False when the server is gone.
	bool send(const std::string &bytes)
	{
		size_t sent = 0;
		bool gone = false;
		turnUntil(m_rig, [&] {
			while (sent < bytes.size()) {
				const ssize_t n = ::send(m_fd.get(), bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
				if (n < 0 && errno == EAGAIN) return false;
				if (n < 0) return gone = true;
				sent += static_cast<size_t>(n);
			}
			return true;
		});
		return !gone && sent == bytes.size();
	}
	/// Exactly `count` bytes, or what came before the end of the stream or five seconds.
	std::string receive(size_t count)
	{
		std::string out;
		turnUntil(m_rig, [&] { return !pull(out, count) || out.size() == count; });
		return out;
	}
	/// Nothing more comes: the server has closed.
	bool atEnd()
	{
		std::string out;
		return turnUntil(m_rig, [&] { return !pull(out, 1) || !out.empty(); }) && out.empty();
	}
	/// The text of an error chunk that ends a command; empty when something else comes.
	std::string errorChunk(uint64_t cookie, uint32_t error)
	{
		const std::string head = receive(26);
		if (head.size() != 26) return {};
		const auto *at = reinterpret_cast<const std::byte *>(head.data());
		const uint16_t bytes = nbd::read16(at + 24);
		const std::string text = receive(bytes);
		const std::string expected = Wire::chunk(true, 0x8001, cookie, Wire().u32(error).u16(bytes).text(text).bytes());
		return head + text == expected ? text : std::string();
	}
	/// Nothing is there now.
	bool quiet()
	{
		settle(m_rig);
		char c;
		return ::recv(m_fd.get(), &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
	}
	/// Greeting, flags, GO: up to the transmission. False when the server says anything else than expected.
	bool go(const std::string &name)
	{
		return receive(kGreeting.size()) == kGreeting && send(Wire().u32(3)) && goNow(name);
	}
	/// The same with structured replies and base:allocation.
	bool goStructured(const std::string &name)
	{
		if (receive(kGreeting.size()) != kGreeting) return false;
		const std::string options = Wire::option(8, "").bytes() + Wire::metaContext(name, {"base:allocation"}).bytes();
		if (!send(Wire().u32(3).bytes() + options)) return false;
		const std::string agreed = Wire::optionReply(8, 1, "").bytes() +
		                           Wire::optionReply(10, 4, Wire().u32(1).text("base:allocation").bytes()).bytes() +
		                           Wire::optionReply(10, 1, "").bytes();
		return receive(agreed.size()) == agreed && goNow(name);
	}
	/// GO, in a handshake that has begun.
	bool goNow(const std::string &name)
	{
		if (!send(Wire::go(name))) return false;
		for (;;) {
			const std::string header = receive(nbd::kOptionReplyBytes);
			if (header.size() != nbd::kOptionReplyBytes) return false;
			const auto *at = reinterpret_cast<const std::byte *>(header.data());
			const uint32_t type = nbd::read32(at + 12);
			receive(nbd::read32(at + 16));
			if (type == 1) return true;
			if (type & 0x80000000) return false;
		}
	}

private:
	/// False at the end of the stream.
	bool pull(std::string &out, size_t count)
	{
		while (out.size() < count) {
			char buffer[65536];
			const ssize_t n = ::recv(m_fd.get(), buffer, std::min(sizeof buffer, count - out.size()), MSG_DONTWAIT);
			if (n < 0 && errno == EAGAIN) return true;
			if (n <= 0) return false;
			out.append(buffer, static_cast<size_t>(n));
		}
		return true;
	}

	Rig &m_rig;
	xseg::UniqueFd m_fd;
	bool m_connected = false;
};

} // namespace archipelago::testing
