// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The functions behind the table in archipelago/main.cpp, one file a verb group. check-config and explain never ask the
// service: they work where nothing runs.
#pragma once

#include "cli/command.h"

namespace archipelago::cli {

ExitOr runStart(Context &context);
ExitOr runStop(Context &context);
ExitOr runRestart(Context &context);
ExitOr runStatus(Context &context);
ExitOr runCheckConfig(Context &context);
ExitOr runExplain(Context &context);
ExitOr runTop(Context &context);

} // namespace archipelago::cli
