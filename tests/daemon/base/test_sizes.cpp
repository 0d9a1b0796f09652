// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Sizes and durations: what is read, what is echoed, and that what is not exact is refused with what would be.
#include "base_test.h"

#include "daemon/base/sizes.h"

#include <algorithm>
#include <cmath>

using namespace archipelago;

namespace {

constexpr uint64_t kMebi = 1ull << 20, kGibi = 1ull << 30, kTebi = 1ull << 40, kPebi = 1ull << 50;
constexpr auto kSeed = BareNumber::Mebibytes;
constexpr auto kStrict = BareNumber::Refused;

template <typename T> std::string why(const Result<T> &result)
{
	if (result) return "accepted as " + std::to_string(*result);
	return result.error().code == ErrorCode::Invalid ? result.error().message : "wrong code";
}

} // namespace

class TestSizes : public QObject {
	Q_OBJECT
private slots:
	void read()
	{
		const struct {
			std::string_view text;
			uint64_t bytes;
		} rows[] = {
			{"512B", 512}, {"512b", 512}, {"0B", 0}, {"4K", 4096}, {"4k", 4096}, {"4KiB", 4096}, {"4kib", 4096},
			 {"4kB", 4000},
			{"4KB", 4000}, {"10M", 10 * kMebi}, {"10MiB", 10 * kMebi}, {"10mib", 10 * kMebi}, {"10MB", 10'000'000},
			{"10mb", 10'000'000}, {"1.5G", kGibi + kGibi / 2}, {"10GB", 10'000'000'000}, {"10GiB", 10 * kGibi},
			 {"2T", 2 * kTebi},
			{"2TB", 2'000'000'000'000}, {"1P", kPebi}, {"1PB", 1'000'000'000'000'000}, {"0.5K", 512},
			 {"40 GiB", 40 * kGibi},
			{"16383P", 16383 * kPebi}, {"18446744073709551615B", UINT64_MAX}, {"1.000000000K", 1024},
		};
		for (const auto &row : rows) {
			const auto size = parseSize(row.text, kStrict);
			QVERIFY2(size, row.text.data());
			QCOMPARE(*size, row.bytes);
		}
	}

	void bareNumbersAreMebibytesOnlyWhereTheSeedSaysSo()
	{
		QCOMPARE(*parseSize("10", kSeed), 10 * kMebi);
		QCOMPARE(*parseSize("0.5", kSeed), kMebi / 2);
		QVERIFY(why(parseSize("10", kStrict)).find("add a unit") != std::string::npos);
	}

	void refused()
	{
		const struct {
			std::string_view text, reason;
		} rows[] = {
			{"", "empty"}, {"-5G", "negative"}, {"-0", "negative"}, {"G", "starts with a digit"},
			 {".5G", "starts with a digit"},
			{"+5G", "starts with a digit"}, {" 5G", "starts with a digit"}, {"5.G", "missing after the point"},
			 {"10m", "milli"},
			{"10X", "unknown unit"}, {"10GG", "unknown unit"}, {"10 G ", "unknown unit"}, {"10  G", "unknown unit"},
			{"1,5G", "unknown unit"}, {"1e3B", "unknown unit"}, {"0x10K", "unknown unit"}, {"10G\n", "unknown unit"},
			{"16384P", "64 bits"}, {"18446744073709551616B", "64 bits"}, {"99999999999999999999999K", "64 bits"},
			{"0.1234567891G", "9 digits"}, {"1.3K", "whole number of bytes"}, {"0.3B", "whole number of bytes"},
		};
		for (const auto &row : rows) {
			const std::string reason = why(parseSize(row.text, kStrict));
			QVERIFY2(reason.find(row.reason) != std::string::npos, (std::string(row.text) + ": " + reason).c_str());
		}
		// The one in the middle of the file may be hostile; the message is not.
		QVERIFY(why(parseSize("1\x1b[2J", kStrict)).find('\x1b') == std::string::npos);
	}

	void volumeSizes()
	{
		QCOMPARE(*parseVolumeSize("512B", kSeed), uint64_t{512});
		QCOMPARE(*parseVolumeSize("4P", kSeed), 4 * kPebi);
		QCOMPARE(*parseVolumeSize("10GB", kSeed), uint64_t{10'000'000'000});
		QCOMPARE(*parseVolumeSize("64T", kSeed), 64 * kTebi);
		const struct {
			std::string_view text, nearest;
		} rows[] = {
			{"0", "512B"}, {"511B", "512B"}, {"513B", "512B and 1024B"}, {"1MB", "999936B and 1000448B"},
			 {"4097P", "4P"},
			{"1.1T", "1209462790144B and 1209462790656B"}, {"1.3K", "1024B and 1536B"}, {"512.5B", "512B and 1024B"}, {"4.000000001P", "4P"},
			 {"-1", "negative"},
		};
		for (const auto &row : rows) {
			const std::string reason = why(parseVolumeSize(row.text, kSeed));
			QVERIFY2(reason.find(row.nearest) != std::string::npos, (std::string(row.text) + ": " + reason).c_str());
		}
	}

	void echo()
	{
		const struct {
			uint64_t bytes;
			const char *text;
		} rows[] = {
			{0, "0 B"}, {512, "512 B"}, {1023, "1023 B"}, {1024, "1 KiB"}, {1536, "1.5 KiB"}, {10 * kMebi, "10 MiB"},
			{40 * kGibi, "40 GiB"}, {10'000'000'000, "9.31 GiB"}, {1'341'000'000'000, "1.22 TiB"}, {kMebi - 1, "1 MiB"},
			{kGibi - kMebi / 4, "1 GiB"}, {1000 * kMebi, "1000 MiB"}, {1023 * kMebi, "1023 MiB"},
			 {104'700'000, "99.8 MiB"},
			{104'800'000, "99.9 MiB"}, {104'857'599, "100 MiB"}, {4 * kPebi, "4 PiB"},
			{UINT64_MAX, "16 EiB"}, {1ull << 60, "1 EiB"}, {5 * kGibi + kGibi / 10, "5.1 GiB"},
			 {5 * kGibi + kGibi / 100, "5.01 GiB"},
		};
		for (const auto &row : rows) QCOMPARE(formatSize(row.bytes), std::string(row.text));
	}

	/// Three significant digits are never further from the truth than half of the last one.
	void echoIsNear()
	{
		const std::string units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
		int checked = 0;
		for (uint64_t bytes = 1024; bytes < (1ull << 62); bytes = bytes / 5 * 7 + 3, ++checked) {
			const std::string text = formatSize(bytes);
			const std::size_t blank = text.find(' ');
			QVERIFY2(blank != std::string::npos && blank <= 4, text.c_str());
			const auto unit = std::find(std::begin(units), std::end(units), text.substr(blank + 1)) - std::begin(units);
			const double shown = std::stod(text) * std::exp2(10.0 * static_cast<double>(unit));
			QVERIFY2(std::abs(shown - static_cast<double>(bytes)) <= static_cast<double>(bytes) / 199, text.c_str());
		}
		QVERIFY(checked > 90);
	}

	void durations()
	{
		const struct {
			std::string_view text;
			uint64_t ms;
		} rows[] = {{"0", 0}, {"0s", 0}, {"200ms", 200}, {"20s", 20'000}, {"10min", 600'000}, {"1h", 3'600'000},
		        {"14d", 1'209'600'000},
		            {"5S", 5000}};
		for (const auto &row : rows) {
			const auto ms = parseDurationMs(row.text);
			QVERIFY2(ms, row.text.data());
			QCOMPARE(*ms, row.ms);
		}
		const struct {
			std::string_view text, reason;
		} wrong[] = {
			{"", "whole number"}, {"s", "whole number"}, {"-1s", "negative"}, {"20", "add a unit"},
			 {"20 s", "unknown unit"},
			{"20m", "unknown unit"}, {"1.5h", "unknown unit"}, {"20sec", "unknown unit"},
			 {"18446744073709551615d", "too long"},
			{"99999999999999999999s", "too long"}, {"99999999999999999999", "add a unit"},
		};
		for (const auto &row : wrong) {
			const std::string reason = why(parseDurationMs(row.text));
			QVERIFY2(reason.find(row.reason) != std::string::npos, (std::string(row.text) + ": " + reason).c_str());
		}
	}
};

QTEST_APPLESS_MAIN(TestSizes)
#include "test_sizes.moc"
