// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// vlmc: volumes. The table of its verbs; everything else about the program follows from it (cli/command.h). The seed's verbs
// come first, in its order; those that are not built yet have a row without a function, so that they are named and not
// guessed at.
#include "cli/vlmc/commands.h"

#include <array>

namespace archipelago::cli {

namespace {

/// A step that ROADMAP.md does not name yet.
constexpr auto kLater = notBuilt(0);

// -v0: how to read a map without a header, of which this format has none. Accepted, so that old scripts go on.
constexpr Option kAssumeV0{.name = "--assume_v0"};
constexpr Option kV0Size{.name = "--v0_size", .value = "BYTES"};

constexpr std::array kCreateOptions{
	Option{.name = "--size",
	       .letter = "-s",
	       .value = "SIZE",
	       .help = "how large; a bare number is MiB, else 512B, 10M, 1.5GiB, 2T, 10GB"},
	Option{.name = "--snap", .value = "SNAPSHOT", .help = "from this snapshot", .built = notBuilt(4)},
	Option{.name = "--from", .value = "VOLUME", .help = "from a volume", .built = notBuilt(4)},
	Option{.name = "--map", .help = "and map it", .built = notBuilt(4)},
	Option{.name = "--protect", .help = "and protect it", .built = kLater},
	Option{.name = "--backend", .value = "NAME", .help = "in this backend", .built = kLater},
	Option{.name = "--pool", .letter = "-p", .value = "POOL"},
	kAssumeV0,
	kV0Size,
};
constexpr std::array kOldOptions{kAssumeV0, kV0Size};

constexpr std::array<std::string_view, 3> kCreateExamples{"vlmc create db --size 10G",
	                                                      "vlmc create db -s 512      (a bare number is MiB)",
	                                                      "vlmc create \"my disk\" --size 1.5T --json"};
constexpr std::array<std::string_view, 3> kInfoExamples{"vlmc info db", "vlmc info db --json",
	                                                    "vlmc info db | sed -n 's/^nbd\\t//p'"};
constexpr std::array<std::string_view, 3> kListExamples{"vlmc list", "vlmc list 'web-*'",
	                                                    "vlmc list --json | jq -r '.items[].name'"};
constexpr std::array<std::string_view, 3> kRemoveExamples{"vlmc remove db", "vlmc rm -y web-01 web-02",
	                                                      "vlmc rm -- -odd-name"};
constexpr std::array<std::string_view, 1> kOpenExamples{"vlmc open db"};
constexpr std::array<std::string_view, 1> kCloseExamples{"vlmc close db"};

constexpr Operands kOneName{"NAME", 1, 1};
/// What is said of one volume, and was so in the original.
constexpr Command ofOneVolume(Command command)
{
	command.usage = "NAME";
	command.operands = kOneName;
	command.options = kOldOptions;
	return command;
}
constexpr std::array kStatOptions{
	Option{.name = "--watch", .letter = "-w", .help = "rates, each interval, until Ctrl-C"},
	Option{.name = "--interval", .value = "SECONDS", .help = "between two lines: 0.1 to 3600, 1 unless given; watches"},
	Option{.name = "--count", .value = "N", .help = "so many intervals; watches"},
};
constexpr std::array<std::string_view, 4> kStatExamples{"vlmc stat", "vlmc stat db --json", "vlmc stat db 1",
	                                                    "vlmc stat --watch --interval 5 --json | tee io.jsonl"};

constexpr std::array kCommands{
	planned("showmapped", 4),
	planned("map", 4),
	planned("unmap", 4),
	Command{.name = "create",
	        .help = "make a blank thin volume",
	        .usage = "NAME --size SIZE",
	        .operands = kOneName,
	        .options = kCreateOptions,
	        .examples = kCreateExamples,
	        .notes = "Takes no space until it is written to. Names: 1 to 82 bytes of UTF-8 without '/' and control "
	                 "characters.",
	        .changes = true,
	        .run = runCreate},
	planned("snapshot", 4),
	Command{.name = "remove",
	        .alias = "rm",
	        .help = "move volumes to the trash",
	        .usage = "NAME...",
	        .operands = {"NAME", 1, kMany},
	        .options = kOldOptions,
	        .examples = kRemoveExamples,
	        .notes = "Asks on a terminal (not with -y, --no-input or ARCHIPELAGO_CONFIRM=never). Looks all names up "
	                 "before it\n"
	                 "removes the first. Refused while a volume is open. Nothing is deleted from the store.",
	        .changes = true,
	        .run = runRemove},
	ofOneVolume({.name = "info",
	             .help = "show one: size, state, holders, NBD address",
	             .examples = kInfoExamples,
	             .notes = "In a pipe the first line is \"Volume NAME: size: BYTES\", then one \"key<TAB>value\" a line.",
	             .run = runInfo}),
	ofOneVolume({.name = "open",
	             .help = "open for use on this node, until closed",
	             .examples = kOpenExamples,
	             .notes = "Succeeds when it is open already. On a system bus NBD offers only open volumes.",
	             .changes = true,
	             .run = runOpen}),
	ofOneVolume({.name = "close",
	             .help = "end an open",
	             .examples = kCloseExamples,
	             .notes = "Refused while clients use the volume, and when it is not open.",
	             .changes = true,
	             .run = runClose}),
	planned("lock", 5),
	planned("unlock", 5),
	Command{.name = "list",
	        .alias = "ls",
	        .help = "show all, or those that match",
	        .usage = "[GLOB]",
	        .operands = {"GLOB", 0, 1},
	        .examples = kListExamples,
	        .notes = "On a terminal a table; in a pipe tabs, sizes in bytes, times in UTC. -q prints the names alone.",
	        .run = runList},
	planned("rename", 4),
	planned("resize", 4),
	planned("rollback", 4),
	planned("restore", 4),
	planned("purge", 5),
	planned("trash"),
	planned("gc", 5),
	planned("du"),
	planned("lineage"),
	planned("protect"),
	planned("unprotect"),
	planned("verify"),
	planned("hash", 5),
	planned("export", 8),
	planned("import", 8),
	planned("diff"),
	planned("send", 8),
	planned("receive", 8),
	planned("copy"),
	planned("move"),
	Command{.name = "stat",
	        .help = "what clients do: operations, bytes, latencies",
	        .usage = "[NAME...] [SECONDS]",
	        .operands = {"NAME", 0, kMany},
	        .options = kStatOptions,
	        .examples = kStatExamples,
	        .notes = "Counted since the peers were started; a restart of a role does not lose them. A number behind the names "
	                 "is an\ninterval: then rates, a line for each volume and interval. Latencies are those clients see; "
	                 "off by 12.5 % at most.\nIn a pipe bytes, nanoseconds and full rates.",
	        .run = runStat},
	planned("jobs"),
	planned("job"),
};

constexpr std::array<std::string_view, 3> kExamples{"vlmc create db --size 10G", "vlmc info db", "vlmc list --json"};

} // namespace

} // namespace archipelago::cli

int main(int argc, char **argv)
{
	using namespace archipelago::cli;
	const Program program{.name = "vlmc",
	                      .tagline = "thin volumes",
	                      .commands = kCommands,
	                      .globals = commonOptions(),
	                      .examples = kExamples};
	return runProgram(program, argc, argv);
}
