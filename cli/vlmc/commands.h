// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The functions behind the table in vlmc/main.cpp, one file a verb group. Each parses its operands, makes one or a few calls
// and prints the result in the three forms (terminal, pipe, JSON).
#pragma once

#include "cli/command.h"

namespace archipelago::cli {

ExitOr runCreate(Context &context);
ExitOr runInfo(Context &context);
ExitOr runList(Context &context);
ExitOr runRemove(Context &context);
ExitOr runOpen(Context &context);
ExitOr runClose(Context &context);
ExitOr runStat(Context &context);

} // namespace archipelago::cli
