// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser: what must hold between keys. Each check points at a key that is to be changed and is
// silent about values that were refused before.
#pragma once

#include "daemon/base/config_report.h"

namespace archipelago::config {

/// Errors, and the warnings about the machine (`ramBytes` of memory; 0 = not known, no warning).
void checkConfig(const Config &config, uint64_t ramBytes, Report &report);

} // namespace archipelago::config
