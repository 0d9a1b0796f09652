// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Logging, through spdlog: one line per event on stderr (the supervisor points it at a file or the journal), with a role
// name in front. Levels 0..3 = error, warning, info, debug, per role. Log once, at the edge where an error ends; never log
// and return it.
#pragma once

#include <memory>
#include <string_view>

#include <spdlog/logger.h>

namespace archipelago {

/// The logger of a role (made at first use; threads may share it).
std::shared_ptr<spdlog::logger> roleLogger(std::string_view role);
void setLogLevel(std::string_view role, unsigned level);
/// Once per process: format and stderr sink; `program` stands in each line.
void initLogging(std::string_view program);

} // namespace archipelago
