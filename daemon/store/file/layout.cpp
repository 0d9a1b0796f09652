// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Object names to files and back. The way back is strict by construction: what it reads must come out again, byte for byte.
#include "daemon/store/file/layout.h"

#include "daemon/store/file/crc32c.h"

#include <algorithm>
#include <span>

namespace archipelago::store {

namespace {

constexpr char kLower[] = "0123456789abcdef";
constexpr char kUpper[] = "0123456789ABCDEF";

void appendHex(std::string &out, std::span<const uint8_t> bytes)
{
	for (const uint8_t b : bytes) {
		out += kLower[b >> 4];
		out += kLower[b & 15];
	}
}

/// Numbers are written most significant digit first, so that files sort as people expect.
template <typename T> void appendNumber(std::string &out, T value)
{
	for (unsigned shift = sizeof value * 8; shift > 0; shift -= 4) out += kLower[value >> (shift - 4) & 15];
}

bool standsForItself(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

int digit(char c)
{
	if (c >= '0' && c <= '9') return c - '0';
	if (c >= 'a' && c <= 'f') return c - 'a' + 10;
	if (c >= 'A' && c <= 'F') return c - 'A' + 10;
	return -1;
}

/// Reads a file name from its front. Any mistake makes all of it void.
class Reader {
public:
	explicit Reader(std::string_view text) : m_text(text) {}
	bool good() const { return m_good; }
	bool done() const { return m_good && m_text.empty(); }

	void expect(char c)
	{
		if (m_text.empty() || m_text.front() != c)
			m_good = false;
		else
			m_text.remove_prefix(1);
	}
	uint8_t byte()
	{
		if (!m_good || m_text.size() < 2) return fail();
		const int high = digit(m_text[0]), low = digit(m_text[1]);
		if (high < 0 || low < 0) return fail();
		m_text.remove_prefix(2);
		return static_cast<uint8_t>(high << 4 | low);
	}
	template <typename T> T number()
	{
		T value = 0;
		for (size_t i = 0; i < sizeof value; ++i) value = static_cast<T>(value << 8 | byte());
		return value;
	}
	void bytes(std::span<uint8_t> to)
	{
		for (uint8_t &b : to) b = byte();
	}
	std::string escaped()
	{
		std::string out;
		while (m_good && !m_text.empty()) {
			if (m_text.front() == '%') {
				m_text.remove_prefix(1);
				out += static_cast<char>(byte());
			} else {
				out += m_text.front();
				m_text.remove_prefix(1);
			}
		}
		return out;
	}

private:
	uint8_t fail()
	{
		m_good = false;
		return 0;
	}
	std::string_view m_text;
	bool m_good = true;
};

/// x.: the 32 bytes of the hash lie in four fields, as stored.
struct ContentHash {
	std::array<uint8_t, 32> bytes;

	static ContentHash of(const ObjectId &id)
	{
		ContentHash hash;
		std::memcpy(hash.bytes.data(), id.volume.bytes.data(), 16);
		std::memcpy(hash.bytes.data() + 16, &id.epoch, 8);
		std::memcpy(hash.bytes.data() + 24, &id.index, 4);
		std::memcpy(hash.bytes.data() + 28, &id.index2, 4);
		return hash;
	}
	void store(ObjectId &id) const
	{
		std::memcpy(id.volume.bytes.data(), bytes.data(), 16);
		std::memcpy(&id.epoch, bytes.data() + 16, 8);
		std::memcpy(&id.index, bytes.data() + 24, 4);
		std::memcpy(&id.index2, bytes.data() + 28, 4);
	}
};

} // namespace

std::string fileName(const ObjectKey &key)
{
	const ObjectId &id = key.id;
	std::string out{static_cast<char>(id.kind), '.'};
	switch (id.kind) {
	case ObjectKind::Content: appendHex(out, ContentHash::of(id).bytes); break;
	case ObjectKind::Name:
		for (const char c : key.name) {
			if (standsForItself(c)) {
				out += c;
				continue;
			}
			const auto b = static_cast<uint8_t>(c);
			out += '%';
			out += kUpper[b >> 4];
			out += kUpper[b & 15];
		}
		break;
	case ObjectKind::Header:
	case ObjectKind::Data:
	case ObjectKind::Chunk:
	case ObjectKind::Journal:
		appendHex(out, id.volume.bytes);
		out += '.';
		appendNumber(out, id.epoch);
		if (id.kind == ObjectKind::Header) break;
		out += '.';
		appendNumber(out, id.index);
		break;
	}
	return out;
}

uint8_t directoryOf(const ObjectKey &key)
{
	const ObjectId &id = key.id;
	switch (id.kind) {
	case ObjectKind::Content: return id.volume.bytes[0];
	case ObjectKind::Name: return static_cast<uint8_t>(crc32c(key.name.data(), key.name.size()));
	case ObjectKind::Data: {
		uint8_t bytes[20];
		std::memcpy(bytes, id.volume.bytes.data(), 16);
		for (unsigned i = 0; i < 4; ++i) bytes[16 + i] = static_cast<uint8_t>(id.index >> (8 * i));
		return static_cast<uint8_t>(crc32c(bytes, sizeof bytes));
	}
	default: return static_cast<uint8_t>(crc32c(id.volume.bytes.data(), id.volume.bytes.size()));
	}
}

std::string directoryPath(uint8_t directory) { return {kLower[directory >> 4], '/', kLower[directory & 15]}; }

std::optional<ParsedObject> parseFileName(std::string_view file, uint8_t directory)
{
	if (file.empty() || !isObjectKind(static_cast<ObjectKind>(file.front()))) return std::nullopt;
	ParsedObject object;
	ObjectId &id = object.id;
	id.kind = static_cast<ObjectKind>(file.front());
	Reader reader(file.substr(1));
	reader.expect('.');
	if (id.kind == ObjectKind::Content) {
		ContentHash hash;
		reader.bytes(hash.bytes);
		hash.store(id);
	} else if (id.kind == ObjectKind::Name) {
		object.name = reader.escaped();
	} else {
		reader.bytes(id.volume.bytes);
		reader.expect('.');
		id.epoch = reader.number<uint64_t>();
		if (id.kind != ObjectKind::Header) {
			reader.expect('.');
			id.index = reader.number<uint32_t>();
		}
	}
	if (!reader.done()) return std::nullopt;
	const auto key = objectKey(id, object.name);
	if (!key || fileName(*key) != file || directoryOf(*key) != directory) return std::nullopt;
	return object;
}

} // namespace archipelago::store
