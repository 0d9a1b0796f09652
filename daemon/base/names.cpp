// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The naming rule of names.h. The reserved forms are what the store itself uses for objects, locks and hashes in the layout
// of the original; a volume of such a name could be taken for one. Pure, any thread.
#include "daemon/base/names.h"

#include "daemon/base/protocol.h"
#include "daemon/base/text.h"

#include <algorithm>

namespace archipelago {

namespace {

constexpr std::string_view kReservedPrefix = "archip_";
constexpr std::string_view kReservedSuffixes[] = {"_lock", "_hash"};
constexpr std::size_t kHexRun = 16;

bool isHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/// Where '_' and 16 hex digits begin; npos when they do not occur.
std::size_t findHexRun(std::string_view name)
{
	for (std::size_t at = name.find('_'); at != std::string_view::npos; at = name.find('_', at + 1)) {
		const std::string_view run = name.substr(at + 1, kHexRun);
		if (run.size() == kHexRun && std::ranges::all_of(run, isHex)) return at;
	}
	return std::string_view::npos;
}

/// The rule that `name` breaks, empty when it breaks none.
std::string brokenRule(std::string_view name)
{
	if (name.empty()) return "it is empty (a name has 1 to 82 bytes)";
	if (name == "." || name == "..") return "\".\" and \"..\" are directories";
	for (std::string_view rest = name; !rest.empty();) {
		const auto c = takeCodePoint(rest);
		if (!c) return "it is not UTF-8";
		if (*c == '/') return "it contains '/'";
		if (isControl(*c)) return "it contains a control character";
	}
	if (name.size() > kMaxNameBytes)
		return "it has " + std::to_string(name.size()) + " bytes, at most " + std::to_string(kMaxNameBytes) +
		       " are allowed";
	if (name.starts_with(kReservedPrefix)) return "the prefix \"archip_\" is reserved";
	for (const std::string_view suffix : kReservedSuffixes)
		if (name.ends_with(suffix)) return "the suffix \"" + std::string(suffix) + "\" is reserved";
	if (findHexRun(name) != std::string_view::npos) return "'_' followed by 16 hex digits is reserved for objects";
	return {};
}

/// A legal name that keeps as much of `name` as it can; empty when nothing sensible is left.
std::string nearestLegal(std::string_view name)
{
	std::string out;
	while (name.starts_with(kReservedPrefix)) name.remove_prefix(kReservedPrefix.size());
	while (!name.empty()) {
		const std::string_view at = name;
		const auto c = takeCodePoint(name);
		if (!c) {
			name.remove_prefix(1);
			continue;
		}
		const std::string_view taken = at.substr(0, at.size() - name.size());
		if (isControl(*c)) continue;
		if (out.size() + taken.size() > kMaxNameBytes) break;
		if (*c == '/') {
			if (!out.empty() && !name.empty()) out += '-';
		} else {
			out += taken;
		}
	}
	for (std::size_t at = findHexRun(out); at != std::string::npos; at = findHexRun(out)) out[at] = '-';
	for (const std::string_view suffix : kReservedSuffixes)
		if (out.ends_with(suffix)) out[out.size() - suffix.size()] = '-';
	return brokenRule(out).empty() ? out : std::string{};
}

} // namespace

Result<void> checkName(std::string_view name)
{
	const std::string rule = brokenRule(name);
	if (rule.empty()) return {};
	std::string text = "The name " + inQuotes(name) + " is not allowed: " + rule + ".";
	if (const std::string legal = nearestLegal(name); !legal.empty())
		text += " A legal one is " + inQuotes(legal) + ".";
	return failure(ErrorCode::Invalid, std::move(text));
}

} // namespace archipelago
