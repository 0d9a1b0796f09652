// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See handshake.h.
#include "daemon/gateway/nbd/handshake.h"

#include "daemon/base/names.h"
#include "daemon/gateway/nbd/meta_context.h"
#include "daemon/gateway/nbd/option_replies.h"
#include "daemon/gateway/nbd/socket_io.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace archipelago::gateway::nbd {

using runtime::Task;

namespace {

constexpr uint64_t kMaxSkippedBytes = 1u << 20; ///< of an option nobody needs; a longer one is not a mistake any more
constexpr size_t kOldReplyPadding = 124;

constexpr std::array kServed{Option::ExportName,      Option::Abort,           Option::List,          Option::Info, Option::Go,
                             Option::StructuredReply, Option::ListMetaContext, Option::SetMetaContext};

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
	Task<bool> structuredReply(Header header);
	Task<bool> metaContext(Header header);
	Task<Next> infoOrGo(Header header);
	Task<Next> exportName(Header header);
	Task<Result<OpenVolume>> open(std::string name);
	void go(OpenVolume volume, std::string name);
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
	OptionReplies m_out;
	bool m_structured = false;
	// What SET_META_CONTEXT has chosen. The volume stays open for the GO that follows: opening may be work.
	std::string m_contextName;
	OpenVolume m_contextVolume; ///< none: nothing is chosen
	Negotiated m_result;
	Error m_why; ///< of Leave
};

Task<Result<Negotiated>> Negotiation::run()
{
	append64(m_out.bytes(), kInitMagic);
	append64(m_out.bytes(), kOptionMagic);
	append16(m_out.bytes(), kFixedNewstyle | kNoZeroes);
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
	if (!std::ranges::count(kServed, header.option) || header.length > kMaxOptionBytes) {
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
	case Option::StructuredReply: {
		const bool agreed = co_await structuredReply(header);
		co_return agreed ? Next::Option : Next::Leave;
	}
	case Option::ListMetaContext:
	case Option::SetMetaContext: {
		const bool chosen = co_await metaContext(header);
		co_return chosen ? Next::Option : Next::Leave;
	}
	case Option::Abort:
		m_out.reply(header.option, OptionReply::Ack);
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
		m_out.refuse(header.option, OptionReply::Unsupported, "TLS is not offered: this is a local socket");
	else if (header.length > kMaxOptionBytes)
		m_out.refuse(header.option, OptionReply::TooBig, "the option is too long");
	else
		m_out.refuse(header.option, OptionReply::Unsupported, "the option is not known");
	const bool sent = co_await send();
	co_return sent;
}

Task<bool> Negotiation::list(Header header)
{
	if (header.length) {
		m_out.refuse(header.option, OptionReply::Invalid, "LIST takes no data");
		const bool refused = co_await send();
		co_return refused;
	}
	const Result<std::vector<std::string>> names = co_await m_exports.list();
	if (names) {
		for (const std::string &name : *names) {
			Bytes data;
			append32(data, static_cast<uint32_t>(name.size()));
			appendText(data, name);
			m_out.reply(header.option, OptionReply::Server, data);
		}
		m_out.reply(header.option, OptionReply::Ack);
	} else {
		m_log.warn("{}", names.error().message);
		m_out.refuse(header.option, replyFor(names.error().code), names.error().message);
	}
	const bool sent = co_await send();
	co_return sent;
}

Task<bool> Negotiation::structuredReply(Header header)
{
	if (header.length)
		m_out.refuse(header.option, OptionReply::Invalid, "STRUCTURED_REPLY takes no data");
	else
		m_out.reply(header.option, OptionReply::Ack);
	m_structured |= !header.length;
	const bool sent = co_await send();
	co_return sent;
}

/// Setting begins with forgetting what was chosen before, also when it fails then.
Task<bool> Negotiation::metaContext(Header header)
{
	const bool listing = header.option == Option::ListMetaContext;
	if (!listing) m_contextVolume.reset();
	const auto query = readMetaQuery(m_data, listing);
	if (!m_structured || !query) {
		m_out.refuse(header.option, OptionReply::Invalid,
		             query ? "meta contexts need structured replies: negotiate those first" : "the lengths in the option do not agree");
		const bool refused = co_await send();
		co_return refused;
	}
	Result<OpenVolume> opened = co_await open(query->name);
	if (opened) {
		if (query->allocation) {
			Bytes data;
			append32(data, listing ? 0 : kAllocationId); // a list gives no numbers away
			appendText(data, kAllocationContext);
			m_out.reply(header.option, OptionReply::MetaContext, data);
		}
		m_out.reply(header.option, OptionReply::Ack);
		if (!listing && query->allocation) {
			m_contextName = query->name;
			m_contextVolume = std::move(*opened);
		}
	} else {
		m_log.info("{}", opened.error().message);
		m_out.refuse(header.option, replyFor(opened.error().code), opened.error().message);
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
		m_out.refuse(header.option, OptionReply::Invalid, "the lengths in the option do not agree");
		const bool refused = co_await send();
		co_return refused ? Next::Option : Next::Leave;
	}
	OptionReplies::Export about;
	about.name.assign(reinterpret_cast<const char *>(m_data.data() + 4), static_cast<size_t>(nameBytes));
	about.structured = m_structured;
	about.maxRequestBytes = m_limits.maxRequestBytes;
	for (size_t i = 0; i < count; ++i) {
		const auto type = static_cast<InfoType>(read16(m_data.data() + 6 + nameBytes + 2 * i));
		about.wantsName |= type == InfoType::Name;
		about.wantsDescription |= type == InfoType::Description;
	}
	Result<OpenVolume> opened = co_await open(about.name);
	if (!opened) {
		m_log.info("{}", opened.error().message);
		m_out.refuse(header.option, replyFor(opened.error().code), opened.error().message);
		const bool refused = co_await send();
		co_return refused ? Next::Option : Next::Leave;
	}
	about.shape = (*opened)->shape();
	m_out.describe(header.option, about);
	const bool sent = co_await send();
	if (!sent) co_return Next::Leave;
	if (header.option == Option::Info) co_return Next::Option;
	go(std::move(*opened), std::move(about.name));
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
	Bytes &bytes = m_out.bytes();
	append64(bytes, (*opened)->shape().sizeBytes);
	append16(bytes, transmissionFlags((*opened)->shape(), m_structured));
	if (m_zeroes) bytes.resize(bytes.size() + kOldReplyPadding);
	const bool sent = co_await send();
	if (!sent) co_return Next::Leave;
	go(std::move(*opened), name);
	co_return Next::Done;
}

/// What was chosen for another export does not count.
void Negotiation::go(OpenVolume volume, std::string name)
{
	m_result.dialect.structured = m_structured;
	m_result.dialect.allocation = m_contextVolume && m_contextName == name;
	m_result.volume = std::move(volume);
	m_result.name = std::move(name);
	m_contextVolume.reset();
}

Task<Result<OpenVolume>> Negotiation::open(std::string name)
{
	if (name.empty()) co_return failure(ErrorCode::NotFound, "There is no default export: name a volume.");
	const Result<void> legal = checkName(name);
	if (!legal) co_return tl::unexpected<Error>(legal.error());
	Result<OpenVolume> opened = co_await m_exports.open(std::move(name));
	co_return std::move(opened);
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
	const bool sent = co_await sendAll(m_reactor, m_fd, m_out.bytes());
	m_idle.cancel();
	m_out.bytes().clear();
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
