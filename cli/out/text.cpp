// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See text.h. Widths come from the C library's wcwidth(); program.cpp has set a UTF-8 locale before.
#include "cli/out/text.h"

#include "daemon/base/text.h"

#include <algorithm>
#include <ctime>
#include <cwchar>
#include <vector>

namespace archipelago::cli {

namespace {

struct Glyph {
	std::string_view bytes;
	int width;
};

std::vector<Glyph> glyphs(std::string_view text)
{
	std::vector<Glyph> out;
	while (!text.empty()) {
		const std::string_view at = text;
		const auto c = takeCodePoint(text);
		if (!c) text.remove_prefix(1);
		const int width = c ? ::wcwidth(static_cast<wchar_t>(*c)) : 1;
		out.push_back({at.substr(0, at.size() - text.size()), std::max(width, 0)});
	}
	return out;
}

std::string timeText(uint64_t us, const char *format, std::tm *(*convert)(const time_t *, std::tm *))
{
	if (us == 0) return "-";
	const auto seconds = static_cast<time_t>(us / 1'000'000);
	std::tm parts{};
	char text[64];
	if (!convert(&seconds, &parts)) return "-";
	return {text, std::strftime(text, sizeof text, format, &parts)};
}

} // namespace

int displayWidth(std::string_view text)
{
	int width = 0;
	for (const Glyph &glyph : glyphs(text)) width += glyph.width;
	return width;
}

std::string elideMiddle(std::string_view text, int width)
{
	if (displayWidth(text) <= width) return std::string(text);
	if (width < 3) return width < 1 ? std::string{} : std::string("…");
	const std::vector<Glyph> all = glyphs(text);
	// The beginning gets the odd column.
	int head = width / 2, tail = width - 1 - head;
	std::string front, back;
	for (auto it = all.begin(); it != all.end() && it->width <= head; ++it) {
		front += it->bytes;
		head -= it->width;
	}
	for (auto it = all.rbegin(); it != all.rend() && it->width <= tail; ++it) {
		back.insert(0, it->bytes);
		tail -= it->width;
	}
	return front + "…" + back;
}

std::string timeRfc3339(uint64_t us) { return timeText(us, "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r); }
std::string timeLocal(uint64_t us) { return timeText(us, "%Y-%m-%d %H:%M", ::localtime_r); }

std::string durationText(uint64_t us)
{
	const uint64_t seconds = us / 1'000'000;
	const auto two = [](uint64_t a, const char *aUnit, uint64_t b, const char *bUnit) {
		return std::to_string(a) + aUnit + " " + std::to_string(b) + bUnit;
	};
	if (seconds >= 86'400) return two(seconds / 86'400, "d", seconds % 86'400 / 3'600, "h");
	if (seconds >= 3'600) return two(seconds / 3'600, "h", seconds % 3'600 / 60, "m");
	if (seconds >= 60) return two(seconds / 60, "m", seconds % 60, "s");
	return std::to_string(seconds) + "s";
}

std::string shellQuoted(std::string_view text)
{
	constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
	// No byte above ASCII means anything to a shell.
	const auto plain = [&](char c) {
		return static_cast<unsigned char>(c) >= 0x80 || kPlain.find(c) != std::string_view::npos;
	};
	if (!text.empty() && std::ranges::all_of(text, plain)) return std::string(text);
	std::string out = "'";
	for (const char c : text) {
		if (c == '\'')
			out += "'\\''";
		else
			out += c;
	}
	return out + "'";
}

} // namespace archipelago::cli
