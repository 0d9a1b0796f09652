// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser: from TOML tables to Config. Rules of the sections:
//   [NAME]        the role NAME of `roles`
//   [TYPE]        all roles of that type, for keys that their own sections do not set; unless a role has that very name:
//                 then it is that role's section and nothing else
//   [nbd]         the NBD gateway        [hosts.NAME]  a host process
#pragma once

#include "daemon/base/config_report.h"
#include "daemon/base/config_source.h"

namespace archipelago::config {

/// Everything but the checks that span keys. Returns how many keys and sections at the top are not known at all.
std::size_t buildConfig(const Source &source, const ConfigDefaults &defaults, Report &report, Config &out);

} // namespace archipelago::config
