// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser: text to TOML tables. Never throws, whatever the bytes. A broken statement is
// reported, blanked, and the rest parsed again, so that one missing quote does not hide the other mistakes.
#pragma once

#include "daemon/base/config_report.h"
#include "daemon/base/config_statements.h"

#include <toml++/toml.h>

namespace archipelago::config {

/// Larger is not a configuration file.
inline constexpr std::size_t kMaxFileBytes = 1u << 20;

struct Source {
	toml::table root;    ///< what could be parsed
	bool broken = false; ///< something was left out: what seems to be missing may have been there
	bool rolesLost = false; ///< ... and it may have been `roles`, which decides about legal names
};

/// `statements` are those of `text`.
Source parseSource(std::string_view text, const Statements &statements, Report &report);

Position positionOf(const toml::node &node);
Position positionOf(const toml::key &key);

} // namespace archipelago::config
