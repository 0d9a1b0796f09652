// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Text as a terminal shows it: how many columns it takes, cut to fit, times, a word quoted for the shell. UTF-8 in and out;
// what may come from outside goes through printable() (daemon/base/text.h) before it gets here. Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace archipelago::cli {

/// Columns on a terminal: wide characters count two, combining ones none.
int displayWidth(std::string_view text);
/// `text` itself when it fits into `width` columns, otherwise its beginning and end around an ellipsis.
std::string elideMiddle(std::string_view text, int width);

/// Times are microseconds since the epoch; 0 gives "-".
std::string timeRfc3339(uint64_t us); ///< "2026-11-22T17:19:02Z": for pipes and JSON
std::string timeLocal(uint64_t us);   ///< "2026-11-22 18:19": for people
/// "3d 4h", "4h 5m", "5m 3s", "3s".
std::string durationText(uint64_t us);

/// As one word of a POSIX shell; unchanged when it needs no quotes.
std::string shellQuoted(std::string_view text);

} // namespace archipelago::cli
