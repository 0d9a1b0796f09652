// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// argv to (command, arguments), by the tables of command.h. Options may stand anywhere: before the command (global ones),
// before and behind operands; "--" ends them. Whole words only: no abbreviated commands or options, ever.
#pragma once

#include "cli/command.h"

namespace archipelago::cli {

struct Parsed {
	const Command *command = nullptr; ///< nullptr: none was given
	Arguments args;
};

/// E-INVALID with what was wrong and the nearest word, also for what is planned but not built. When -h or --version is
/// among the arguments, operands are not counted. `args` is argv without the program's name.
Result<Parsed> parse(const Program &program, const std::vector<std::string> &args);

/// The command that is meant, also when the rest of the line cannot be understood; nullptr: none, or an unknown one.
const Command *commandOf(const Program &program, const std::vector<std::string> &args);

} // namespace archipelago::cli
