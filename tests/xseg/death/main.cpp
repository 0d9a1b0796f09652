// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Runs the scenarios of death: a client -> composer -> blocker chain of processes with real buffers, whose members are killed
// at any store into the segment, or from outside at any moment. Demanded of each scenario: answers keep coming, each request
// is answered once, acknowledged data is there and nothing old overwrites it, and in the end the segment is empty. In the last
// one nobody is killed, but one more process writes random words into the segment: requests get lost, and nothing else.
//
//   xseg_death [--control | SCENARIO]   ARCHIPELAGO_SOAK=1: 100 000 deaths over all scenarios, else a twentieth (and at most 4 s each).
//                               ARCHIPELAGO_SEED=N repeats the random choices (not the interleaving).
//   SCENARIO                    only those whose names contain it
//   --control                   this program was built with a ring that must not hold: exit 0 if a scenario shows it
#include "tests/xseg/death/household.h"

#include <csignal>
#include <cstdlib>
#include <string_view>

using namespace xseg::test;

namespace {

constexpr uint32_t kClientsOnly = 1u << kClientA | 1u << kClientB, kEverybody = (1u << kRoles) - 1;

constexpr Scenario kScenarios[] = {
	{.name = "everybody, at any store", .victims = kEverybody},
	{.name = "everybody, from outside", .victims = kEverybody, .killer = Killer::FromOutside},
	{.name = "clients only", .victims = kClientsOnly},
	{.name = "composer only", .victims = 1u << kComposer},
	{.name = "blocker only", .victims = 1u << kBlocker},
	{.name = "supervisor dies half-way", .victims = kEverybody, .supervisor = Supervisor::DiesHalfWay},
	{.name = "recovered twice", .victims = kEverybody, .supervisor = Supervisor::RecoversTwice},
	{.name = "somebody scribbles", .victims = 0, .killer = Killer::Nobody},
};

uint64_t seedOf(const char *text) { return text ? std::strtoull(text, nullptr, 10) : std::random_device()(); }

} // namespace

int main(int argc, char **argv)
{
	const bool control = argc > 1 && std::string_view(argv[1]) == "--control";
	const bool soak = std::getenv("ARCHIPELAGO_SOAK") != nullptr;
	const uint64_t all = soak && !control ? 100'000 : 5'000;
	const Limits limits{.deaths = all / (std::size(kScenarios) - 1) + 1, .seconds = control ? 2.0 : soak ? 600.0 : 4.0, .hungSeconds = control ? 3.0 : 20.0};
	const uint64_t seed = seedOf(std::getenv("ARCHIPELAGO_SEED"));
	std::printf("seed %llu\n", static_cast<unsigned long long>(seed));

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, nullptr);

	uint64_t deaths = 0, supervisorDeaths = 0, answers = 0;
	unsigned failed = 0;
	const std::string_view only = argc > 1 && !control ? argv[1] : "";
	for (const Scenario &scenario : kScenarios) {
		if (std::string_view(scenario.name).find(only) == std::string_view::npos) continue;
		Outcome outcome = Household(scenario, limits, seed + deaths).run();
		// A segment in which somebody has scribbled is soon past all use: another one, and so on.
		const unsigned segments = scenario.killer != Killer::Nobody ? 1 : soak ? 400 : 10;
		for (unsigned i = 1; i < segments && outcome.wrong.empty(); ++i) {
			const Outcome more = Household(scenario, limits, seed + i).run();
			outcome.wrong = more.wrong;
			outcome.answers += more.answers;
			outcome.seconds += more.seconds;
		}
		std::printf("%s %-25s %6llu deaths, %5llu of the supervisor, %8llu answers (%llu OWNERDEAD), %.1f s%s%s\n",
		            outcome.wrong.empty() ? "ok  " : "FAIL", scenario.name, static_cast<unsigned long long>(outcome.deaths),
		            static_cast<unsigned long long>(outcome.supervisorDeaths), static_cast<unsigned long long>(outcome.answers),
		            static_cast<unsigned long long>(outcome.ownerDead), outcome.seconds, outcome.wrong.empty() ? "" : ": ",
		            outcome.wrong.c_str());
		std::fflush(stdout);
		failed += !outcome.wrong.empty();
		deaths += outcome.deaths;
		supervisorDeaths += outcome.supervisorDeaths;
		answers += outcome.answers;
		if (control && failed != 0) break; // shown
	}
	std::printf("%llu deaths, %llu of the supervisor, %llu answers, %u scenarios failed\n", static_cast<unsigned long long>(deaths),
	            static_cast<unsigned long long>(supervisorDeaths), static_cast<unsigned long long>(answers), failed);
	if (!control) return failed == 0 ? 0 : 1;
	std::printf(failed != 0 ? "a control: it does not hold, as it must not\n" : "a control, and nothing has failed: the test sees nothing\n");
	return failed != 0 ? 0 : 1;
}
