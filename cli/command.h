// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The tables a program is made of. `vlmc` and `archipelago` are each one Program: a list of Commands with their options,
// operands, help and examples. Parsing, help, suggestions and "not built yet" all read these tables and nothing else, so
// they cannot disagree. A verb that is planned but not built has a row without a function.
//
// A command's function gets a Context, prints its result through the Console and returns the exit code, or a Failure that
// cli/program.cpp prints by the one recipe (out/errors.h).
#pragma once

#include "daemon/base/errors.h"

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace archipelago::cli {

class Console;
class Session;

/// Whether a word of the grammar works yet. `step` is the one of the nine it comes with, 0 = a later one.
struct Built {
	bool now = true;
	int step = 0;
};
constexpr Built notBuilt(int step) { return {.now = false, .step = step}; }
/// "is not built yet (step 4/9)".
std::string notBuiltText(Built built);

struct Option {
	std::string_view name;        ///< "--size": also its key in Arguments
	std::string_view letter = {}; ///< "-s"
	std::string_view value = {};  ///< what stands for the value in help, "SIZE"; empty = a flag
	std::string_view help = {};   ///< empty = accepted, not shown: an old spelling
	Built built = {};
};

constexpr int kMany = 1'000'000;
struct Operands {
	std::string_view name = {}; ///< "NAME"
	int min = 0, max = 0;
};

/// What was typed, taken apart.
struct Arguments {
	/// By long name; a flag has one empty value each time it was given.
	std::map<std::string, std::vector<std::string>, std::less<>> options;
	std::vector<std::string> operands;

	bool has(std::string_view option) const { return options.contains(option); }
	int count(std::string_view option) const;
	/// The last one given wins.
	std::optional<std::string> value(std::string_view option) const;
	std::optional<std::string> operand(size_t index) const;
};

/// A failure and what only the command knows about it.
struct Failure {
	Failure(Error e) : error(std::move(e)) {} // NOLINT(google-explicit-constructor): a plain Error is a Failure
	Failure(Error e, std::string state, std::string next)
		: error(std::move(e)),
		  stateNow(std::move(state)),
		  tryNext(std::move(next))
	{}
	Error error;
	std::string stateNow; ///< one line; empty = what the table of codes says
	std::string tryNext;  ///< a command line or advice; empty = what the table of codes says
};
using ExitOr = tl::expected<int, Failure>;

struct Context {
	const struct Command &command;
	const Arguments &args;
	Console &console;
	Session &session;
};

struct Command {
	std::string_view name;
	std::string_view alias = {};
	std::string_view help = {};  ///< one line, for lists
	std::string_view usage = {}; ///< behind the name: "NAME --size SIZE"
	Operands operands = {};
	std::span<const Option> options = {};
	std::span<const std::string_view> examples = {};
	std::string_view notes = {}; ///< a paragraph of `vlmc VERB -h`
	bool changes = false;        ///< something, when it succeeds: then a failure says what state things are in
	ExitOr (*run)(Context &) = nullptr;
	Built built = {};
};
/// The row of a verb that comes with that step (0: a later one).
constexpr Command planned(std::string_view name, int step = 0) { return {.name = name, .built = notBuilt(step)}; }

struct Program {
	std::string_view name;
	std::string_view tagline;
	std::span<const Command> commands;
	std::span<const Option> globals;
	std::span<const std::string_view> examples; ///< three, for the summary
};

/// By name or alias, whole words only; nullptr when there is none.
const Command *findCommand(const Program &program, std::string_view word);

/// Options of both programs.
std::span<const Option> commonOptions();
/// Those, and what `archipelago` has in addition.
std::span<const Option> archipelagoOptions();

/// The exit code of a usage error, and of an error code.
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;

/// The whole of a program: parse, help, run, print failures. Returns the exit code.
int runProgram(const Program &program, int argc, char **argv);

} // namespace archipelago::cli
