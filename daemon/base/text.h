// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Text that came from outside, made fit to be shown: escaped for a terminal or a log line, and the "Did you mean ...?" that
// commands, configuration and names share. Pure functions, any thread; input may be any bytes.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace archipelago {

/// Takes one code point off the front of `text`. Strict UTF-8 (no overlong forms, no surrogates, at most U+10FFFF);
/// nullopt leaves `text` alone. `text` must not be empty.
std::optional<char32_t> takeCodePoint(std::string_view &text);
/// C0, DEL and C1: what may steer a terminal.
bool isControl(char32_t c);
/// Control characters and bytes that are not UTF-8 as \xNN (\n, \t by those names): one line, harmless to a terminal.
std::string printable(std::string_view text);
/// printable() in double quotes, shortened after 80 bytes: for messages that repeat what was given.
std::string inQuotes(std::string_view text);
/// The candidate nearest to `word` (fewest single-character edits and swaps, ignoring case); empty when none is near
/// enough to be what was meant.
std::string_view nearestWord(std::string_view word, std::span<const std::string_view> candidates);
/// " Did you mean X?", or nothing.
std::string didYouMean(std::string_view word, std::span<const std::string_view> candidates);

} // namespace archipelago
