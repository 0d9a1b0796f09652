// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The naming rule: what is legal, what is not and why, and that every suggestion is itself legal.
#include "base_test.h"

#include "daemon/base/names.h"

using namespace archipelago;

namespace {

std::string repeat(std::string_view part, int times)
{
	std::string out;
	for (int i = 0; i < times; ++i) out += part;
	return out;
}

} // namespace

class TestNames : public QObject {
	Q_OBJECT
private slots:
	void legal()
	{
		const std::string names[] = {
			"a", "db", "web-01", "...", ".hidden", "a b", "Zürich", "名前", "archip", "Archip_x", "xarchip_y", "x_locks",
			"lock", "hash",
			"a:b", "-rf", "x_0123456789abcde", "x0123456789abcdef", "x_0123456789abcdeg", std::string(82, 'x'),
			        repeat("ä", 41),
			"_lockx", "a\\b", "snap@1",
		};
		for (const std::string &name : names) QVERIFY2(checkName(name), name.c_str());
	}

	void refused()
	{
		const struct {
			std::string name;
			const char *rule, *suggestion; ///< suggestion: nullptr = none
		} rows[] = {
			{"", "empty", nullptr},
			{".", "directories", nullptr},
			{"..", "directories", nullptr},
			{"/", "'/'", nullptr},
			{"a/b", "'/'", "\"a-b\""},
			{"/srv/db/", "'/'", "\"srv-db\""},
			{std::string("a\0b", 3), "control", "\"ab\""},
			{"a\nb", "control", "\"ab\""},
			{"a\x7f", "control", "\"a\""},
			{"a\xc2\x85", "control", "\"a\""}, // C1, in UTF-8
			{"a\xff", "UTF-8", "\"a\""},
			{"a\xc0\xaf", "UTF-8", "\"a\""},   // an overlong '/'
			{std::string(83, 'x'), "83 bytes", "\"xxxxxxxx"},
			{repeat("ä", 42), "84 bytes", "ää"},
			{"archip_db", "prefix", "\"db\""},
			{"archip_", "prefix", nullptr},
			{"db_lock", "suffix \"_lock\"", "\"db-lock\""},
			{"db_hash", "suffix \"_hash\"", "\"db-hash\""},
			{"_lock", "suffix", "\"-lock\""},
			{"x_0123456789abcdef", "16 hex", "\"x-0123456789abcdef\""},
			{"x_0123456789ABCDEFzz", "16 hex", "\"x-0123456789ABCDEFzz\""},
			{"a_b_00000000000000000", "16 hex", "\"a_b-00000000000000000\""},
		};
		for (const auto &row : rows) {
			const auto result = checkName(row.name);
			QVERIFY2(!result, row.rule);
			QCOMPARE(result.error().code, ErrorCode::Invalid);
			const std::string &message = result.error().message;
			QVERIFY2(message.find(row.rule) != std::string::npos, message.c_str());
			QVERIFY2((message.find("A legal one") != std::string::npos) == (row.suggestion != nullptr),
			        message.c_str());
			if (row.suggestion != nullptr) QVERIFY2(message.find(row.suggestion) != std::string::npos, message.c_str());
			for (const char c : message) QVERIFY2(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, message.c_str());
		}
	}

	void suggestionsAreLegal()
	{
		for (const std::string name : {"a/b", "archip_archip_x", "x_lock", "x_0123456789abcdef_0123456789abcdef",
		        "/_hash"}) {
			const std::string message = checkName(name).error().message;
			const std::size_t at = message.find("A legal one is \"");
			QVERIFY2(at != std::string::npos, message.c_str());
			const std::size_t begin = at + 16;
			const std::string suggestion = message.substr(begin, message.find('"', begin) - begin);
			QVERIFY2(checkName(suggestion), suggestion.c_str());
		}
	}
};

QTEST_APPLESS_MAIN(TestNames)
#include "test_names.moc"
