// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Look-ups in the tables of command.h, and the one table of options that every command has. Pure, any thread.
#include "cli/command.h"

#include <array>

namespace archipelago::cli {

namespace {

// What both programs have comes first; -u belongs to `archipelago` alone.
constexpr std::array kOptions{
	Option{.name = "--help", .letter = "-h", .help = "show help; behind a command, its help"},
	Option{.name = "--version", .help = "show the version"},
	Option{.name = "--json", .help = "print JSON on stdout, errors as JSON on stderr"},
	Option{.name = "--quiet", .letter = "-q", .help = "only data and errors"},
	Option{.name = "--verbose", .letter = "-v", .help = "say what is done"},
	Option{.name = "--yes", .letter = "-y", .help = "answer yes (also: ARCHIPELAGO_CONFIRM=never)"},
	Option{.name = "--no-input", .help = "never ask"},
	Option{.name = "--color", .value = "WHEN", .help = "auto (default), always, never (also: NO_COLOR)"},
	Option{.name = "--no-header", .help = "tables without the line of titles"},
	Option{
		.name = "--timeout", .value = "DURATION", .help = "give up waiting after this long (default 30s, 0 = never)"},
	Option{.name = "--bus", .value = "BUS", .help = "system (default), session or an address (also: ARCHIPELAGO_BUS)"},
	Option{.name = "--config", .letter = "-c", .value = "FILE", .help = "the configuration file that is meant"},
	Option{.name = "--user", .letter = "-u", .help = "only peers in user space (there are no others yet)"},
};

} // namespace

std::string notBuiltText(Built built)
{
	if (built.step == 0) return "is not built yet (ROADMAP.md says what comes when)";
	return "is not built yet (step " + std::to_string(built.step) + "/9)";
}

int Arguments::count(std::string_view option) const
{
	const auto found = options.find(option);
	return found == options.end() ? 0 : static_cast<int>(found->second.size());
}

std::optional<std::string> Arguments::value(std::string_view option) const
{
	const auto found = options.find(option);
	if (found == options.end() || found->second.empty()) return std::nullopt;
	return found->second.back();
}

std::optional<std::string> Arguments::operand(size_t index) const
{
	if (index >= operands.size()) return std::nullopt;
	return operands[index];
}

const Command *findCommand(const Program &program, std::string_view word)
{
	for (const Command &command : program.commands)
		if (!word.empty() && (command.name == word || command.alias == word)) return &command;
	return nullptr;
}

std::span<const Option> commonOptions() { return std::span(kOptions).first(kOptions.size() - 1); }
std::span<const Option> archipelagoOptions() { return kOptions; }

} // namespace archipelago::cli
