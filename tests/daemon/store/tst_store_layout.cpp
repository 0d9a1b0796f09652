// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Names on disk: golden vectors (changing one breaks every store there is), round trips, names nobody but an attacker would
// make; ids that are no objects; records and cursors of listings.
#include "daemon/store/file/layout.h"
#include "daemon/store/listing.h"

#include <QtTest>

#include <set>

using namespace archipelago;
using namespace archipelago::store;

class TestStoreLayout : public QObject {
	Q_OBJECT

private:
	static ObjectId id(ObjectKind kind, uint64_t epoch, uint32_t index)
	{
		ObjectId out;
		out.kind = kind;
		for (size_t i = 0; i < 16; ++i) out.volume.bytes[i] = static_cast<uint8_t>(0x10 + i);
		out.epoch = epoch;
		out.index = index;
		return out;
	}
	static ObjectKey name(std::string_view text)
	{
		ObjectKey key;
		key.id.kind = ObjectKind::Name;
		key.name = text;
		return key;
	}
	static void roundTrip(const ObjectKey &key)
	{
		const std::string file = fileName(key);
		QVERIFY(file.size() <= 255);
		const auto back = parseFileName(file, directoryOf(key));
		QVERIFY2(back, file.c_str());
		QVERIFY(back->id == key.id);
		QCOMPARE(back->name, std::string(key.name));
		QVERIFY(!parseFileName(file, static_cast<uint8_t>(directoryOf(key) + 1)));
	}

private slots:
	void goldenVectors_data()
	{
		QTest::addColumn<QString>("file");
		QTest::addColumn<QString>("directory");
		QTest::addColumn<QString>("expectedFile");
		QTest::addColumn<QString>("expectedDirectory");
		const auto row = [](const char *tag, const ObjectKey &key, const char *file, const char *directory) {
			QTest::newRow(tag) << QString::fromStdString(fileName(key)) << QString::fromStdString(directoryPath(directoryOf(key)))
			                   << file << directory;
		};
		row("block", {id(ObjectKind::Data, 1ull << 40 | 5, 7), {}}, "d.101112131415161718191a1b1c1d1e1f.0000010000000005.00000007",
		    "9/5");
		row("chunk", {id(ObjectKind::Chunk, 2, 3), {}}, "c.101112131415161718191a1b1c1d1e1f.0000000000000002.00000003", "6/b");
		row("header", {id(ObjectKind::Header, 9, 0), {}}, "h.101112131415161718191a1b1c1d1e1f.0000000000000009", "6/b");
		row("journal", {id(ObjectKind::Journal, 2, 0xabcdef01), {}},
		    "j.101112131415161718191a1b1c1d1e1f.0000000000000002.abcdef01", "6/b");
		row("plain name", name("web-01_a.b"), "n.web-01_a.b", "2/c");
		row("escaped name", name("a b/%\xc3\xa4"), "n.a%20b%2F%25%C3%A4", "4/4");
		ObjectKey content;
		content.id.kind = ObjectKind::Content;
		uint8_t hash[32];
		for (size_t i = 0; i < 32; ++i) hash[i] = static_cast<uint8_t>(0xe0 + i);
		std::memcpy(content.id.volume.bytes.data(), hash, 16);
		std::memcpy(&content.id.epoch, hash + 16, 8);
		std::memcpy(&content.id.index, hash + 24, 4);
		std::memcpy(&content.id.index2, hash + 28, 4);
		row("content", content, "x.e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "e/0");
	}
	void goldenVectors()
	{
		QFETCH(QString, file);
		QFETCH(QString, directory);
		QTEST(file, "expectedFile");
		QTEST(directory, "expectedDirectory");
	}

	void roundTrips()
	{
		for (const ObjectKind kind : {ObjectKind::Data, ObjectKind::Chunk, ObjectKind::Journal, ObjectKind::Content})
			for (const uint64_t epoch : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63, ~uint64_t{0}})
				for (const uint32_t index : {0u, 1u, 0xffffffffu}) roundTrip({id(kind, epoch, index), {}});
		roundTrip({id(ObjectKind::Header, 77, 0), {}});
	}

	void anyNameIsAFileName()
	{
		roundTrip(name("."));
		roundTrip(name(".."));
		roundTrip(name("%41"));
		roundTrip(name(std::string(82, '/')));
		roundTrip(name(std::string(82, '\xff')));
		for (int b = 0; b < 256; ++b) roundTrip(name(std::string(1, static_cast<char>(b))));
		QCOMPARE(fileName(name(std::string(82, '\xff'))).size(), size_t{248});
		QVERIFY(fileName(name("../../etc/passwd")).find('/') == std::string::npos);
	}

	void hostileFilesAreNoObjects_data()
	{
		QTest::addColumn<QByteArray>("file");
		const QByteArray volume = "101112131415161718191a1b1c1d1e1f";
		const QByteArray rows[] = {
		    "", ".", "..", "n", "n.", "d.", "x.", "identity", "new.0000000000000000", "q.foo",
		    "n.%61", "n.%2f", "n.%", "n.%4", "n.%zz", "n.a b", "n.\xc3\xa4", "n.a/b", "N.web", "n.web\n",
		    "n." + QByteArray(83, 'a'), "d." + volume + ".0000000000000001", "d." + volume + ".0000000000000001.0000000",
		    "d." + volume + ".0000000000000001.000000010", "d." + volume + ".0000000000000001.0000000G",
		    "d." + volume.toUpper() + ".0000000000000001.00000001", "D." + volume + ".0000000000000001.00000001",
		    "d." + volume + ".1.1", "d." + QByteArray(32, '0') + ".0000000000000001.00000001",
		    "h." + volume + ".0000000000000001.00000000", "c." + volume + ".0000000000000001.0000000" + QByteArray(1, '\0'),
		    "x." + QByteArray(63, 'a'), "x." + QByteArray(65, 'a'), "x." + QByteArray(64, 'A'),
		};
		for (const QByteArray &row : rows) QTest::newRow(row.toPercentEncoding().constData()) << row;
	}
	void hostileFilesAreNoObjects()
	{
		QFETCH(QByteArray, file);
		for (unsigned directory = 0; directory < kHashDirectories; ++directory)
			QVERIFY(!parseFileName({file.constData(), static_cast<size_t>(file.size())}, static_cast<uint8_t>(directory)));
	}

	void blocksSpreadOverAllDirectories()
	{
		std::array<int, kHashDirectories> count{};
		for (uint32_t block = 0; block < 4 * kHashDirectories; ++block) ++count[directoryOf({id(ObjectKind::Data, 1, block), {}})];
		QVERIFY(*std::max_element(count.begin(), count.end()) <= 8);
		QVERIFY(*std::min_element(count.begin(), count.end()) >= 1);
	}

	void idsThatAreNoObjects()
	{
		const auto good = id(ObjectKind::Data, 1, 1);
		QVERIFY(objectKey(good, {}));
		QVERIFY(!objectKey(good, "name"));
		auto bad = good;
		bad.volume = {};
		QVERIFY(!objectKey(bad, {}));
		bad = good;
		bad.index2 = 1;
		QVERIFY(!objectKey(bad, {}));
		bad = good;
		bad.reserved[6] = 1;
		QVERIFY(!objectKey(bad, {}));
		bad = good;
		bad.kind = static_cast<ObjectKind>(0);
		QVERIFY(!objectKey(bad, {}));
		QVERIFY(!objectKey(id(ObjectKind::Header, 1, 1), {}));
		QVERIFY(objectKey(id(ObjectKind::Header, 1, 0), {}));
		QVERIFY(!objectKey(id(ObjectKind::Name, 0, 0), ""));
		QVERIFY(!objectKey(id(ObjectKind::Name, 0, 0), std::string(83, 'a')));
		// The volume of a name says whose sync covers it, not which object it is.
		QVERIFY(*objectKey(id(ObjectKind::Name, 0, 0), "a") == name("a"));
		QCOMPARE(hashOf(*objectKey(id(ObjectKind::Name, 3, 4), "a")), hashOf(name("a")));
	}

	void objectsHaveAnEnd()
	{
		QVERIFY(withinObject(ObjectKind::Data, 0, 4 << 20));
		QVERIFY(withinObject(ObjectKind::Data, (4 << 20) - 512, 512));
		QVERIFY(!withinObject(ObjectKind::Data, (4 << 20) - 511, 512));
		QVERIFY(!withinObject(ObjectKind::Data, ~uint64_t{0}, 512));
		QVERIFY(!withinObject(ObjectKind::Content, 4 << 20, 1));
		QVERIFY(withinObject(ObjectKind::Journal, (64 << 20) - 1, 1));
		QVERIFY(!withinObject(ObjectKind::Journal, 64 << 20, 1));
	}

	void cursorsOfOthersAreRefused()
	{
		QVERIFY(ListCursor::decode(0));
		QVERIFY(!ListCursor::decode(1));
		QVERIFY(!ListCursor::decode(~uint64_t{0} >> 1));
		const ListCursor cursor{200, 12345};
		const auto back = ListCursor::decode(cursor.encode());
		QVERIFY(back);
		QCOMPARE(back->group, cursor.group);
		QCOMPARE(back->after, cursor.after);
		QVERIFY((ListCursor{0, 0}).encode() != 0);
	}

	/// What exists all the time is listed exactly once, whatever goes and comes between two calls.
	void listingSurvivesChanges()
	{
		std::vector<Listed> all;
		for (uint32_t n = 0; n < 100; ++n) all.emplace_back(id(ObjectKind::Data, 1, n), std::string());
		std::multiset<uint32_t> seen;
		ListCursor cursor;
		std::array<std::byte, 7 * sizeof(ListEntry)> space;
		uint32_t fresh = 1000;
		for (bool done = false; !done;) {
			ListWriter writer(space);
			done = writer.append(all, cursor);
			QVERIFY(done || writer.used() > 0);
			for (size_t at = 0; at < writer.used(); at += sizeof(ListEntry)) {
				ListEntry entry;
				std::memcpy(&entry, space.data() + at, sizeof entry);
				seen.insert(entry.id.index);
			}
			// Everything odd that was listed goes, something new comes.
			std::erase_if(all, [&](const Listed &o) { return o.id.index % 2 == 1 && o.order <= cursor.after; });
			all.emplace_back(id(ObjectKind::Data, 1, fresh++), std::string());
		}
		for (uint32_t n = 0; n < 100; ++n) QCOMPARE(seen.count(n), size_t{1});
		for (const uint32_t n : seen) QCOMPARE(seen.count(n), size_t{1});
	}

	void recordsStayInTheirBuffer()
	{
		std::vector<std::byte> space(200, std::byte{0x5a});
		std::vector<Listed> names;
		ObjectId of;
		of.kind = ObjectKind::Name;
		for (char c = 'a'; c < 'z'; ++c) names.emplace_back(of, std::string(static_cast<size_t>(c - 'a' + 1), c));
		for (size_t bytes = 0; bytes <= 192; ++bytes) {
			std::fill(space.begin(), space.end(), std::byte{0x5a});
			const std::span<std::byte> whole(space);
			ListWriter writer(whole.first(bytes));
			ListCursor cursor;
			writer.append(names, cursor);
			QVERIFY(writer.used() <= bytes);
			QVERIFY(std::all_of(space.begin() + static_cast<ptrdiff_t>(bytes), space.end(),
			                    [](std::byte b) { return b == std::byte{0x5a}; }));
		}
	}
};

QTEST_APPLESS_MAIN(TestStoreLayout)
#include "tst_store_layout.moc"
