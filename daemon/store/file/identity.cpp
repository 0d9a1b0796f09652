// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Text of the identity and its strict parser.
#include "daemon/store/file/identity.h"

#include "daemon/store/file/crc32c.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <fstream>
#include <optional>

#include <fmt/format.h>
#include <openssl/evp.h>

namespace archipelago::store {

namespace {

constexpr std::string_view kTitle = "archipelago object store";
constexpr std::string_view kUnknown = "-";

std::string hex(const unsigned char *bytes, size_t count)
{
	std::string out;
	for (size_t i = 0; i < count; ++i) out += fmt::format("{:02x}", bytes[i]);
	return out;
}

bool isHex(std::string_view text, size_t digits)
{
	return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string firstLine(const char *path)
{
	std::ifstream in(path);
	std::string line;
	std::getline(in, line);
	return line;
}

std::string orUnknown(const std::string &text) { return text.empty() ? std::string(kUnknown) : text; }

/// The text cut into lines "key value"; each call takes the next, which must be `key`'s.
class Lines {
public:
	explicit Lines(std::string_view text) : m_text(text) {}

	std::optional<std::string_view> next(std::string_view key)
	{
		const size_t end = m_text.find('\n', m_at);
		if (end == std::string_view::npos) return std::nullopt;
		std::string_view line = m_text.substr(m_at, end - m_at);
		if (line.substr(0, key.size()) != key) return std::nullopt;
		line.remove_prefix(key.size());
		if (line.empty() || line.front() != ' ') return std::nullopt;
		m_at = end + 1;
		return line.substr(1);
	}
	size_t position() const { return m_at; }

private:
	std::string_view m_text;
	size_t m_at = 0;
};

tl::unexpected<Error> wrong(std::string cause) { return failure(ErrorCode::Config, std::move(cause)); }

std::optional<Purpose> purposeFrom(std::string_view name)
{
	for (const Purpose p : {Purpose::Any, Purpose::Data, Purpose::Maps})
		if (purposeName(p) == name) return p;
	return std::nullopt;
}

bool fieldsMatch(const std::string &a, const std::string &b) { return a.empty() || b.empty() || a == b; }

} // namespace

std::string_view purposeName(Purpose purpose)
{
	switch (purpose) {
	case Purpose::Any: return "any";
	case Purpose::Data: return "data";
	case Purpose::Maps: return "maps";
	}
	return "any";
}

bool Owner::sameAs(const Owner &other) const
{
	return fieldsMatch(host, other.host) && fieldsMatch(instance, other.instance);
}

Owner thisHost()
{
	Owner owner;
	char name[HOST_NAME_MAX + 1] = {};
	gethostname(name, sizeof name - 1);
	owner.hostName = name;
	// A container may have none: then nothing is known, and nothing is compared.
	const std::string machine = firstLine("/etc/machine-id");
	if (machine.empty()) return owner;
	// machine-id must not be shown outside of its host (machine-id(5)); its hash may. Not the DMI product UUID: only root
	// can read it, and a host must not change its id with the user a peer runs as.
	const std::string text = "archipelago host " + machine;
	std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
	unsigned length = 0;
	if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1)
		owner.host = hex(digest.data(), 16);
	return owner;
}

Result<Identity> Identity::make(Purpose purpose, Owner owner)
{
	std::array<unsigned char, 16> random;
	if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
		return systemFailure(errno, "Cannot get random bytes");
	return Identity{hex(random.data(), random.size()), purpose, std::move(owner)};
}

std::string Identity::format() const
{
	std::string out = fmt::format("{}\nformat 1\nstore {}\npurpose {}\nmode exclusive\nhost {} {}\ninstance {}\n", kTitle, store,
	                              purposeName(purpose), orUnknown(owner.host), orUnknown(owner.hostName),
	                              orUnknown(owner.instance));
	out += fmt::format("crc32c {:08x}\n", crc32c(out.data(), out.size()));
	out.resize(kIdentityBytes, '\n');
	return out;
}

Result<Identity> Identity::parse(std::string_view text)
{
	if (text.size() != kIdentityBytes) return wrong("its identity is damaged (wrong length)");
	if (text.substr(0, kTitle.size() + 1) != std::string(kTitle) + "\n") return wrong("its identity is not an object store's");
	Lines lines(text.substr(kTitle.size() + 1));
	const auto format = lines.next("format");
	if (!format) return wrong("its identity is damaged (no format)");
	if (*format != "1")
		return wrong(fmt::format("it has format {}, this version of Archipelago knows format 1", *format));
	const auto store = lines.next("store"), purpose = lines.next("purpose"), mode = lines.next("mode");
	const auto host = lines.next("host"), instance = lines.next("instance");
	const size_t covered = kTitle.size() + 1 + lines.position();
	const auto crc = lines.next("crc32c");
	if (!store || !purpose || !mode || !host || !instance || !crc) return wrong("its identity is damaged (a line is missing)");
	if (*crc != fmt::format("{:08x}", crc32c(text.data(), covered))) return wrong("its identity is damaged (checksum)");
	if (text.substr(kTitle.size() + 1 + lines.position()).find_first_not_of('\n') != std::string_view::npos)
		return wrong("its identity is damaged (something follows the checksum)");
	if (*mode != "exclusive") return wrong(fmt::format("it is a store of mode {}, this role has shared = false", *mode));

	Identity identity;
	const auto knownPurpose = purposeFrom(*purpose);
	const size_t space = host->find(' ');
	const std::string_view hostId = host->substr(0, space);
	if (!isHex(*store, 32) || !knownPurpose || space == std::string_view::npos ||
	    (hostId != kUnknown && !isHex(hostId, 32)) || (*instance != kUnknown && !isHex(*instance, 32)))
		return wrong("its identity is damaged (a value makes no sense)");
	identity.store = *store;
	identity.purpose = *knownPurpose;
	if (hostId != kUnknown) identity.owner.host = hostId;
	identity.owner.hostName = host->substr(space + 1);
	if (*instance != kUnknown) identity.owner.instance = *instance;
	return identity;
}

} // namespace archipelago::store
