// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Port under ptrace: a child process runs submit(), accept(), respond() or receive() one instruction at a time, and is
// killed, or deserted by the port it talks to, at each point that makes a difference. Then the others must get along:
// every request is somewhere exactly once, and the rings have no hole.
//
// Which points make a difference is recorded in a first run: those where the child has just changed shared memory. To
// be killed anywhere between two such changes is the same for everybody else. What the child *reads* in between matters
// when others act meanwhile: there each stretch is cut into kCuts pieces, its last instruction always among them.
#include "tests/xseg/segment_fixture.h"

#include "xseg/src/state_word.h"

#include <sys/ptrace.h>

#include <csignal>
#include <functional>
#include <string_view>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr PortNo kClient = 1, kServer = 2, kBystander = 3;
constexpr unsigned kCuts = 4;

/// A child with one port. It prepares freely, stops, and then runs its action step by step, up to the next stop.
class SteppedChild {
public:
	using Action = std::function<void()>;

	/// `prepare` returns the action. What the action does after endOfSteps() runs freely again, in finish().
	SteppedChild(const TestSegment &t, PortNo number, const std::function<Action(Port &)> &prepare)
	{
		m_pid = inChild(t, [&](const Segment &segment, const BellFds &bells) {
			Peer peer(segment, bells, number);
			const Action action = prepare(*peer.port);
			if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(kNoPtrace);
			raise(SIGSTOP);
			action();
			_exit(0);
		});
		wait();
		if (!m_ended) ptrace(PTRACE_SETOPTIONS, m_pid, nullptr, PTRACE_O_EXITKILL);
	}
	~SteppedChild() { kill(); }

	static void endOfSteps() { raise(SIGSTOP); }

	/// One instruction. False when the action was over.
	bool step()
	{
		if (m_over) return false;
		ptrace(PTRACE_SINGLESTEP, m_pid, nullptr, nullptr);
		wait();
		return !m_over;
	}
	/// Lets it run to its end; its exit code, or minus a signal.
	int finish()
	{
		while (!m_ended) {
			ptrace(PTRACE_CONT, m_pid, nullptr, nullptr);
			wait();
		}
		return m_code;
	}
	void kill()
	{
		if (m_ended) return;
		::kill(m_pid, SIGKILL);
		m_code = outcomeOf(m_pid);
		m_ended = m_over = true;
	}
	bool ptraceIsForbidden() const { return m_ended && m_code == kNoPtrace; }

private:
	static constexpr int kNoPtrace = 97;

	void wait()
	{
		int status = 0;
		if (waitpid(m_pid, &status, 0) != m_pid) std::abort();
		m_ended = WIFEXITED(status) || WIFSIGNALED(status);
		if (m_ended) m_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
		// The first SIGSTOP is where the steps begin, the second where they end.
		m_over = m_ended || (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP && ++m_stops == 2);
	}

	pid_t m_pid = -1;
	int m_code = 0, m_stops = 0;
	bool m_ended = false, m_over = false;
};

/// One situation, from scratch each time.
struct Scene {
	virtual ~Scene() = default;
	virtual SteppedChild &child() = 0;
	/// What happens at the chosen point, and whether the others get along afterwards; empty: they do.
	virtual std::string interrupt(bool atTheEnd) = 0;

	TestSegment t = makeSegment();
};

size_t tablesHash(const TestSegment &t)
{
	const Geometry &g = t.segment.geometry();
	const auto *base = reinterpret_cast<const char *>(t.segment.data().data() - g.offData);
	const auto hash = [&](uint64_t from, uint64_t bytes) {
		return std::hash<std::string_view>()({base + from, bytes});
	};
	return hash(g.offPorts, 4 * sizeof(xs_port)) * 31 + hash(g.offWaiters, sizeof(xs_waiter)) * 37 +
	       hash(g.offRings, 8 * Segment::ringBytes(g)) * 41 + hash(g.offRequests, 8 * sizeof(xs_req)) * 43;
}

enum class Cut { AfterEachWrite, WithinStretches };

/// The points to interrupt at, as numbers of instructions; the last is the end of the action.
template <typename S> std::vector<unsigned> pointsOf(Cut cut)
{
	S scene;
	std::vector<unsigned> writes{0};
	unsigned steps = 0;
	for (size_t before = tablesHash(scene.t); scene.child().step();) {
		++steps;
		const size_t now = tablesHash(scene.t);
		if (std::exchange(before, now) != now) writes.push_back(steps);
	}
	std::vector<unsigned> points;
	for (size_t i = 0; i < writes.size(); ++i) {
		const unsigned begin = writes[i], end = i + 1 < writes.size() ? writes[i + 1] : steps;
		points.push_back(begin);
		for (unsigned j = 1; cut == Cut::WithinStretches && j < kCuts; ++j)
			points.push_back(begin + (end - begin) * j / kCuts);
		if (cut == Cut::WithinStretches && end > begin) points.push_back(end - 1);
	}
	points.push_back(steps);
	points.erase(std::unique(points.begin(), points.end()), points.end());
	return points;
}

/// Interrupts a scene at each of its points. Empty when all went well, else what went wrong where.
template <typename S> std::string interruptEverywhere(Cut cut)
{
	const auto points = pointsOf<S>(cut);
	for (const unsigned point : points) {
		S scene;
		unsigned steps = 0;
		while (steps < point && scene.child().step()) ++steps;
		const std::string wrong = scene.interrupt(point == points.back());
		if (!wrong.empty())
			return "after " + std::to_string(steps) + " of " + std::to_string(points.back()) +
			       " instructions: " + wrong;
	}
	qInfo("%zu points in %u instructions", points.size(), points.back());
	return points.size() > 2 ? std::string() : "the action did nothing to shared memory";
}

/// Ten requests of a bystander go through the server's ring and back, in order. Returns how many others came along with
/// them, or -1 when anything went wrong.
int trafficBesides(const TestSegment &t, Port &server)
{
	Peer bystander(t, kBystander);
	for (uint64_t i = 0; i < 10; ++i) {
		RequestRef request = bystander->get();
		request->offset = i;
		if (!bystander->submit(request, kServer)) return -1;
	}
	int came = 0;
	uint64_t next = 0, back = 0;
	while (RequestRef request = server.accept()) {
		if (request->home != kBystander)
			++came;
		else if (request->offset != next++)
			return -1;
		if (!server.respond(request, 0)) return -1;
	}
	while (RequestRef reply = bystander->receive()) {
		if (reply->offset != back++) return -1;
	}
	return next == 10 && back == 10 ? came : -1;
}

// ---- the scenes

SteppedChild::Action getAndSubmit(Port &port)
{
	return [&port] {
		RequestRef request = port.get();
		if (!port.submit(request, kServer)) _exit(1);
		SteppedChild::endOfSteps();
	};
}

struct SubmitterIsKilled : Scene {
	Peer server{t, kServer};
	SteppedChild submitter{t, kClient, getAndSubmit};
	SteppedChild &child() override { return submitter; }
	std::string interrupt(bool atTheEnd) override
	{
		submitter.kill();
		supervisorFrees(t, kClient);
		const StateWord word = RequestState(t.segment.request(0)).load();
		const int came = trafficBesides(t, *server.port);
		if (came < 0 || came > 1) return "the ring is damaged";
		if (came == 1 && word.state != XS_SENDING) return "it came although it was not sent";
		if (came == 0 && atTheEnd) return "it was sent and did not come";
		return {}; // SENDING and not in the ring: what recovery pushes again
	}
};

SteppedChild::Action submitThenReceive(Port &port)
{
	return [&port, request = std::make_shared<RequestRef>(port.get())] {
		const bool sent = port.submit(*request, kServer);
		SteppedChild::endOfSteps();
		if (!sent) _exit(*request && port.lastError() == ENOTCONN && port.inflight() == 0 ? 0 : 1);
		const RequestRef reply = port.receive(); // who left has failed it back by now
		_exit(reply && reply->status == -ECANCELED ? 0 : 2);
	};
}

struct ReceiverLeavesDuringSubmit : Scene {
	Peer server{t, kServer};
	SteppedChild submitter{t, kClient, submitThenReceive};
	SteppedChild &child() override { return submitter; }
	std::string interrupt(bool) override
	{
		server.port.reset();
		const int result = submitter.finish();
		if (result == 1) return "submit() failed, but not as it should";
		return result == 0 ? "" : "sent to somebody who had left, and nobody says so";
	}
};

SteppedChild::Action acceptOne(Port &port)
{
	return [&port] {
		const RequestRef request = port.accept();
		if (!request) _exit(1);
		SteppedChild::endOfSteps();
	};
}

struct AcceptorIsKilled : Scene {
	static constexpr size_t kSent = 3;
	Peer client{t, kClient};
	SteppedChild acceptor{t, kServer, acceptOne};
	std::vector<RequestIndex> sent;
	AcceptorIsKilled()
	{
		for (size_t i = 0; i < kSent; ++i) {
			RequestRef request = client->get();
			sent.push_back(request.index());
			client->submit(request, kServer);
		}
	}
	SteppedChild &child() override { return acceptor; }
	std::string interrupt(bool atTheEnd) override
	{
		acceptor.kill();
		supervisorFrees(t, kServer);
		const bool taken = RequestState(t.segment.request(sent[0])).ownedBy(kServer);
		if (atTheEnd && !taken) return "accept() gave what it did not own";
		Peer successor(t, kServer);
		for (size_t i = taken ? 1 : 0; i < kSent; ++i) {
			const RequestRef request = successor->accept();
			if (!request || request.index() != sent[i]) return "the successor misses one";
		}
		if (successor->accept()) return "one came twice";
		return trafficBesides(t, *successor.port) == 0 ? "" : "the ring is damaged";
	}
};

SteppedChild::Action acceptAndRespond(Port &port)
{
	return [&port] {
		RequestRef request = port.accept();
		if (!request || !port.respond(request, -7)) _exit(1);
		SteppedChild::endOfSteps();
	};
}

/// A server that accepts the client's request and answers it.
struct Responding : Scene {
	std::unique_ptr<Peer> client = std::make_unique<Peer>(t, kClient);
	RequestIndex index = 0;
	SteppedChild responder{t, kServer, acceptAndRespond};
	Responding()
	{
		RequestRef request = (*client)->get();
		index = request.index();
		(*client)->submit(request, kServer);
	}
	SteppedChild &child() override { return responder; }
};

struct ResponderIsKilled : Responding {
	std::string interrupt(bool atTheEnd) override
	{
		responder.kill();
		supervisorFrees(t, kServer);
		const StateWord word = RequestState(t.segment.request(index)).load();
		const uint16_t pathLength = t.segment.request(index).npath;
		RequestRef reply = (*client)->receive();
		if (reply && (reply->status != -7 || reply->npath != 0)) return "a reply that is none";
		if (reply && (word.state != XS_SENDING || word.to != kClient)) return "a reply that was not sent";
		if (!reply && atTheEnd) return "answered, and no reply";
		// Whatever had been done of it, its path must still lead to the client: that is how recovery finds it.
		if (!reply && pathLength != 1) return "the path of an unanswered request no longer names the client";
		Peer successor(t, kServer);
		const bool stillQueued = word.state == XS_SENDING && word.to == kServer;
		if (successor->accept().operator bool() != stillQueued) return "the request ring has it twice or not at all";
		return trafficBesides(t, *successor.port) == 0 ? "" : "the ring is damaged";
	}
};

struct HomeLeavesDuringRespond : Responding {
	std::string interrupt(bool) override
	{
		client.reset();
		if (responder.finish() != 0) return "respond() failed";
		Peer successor(t, kClient); // finds what came too late
		if (successor->receive()) return "the successor got somebody else's reply";
		return requestsInUse(t.segment) == 0 ? "" : "a request has leaked";
	}
};

SteppedChild::Action receiveOne(Port &port)
{
	for (int i = 0; i < 3; ++i) {
		RequestRef request = port.get();
		port.submit(request, kServer);
	}
	return [&port] {
		const RequestRef reply = port.receive();
		if (!reply) _exit(1);
		SteppedChild::endOfSteps();
	};
}

struct ReceiverOfRepliesIsKilled : Scene {
	Peer server{t, kServer};
	SteppedChild receiver{t, kClient, receiveOne};
	ReceiverOfRepliesIsKilled()
	{
		while (RequestRef request = server->accept()) server->respond(request, 0);
	}
	SteppedChild &child() override { return receiver; }
	std::string interrupt(bool atTheEnd) override
	{
		receiver.kill();
		supervisorFrees(t, kClient);
		const bool taken = RequestState(t.segment.request(0)).ownedBy(kClient);
		if (atTheEnd && !taken) return "receive() gave what it did not own";
		Peer successor(t, kClient);
		if (successor->receive()) return "the successor got a reply to what it never asked";
		return requestsInUse(t.segment) == (taken ? 1u : 0u) ? "" : "a request is neither freed nor with the dead";
	}
};

} // namespace

class PortStepsTest : public QObject {
	Q_OBJECT

	static void expectGood(const std::string &wrong) { QVERIFY2(wrong.empty(), wrong.c_str()); }

private slots:
	void initTestCase();
	void submitterIsKilled() { expectGood(interruptEverywhere<SubmitterIsKilled>(Cut::AfterEachWrite)); }
	void acceptorIsKilled() { expectGood(interruptEverywhere<AcceptorIsKilled>(Cut::AfterEachWrite)); }
	void responderIsKilled() { expectGood(interruptEverywhere<ResponderIsKilled>(Cut::AfterEachWrite)); }
	void receiverOfRepliesIsKilled()
	{
		expectGood(interruptEverywhere<ReceiverOfRepliesIsKilled>(Cut::AfterEachWrite));
	}
	void receiverLeavesDuringSubmit()
	{
		expectGood(interruptEverywhere<ReceiverLeavesDuringSubmit>(Cut::WithinStretches));
	}
	void homeLeavesDuringRespond() { expectGood(interruptEverywhere<HomeLeavesDuringRespond>(Cut::WithinStretches)); }
};

void PortStepsTest::initTestCase()
{
	const auto t = makeSegment();
	const SteppedChild child(t, kClient, [](Port &) { return [] {}; });
	if (child.ptraceIsForbidden()) QSKIP("ptrace is not allowed here");
}

QTEST_GUILESS_MAIN(PortStepsTest)
#include "port_steps_test.moc"
