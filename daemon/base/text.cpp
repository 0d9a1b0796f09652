// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See text.h. nearestWord() is the restricted Damerau-Levenshtein distance; words longer than kLongestWord are never near
// anything, which bounds its work whatever the input.
#include "daemon/base/text.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace archipelago {

namespace {

constexpr std::size_t kShownBytes = 80;
constexpr std::size_t kLongestWord = 64;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::size_t editDistance(std::string_view a, std::string_view b)
{
	using Row = std::array<std::size_t, kLongestWord + 1>;
	Row rows[3];
	Row *before = &rows[0], *last = &rows[1], *row = &rows[2];
	for (std::size_t j = 0; j <= b.size(); ++j) (*last)[j] = j;
	for (std::size_t i = 1; i <= a.size(); ++i) {
		(*row)[0] = i;
		for (std::size_t j = 1; j <= b.size(); ++j) {
			const std::size_t change = lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1;
			(*row)[j] = std::min({(*last)[j] + 1, (*row)[j - 1] + 1, (*last)[j - 1] + change});
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
				(*row)[j] = std::min((*row)[j], (*before)[j - 2] + 1);
		}
		std::swap(before, last);
		std::swap(last, row);
	}
	return (*last)[b.size()];
}

void appendEscaped(std::string &out, unsigned char byte)
{
	static constexpr char kHex[] = "0123456789abcdef";
	if (byte == '\n') {
		out += "\\n";
	} else if (byte == '\t') {
		out += "\\t";
	} else {
		out += "\\x";
		out += kHex[byte >> 4];
		out += kHex[byte & 15];
	}
}

} // namespace

std::optional<char32_t> takeCodePoint(std::string_view &text)
{
	const auto first = static_cast<unsigned char>(text.front());
	if (first < 0x80) {
		text.remove_prefix(1);
		return first;
	}
	const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	if (first < 0xc2 || first > 0xf4 || text.size() < length) return std::nullopt;
	char32_t c = first & (0x7fu >> length);
	for (std::size_t i = 1; i < length; ++i) {
		const auto next = static_cast<unsigned char>(text[i]);
		if ((next & 0xc0) != 0x80) return std::nullopt;
		c = (c << 6) | (next & 0x3f);
	}
	constexpr std::array<char32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
	if (c < kSmallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return std::nullopt;
	text.remove_prefix(length);
	return c;
}

bool isControl(char32_t c) { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

std::string printable(std::string_view text)
{
	std::string out;
	out.reserve(text.size());
	while (!text.empty()) {
		const std::string_view at = text;
		const auto c = takeCodePoint(text);
		if (!c) text.remove_prefix(1);
		const std::string_view taken = at.substr(0, at.size() - text.size());
		if (c && !isControl(*c)) {
			out += taken;
			continue;
		}
		for (const char byte : taken) appendEscaped(out, static_cast<unsigned char>(byte));
	}
	return out;
}

std::string inQuotes(std::string_view text)
{
	std::string_view shown = text;
	if (shown.size() > kShownBytes) {
		shown = shown.substr(0, kShownBytes);
		// Not in the middle of a character: the rest of it would be shown as an escape that is not in the input.
		while (!shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xc0) == 0x80)
			shown.remove_suffix(1);
		if (shown.empty()) shown = text.substr(0, kShownBytes);
	}
	return '"' + printable(shown) + (shown.size() < text.size() ? "...\"" : "\"");
}

std::string_view nearestWord(std::string_view word, std::span<const std::string_view> candidates)
{
	std::string_view best;
	std::size_t bestDistance = SIZE_MAX;
	if (word.empty() || word.size() > kLongestWord) return best;
	for (const std::string_view candidate : candidates) {
		if (candidate.empty() || candidate.size() > kLongestWord) continue;
		const std::size_t distance = editDistance(word, candidate);
		// A third of the letters may be wrong, but never all of a short word.
		const std::size_t allowed = std::max<std::size_t>(std::max(word.size(), candidate.size()) / 3, 1);
		if (distance > allowed || distance >= candidate.size() || distance >= bestDistance) continue;
		best = candidate;
		bestDistance = distance;
	}
	return best;
}

std::string didYouMean(std::string_view word, std::span<const std::string_view> candidates)
{
	const std::string_view nearest = nearestWord(word, candidates);
	if (nearest.empty()) return {};
	return " Did you mean " + std::string(nearest) + "?";
}

} // namespace archipelago
