// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// SegmentLink: the segment while peers run, the bells of everybody, and the service's own client in it, driven by the Qt
// event loop: one notifier on the client's eventfd, one timer for its deadlines. Whoever makes a request calls sent()
// afterwards. Waiter 0 is the service's; the reactors of the hosts have 1, 2, ... in start order. Main thread, but for create().
#pragma once

#include "daemon/base/config.h"
#include "daemon/client/segment_client.h"

#include <memory>
#include <vector>

#include <QObject>
#include <QSocketNotifier>
#include <QTimer>

namespace archipelago::service {

/// Made aside: building the tables of a segment takes a while.
struct SegmentParts {
	std::unique_ptr<xseg::Segment> segment;
	xseg::BellFds bells;
	/// Errors: E-CONFIG (a geometry that cannot be), E-NOSPACE (memory), E-LIMIT.
	static Result<SegmentParts> create(const Config &config, uint32_t reactors);
	/// An existing one, from the descriptors of a host: segment, then the bells.
	static Result<SegmentParts> attach(std::vector<xseg::UniqueFd> fds);
};

class SegmentLink : public QObject {
	Q_OBJECT

public:
	/// Binds the first port of the VTOOL range that is free: an earlier service's may not be recovered yet.
	static Result<std::unique_ptr<SegmentLink>> create(SegmentParts parts, const Config &config);
	/// Callbacks that still wait get E-PEER.
	~SegmentLink() override;

	client::SegmentClient &client() { return *m_client; }
	const xseg::Segment &segment() const { return *m_parts.segment; }
	const xseg::BellFds &bells() const { return m_parts.bells; }
	/// After a request was made: looks when to wake up next.
	void sent() { schedule(); }
	/// Duplicates of the descriptors that a host gets, in the order of host_protocol.h. E-LIMIT.
	Result<std::vector<xseg::UniqueFd>> descriptors() const;

private:
	explicit SegmentLink(SegmentParts parts) : m_parts(std::move(parts)) {}
	void process();
	void schedule();

	SegmentParts m_parts; // outlives the client
	std::unique_ptr<client::SegmentClient> m_client;
	std::unique_ptr<QSocketNotifier> m_bell;
	QTimer m_timer;
};

} // namespace archipelago::service
