// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The bell is 1 whenever the event loop may sleep: SegmentClient::process() leaves it so, and nothing else touches it.
#include "dbus/service/segment_link.h"

#include <fcntl.h>

#include <algorithm>
#include <limits>

namespace archipelago::service {

Result<SegmentParts> SegmentParts::create(const Config &config, uint32_t reactors)
{
	if (reactors + 1 > XS_MAX_WAITERS) {
		return failure(ErrorCode::Config, "The configuration has " + std::to_string(reactors) + " reactors in all its hosts; at most "
		                                      + std::to_string(XS_MAX_WAITERS - 1) + " can share a segment.");
	}
	xseg::SegmentConfig wanted;
	wanted.ports = config.segmentPorts;
	wanted.sizeBytes = config.segmentSizeBytes;
	auto segment = xseg::Segment::create(wanted);
	if (!segment) {
		const int errnum = segment.error().errnum;
		const bool memory = errnum == ENOMEM || errnum == ENOSPC;
		return failure(memory ? ErrorCode::NoSpace : errnum == EINVAL ? ErrorCode::Config : errorFromErrno(errnum),
		               "Cannot make a segment of " + std::to_string(config.segmentSizeBytes >> 20) + " MiB: " + segment.error().what + ". "
		                   + (memory ? "Free memory, or lower SEGMENT_SIZE." : "Check SEGMENT_SIZE and SEGMENT_PORTS."));
	}
	auto bells = xseg::createBells(reactors + 1);
	if (!bells) return systemFailure(bells.error().errnum, bells.error().what);
	SegmentParts parts;
	parts.segment = std::make_unique<xseg::Segment>(std::move(*segment));
	parts.bells = std::move(*bells);
	return parts;
}

Result<SegmentParts> SegmentParts::attach(std::vector<xseg::UniqueFd> fds)
{
	ARCHIPELAGO_ASSERT(fds.size() > 1);
	auto segment = xseg::Segment::attach(std::move(fds.front()));
	if (!segment) return failure(ErrorCode::Corrupt, "The segment of the running hosts cannot be used: " + segment.error().what + ".");
	SegmentParts parts;
	parts.segment = std::make_unique<xseg::Segment>(std::move(*segment));
	for (size_t i = 1; i < fds.size(); i++) parts.bells.push_back(std::move(fds[i]));
	return parts;
}

Result<std::unique_ptr<SegmentLink>> SegmentLink::create(SegmentParts parts, const Config &config)
{
	std::unique_ptr<SegmentLink> link(new SegmentLink(std::move(parts)));
	client::SegmentClient::Options options;
	for (uint32_t port = config.vtoolStart; port <= config.vtoolEnd && !link->m_client; port++) {
		options.port = static_cast<xseg::PortNo>(port);
		auto made = client::SegmentClient::create(*link->m_parts.segment, link->m_parts.bells, options);
		if (made)
			link->m_client = std::move(*made);
		else if (port == config.vtoolEnd)
			return tl::unexpected<Error>(made.error());
	}

	SegmentLink *self = link.get();
	link->m_bell = std::make_unique<QSocketNotifier>(self->m_client->pollFd(), QSocketNotifier::Read);
	connect(link->m_bell.get(), &QSocketNotifier::activated, self, &SegmentLink::process);
	link->m_timer.setSingleShot(true);
	link->m_timer.setTimerType(Qt::PreciseTimer);
	connect(&link->m_timer, &QTimer::timeout, self, &SegmentLink::process);
	link->schedule();
	return link;
}

SegmentLink::~SegmentLink()
{
	if (m_client) m_client->failAll(Error{ErrorCode::Peer, "The peers were stopped before they answered. To start them: archipelago start"});
}

Result<std::vector<xseg::UniqueFd>> SegmentLink::descriptors() const
{
	std::vector<xseg::UniqueFd> out;
	const auto copy = [&out](int fd) {
		out.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 3));
		return static_cast<bool>(out.back());
	};
	if (!copy(m_parts.segment->fd())) return systemFailure(errno, "Cannot hand out the segment");
	for (const xseg::UniqueFd &bell : m_parts.bells)
		if (!copy(bell.get())) return systemFailure(errno, "Cannot hand out a bell");
	return out;
}

void SegmentLink::process()
{
	m_client->process();
	schedule();
}

void SegmentLink::schedule()
{
	const auto next = m_client->nextDeadlineNs();
	if (!next) {
		m_timer.stop();
		return;
	}
	const uint64_t now = client::SegmentClient::nowNs();
	const uint64_t ms = *next <= now ? 0 : (*next - now + 999'999) / 1'000'000;
	m_timer.start(static_cast<int>(std::min<uint64_t>(ms, std::numeric_limits<int>::max())));
}

} // namespace archipelago::service
