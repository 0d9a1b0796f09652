// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The loop of a role. Its sleep is bounded, as the protocol of waiter.h says: a peer may be killed between push and bell.
#include "tests/xseg/death/roles.h"

#include <poll.h>

#include <cerrno>

namespace xseg::test {

Worker::Worker(const Segment &segment, const BellFds &bells, Ledger &ledger, Role role, uint64_t seed)
	: m_ledger(ledger),
	  m_role(role),
	  m_random(seed),
	  m_waiter(segment, bells, role),
	  m_buffers(segment, portOf(role))
{
	auto port = Port::bind(segment, bells, m_buffers, portOf(role), {.waiter = role, .maxInflight = 12});
	if (port)
		m_port = std::move(*port);
	else
		ledger.violation("role %u cannot bind its port: %s", role, port.error().what.c_str());
}

int Worker::run()
{
	if (!m_port) return 1;
	while (!finished()) {
		++m_ledger.turns[m_role];
		bool busy = turn();
		for (size_t left = m_outbox.size(); left > 0; --left) {
			Outgoing out = std::move(m_outbox.front());
			m_outbox.pop_front();
			if (trySend(out))
				busy = true;
			else
				m_outbox.push_back(std::move(out));
		}
		if (!busy) sleep();
	}
	m_port.reset();
	return 0;
}

void Worker::send(Outgoing out)
{
	if (!trySend(out)) m_outbox.push_back(std::move(out));
}

/// Nobody there is as good as no room: somebody will come.
bool Worker::trySend(Outgoing &out)
{
	bool sent = false;
	switch (out.kind) {
	case Kind::Submit: sent = m_port->submit(out.request, out.to); break;
	case Kind::Forward: sent = m_port->forward(out.request, out.to); break;
	case Kind::Respond: sent = m_port->respond(out.request, out.status); break;
	}
	const int error = sent ? 0 : m_port->lastError();
	if (error != 0 && error != EAGAIN && error != ENOTCONN) {
		m_ledger.violation("role %u: a request could not be sent: error %d", m_role, error);
		out.request.reset();
		return true;
	}
	return sent;
}

void Worker::sleep()
{
	pollfd entry{.fd = m_waiter.eventFd(), .events = POLLIN, .revents = 0};
	if (m_waiter.prepareSleep()) poll(&entry, 1, m_outbox.empty() ? 50 : 1);
	m_waiter.wake();
	uint64_t rung = 0;
	[[maybe_unused]] const ssize_t got = read(m_waiter.eventFd(), &rung, sizeof rung);
	while (m_waiter.takeReady()) {}
}

} // namespace xseg::test
