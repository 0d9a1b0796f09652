// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago: the instance. The table of its verbs; everything else about the program follows from it (cli/command.h).
#include "cli/archipelago/commands.h"

#include <array>

namespace archipelago::cli {

namespace {

constexpr std::array kStartOptions{
	Option{.name = "--create-dirs", .help = "make the directories of the stores that are missing"},
	Option{.name = "--ok", .help = "a role that runs already is no error"},
};
// The original's later releases paused or unmapped devices; there are none before they are built.
constexpr std::array kStopOptions{
	Option{.name = "--force", .letter = "-f", .help = "also while clients use volumes: they see I/O errors"},
	Option{.name = "--pause", .built = notBuilt(4)},
	Option{.name = "--unmap", .built = notBuilt(4)},
};

constexpr std::array<std::string_view, 3> kStartExamples{"archipelago start", "archipelago start --create-dirs",
	                                                     "archipelago start --ok mapperd"};
constexpr std::array<std::string_view, 2> kStopExamples{"archipelago stop", "archipelago stop -f"};
constexpr std::array<std::string_view, 2> kRestartExamples{"archipelago restart", "archipelago restart mapperd"};
constexpr std::array<std::string_view, 3> kStatusExamples{"archipelago status", "archipelago status mapperd",
	                                                      "archipelago status --json | jq -r .verdict"};
constexpr std::array<std::string_view, 3> kCheckExamples{
	"archipelago check-config", "archipelago check-config ./new.conf", "archipelago check-config - < new.conf"};
constexpr std::array<std::string_view, 2> kExplainExamples{"archipelago explain E-LOCKED", "archipelago explain"};

constexpr std::array kTopOptions{
	Option{.name = "--interval", .value = "SECONDS", .help = "between two pictures: 0.1 to 3600, 1 unless given"},
	Option{.name = "--count", .value = "N", .help = "so many pictures, then end"},
	Option{.name = "--once", .help = "one picture, of one interval"},
	Option{.name = "--batch", .help = "one picture below the other, no keys"},
	Option{.name = "--sort", .value = "KEY", .help = "iops, bytes, latency, queue or name"},
};
constexpr std::array<std::string_view, 4> kTopExamples{"archipelago top", "archipelago top --sort latency",
	                                                   "archipelago top --once --json", "archipelago top --batch --interval 10 > top.log"};

constexpr Operands kOneRole{"ROLE", 0, 1};

constexpr std::array kCommands{
	Command{.name = "start",
	        .help = "start all roles, or one",
	        .usage = "[ROLE]",
	        .operands = kOneRole,
	        .options = kStartOptions,
	        .examples = kStartExamples,
	        .notes = "In the order of the configuration. What runs already stays; a role that is named and runs is an "
	                 "error.",
	        .changes = true,
	        .run = runStart},
	Command{.name = "stop",
	        .help = "stop all roles, or one",
	        .usage = "[ROLE]",
	        .operands = kOneRole,
	        .options = kStopOptions,
	        .examples = kStopExamples,
	        .notes = "In reverse order. Refused while clients use volumes.",
	        .changes = true,
	        .run = runStop},
	Command{.name = "restart",
	        .help = "stop and start",
	        .usage = "[ROLE]",
	        .operands = kOneRole,
	        .options = kStopOptions,
	        .examples = kRestartExamples,
	        .notes = "A role that shares its host process is restarted with the whole host; it says so first.",
	        .changes = true,
	        .run = runRestart},
	Command{.name = "status",
	        .help = "what runs, and what to do",
	        .usage = "[ROLE]",
	        .operands = kOneRole,
	        .examples = kStatusExamples,
	        .notes = "Exit code: 0 all up, 1 degraded, 3 stopped or unreachable. -q prints the verdict alone.",
	        .run = runStatus},
	Command{
		.name = "check-config",
		.help = "check a configuration file",
		.usage = "[FILE|-]",
		.operands = {"FILE", 0, 1},
		.examples = kCheckExamples,
		.notes = "Without FILE: -c, ARCHIPELAGO_CONFIG, /etc/archipelago/archipelago.conf. Works when nothing runs.",
		.run = runCheckConfig},
	Command{.name = "explain",
	        .help = "what an error code means",
	        .usage = "[CODE]",
	        .operands = {"CODE", 0, 1},
	        .examples = kExplainExamples,
	        .run = runExplain},
	planned("config", 8),
	planned("health", 8),
	planned("logs", 8),
	planned("log-level"),
	Command{.name = "top",
	        .help = "volumes and roles at work, live",
	        .options = kTopOptions,
	        .examples = kTopExamples,
	        .notes = "Keys: i, b, l, u, n sort by IOPS, bytes, latency, queue, name; space looks again; q quits. Without a "
	                 "terminal, or with\n--json, it prints one picture and ends, unless --batch or --count say otherwise.",
	        .run = runTop},
	planned("report", 8),
	planned("fsck", 8),
	planned("schedule", 8),
	planned("completion", 8),
};

constexpr std::array<std::string_view, 3> kExamples{"archipelago start", "archipelago status",
	                                                "archipelago explain E-BUSY"};

} // namespace

} // namespace archipelago::cli

int main(int argc, char **argv)
{
	using namespace archipelago::cli;
	const Program program{.name = "archipelago",
	                      .tagline = "start, stop and watch an instance",
	                      .commands = kCommands,
	                      .globals = archipelagoOptions(),
	                      .examples = kExamples};
	return runProgram(program, argc, argv);
}
