// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Sizes and durations, see sizes.h.
//   size     = number [ " " ] [ unit ]     number = digits [ "." digits ]
//   duration = digits unit | "0"
// All arithmetic is exact integers (128 bits in between): what is read is what was written, or an error says so.
#include "daemon/base/sizes.h"

#include "daemon/base/protocol.h"
#include "daemon/base/text.h"

#include <array>
#include <limits>

namespace archipelago {

namespace {

__extension__ using Wide = unsigned __int128;

struct Unit {
	std::string_view name; ///< lower case
	uint64_t factor;
};

constexpr uint64_t kKibi = 1ull << 10, kMebi = 1ull << 20, kGibi = 1ull << 30, kTebi = 1ull << 40, kPebi = 1ull << 50;

constexpr Unit kSizeUnits[] = {
	{"b", 1},
	{"k", kKibi}, {"kib", kKibi}, {"kb", 1'000},
	{"m", kMebi}, {"mib", kMebi}, {"mb", 1'000'000},
	{"g", kGibi}, {"gib", kGibi}, {"gb", 1'000'000'000},
	{"t", kTebi}, {"tib", kTebi}, {"tb", 1'000'000'000'000},
	{"p", kPebi}, {"pib", kPebi}, {"pb", 1'000'000'000'000'000},
};
constexpr std::string_view kLegalUnits = "B, K or KiB, M or MiB, G or GiB, T or TiB, P or PiB (powers of 1024), kB, MB, GB, "
                                         "TB, PB (powers of 1000)";

constexpr Unit kDurationUnits[] = {{"ms", 1}, {"s", 1'000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

std::string lowerCase(std::string_view text)
{
	std::string out(text);
	for (char &c : out)
		if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
	return out;
}

bool isDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view takeDigits(std::string_view &text)
{
	std::size_t n = 0;
	while (n < text.size() && isDigit(text[n])) ++n;
	const std::string_view digits = text.substr(0, n);
	text.remove_prefix(n);
	return digits;
}

/// nullopt: more than 64 bits.
std::optional<uint64_t> toNumber(std::string_view digits)
{
	uint64_t value = 0;
	for (const char c : digits) {
		const auto digit = static_cast<uint64_t>(c - '0');
		if (value > (std::numeric_limits<uint64_t>::max() - digit) / 10) return std::nullopt;
		value = value * 10 + digit;
	}
	return value;
}

/// A size as written: `bytes`, and whether a fraction of a byte was cut off.
struct Amount {
	uint64_t bytes = 0;
	bool whole = true;
};

tl::unexpected<Error> refuse(std::string_view text, std::string_view why)
{
	return failure(ErrorCode::Invalid, "Cannot read the size " + inQuotes(text) + ": " + std::string(why) + ".");
}

Result<uint64_t> unitFactor(std::string_view text, std::string_view unit, BareNumber bare)
{
	if (unit.empty()) {
		if (bare == BareNumber::Mebibytes) return kMebi;
		return refuse(text, "a number alone says nothing, add a unit: " + std::string(kLegalUnits));
	}
	if (unit == "m")
		return refuse(text, "\"m\" could be milli, mega or mebi; write M or MiB (1024 x 1024), or MB (1000 x 1000)");
	const std::string folded = lowerCase(unit);
	for (const Unit &known : kSizeUnits)
		if (known.name == folded) return known.factor;
	return refuse(text, "unknown unit " + inQuotes(unit) + "; legal are " + std::string(kLegalUnits));
}

Result<Amount> parseAmount(std::string_view text, BareNumber bare)
{
	std::string_view rest = text;
	if (rest.empty()) return refuse(text, "it is empty");
	if (rest.front() == '-') return refuse(text, "it is negative");
	const std::string_view whole = takeDigits(rest);
	std::string_view fraction;
	if (whole.empty()) return refuse(text, "a size starts with a digit, as in 512B, 10M, 1.5GiB");
	if (rest.starts_with('.')) {
		rest.remove_prefix(1);
		fraction = takeDigits(rest);
		if (fraction.empty()) return refuse(text, "digits are missing after the point");
		if (fraction.size() > 9) return refuse(text, "at most 9 digits may follow the point");
	}
	if (rest.starts_with(' ')) rest.remove_prefix(1);
	const auto factor = unitFactor(text, rest, bare);
	if (!factor) return tl::unexpected<Error>(factor.error());

	const auto units = toNumber(whole);
	Wide bytes = 0, scale = 1;
	if (units) bytes = Wide(*units) * *factor;
	for (std::size_t i = 0; i < fraction.size(); ++i) scale *= 10;
	const Wide part = Wide(toNumber(fraction).value_or(0)) * *factor;
	bytes += part / scale;
	if (!units || bytes > std::numeric_limits<uint64_t>::max())
		return refuse(text, "it is more than 64 bits can count");
	return Amount{static_cast<uint64_t>(bytes), part % scale == 0};
}

/// Reads back to exactly `bytes`: whole units from MiB up, else bytes (so that neighbours look alike).
std::string exactSize(uint64_t bytes)
{
	static constexpr std::array<Unit, 4> kExact{{{"P", kPebi}, {"T", kTebi}, {"G", kGibi}, {"M", kMebi}}};
	for (const Unit &unit : kExact)
		if (bytes != 0 && bytes % unit.factor == 0) return std::to_string(bytes / unit.factor) + std::string(unit.name);
	return std::to_string(bytes) + "B";
}

} // namespace

Result<uint64_t> parseSize(std::string_view text, BareNumber bare)
{
	const auto amount = parseAmount(text, bare);
	if (!amount) return tl::unexpected<Error>(amount.error());
	if (!amount->whole)
		return refuse(text, "it is not a whole number of bytes; the nearest below is " + exactSize(amount->bytes));
	return amount->bytes;
}

Result<uint64_t> parseVolumeSize(std::string_view text, BareNumber bare)
{
	constexpr uint64_t kSector = 512;
	const auto amount = parseAmount(text, bare);
	if (!amount) return tl::unexpected<Error>(amount.error());
	const uint64_t bytes = amount->bytes;
	if (bytes > kMaxVolumeBytes || (bytes == kMaxVolumeBytes && !amount->whole))
		return refuse(text, "a volume has at most 4 PiB; the largest legal size is " + exactSize(kMaxVolumeBytes));
	if (bytes < kSector) return refuse(text, "a volume has at least 512 bytes; the smallest legal size is 512B");
	if (bytes % kSector == 0 && amount->whole) return bytes;
	const uint64_t below = bytes / kSector * kSector;
	return refuse(text, "a volume is a multiple of 512 bytes; the nearest legal sizes are " + exactSize(below) +
	                        " and " + exactSize(below + kSector));
}

std::string formatSize(uint64_t bytes)
{
	static constexpr std::array<std::string_view, 7> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	std::size_t unit = 0;
	while (unit + 1 < kNames.size() && bytes >> (10 * unit) >= 1024) ++unit;
	if (unit == 0) return std::to_string(bytes) + " B";

	// In hundredths of the unit, rounded to what three digits show; whole units may need a fourth (1000 to 1023).
	const auto rounded = [bytes](std::size_t u, uint64_t steps) {
		const Wide one = Wide(1) << (10 * u);
		return static_cast<uint64_t>((Wide(bytes) * steps * 2 + one) / (one * 2)) * (100 / steps);
	};
	uint64_t hundredths = rounded(unit, 100);
	if (hundredths >= 1000) hundredths = rounded(unit, 10);
	if (hundredths >= 10000) hundredths = rounded(unit, 1);
	if (hundredths >= 102400 && unit + 1 < kNames.size()) {
		hundredths = 100;
		++unit;
	}
	std::string out = std::to_string(hundredths / 100);
	if (const uint64_t part = hundredths % 100; part != 0) {
		out += '.';
		out += static_cast<char>('0' + part / 10);
		if (part % 10 != 0) out += static_cast<char>('0' + part % 10);
	}
	return out + " " + std::string(kNames[unit]);
}

Result<uint64_t> parseDurationMs(std::string_view text)
{
	const auto bad = [text](std::string_view why) {
		return failure(ErrorCode::Invalid,
		               "Cannot read the duration " + inQuotes(text) + ": " + std::string(why) + ".");
	};
	std::string_view rest = text;
	if (rest.starts_with('-')) return bad("it is negative");
	const std::string_view digits = takeDigits(rest);
	if (digits.empty()) return bad("a duration is a whole number and a unit, as in 200ms, 20s, 10min, 1h, 14d");
	const auto number = toNumber(digits);
	if (rest.empty()) {
		if (number == 0u) return 0;
		return bad("add a unit: ms, s, min, h or d");
	}
	const std::string unit = lowerCase(rest);
	for (const Unit &known : kDurationUnits) {
		if (known.name != unit) continue;
		if (!number || *number > std::numeric_limits<uint64_t>::max() / known.factor) return bad("it is too long");
		return *number * known.factor;
	}
	return bad("unknown unit " + inQuotes(rest) + "; legal are ms, s, min, h and d");
}

} // namespace archipelago
