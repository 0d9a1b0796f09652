// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// cli/out without a process around it: widths, cutting, times, shell quoting, tables, JSON numbers.
#include "cli/out/json.h"
#include "cli/out/table.h"
#include "cli/out/text.h"

#include <clocale>
#include <limits>

#include <QJsonDocument>
#include <QTest>

using namespace archipelago;
using namespace archipelago::cli;

class TestOut : public QObject {
	Q_OBJECT

private slots:
	void initTestCase() { QVERIFY(std::setlocale(LC_ALL, "C.UTF-8")); }

	void widths_data()
	{
		QTest::addColumn<QByteArray>("text");
		QTest::addColumn<int>("width");
		QTest::newRow("ascii") << QByteArray("web-01") << 6;
		QTest::newRow("umlaut") << QByteArray("übung") << 5;
		QTest::newRow("combining") << QByteArray("u\xcc\x88") << 1;
		QTest::newRow("wide") << QByteArray("東京") << 4;
		QTest::newRow("empty") << QByteArray() << 0;
		QTest::newRow("not utf-8") << QByteArray("a\xff") << 2;
	}
	void widths()
	{
		QFETCH(QByteArray, text);
		QTEST(displayWidth(text.toStdString()), "width");
	}

	void elides_data()
	{
		QTest::addColumn<QByteArray>("text");
		QTest::addColumn<int>("width");
		QTest::addColumn<QByteArray>("shown");
		QTest::newRow("fits") << QByteArray("12345") << 5 << QByteArray("12345");
		QTest::newRow("middle goes") << QByteArray("1234567890") << 6 << QByteArray("123…90");
		QTest::newRow("wide characters stay whole") << QByteArray("東京東京") << 5 << QByteArray("東…京");
		QTest::newRow("no room") << QByteArray("1234567890") << 1 << QByteArray("…");
	}
	void elides()
	{
		QFETCH(QByteArray, text);
		QFETCH(int, width);
		const std::string shown = elideMiddle(text.toStdString(), width);
		QVERIFY(displayWidth(shown) <= width);
		QTEST(QByteArray::fromStdString(shown), "shown");
	}

	void times()
	{
		QCOMPARE(timeRfc3339(1'795'000'000'000'000), "2026-11-18T11:06:40Z");
		QCOMPARE(timeRfc3339(0), "-");
		QCOMPARE(timeLocal(0), "-");
		QCOMPARE(durationText(3'000'000), "3s");
		QCOMPARE(durationText(303'000'000), "5m 3s");
		QCOMPARE(durationText(14'700'000'000), "4h 5m");
		QCOMPARE(durationText(273'600'000'000), "3d 4h");
	}

	void shellWords_data()
	{
		QTest::addColumn<QByteArray>("text");
		QTest::addColumn<QByteArray>("word");
		QTest::newRow("plain") << QByteArray("web-01.x") << QByteArray("web-01.x");
		QTest::newRow("utf-8") << QByteArray("übung") << QByteArray("übung");
		QTest::newRow("space") << QByteArray("my disk") << QByteArray("'my disk'");
		QTest::newRow("quote") << QByteArray("it's") << QByteArray("'it'\\''s'");
		QTest::newRow("glob") << QByteArray("a*") << QByteArray("'a*'");
		QTest::newRow("variable") << QByteArray("$HOME") << QByteArray("'$HOME'");
		QTest::newRow("empty") << QByteArray() << QByteArray("''");
	}
	void shellWords()
	{
		QFETCH(QByteArray, text);
		QTEST(QByteArray::fromStdString(shellQuoted(text.toStdString())), "word");
	}

	void tableInAPipe()
	{
		Table table({{"NAME"}, {"SIZE", Align::Right}});
		table.add({"a\tb\nc\033[2J", "10"});
		Console console("vlmc");
		QCOMPARE(table.render(console), "NAME\tSIZE\na\\tb\\nc\\x1b[2J\t10\n");
	}

	void jsonKeepsSizesExact()
	{
		QJsonArray items;
		for (const quint64 bytes :
		     {quint64(0), quint64(9'007'199'254'740'993), quint64(std::numeric_limits<qint64>::max())})
			items.append(QJsonObject{{"sizeBytes", jsonSize(bytes)}});
		const std::string text = toJson(
			{.schema = "archipelago.volumes/1", .items = items, .warnings = {}, .more = {{"z", 1}, {"a", 2}}});
		QCOMPARE(text, R"({"schema":"archipelago.volumes/1","items":[{"sizeBytes":0},{"sizeBytes":9007199254740993},)"
		               R"({"sizeBytes":9223372036854775807}],"warnings":[],"a":2,"z":1})"
		               "\n");
		QVERIFY(QJsonDocument::fromJson(QByteArray::fromStdString(text)).isObject());
	}

	void jsonTimes()
	{
		QVERIFY(jsonTime(0).isNull());
		QCOMPARE(jsonTime(1'795'000'000'000'000).toString(), QString("2026-11-18T11:06:40Z"));
	}
};

QTEST_GUILESS_MAIN(TestOut)
#include "test_out.moc"
