// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See handshake.h. Replies to one option are gathered and sent together.
#include "daemon/gateway/nbd/handshake.h"

#include "daemon/base/names.h"
#include "daemon/gateway/nbd/socket_io.h"

#include <sys/socket.h>

#include <cstring>

namespace archipelago::gateway::nbd {

using runtime::Task;

namespace {

constexpr uint64_t kMaxSkippedBytes = 1u << 20; ///< of an option nobody needs; a longer one is not a mistake any more
constexpr size_t kOldReplyPadding = 124;

using Bytes = std::vector<std::byte>;

void append16(Bytes &to, uint16_t value)
{
	to.resize(to.size() + 2);
	write16(to.data() + to.size() - 2, value);
}

void append32(Bytes &to, uint32_t value)
{
	to.resize(to.size() + 4);
	write32(to.data() + to.size() - 4, value);
}

void append64(Bytes &to, uint64_t value)
{
	to.resize(to.size() + 8);
	write64(to.data() + to.size() - 8, value);
}

void appendText(Bytes &to, std::string_view text)
{
	const auto bytes = std::as_bytes(std::span(text));
	to.insert(to.end(), bytes.begin(), bytes.end());
}

uint16_t transmissionFlags(const VolumeShape &shape)
{
	const unsigned changing = shape.readOnly ? kReadOnly : kSendTrim | kSendWriteZeroes;
	return static_cast<uint16_t>(kHasFlags | kSendFlush | kSendFua | changing);
}

/// How an option that names a volume fails.
OptionReply replyFor(ErrorCode code)
{
	switch (code) {
	case ErrorCode::NotOpen:
	case ErrorCode::Denied: return OptionReply::Policy;
	case ErrorCode::Peer:
	case ErrorCode::Cancelled: return OptionReply::ShuttingDown;
	default: return OptionReply::Unknown;
	}
}

class Negotiation {
public:
	Negotiation(runtime::Reactor &reactor, int fd, Exports &exports, spdlog::logger &log, HandshakeLimits limits)
	    : m_reactor(reactor), m_fd(fd), m_exports(exports), m_log(log), m_limits(limits), m_idle(reactor, [this] { expire(); })
	{
	}

	Task<Result<Negotiated>> run();

private:
	struct Header {
		Option option;
		uint32_t length;
	};
	enum class Next { Option, Done, Leave };

	Task<bool> receive(std::span<std::byte> to);
	Task<bool> send();
	Task<Result<Header>> nextOption();
	Task<Next> serve(Header header);
	Task<bool> skip(Header header);
	Task<bool> list(Header header);
	Task<Next> infoOrGo(Header header);
	Task<Next> exportName(Header header);
	Task<Result<OpenVolume>> open(std::string name);

	void reply(Option option, OptionReply type, const Bytes &data);
	void refuse(Option option, OptionReply type, std::string_view text);
	void describe(Option option, const VolumeShape &shape, const std::string *name);
	tl::unexpected<Error> gone() const;
	void expire()
	{
		m_expired = true;
		::shutdown(m_fd, SHUT_RDWR); // wakes whatever waits for this socket
	}

	runtime::Reactor &m_reactor;
	int m_fd;
	Exports &m_exports;
	spdlog::logger &m_log;
	HandshakeLimits m_limits;
	runtime::Timer m_idle;
	bool m_expired = false;
	bool m_fixed = false, m_zeroes = true;
	Bytes m_data; ///< of the option in hand
	Bytes m_out;
	Negotiated m_result;
	Error m_why; ///< of Leave
};

Task<Result<Negotiated>> Negotiation::run()
{
	append64(m_out, kInitMagic);
	append64(m_out, kOptionMagic);
	append16(m_out, kFixedNewstyle | kNoZeroes);
	const bool greeted = co_await send();
	std::array<std::byte, 4> flagBytes;
	const bool answered = greeted && co_await receive(flagBytes);
	if (!answered) co_return gone();
	const uint32_t flags = read32(flagBytes.data());
	if (flags & ~uint32_t{kFixedNewstyle | kNoZeroes}) {
		co_return failure(ErrorCode::Invalid, "the client wants handshake flags that do not exist");
	}
	m_fixed = flags & kFixedNewstyle;
	m_zeroes = !(flags & kNoZeroes);

	for (;;) {
		const Result<Header> header = co_await nextOption();
		if (!header) co_return tl::unexpected<Error>(header.error());
		const Next next = co_await serve(*header);
		if (next == Next::Done) co_return std::move(m_result);
		if (next == Next::Leave && m_expired) co_return gone();
		if (next == Next::Leave) co_return tl::unexpected<Error>(std::move(m_why));
	}
}

Task<Result<Negotiation::Header>> Negotiation::nextOption()
{
	std::array<std::byte, kOptionBytes> bytes;
	const bool received = co_await receive(bytes);
	if (!received) co_return gone();
	if (read64(bytes.data()) != kOptionMagic) co_return failure(ErrorCode::Invalid, "the client does not speak the NBD protocol");
	const Header header{static_cast<Option>(read32(bytes.data() + 8)), read32(bytes.data() + 12)};
	// Before "fixed" newstyle there was this one option, and no reply to any other.
	if (!m_fixed && header.option != Option::ExportName)
		co_return failure(ErrorCode::Invalid, "the client sends an option that needs the fixed newstyle handshake");
	if (header.length > kMaxSkippedBytes) co_return failure(ErrorCode::Invalid, "the client sends an option of absurd length");
	co_return header;
}

Task<Negotiation::Next> Negotiation::serve(Header header)
{
	m_why = Error{ErrorCode::Cancelled, "the client left"};
	const bool known = header.option == Option::List || header.option == Option::Info || header.option == Option::Go ||
	                   header.option == Option::ExportName || header.option == Option::Abort;
	if (!known || header.length > kMaxOptionBytes) {
		if (header.option == Option::ExportName) {
			m_why = Error{ErrorCode::Invalid, "the client asks for a name that is too long"};
			co_return Next::Leave;
		}
		const bool skipped = co_await skip(header);
		co_return skipped ? Next::Option : Next::Leave;
	}
	m_data.resize(header.length);
	const bool received = co_await receive(m_data);
	if (!received) co_return Next::Leave;
	switch (header.option) {
	case Option::List: {
		const bool listed = co_await list(header);
		co_return listed ? Next::Option : Next::Leave;
	}
	case Option::Abort:
		reply(header.option, OptionReply::Ack, {});
		(void)co_await send(); // it may be gone already
		co_return Next::Leave;
	case Option::ExportName: {
		const Next next = co_await exportName(header);
		co_return next;
	}
	default: {
		const Next next = co_await infoOrGo(header);
		co_return next;
	}
	}
}

Task<bool> Negotiation::skip(Header header)
{
	m_idle.startMs(m_limits.idleMs);
	const bool skipped = co_await receiveAndDrop(m_reactor, m_fd, header.length);
	m_idle.cancel();
	if (!skipped) co_return false;
	if (header.option == Option::StartTls)
		refuse(header.option, OptionReply::Unsupported, "TLS is not offered: this is a local socket");
	else if (header.length > kMaxOptionBytes)
		refuse(header.option, OptionReply::TooBig, "the option is too long");
	else
		refuse(header.option, OptionReply::Unsupported, "the option is not known");
	const bool sent = co_await send();
	co_return sent;
}

Task<bool> Negotiation::list(Header header)
{
	if (header.length) {
		refuse(header.option, OptionReply::Invalid, "LIST takes no data");
		const bool refused = co_await send();
		co_return refused;
	}
	const Result<std::vector<std::string>> names = co_await m_exports.list();
	if (names) {
		for (const std::string &name : *names) {
			Bytes data;
			append32(data, static_cast<uint32_t>(name.size()));
			appendText(data, name);
			reply(header.option, OptionReply::Server, data);
		}
		reply(header.option, OptionReply::Ack, {});
	} else {
		m_log.warn("{}", names.error().message);
		refuse(header.option, replyFor(names.error().code), names.error().message);
	}
	const bool sent = co_await send();
	co_return sent;
}

/// Data: u32 length of the name, the name, u16 number of information requests, u16 each.
Task<Negotiation::Next> Negotiation::infoOrGo(Header header)
{
	const uint64_t nameBytes = m_data.size() >= 6 ? read32(m_data.data()) : 0;
	const bool fits = m_data.size() >= 6 && 6 + nameBytes <= m_data.size();
	const size_t count = fits ? read16(m_data.data() + 4 + nameBytes) : 0;
	if (!fits || m_data.size() != 6 + nameBytes + 2 * count) {
		refuse(header.option, OptionReply::Invalid, "the lengths in the option do not agree");
		const bool refused = co_await send();
		co_return refused ? Next::Option : Next::Leave;
	}
	bool wantsName = false;
	for (size_t i = 0; i < count; ++i)
		wantsName |= read16(m_data.data() + 6 + nameBytes + 2 * i) == static_cast<uint16_t>(InfoType::Name);

	const std::string name(reinterpret_cast<const char *>(m_data.data() + 4), static_cast<size_t>(nameBytes));
	Result<OpenVolume> opened = co_await open(name);
	if (!opened) {
		m_log.info("{}", opened.error().message);
		refuse(header.option, replyFor(opened.error().code), opened.error().message);
		const bool refused = co_await send();
		co_return refused ? Next::Option : Next::Leave;
	}
	describe(header.option, (*opened)->shape(), wantsName ? &name : nullptr);
	const bool sent = co_await send();
	if (!sent) co_return Next::Leave;
	if (header.option == Option::Info) co_return Next::Option;
	m_result.volume = std::move(*opened);
	m_result.name = name;
	co_return Next::Done;
}

/// Data: the name. The one option that cannot be refused: its failure is a closed connection.
Task<Negotiation::Next> Negotiation::exportName(Header)
{
	const std::string name(reinterpret_cast<const char *>(m_data.data()), m_data.size());
	Result<OpenVolume> opened = co_await open(name);
	if (!opened) {
		m_why = std::move(opened.error());
		co_return Next::Leave;
	}
	append64(m_out, (*opened)->shape().sizeBytes);
	append16(m_out, transmissionFlags((*opened)->shape()));
	if (m_zeroes) m_out.resize(m_out.size() + kOldReplyPadding);
	const bool sent = co_await send();
	if (!sent) co_return Next::Leave;
	m_result.volume = std::move(*opened);
	m_result.name = name;
	co_return Next::Done;
}

Task<Result<OpenVolume>> Negotiation::open(std::string name)
{
	if (name.empty()) co_return failure(ErrorCode::NotFound, "There is no default export: name a volume.");
	const Result<void> legal = checkName(name);
	if (!legal) co_return tl::unexpected<Error>(legal.error());
	Result<OpenVolume> opened = co_await m_exports.open(std::move(name));
	co_return std::move(opened);
}

/// The size, how to address it, and that this was all. Sizes of blocks are told to those who did not ask as well: they are
/// not advice.
void Negotiation::describe(Option option, const VolumeShape &shape, const std::string *name)
{
	Bytes data;
	append16(data, static_cast<uint16_t>(InfoType::Export));
	append64(data, shape.sizeBytes);
	append16(data, transmissionFlags(shape));
	reply(option, OptionReply::Info, data);

	data.clear();
	append16(data, static_cast<uint16_t>(InfoType::BlockSize));
	append32(data, kMinimumBlock);
	append32(data, kPreferredBlock);
	append32(data, m_limits.maxRequestBytes);
	reply(option, OptionReply::Info, data);

	if (name) {
		data.clear();
		append16(data, static_cast<uint16_t>(InfoType::Name));
		appendText(data, *name);
		reply(option, OptionReply::Info, data);
	}
	reply(option, OptionReply::Ack, {});
}

void Negotiation::reply(Option option, OptionReply type, const Bytes &data)
{
	append64(m_out, kOptionReplyMagic);
	append32(m_out, static_cast<uint32_t>(option));
	append32(m_out, static_cast<uint32_t>(type));
	append32(m_out, static_cast<uint32_t>(data.size()));
	m_out.insert(m_out.end(), data.begin(), data.end());
}

void Negotiation::refuse(Option option, OptionReply type, std::string_view text)
{
	Bytes data;
	appendText(data, text.substr(0, kMaxNameOnWire)); // texts have the same limit as names
	reply(option, type, data);
}

tl::unexpected<Error> Negotiation::gone() const
{
	if (m_expired) return failure(ErrorCode::Timeout, "the client was silent for too long");
	return failure(ErrorCode::Cancelled, "the client left");
}

Task<bool> Negotiation::receive(std::span<std::byte> to)
{
	m_idle.startMs(m_limits.idleMs);
	const bool received = co_await receiveAll(m_reactor, m_fd, to);
	m_idle.cancel();
	co_return received;
}

Task<bool> Negotiation::send()
{
	m_idle.startMs(m_limits.idleMs);
	const bool sent = co_await sendAll(m_reactor, m_fd, m_out);
	m_idle.cancel();
	m_out.clear();
	co_return sent;
}

} // namespace

Task<Result<Negotiated>> handshake(runtime::Reactor &reactor, int fd, Exports &exports, spdlog::logger &log, HandshakeLimits limits)
{
	Negotiation negotiation(reactor, fd, exports, log, limits);
	Result<Negotiated> result = co_await negotiation.run();
	co_return std::move(result);
}

} // namespace archipelago::gateway::nbd
