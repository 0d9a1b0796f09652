// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the tests of the configuration share: parse a text and look at what is said about it.
#pragma once

#include "daemon/base/config.h"

#include <string>
#include <string_view>

namespace archipelago::test {

/// A system's places on a machine with plenty of memory, so that no warning depends on where the test runs.
inline ConfigDefaults systemDefaults()
{
	ConfigDefaults defaults;
	defaults.ramBytes = 256ull << 30;
	return defaults;
}

inline ConfigDefaults trialDefaults()
{
	ConfigDefaults defaults = systemDefaults();
	defaults.trial = true;
	defaults.runDir = "/tmp/trial/run";
	defaults.stateDir = "/tmp/trial/state";
	return defaults;
}

inline ParsedConfig parsed(std::string_view text) { return parseConfig(text, systemDefaults()); }

/// All diagnostics, one a line, as a user reads them: "conf:2:3: error: ...".
inline std::string said(const ParsedConfig &config)
{
	std::string out;
	for (const Diagnostic &diagnostic : config.diagnostics) out += diagnostic.format("conf") + "\n";
	return out;
}

inline std::string said(std::string_view text) { return said(parsed(text)); }

/// Exactly one diagnostic, at "line:column", that contains `part`. Otherwise what was said instead.
inline std::string notExactly(std::string_view text, std::string_view position, std::string_view part)
{
	const ParsedConfig config = parsed(text);
	const std::string all = said(config);
	const std::string begin = "conf:" + std::string(position) + ": ";
	if (config.diagnostics.size() == 1 && all.starts_with(begin) && all.find(part) != std::string::npos) return {};
	return "wanted " + begin + std::string(part) + "\nsaid " + all + "of\n" + std::string(text);
}

} // namespace archipelago::test
