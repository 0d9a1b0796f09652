// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The one rule for names of volumes and snapshots: 1..82 bytes of UTF-8, no '/', no control characters, not "." or "..";
// reserved: prefix "archip_", suffixes "_lock" and "_hash", and anything that contains '_' followed by 16 hex digits.
#pragma once

#include "daemon/base/errors.h"

#include <string_view>

namespace archipelago {

/// E-INVALID naming the rule that is broken and, where there is one, a legal name near it.
Result<void> checkName(std::string_view name);

} // namespace archipelago
