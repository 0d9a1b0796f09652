// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// No alive lock here: these processes have no direct I/O that could outlive them (tests/xseg/alive_barrier.cpp is about that).
#include "tests/xseg/death/household.h"

#include "tests/xseg/death/crash_point.h"

#include "xseg/src/port_word.h"
#include "xseg/src/state_word.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <ctime>

namespace xseg::test {
namespace {

constexpr uint32_t kMostStores = 700; ///< a life under crash points ends after at most so many stores

/// Small, so that rings and tables come round often.
constexpr SegmentConfig kConfig{.ports = 64, .waiters = 4, .requests = 512, .ringSlotsLog2 = 5, .sizeBytes = 12u << 20};

template <typename T> T orDie(Result<T> result)
{
	if (!result) {
		std::fprintf(stderr, "no segment for the test: %s\n", result.error().what.c_str());
		std::abort();
	}
	return std::move(*result);
}

Ledger *makeLedger()
{
	void *memory = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) std::abort();
	return new (memory) Ledger;
}

double since(std::chrono::steady_clock::time_point when)
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now() - when).count();
}

} // namespace

Household::Household(const Scenario &scenario, const Limits &limits, uint64_t seed)
	: m_scenario(scenario),
	  m_limits(limits),
	  m_random(seed),
	  m_segment(orDie(Segment::create(kConfig))),
	  m_bells(orDie(createBells(kConfig.waiters))),
	  m_ledger(makeLedger()),
	  m_recovery(m_segment, m_bells, {.policy = policy})
{}

Household::~Household()
{
	for (const Process &process : m_processes) {
		if (process.pid == 0) continue;
		kill(process.pid, SIGKILL);
		waitpid(process.pid, nullptr, 0);
	}
	munmap(m_ledger, sizeof *m_ledger);
}

void Household::wrong(std::string what)
{
	if (m_outcome.wrong.empty()) m_outcome.wrong = std::move(what);
}

Outcome Household::run()
{
	const auto began = Clock::now();
	for (const Role role : {kBlocker, kComposer, kClientA, kClientB}) start(role);
	if (m_scenario.killer == Killer::Nobody) {
		liveBesideAScribbler();
		m_outcome.answers = m_ledger->answers;
		m_outcome.seconds = since(began);
		return m_outcome;
	}
	uint64_t answers = 0;
	auto lastAnswer = Clock::now();
	while (m_outcome.wrong.empty() && m_outcome.deaths < m_limits.deaths && since(began) < m_limits.seconds) {
		if (m_scenario.killer == Killer::FromOutside) killSomebody();
		waitABit();
		lookForTheDead();
		recover();
		checkThatNothingIsBroken();
		if (std::exchange(answers, m_ledger->answers) != m_ledger->answers) lastAnswer = Clock::now();
		if (since(lastAnswer) > m_limits.hungSeconds) wrong("no answer any more");
		if (m_ledger->violations != 0) wrong(m_ledger->firstViolation);
	}
	m_killing = false;
	m_ledger->clientsStop = true;
	if (m_outcome.wrong.empty() && until(&Household::clientsEnded, "the clients do not come to an end")) {
		m_ledger->serversStop = true;
		if (until(&Household::everybodyEnded, "composer and blocker do not come to an end")) checkWhatIsLeft();
	}
	m_outcome.answers = m_ledger->answers;
	m_outcome.ownerDead = m_ledger->ownerDead;
	m_outcome.seconds = since(began);
	return m_outcome;
}

bool Household::until(bool (Household::*done)() const, const char *what)
{
	const auto began = Clock::now();
	while (!(this->*done)() && m_outcome.wrong.empty()) {
		waitABit();
		lookForTheDead();
		recover();
		if (m_ledger->violations != 0) wrong(m_ledger->firstViolation);
		if (since(began) > m_limits.hungSeconds) {
			std::string text = what;
			for (const Finding &finding : verify(m_segment)) text += "; " + finding.text;
			wrong(text);
		}
	}
	return m_outcome.wrong.empty();
}

bool Household::allEnded(uint32_t roles) const
{
	for (uint32_t role = 0; role < kRoles; ++role) {
		if ((roles >> role & 1) != 0 && !m_processes[role].ended) return false;
	}
	return true;
}

// ---- the living

void Household::start(Role role)
{
	const uint64_t seed = m_random();
	const long crashAfter = isVictim(role) && m_scenario.killer == Killer::CrashPoint ? 1 + below(kMostStores) : 0;
	const pid_t child = fork();
	if (child == 0) beRole(role, seed, crashAfter);
	m_processes[role].pid = child;
}

void Household::beRole(Role role, uint64_t seed, long crashAfter)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, nullptr);
	auto segment = Segment::attach(UniqueFd(fcntl(m_segment.fd(), F_DUPFD_CLOEXEC, 0)));
	if (!segment) _exit(2);
	dieAfter(crashAfter);
	std::unique_ptr<Worker> worker;
	if (role == kBlocker)
		worker = makeBlocker(*segment, m_bells, *m_ledger, seed);
	else if (role == kComposer)
		worker = makeComposer(*segment, m_bells, *m_ledger, seed);
	else
		worker = makeClient(*segment, m_bells, *m_ledger, role, seed);
	const int code = worker->run();
	worker.reset();
	_exit(code);
}

void Household::killSomebody()
{
	const auto role = Role(below(kRoles));
	if (isVictim(role) && m_processes[role].pid != 0) kill(m_processes[role].pid, SIGKILL);
}

/// Until somebody died, or a moment.
void Household::waitABit()
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	const timespec moment{.tv_sec = 0, .tv_nsec = long(50'000 + below(2'000'000))};
	sigtimedwait(&set, nullptr, &moment);
}

// ---- the dead

void Household::lookForTheDead()
{
	for (uint32_t role = 0; role < kRoles; ++role) {
		int status = 0;
		if (m_processes[role].pid != 0 && waitpid(m_processes[role].pid, &status, WNOHANG) == m_processes[role].pid)
			died(Role(role), status);
	}
}

void Household::died(Role role, int status)
{
	const auto pid = uint32_t(std::exchange(m_processes[role].pid, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		m_processes[role].ended = true;
		return;
	}
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return wrong("role " + std::to_string(role) + " did not die as it should: status " + std::to_string(status));
	++m_outcome.deaths;
	// The zombie is gone, so the pid tells nothing any more; the segment knows when it started.
	ProcessId dead{pid, 0};
	for (const ProcessId &owner : m_recovery.owners()) {
		if (owner.pid == pid) dead = owner;
	}
	if (m_scenario.supervisor != Supervisor::DiesHalfWay) m_recovery.fence(dead);
	m_dead.emplace_back(role, dead);
}

void Household::recover()
{
	const auto recovered = [this](const std::pair<Role, ProcessId> &dead) {
		if (!recoverOne(dead.second)) return false;
		start(dead.first);
		return true;
	};
	std::erase_if(m_dead, recovered);
}

bool Household::recoverOne(const ProcessId &dead)
{
	if (m_scenario.supervisor == Supervisor::DiesHalfWay) recoverInProcessThatMayDie(dead);
	if (!m_recovery.release(dead).complete()) return false;
	if (m_scenario.supervisor == Supervisor::RecoversTwice) {
		m_recovery.fence(dead);
		const RecoveryReport again = m_recovery.release(dead);
		if (again.ports + again.replayed + again.failed + again.freed + again.waiting != 0)
			wrong("recovered twice, and the second time there was something to do");
	}
	return true;
}

/// Once in a process that is killed somewhere; a short recovery may end before. The next one goes on.
void Household::recoverInProcessThatMayDie(const ProcessId &dead)
{
	const long crashAfter = 1 + below(20);
	const pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		auto segment = Segment::attach(UniqueFd(fcntl(m_segment.fd(), F_DUPFD_CLOEXEC, 0)));
		if (!segment) _exit(2);
		dieAfter(crashAfter);
		Recovery recovery(*segment, m_bells, {.policy = policy});
		recovery.fence(dead);
		recovery.release(dead);
		_exit(0);
	}
	int status = 0;
	waitpid(child, &status, 0);
	m_outcome.supervisorDeaths += WIFSIGNALED(status);
}

// ---- the end

/// Whoever dies when: verify() beside all of this may see what is held, never what none of our code writes.
void Household::checkThatNothingIsBroken()
{
	for (const Finding &finding : verify(m_segment)) {
		if (finding.kind == Finding::Kind::Broken) wrong("broken: " + finding.text);
	}
}

void Household::checkWhatIsLeft()
{
	std::string left;
	for (const Finding &finding : verify(m_segment)) left += finding.text + "; ";
	const Geometry &geometry = m_segment.geometry();
	unsigned requests = 0, runs = 0, slabs = 0, ports = 0;
	for (RequestIndex i = 0; i < geometry.requests; ++i)
		requests += RequestState(m_segment.request(i)).load().state != XS_FREE;
	for (uint32_t i = 0; i < geometry.requests / XS_RUN_REQUESTS; ++i) runs += uint32_t(m_segment.run(i).owner) != 0;
	for (uint32_t i = 0; i < geometry.slabs; ++i) slabs += (m_segment.slab(i).owner >> 36 & 7) != XS_SLAB_FREE;
	for (uint32_t i = 0; i < geometry.ports; ++i) ports += ownerOf(m_segment, PortNo(i)) != 0;
	if (!left.empty() || requests + runs + slabs + ports != 0) {
		wrong("left over: " + std::to_string(requests) + " requests, " + std::to_string(runs) + " runs, " +
		      std::to_string(slabs) + " slabs, " + std::to_string(ports) + " ports. " + left);
	}
	for (uint32_t client = 0; client < kClients; ++client) {
		for (uint32_t slot = 0; slot < kSlots; ++slot) {
			const uint64_t value = m_ledger->slot[client][slot].acknowledged;
			for (uint32_t n = 0; n < kSlotWords; ++n) {
				if (m_ledger->disk[client * kSlots + slot][n] != Ledger::wordOf(value, n))
					return wrong("an acknowledged write is not on the disk");
			}
		}
	}
}

} // namespace xseg::test
