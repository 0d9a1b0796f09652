// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See help.h.
#include "cli/help.h"

#include <algorithm>

namespace archipelago::cli {

namespace {

using Row = std::pair<std::string, std::string_view>;

std::string rows(const std::vector<Row> &all)
{
	size_t width = 0;
	for (const Row &row : all) width = std::max(width, row.first.size());
	std::string out;
	for (const auto &[left, right] : all)
		out += "  " + left + std::string(width - left.size() + 2, ' ') + std::string(right) + "\n";
	return out;
}

std::string commandRows(const Program &program)
{
	std::vector<Row> all;
	for (const Command &command : program.commands) {
		if (!command.built.now) continue;
		std::string name(command.name);
		if (!command.alias.empty()) name += "|" + std::string(command.alias);
		if (!command.usage.empty()) name += " " + std::string(command.usage);
		all.emplace_back(std::move(name), command.help);
	}
	return rows(all);
}

std::string optionRows(std::span<const Option> options)
{
	std::vector<Row> all;
	for (const Option &option : options) {
		if (option.help.empty() || !option.built.now) continue;
		std::string name = option.letter.empty() ? "    " : std::string(option.letter) + ", ";
		name += option.name;
		if (!option.value.empty()) name += " " + std::string(option.value);
		all.emplace_back(std::move(name), option.help);
	}
	return rows(all);
}

std::string heading(const Program &program)
{
	std::string out = std::string(program.name) + ": " + std::string(program.tagline) + "\n";
	return out + "Usage: " + std::string(program.name) + " [OPTIONS] COMMAND [ARGUMENTS]\n" + commandRows(program);
}

std::string exampleLines(std::span<const std::string_view> examples)
{
	std::string out;
	for (const std::string_view example : examples) out += "  $ " + std::string(example) + "\n";
	return out;
}

} // namespace

std::string usageLine(const Program &program, const Command &command)
{
	std::string out = std::string(program.name) + " " + std::string(command.name);
	if (!command.usage.empty()) out += " " + std::string(command.usage);
	return out;
}

std::string summary(const Program &program)
{
	const std::string name(program.name);
	return heading(program) + exampleLines(program.examples) + "More: " + name + " --help, " + name +
	       " COMMAND --help\n";
}

std::string programHelp(const Program &program)
{
	std::string out = heading(program) + "\nExamples:\n" + exampleLines(program.examples);
	out += "\nOptions, before or behind the command:\n" + optionRows(program.globals);
	out += "\nExit codes: 0 done, 1 failed, 2 usage or configuration, 3 not running or unreachable, 4 not found, 5 "
	       "busy or\n"
		   "locked, 6 exists already, 7 not permitted, 8 no space or limit, 9 I/O or integrity, 10 timeout, 11 "
	       "cancelled,\n"
		   "130 interrupted. Every error has a code: archipelago explain CODE\n";
	return out;
}

std::string commandHelp(const Program &program, const Command &command)
{
	std::string out = exampleLines(command.examples);
	out += "\n" + usageLine(program, command) + "\n  " + std::string(command.help) + "\n";
	if (!command.alias.empty()) out += "  Also: " + std::string(program.name) + " " + std::string(command.alias) + "\n";
	if (!command.notes.empty()) out += "\n" + std::string(command.notes) + "\n";
	if (const std::string own = optionRows(command.options); !own.empty()) out += "\nOptions:\n" + own;
	return out + "\nGlobal options: " + std::string(program.name) + " --help\n";
}

} // namespace archipelago::cli
