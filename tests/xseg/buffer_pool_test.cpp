// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Buffers: alignment, classes, exhaustion and return, what stays claimed, and that nonsense is not freed.
#include "tests/xseg/segment_fixture.h"

#include "xseg/src/slab_word.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <map>
#include <random>

using namespace xseg;
using namespace xseg::test;

namespace {

constexpr uint32_t kSlabs = 32;

SlabWord slabOf(const Segment &segment, uint32_t number) { return unpackSlab(segment.slab(number).owner); }

unsigned slabsIn(const Segment &segment, uint8_t state)
{
	unsigned found = 0;
	for (uint32_t i = 0; i < segment.geometry().slabs; ++i) found += slabOf(segment, i).state == state;
	return found;
}

/// True when `action` ends a child process by SIGABRT. The segment is not mapped there (MADV_DONTFORK).
template <typename Action> bool aborts(Action action)
{
	const pid_t child = fork();
	if (child == 0) {
		const rlimit none{};
		setrlimit(RLIMIT_CORE, &none);
		action();
		_exit(0);
	}
	int status = 0;
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

} // namespace

class BufferPoolTest : public QObject {
	Q_OBJECT

private slots:
	void sizesAndAlignment_data();
	void sizesAndAlignment();
	void exhaustionAndReturn_data();
	void exhaustionAndReturn();
	void keepsOneFreeSlabPerClass();
	void sparesOfOtherClassesAreUsedBeforeGivingUp();
	void slabWordsNameTheOwner();
	void memoryStaysBacked();
	void twoPoolsShareTheSlabs();
	void claimOfARunRollsBack();
	void leftoverBecomesZombie();
	void overwrittenWordIsNotClaimedTwice();
	void freeOfNonsenseAborts();
	void randomUse();
};

void BufferPoolTest::sizesAndAlignment_data()
{
	QTest::addColumn<quint32>("bytes");
	QTest::addColumn<quint32>("blockBytes");
	for (uint32_t shift = 9; shift <= 22; ++shift) {
		QTest::addRow("exactly 2^%u", shift) << (1u << shift) << (1u << shift);
		QTest::addRow("one less than 2^%u", shift) << (1u << shift) - 1 << (1u << shift);
	}
	QTest::newRow("nothing") << 0u << 512u;
	QTest::newRow("one byte") << 1u << 512u;
	QTest::newRow("one more than a class") << 4097u << 8192u;
}

void BufferPoolTest::sizesAndAlignment()
{
	QFETCH(quint32, bytes);
	QFETCH(quint32, blockBytes);
	const auto t = makeSegment();
	BufferPool pool(t.segment, 1);
	const uint32_t a = pool.allocate(bytes), b = pool.allocate(bytes);
	QVERIFY(a != XS_NO_BUFFER && b != XS_NO_BUFFER && a != b);
	for (const uint32_t block : {a, b}) {
		QCOMPARE(uint64_t(block) * 512 % blockBytes, uint64_t(0));
		const auto all = t.segment.buffer(block, 0, blockBytes);
		QVERIFY(all);
		QVERIFY(!t.segment.buffer(block, 0, blockBytes + 1));
		QCOMPARE(reinterpret_cast<uintptr_t>(all->data()) % std::min(blockBytes, 4096u), uintptr_t(0));
		std::memset(all->data(), 0x5a, all->size()); // has memory
	}
	QCOMPARE(pool.bytesInUse(), uint64_t(2) * blockBytes);
	pool.free(a);
	pool.free(b);
	QCOMPARE(pool.bytesInUse(), uint64_t(0));
	QCOMPARE(pool.allocate((4u << 20) + 1), XS_NO_BUFFER);
	QCOMPARE(pool.allocate(0xffffffff), XS_NO_BUFFER);
}

void BufferPoolTest::exhaustionAndReturn_data()
{
	QTest::addColumn<quint32>("bytes");
	for (const uint32_t bytes : {512u, 4096u, 65536u, 262144u, 1048576u, 4194304u}) QTest::addRow("%u", bytes) << bytes;
}

void BufferPoolTest::exhaustionAndReturn()
{
	QFETCH(quint32, bytes);
	const auto t = makeSegment();
	{
		BufferPool pool(t.segment, 1);
		for (int round = 0; round < 2; ++round) {
			std::vector<uint32_t> blocks;
			for (uint32_t block; (block = pool.allocate(bytes)) != XS_NO_BUFFER;) blocks.push_back(block);
			QCOMPARE(uint64_t(blocks.size()) * bytes, t.segment.geometry().dataBytes); // every byte, each once
			std::ranges::sort(blocks);
			QVERIFY(std::ranges::adjacent_find(blocks) == blocks.end());
			QCOMPARE(slabsIn(t.segment, XS_SLAB_FREE), 0u);
			std::ranges::shuffle(blocks, std::mt19937(3));
			for (const uint32_t block : blocks) pool.free(block);
			QCOMPARE(slabsIn(t.segment, XS_SLAB_USED), slabsOf(uint8_t(std::bit_width(bytes) - 1)));
		}
	}
	QCOMPARE(slabsIn(t.segment, XS_SLAB_FREE), kSlabs);
}

void BufferPoolTest::keepsOneFreeSlabPerClass()
{
	const auto t = makeSegment();
	BufferPool pool(t.segment, 1);
	for (const uint32_t bytes : {4096u, 1048576u}) {
		const uint32_t block = pool.allocate(bytes);
		pool.free(block);
		QCOMPARE(pool.allocate(bytes), block); // no new claim
		pool.free(block);
	}
	QCOMPARE(slabsIn(t.segment, XS_SLAB_USED), 1u + 4u);
}

void BufferPoolTest::sparesOfOtherClassesAreUsedBeforeGivingUp()
{
	const auto t = makeSegment();
	BufferPool pool(t.segment, 1);
	for (const uint32_t bytes : {512u, 4096u, 65536u, 2097152u}) pool.free(pool.allocate(bytes));
	const uint32_t a = pool.allocate(4u << 20), b = pool.allocate(4u << 20); // all of the 8 MiB
	QVERIFY(a != XS_NO_BUFFER && b != XS_NO_BUFFER);
	QCOMPARE(pool.allocate(512), XS_NO_BUFFER);
	pool.free(a);
	QVERIFY(pool.allocate(512) != XS_NO_BUFFER); // the spare run makes room for a small one
	pool.free(b);
}

void BufferPoolTest::slabWordsNameTheOwner()
{
	const auto t = makeSegment();
	BufferPool pool(t.segment, 42);
	const uint32_t small = pool.allocate(4096), large = pool.allocate(1u << 20);
	const SlabWord first = slabOf(t.segment, small / 512);
	QCOMPARE(first.state, uint8_t(XS_SLAB_USED));
	QCOMPARE(first.port, uint16_t(42));
	QCOMPARE(first.classShift, uint8_t(12));
	QVERIFY(first.backed);
	for (uint16_t i = 0; i < 4; ++i) {
		const SlabWord word = slabOf(t.segment, large / 512 + i);
		QCOMPARE(word.classShift, uint8_t(20));
		QCOMPARE(word.index, i);
		QCOMPARE(word.port, uint16_t(42));
		QVERIFY(word.backed);
	}
	pool.free(small);
	pool.free(large);
}

void BufferPoolTest::memoryStaysBacked()
{
	const auto t = makeSegment();
	uint32_t slab = 0;
	{
		BufferPool pool(t.segment, 1);
		const uint32_t block = pool.allocate(4096);
		slab = block / 512;
		pool.free(block);
	}
	const SlabWord word = slabOf(t.segment, slab);
	QCOMPARE(word.state, uint8_t(XS_SLAB_FREE));
	QVERIFY(word.backed && word.tag != 0);
	QVERIFY(!t.segment.buffer(slab * 512, 0, 1));
}

void BufferPoolTest::twoPoolsShareTheSlabs()
{
	const auto t = makeSegment();
	BufferPool a(t.segment, 1), b(t.segment, 2);
	std::vector<uint32_t> ofA, ofB;
	for (bool more = true; more;) {
		const uint32_t x = a.allocate(65536), y = b.allocate(65536);
		if (x != XS_NO_BUFFER) ofA.push_back(x);
		if (y != XS_NO_BUFFER) ofB.push_back(y);
		more = x != XS_NO_BUFFER || y != XS_NO_BUFFER;
	}
	QCOMPARE(ofA.size() + ofB.size(), size_t(kSlabs) * 4);
	for (const uint32_t block : ofA) QCOMPARE(slabOf(t.segment, block / 512).port, uint16_t(1));
	for (const uint32_t block : ofB) QCOMPARE(slabOf(t.segment, block / 512).port, uint16_t(2));
	for (const uint32_t block : ofA) a.free(block);
	for (const uint32_t block : ofB) b.free(block);
}

void BufferPoolTest::claimOfARunRollsBack()
{
	const auto t = makeSegment();
	BufferPool pool(t.segment, 1);
	for (uint32_t i = 15; i < kSlabs; i += 16) { // one slab of each 4 MiB belongs to somebody else
		t.segment.slab(i).owner = pack(SlabWord{.state = XS_SLAB_USED, .backed = true, .classShift = 9, .port = 9});
	}
	QCOMPARE(pool.allocate(4u << 20), XS_NO_BUFFER);
	QCOMPARE(slabsIn(t.segment, XS_SLAB_USED), 2u);
	const uint32_t half = pool.allocate(2u << 20);
	QVERIFY(half != XS_NO_BUFFER);
	QCOMPARE(half / 512 % 8, 0u);
	pool.free(half);
}

void BufferPoolTest::leftoverBecomesZombie()
{
	const auto t = makeSegment();
	uint32_t block = 0;
	{
		BufferPool pool(t.segment, 1);
		block = pool.allocate(4096);
	}
	QCOMPARE(slabOf(t.segment, block / 512).state, uint8_t(XS_SLAB_ZOMBIE));
	QVERIFY(t.segment.buffer(block, 0, 4096)); // whoever has the request still reads and writes it
	BufferPool other(t.segment, 1);
	for (uint32_t i = 0; i < kSlabs - 1; ++i) QVERIFY(other.allocate(256u << 10) != XS_NO_BUFFER);
	QCOMPARE(other.allocate(512), XS_NO_BUFFER);
}

void BufferPoolTest::overwrittenWordIsNotClaimedTwice()
{
	const auto t = makeSegment();
	BufferPool pool(t.segment, 1);
	const uint32_t small = pool.allocate(256u << 10), large = pool.allocate(2u << 20);
	QVERIFY(small != XS_NO_BUFFER && large != XS_NO_BUFFER);
	for (uint32_t i = 0; i < kSlabs; ++i) t.segment.slab(i).owner = 0;
	for (uint32_t block; (block = pool.allocate(256u << 10)) != XS_NO_BUFFER;) {
		QVERIFY(block != small);
		QVERIFY(block < large || block >= large + 8 * 512);
	}
	pool.free(small);
	pool.free(large);
	QCOMPARE(slabsIn(t.segment, XS_SLAB_FREE), 9u); // left as they were found
}

void BufferPoolTest::freeOfNonsenseAborts()
{
	const auto t = makeSegment();
	BufferPool pool(t.segment, 1), other(t.segment, 2);
	const uint32_t block = pool.allocate(4096), keeper = pool.allocate(4096), freed = pool.allocate(4096),
				   theirs = other.allocate(4096);
	pool.free(freed);
	QVERIFY(!aborts([] {}));
	QVERIFY(aborts([&] { pool.free(freed); }));
	QVERIFY(aborts([&] { pool.free(theirs); }));
	QVERIFY(aborts([&] { pool.free(block + 1); }));
	QVERIFY(aborts([&] { pool.free(XS_NO_BUFFER); }));
	QVERIFY(aborts([&] { pool.free(kSlabs * 512); }));
	pool.free(block);
	pool.free(keeper);
	other.free(theirs);
}

void BufferPoolTest::randomUse()
{
	const auto t = makeSegment();
	{
		BufferPool pool(t.segment, 1);
		std::mt19937 random(4);
		std::map<uint64_t, uint64_t> used; // start -> end, bytes
		std::vector<uint32_t> blocks;
		for (int step = 0; step < 20000; ++step) {
			if (blocks.empty() || random() % 2) {
				const auto bytes = uint32_t(1 + random() % (1u << (9 + random() % 12)));
				const uint32_t block = pool.allocate(bytes);
				if (block == XS_NO_BUFFER) continue;
				const uint64_t start = uint64_t(block) * 512;
				const auto after = used.lower_bound(start);
				QVERIFY(after == used.end() || start + bytes <= after->first);
				QVERIFY(after == used.begin() || std::prev(after)->second <= start);
				QVERIFY(t.segment.buffer(block, 0, bytes));
				used[start] = start + bytes;
				blocks.push_back(block);
			} else {
				std::swap(blocks[random() % blocks.size()], blocks.back());
				pool.free(blocks.back());
				used.erase(uint64_t(blocks.back()) * 512);
				blocks.pop_back();
			}
		}
		for (const uint32_t block : blocks) pool.free(block);
		QCOMPARE(pool.bytesInUse(), uint64_t(0));
	}
	QCOMPARE(slabsIn(t.segment, XS_SLAB_FREE), kSlabs);
}

QTEST_GUILESS_MAIN(BufferPoolTest)
#include "buffer_pool_test.moc"
