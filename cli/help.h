// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Help, made from the tables of command.h: only what is built is shown. Pure functions; each result ends with a newline.
#pragma once

#include "cli/command.h"

namespace archipelago::cli {

/// What a program says when it is called with nothing: a screenful with three examples.
std::string summary(const Program &program);
/// `--help`: the summary and every global option.
std::string programHelp(const Program &program);
/// `COMMAND -h`: examples first.
std::string commandHelp(const Program &program, const Command &command);
/// "vlmc create NAME --size SIZE"
std::string usageLine(const Program &program, const Command &command);

} // namespace archipelago::cli
