// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Escaping of what comes from outside, strict UTF-8, and the nearest word.
#include "base_test.h"

#include "daemon/base/text.h"

using namespace archipelago;

class TestText : public QObject {
	Q_OBJECT
private slots:
	void codePoints()
	{
		const struct {
			std::string_view bytes;
			std::optional<char32_t> first;
		} rows[] = {
			{"a", U'a'}, {"\xc3\xa4x", U'ä'}, {"\xe2\x82\xac", U'€'}, {"\xf0\x9f\x8f\x9d", U'\U0001f3dd'},
			 {"\xf4\x8f\xbf\xbf", 0x10ffff},
			{"\xc0\xaf", {}},         // overlong '/'
			{"\xe0\x80\xaf", {}},     // overlong
			{"\xf0\x80\x80\xaf", {}}, // overlong
			{"\xed\xa0\x80", {}},     // surrogate
			{"\xf4\x90\x80\x80", {}}, // beyond Unicode
			{"\xff", {}}, {"\x80", {}}, {"\xc3", {}}, {"\xe2\x82", {}}, {"\xc3(", {}},
		};
		for (const auto &row : rows) {
			std::string_view rest = row.bytes;
			QCOMPARE(takeCodePoint(rest), row.first);
			QVERIFY(row.first ? rest.size() < row.bytes.size() : rest == row.bytes);
		}
	}

	void controlsAreEscaped()
	{
		const struct {
			std::string_view in;
			const char *out;
		} rows[] = {
			{"plain text", "plain text"}, {"Zürich €", "Zürich €"}, {"a\nb\tc", "a\\nb\\tc"}, {"\x1b[31m", "\\x1b[31m"},
			{std::string_view("a\0b", 3), "a\\x00b"}, {"\x7f", "\\x7f"}, {"\xc2\x9b", "\\xc2\\x9b"},
			 {"\xff\xfe", "\\xff\\xfe"},
			{"", ""},
		};
		for (const auto &row : rows) QCOMPARE(printable(row.in), std::string(row.out));
	}

	void quotesAreShortened()
	{
		QCOMPARE(inQuotes("db"), std::string("\"db\""));
		const std::string longName(200, 'x');
		QCOMPARE(inQuotes(longName), '"' + std::string(80, 'x') + "...\"");
		// The cut falls into a two-byte character: it goes as a whole.
		const std::string shifted = std::string(79, 'x') + std::string("\xc3\xa4") + "yy";
		QCOMPARE(inQuotes(shifted), '"' + std::string(79, 'x') + "...\"");
	}

	void nearest()
	{
		const std::string_view words[] = {"fdcache", "archip_dir", "portno_start", "portno_end", "map", "SEGMENT_SIZE"};
		const struct {
			std::string_view word, nearest;
		} rows[] = {
			{"fdcahe", "fdcache"}, {"fdcahce", "fdcache"}, {"archip-dir", "archip_dir"},
			 {"portno_strat", "portno_start"},
			{"segment_size", "SEGMENT_SIZE"}, {"mpa", "map"}, {"zzz", ""}, {"x", ""}, {"", ""}, {"portno", ""},
		};
		for (const auto &row : rows) QCOMPARE(std::string(nearestWord(row.word, words)), std::string(row.nearest));
		QCOMPARE(didYouMean("fdcahe", words), std::string(" Did you mean fdcache?"));
		QCOMPARE(didYouMean("zzz", words), std::string());
		QCOMPARE(std::string(nearestWord(std::string(100'000, 'f'), words)), std::string());
	}
};

QTEST_APPLESS_MAIN(TestText)
#include "test_text.moc"
