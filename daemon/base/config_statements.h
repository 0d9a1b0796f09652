// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Internal to the configuration parser. Cuts a TOML text into its statements (a header, a key with its value, a comment or
// empty line) without understanding them. That bounds nesting before the real parser recurses into it, lets parsing go
// on behind a broken statement, and gives the look for old-style files something to look at. Any bytes; pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace archipelago::config {

struct Statement {
	std::string_view text;       ///< with its line ends
	uint32_t line = 0;           ///< of its first byte, from 1
	uint32_t lineCount = 1;
	bool header = false;         ///< [section]
	bool unclosed = false;       ///< a list, table or text that begins in it does not end in it
	std::string_view section{};  ///< the header it stands under, trimmed; empty at the top

	/// What stands before '=' (a header: all of it), trimmed.
	std::string_view key() const;
	/// What stands behind '=', trimmed, with a comment if there is one; empty when there is no '='.
	std::string_view value() const;
};

/// Deeper is not configuration any more, it is an attempt on the stack of the parser.
inline constexpr uint32_t kMaxNesting = 16;
inline constexpr uint32_t kMaxDots = 64;

struct Statements {
	std::vector<Statement> all;
	uint32_t tooDeepLine = 0; ///< where kMaxNesting brackets or kMaxDots points of one statement are passed; 0: nowhere
};

Statements splitStatements(std::string_view text);
std::string_view trimmed(std::string_view text);

} // namespace archipelago::config
