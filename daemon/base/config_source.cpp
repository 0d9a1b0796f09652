// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_source.h. toml++ stops at the first mistake and words it for people who know its grammar; what operators get
// wrong most (a text without quotes, True, a key set twice, a list that is not closed) is said here in their words.
#include "daemon/base/config_source.h"

#include "daemon/base/text.h"

#include <algorithm>
#include <array>
#include <optional>

namespace archipelago::config {

namespace {

/// Each mistake costs one more parse of the file.
constexpr int kMaxMistakes = 20;

struct Mistake {
	Position at;
	std::string description; ///< of toml++
};

std::optional<Mistake> tryParse(const std::string &text, toml::table &root)
{
	try {
		root = toml::parse(std::string_view(text));
		return std::nullopt;
	} catch (const toml::parse_error &error) {
		return Mistake{{error.source().begin.line, error.source().begin.column}, std::string(error.description())};
	}
}

bool isBlank(std::string_view text) { return trimmed(text).empty(); }

/// The statement to blame for a mistake at `line`: one that is not closed before it, else the one that stands there, else
/// the last one above it. nullopt when all of them are gone already.
std::optional<std::size_t> culprit(const Statements &statements, const std::vector<bool> &gone, uint32_t line)
{
	std::optional<std::size_t> found;
	for (std::size_t i = 0; i < statements.all.size() && statements.all[i].line <= line; ++i) {
		if (gone[i] || isBlank(statements.all[i].text)) continue;
		found = i;
		if (statements.all[i].unclosed) break;
	}
	return found;
}

const Statement *earlierTwin(const Statements &statements, const Statement &second)
{
	for (const Statement &s : statements.all) {
		if (&s == &second) return nullptr;
		if (s.header == second.header && s.key() == second.key() && (s.header || s.section == second.section))
			return &s;
	}
	return nullptr;
}

/// The value of a plain `key = value` line in quotes, when it is a bare word that was meant as text.
std::string inQuotesIfBare(std::string_view value)
{
	value = trimmed(value.substr(0, value.find('#')));
	if (value.empty() || value.find_first_of("\"'[]{}(),\n\\") != std::string_view::npos) return {};
	return inQuotes(value);
}

std::string describe(const Statements &statements, const Statement &s, const Mistake &mistake)
{
	const std::string_view description = mistake.description;
	const std::string key = printable(s.key().substr(0, 64));
	if (s.unclosed) return "What begins here is not closed: a ], } or quote is missing at its end";
	if (description.find("cannot redefine") != std::string_view::npos ||
	    description.find("redefin") != std::string_view::npos) {
		const Statement *twin = earlierTwin(statements, s);
		const std::string first = twin ? " (first in line " + std::to_string(twin->line) + ")" : "";
		return s.header ? "The section " + key + " stands twice" + first + "; put its keys together in one"
		                : key + " is set twice" + first + "; remove one of the two";
	}
	const std::string_view value = s.value();
	static constexpr std::array<std::string_view, 10> kBooleans{"True", "False", "TRUE", "FALSE", "yes",
	                                                            "no",   "on",    "off",  "Yes",   "No"};
	if (std::ranges::find(kBooleans, value) != kBooleans.end())
		return key + ": write true or false, in lower case and without quotes";
	if (!s.header && s.text.find('=') != std::string_view::npos && (value.empty() || value.front() == '#'))
		return key + " has no value";
	const bool aboutValue = description.find("determine value type") != std::string_view::npos ||
	                        description.find("expected digit") != std::string_view::npos ||
	                        description.find("parsing boolean") != std::string_view::npos ||
	                        description.find("parsing floating-point") != std::string_view::npos;
	if (const std::string meant = inQuotesIfBare(value); aboutValue && !meant.empty())
		return key + ": text, sizes and durations stand in quotes. Write " + key + " = " + meant;
	if (description.find("leading zeroes") != std::string_view::npos)
		return key + ": a number does not begin with 0; an octal mode stands in quotes";
	if (description.find("expected '=', saw ':'") != std::string_view::npos)
		return key + ": write = between key and value, not :";
	if (description.find("utf-8") != std::string_view::npos) return "The file is not UTF-8 here";
	return "Not TOML: " + printable(description);
}

} // namespace

Position positionOf(const toml::node &node) { return {node.source().begin.line, node.source().begin.column}; }
Position positionOf(const toml::key &key) { return {key.source().begin.line, key.source().begin.column}; }

Source parseSource(std::string_view text, const Statements &statements, Report &report)
{
	Source out;
	std::string work(text);
	std::vector<bool> gone(statements.all.size(), false);
	const auto blank = [&](std::size_t i) {
		gone[i] = true;
		const auto begin = static_cast<std::size_t>(statements.all[i].text.data() - text.data());
		// Line ends stay, so that every later position is still true.
		for (std::size_t b = begin; b < begin + statements.all[i].text.size(); ++b)
			if (work[b] != '\n') work[b] = ' ';
	};
	for (int round = 0; round < kMaxMistakes; ++round) {
		const auto mistake = tryParse(work, out.root);
		if (!mistake) return out;
		out.broken = true;
		const auto guilty = culprit(statements, gone, mistake->at.line);
		if (!guilty) {
			report.error(mistake->at, "Not TOML: " + printable(mistake->description));
			break;
		}
		const Statement &s = statements.all[*guilty];
		out.rolesLost = out.rolesLost || s.unclosed || s.key() == "roles";
		const bool here = mistake->at.line >= s.line && mistake->at.line < s.line + s.lineCount && !s.unclosed;
		report.error(here ? mistake->at : Position{s.line, 1}, describe(statements, s, *mistake));
		blank(*guilty);
		if (!s.header) continue;
		// The keys of a lost section would otherwise be taken for those of the section above it.
		for (std::size_t i = *guilty + 1; i < statements.all.size() && !statements.all[i].header; ++i) blank(i);
	}
	out.root.clear();
	return out;
}

} // namespace archipelago::config
