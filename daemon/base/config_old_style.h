// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser: knows a configuration file of the original Archipelago when it sees one. There were
// three styles: flat shell variables (/etc/default/archipelago), Python (roles = [('blockerb', 'file_blocker'), ...] and a
// dictionary per role), and INI ([XSEG], [PEERS], a section per role). None is ever executed or guessed at.
#pragma once

#include "daemon/base/config_report.h"
#include "daemon/base/config_statements.h"

#include <optional>

namespace archipelago::config {

/// The one thing to say about an old-style file, at the line that gave it away; nullopt when it is none.
std::optional<Diagnostic> recogniseOldStyle(const Statements &statements);
/// True for a key that only the original knew (SEGMENT_DYNPORTS, logfile, ...): it has no meaning any more.
bool isRetiredKey(std::string_view key);

} // namespace archipelago::config
