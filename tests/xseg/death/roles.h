// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The three roles of the death tests, each a process of its own with one port:
//
//   client    writes and reads its slots of the disk through the composer, and sends operations that must not be repeated
//             straight to the blocker
//   composer  one slot: asks the blocker something (not repeatable), changes the request and forwards it on. Several slots:
//             makes parts, own requests that speak of the client's buffer (or of a copy). A write then has to be recorded
//             (not repeatable), and only then is answered
//   blocker   holds a few requests in hand, carries them out in any order
#pragma once

#include "tests/xseg/death/ledger.h"

#include "xseg/port.h"
#include "xseg/recovery.h"

#include <deque>
#include <random>

namespace xseg::test {

enum Role : uint32_t { kClientA, kClientB, kComposer, kBlocker, kRoles };
constexpr PortNo portOf(Role role) { return PortNo(role + 1); }

/// `size` = number of slots, `offset` = the first of them on the disk.
enum Operation : uint16_t { kWrite = 1, kRead, kOnce, kAsk, kStoreWrite, kStoreRead, kRecord };

constexpr Verdict policy(uint16_t op)
{
	return op == kStoreWrite || op == kStoreRead ? Verdict::Replay : Verdict::Fail;
}

/// What every role has: a port, a waiter, and an outbox for what finds no room or nobody there.
class Worker {
public:
	Worker(const Segment &segment, const BellFds &bells, Ledger &ledger, Role role, uint64_t seed);
	virtual ~Worker() = default;
	/// Until it is told to stop and has nothing to do any more. Exit code of the process.
	int run();

protected:
	virtual bool turn() = 0; ///< true: something was done
	virtual bool finished() const = 0;

	void submit(RequestRef request, PortNo to) { send({std::move(request), Kind::Submit, to, 0}); }
	void forward(RequestRef request, PortNo to) { send({std::move(request), Kind::Forward, to, 0}); }
	void respond(RequestRef request, int32_t status) { send({std::move(request), Kind::Respond, 0, status}); }
	bool outboxEmpty() const { return m_outbox.empty(); }
	Port &port() { return *m_port; }
	uint32_t below(uint32_t bound) { return uint32_t(m_random() % bound); }

	Ledger &m_ledger;
	Role m_role;

private:
	enum class Kind : uint8_t { Submit, Forward, Respond };
	struct Outgoing {
		RequestRef request;
		Kind kind;
		PortNo to;
		int32_t status;
	};
	void send(Outgoing out);
	bool trySend(Outgoing &out);
	void sleep();

	std::mt19937_64 m_random;
	Waiter m_waiter;
	BufferPool m_buffers;
	std::unique_ptr<Port> m_port;
	std::deque<Outgoing> m_outbox;
};

std::unique_ptr<Worker> makeClient(const Segment &, const BellFds &, Ledger &, Role, uint64_t seed);
std::unique_ptr<Worker> makeComposer(const Segment &, const BellFds &, Ledger &, uint64_t seed);
std::unique_ptr<Worker> makeBlocker(const Segment &, const BellFds &, Ledger &, uint64_t seed);

} // namespace xseg::test
