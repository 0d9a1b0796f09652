// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Household: the processes of one scenario and their supervisor. It starts the roles, sees them die, fences and releases the
// dead, starts successors; and in the end demands that everything came to an end and nothing is left in the segment.
#pragma once

#include "tests/xseg/death/roles.h"

#include <array>
#include <chrono>
#include <string>

namespace xseg::test {

enum class Killer {
	CrashPoint,
	FromOutside,
	Nobody, ///< but a fifth process writes random words all over the segment
};
enum class Supervisor { Plain, DiesHalfWay, RecoversTwice };

struct Scenario {
	const char *name;
	uint32_t victims; ///< bits of Role
	Killer killer = Killer::CrashPoint;
	Supervisor supervisor = Supervisor::Plain;
};

struct Outcome {
	std::string wrong; ///< empty: all is well
	uint64_t deaths = 0, supervisorDeaths = 0, answers = 0, ownerDead = 0;
	double seconds = 0;
};

struct Limits {
	uint64_t deaths;
	double seconds;     ///< of killing
	double hungSeconds; ///< without any answer, or without an end
};

class Household {
public:
	Household(const Scenario &scenario, const Limits &limits, uint64_t seed);
	~Household();
	Outcome run();

private:
	using Clock = std::chrono::steady_clock;
	struct Process {
		pid_t pid = 0;
		bool ended = false; ///< orderly
	};

	bool isVictim(Role role) const { return m_killing && (m_scenario.victims >> role & 1) != 0; }
	uint32_t below(uint32_t bound) { return uint32_t(m_random() % bound); }
	void start(Role role);
	[[noreturn]] void beRole(Role role, uint64_t seed, long crashAfter);
	void killSomebody();
	[[noreturn]] void scribble(uint64_t seed);
	void liveBesideAScribbler();
	bool everybodyTurns() const;
	void waitABit();
	void lookForTheDead();
	void died(Role role, int status);
	void recover();
	bool recoverOne(const ProcessId &dead);
	void recoverInProcessThatMayDie(const ProcessId &dead);
	bool allEnded(uint32_t roles) const;
	bool until(bool (Household::*done)() const, const char *what);
	bool clientsEnded() const { return allEnded(1u << kClientA | 1u << kClientB); }
	bool everybodyEnded() const { return allEnded((1u << kRoles) - 1); }
	void checkThatNothingIsBroken();
	void checkWhatIsLeft();
	void wrong(std::string what);

	Scenario m_scenario;
	Limits m_limits;
	std::mt19937_64 m_random;
	Segment m_segment;
	BellFds m_bells;
	Ledger *m_ledger;
	Recovery m_recovery;
	std::array<Process, kRoles> m_processes;
	std::vector<std::pair<Role, ProcessId>> m_dead; ///< not recovered yet
	bool m_killing = true;
	std::array<uint64_t, kRoles> m_turnsBefore{};
	Outcome m_outcome;
};

} // namespace xseg::test
