// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See the header. The order inside process() is the waiter's protocol: bell down, bits taken, rings drained, bell up, bits
// looked at once more. A bit is cleared before its ring is drained, so a push that comes after the drain sets it anew.
#include "daemon/client/segment_client.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace archipelago::client {

namespace {

constexpr uint64_t kMsNs = 1'000'000;
/// Bound of an unrung wait (xseg/waiter.h).
constexpr uint64_t kSafetyNs = 100 * kMsNs;
/// How soon a request that found no credit, memory or room is tried again.
constexpr uint64_t kRetryNs = 5 * kMsNs;
/// Rounds of one process(): a peer that answers without end must not hold the event loop.
constexpr int kMaxRounds = 64;
constexpr uint64_t kMaxMessageBytes = 4096;
constexpr uint32_t kMaxCapacity = 1u << XS_MAX_CLASS_SHIFT;

/// A failed control answer: `serviced` bytes of text for the operator, when the peer sent any.
std::string messageIn(std::span<const std::byte> buffer, uint64_t serviced)
{
	const size_t length = static_cast<size_t>(std::min({serviced, uint64_t{buffer.size()}, kMaxMessageBytes}));
	std::string text(reinterpret_cast<const char *>(buffer.data()), length);
	// It goes to terminals and logs: no control characters.
	std::replace_if(text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ' && c != '\n') || c == 0x7f; }, ' ');
	return text;
}

} // namespace

uint64_t SegmentClient::nowNs()
{
	timespec t{};
	clock_gettime(CLOCK_BOOTTIME, &t);
	return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

SegmentClient::SegmentClient(const xseg::Segment &segment, const xseg::BellFds &bells, const Options &options) :
    m_segment(segment), m_waiter(segment, bells, options.waiter), m_buffers(segment, options.port)
{}

Result<std::unique_ptr<SegmentClient>> SegmentClient::create(const xseg::Segment &segment, const xseg::BellFds &bells,
                                                             const Options &options)
{
	if (options.waiter >= bells.size() || options.waiter >= segment.geometry().waiters)
		return failure(ErrorCode::Invalid, "The segment has no waiter " + std::to_string(options.waiter) + ".");
	std::unique_ptr<SegmentClient> client(new SegmentClient(segment, bells, options));
	xseg::BindOptions bindOptions;
	bindOptions.waiter = options.waiter;
	bindOptions.maxInflight = options.maxInflight;
	auto port = xseg::Port::bind(segment, bells, client->m_buffers, options.port, bindOptions);
	if (!port) {
		return failure(port.error().errnum == EBUSY ? ErrorCode::Peer : ErrorCode::Invalid,
		               "Cannot bind port " + std::to_string(options.port) + ": " + port.error().what);
	}
	client->m_port = std::move(*port);
	// The loop sleeps before its first process(): from here on whoever answers has to ring.
	if (!client->m_waiter.prepareSleep()) client->m_processAgain = true;
	return client;
}

SegmentClient::~SegmentClient()
{
	m_waiter.wake();
}

void SegmentClient::request(ControlRequest request, ReplyFn done)
{
	Pending pending;
	pending.deadlineNs = request.timeoutMs ? nowNs() + request.timeoutMs * kMsNs : 0;
	pending.request = std::move(request);
	pending.done = std::move(done);
	const size_t wanted = std::max<size_t>(pending.request.payload.size(), pending.request.replyCapacity);
	if (wanted > kMaxCapacity) {
		m_finished.push_back({std::move(pending.done), failure(ErrorCode::Invalid, "A control request is larger than 4 MiB.")});
		return;
	}
	pending.capacity = static_cast<uint32_t>(wanted);
	m_outbox.push_back(std::move(pending));
	flushOutbox();
}

SegmentClient::Sent SegmentClient::trySend(Pending &pending)
{
	const ControlRequest &in = pending.request;
	xseg::RequestRef request = pending.capacity ? m_port->get(pending.capacity) : m_port->get();
	if (!request) return Sent::Later;

	request->op = static_cast<xs_u16>(in.op);
	request->deadline = pending.deadlineNs;
	std::memcpy(request->args, in.args.data(), in.args.size());
	pending.buffer = request->data_blk;
	if (pending.capacity) {
		const auto bytes = request.data();
		ARCHIPELAGO_ASSERT(bytes.size() >= pending.capacity);
		std::memset(bytes.data(), 0, bytes.size());
		std::memcpy(bytes.data(), in.payload.data(), in.payload.size());
		request->size = in.payload.size();
	}
	const xseg::RequestIndex index = request.index();
	if (m_port->submit(request, in.to)) {
		m_sent.insert_or_assign(index, std::move(pending));
		return Sent::Yes;
	}
	// The request is dropped here and goes back to the pool: nobody saw it.
	return m_port->lastError() == ENOTCONN ? Sent::Refused : Sent::Later;
}

void SegmentClient::flushOutbox()
{
	// All of it, not only the first: one peer's full ring must not hold up requests to another.
	std::deque<Pending> later;
	while (!m_outbox.empty()) {
		Pending pending = std::move(m_outbox.front());
		m_outbox.pop_front();
		switch (trySend(pending)) {
		case Sent::Yes: break;
		case Sent::Later: later.push_back(std::move(pending)); break;
		case Sent::Refused:
			m_finished.push_back({std::move(pending.done), failure(ErrorCode::Peer, "Nobody serves port "
			                                                       + std::to_string(pending.request.to) + ".")});
			break;
		}
	}
	m_outbox.swap(later);
}

bool SegmentClient::drain()
{
	bool any = false;
	while (xseg::RequestRef reply = m_port->receive()) {
		any = true;
		// Only our own come home here; anything else is dropped, which sends it back.
		if (reply->npath != 0) continue;
		const auto found = m_sent.find(reply.index());
		if (found == m_sent.end()) continue;
		Pending pending = std::move(found->second);
		m_sent.erase(found);
		answered(pending, reply);
	}
	// This port serves nothing: what is asked of it fails back when it is dropped.
	while (m_port->accept()) any = true;
	return any;
}

void SegmentClient::answered(Pending &pending, xseg::RequestRef &reply)
{
	if (!pending.done) return; // abandoned at its deadline; dropping the request frees it
	const int32_t status = reply->status;
	const uint64_t serviced = reply->serviced;
	std::span<const std::byte> buffer;
	if (pending.capacity) {
		if (const auto bytes = m_segment.buffer(pending.buffer, 0, pending.capacity)) buffer = *bytes;
	}
	if (const auto code = errorFromWire(status)) {
		std::string message = messageIn(buffer, serviced);
		if (message.empty()) message = std::string(errorInfo(*code).text);
		m_finished.push_back({std::move(pending.done), failure(*code, std::move(message))});
		return;
	}
	ControlReply out;
	std::memcpy(out.args.data(), reply->args, out.args.size());
	out.size = reply->size;
	out.serviced = serviced;
	out.data.assign(buffer.begin(), buffer.end());
	m_finished.push_back({std::move(pending.done), std::move(out)});
}

void SegmentClient::expire()
{
	const uint64_t now = nowNs();
	const auto expired = [now](const Pending &p) { return p.done && p.deadlineNs && p.deadlineNs <= now; };
	const auto seconds = [](const Pending &p) {
		const uint64_t ms = p.request.timeoutMs;
		return ms % 1000 ? std::to_string(ms) + " ms" : std::to_string(ms / 1000) + " s";
	};
	for (auto &[index, pending] : m_sent) {
		if (!expired(pending)) continue;
		m_finished.push_back({std::exchange(pending.done, nullptr),
		                      failure(ErrorCode::Timeout, "No answer from port " + std::to_string(pending.request.to)
		                                                      + " within " + seconds(pending) + ".")});
	}
	for (auto it = m_outbox.begin(); it != m_outbox.end();) {
		if (!expired(*it)) {
			++it;
			continue;
		}
		m_finished.push_back({std::move(it->done),
		                      failure(ErrorCode::Limit, "A request to port " + std::to_string(it->request.to)
		                                                    + " found no room in the segment for " + seconds(*it) + ".")});
		it = m_outbox.erase(it);
	}
}

bool SegmentClient::deliver()
{
	if (m_finished.empty()) return false;
	// A callback may make the next request.
	std::vector<Finished> finished = std::exchange(m_finished, {});
	for (Finished &f : finished)
		if (f.done) f.done(std::move(f.result));
	return true;
}

void SegmentClient::process()
{
	m_waiter.wake();
	uint64_t count = 0;
	// Non-blocking; EAGAIN means that nobody rang, and nothing hangs on the count.
	[[maybe_unused]] const ssize_t n = ::read(m_waiter.eventFd(), &count, sizeof count);
	m_processAgain = false;
	for (int round = 0;; round++) {
		while (m_waiter.takeReady()) {}
		drain();
		flushOutbox();
		expire();
		deliver();
		if (m_waiter.prepareSleep()) break;
		if (round == kMaxRounds) {
			m_processAgain = true; // the bell stays as it is; nextDeadlineNs() brings us back at once
			break;
		}
		m_waiter.wake();
	}
}

std::optional<uint64_t> SegmentClient::nextDeadlineNs() const
{
	if (m_processAgain || !m_finished.empty()) return 0;
	if (m_sent.empty() && m_outbox.empty()) return std::nullopt;
	const uint64_t now = nowNs();
	uint64_t next = now + (m_outbox.empty() ? kSafetyNs : kRetryNs);
	for (const auto &[index, p] : m_sent)
		if (p.done && p.deadlineNs) next = std::min(next, p.deadlineNs);
	for (const Pending &p : m_outbox)
		if (p.deadlineNs) next = std::min(next, p.deadlineNs);
	return next;
}

void SegmentClient::failAll(const Error &error)
{
	for (auto &[index, pending] : m_sent)
		if (pending.done) m_finished.push_back({std::exchange(pending.done, nullptr), tl::unexpected<Error>(error)});
	for (Pending &pending : m_outbox) m_finished.push_back({std::move(pending.done), tl::unexpected<Error>(error)});
	m_outbox.clear();
	deliver();
}

} // namespace archipelago::client
