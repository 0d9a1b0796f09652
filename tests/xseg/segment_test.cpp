// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Creating and opening a segment, and that nothing but an undamaged one can be opened.
#include "tests/xseg/segment_fixture.h"

#include "xseg/src/slab_word.h"

#include <QFile>
#include <QTemporaryFile>

#include <fcntl.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstring>

using namespace xseg;
using namespace xseg::test;

namespace {

/// A new memfd with the first `bytes` of the segment in it.
UniqueFd copyOf(const Segment &segment, uint64_t bytes, int seals)
{
	UniqueFd fd(memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	std::vector<char> page(4096);
	const bool ok = ftruncate(fd.get(), off_t(bytes)) == 0 &&
	                pread(segment.fd(), page.data(), page.size(), 0) == 4096 &&
	                pwrite(fd.get(), page.data(), std::min<size_t>(page.size(), bytes), 0) > 0;
	return ok && fcntl(fd.get(), F_ADD_SEALS, seals) == 0 ? std::move(fd) : UniqueFd();
}

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

} // namespace

class SegmentTest : public QObject {
	Q_OBJECT

private slots:
	void createFillsTheHeader();
	void defaultSizes_data();
	void defaultSizes();
	void impossibleSizesAreRefused_data();
	void impossibleSizesAreRefused();
	void attachSeesTheSameMemory();
	void cannotBeResized();
	void staysOutOfDumpsAndChildren();
	void tablesHaveMemoryDataHasNot();
	void damagedHeaderIsRefused_data();
	void damagedHeaderIsRefused();
	void newerMinorVersionIsAccepted();
	void unsealedIsRefused();
	void truncatedIsRefused();
	void otherFilesAreRefused();
	void buffersAreChecked_data();
	void buffersAreChecked();
	void largeBuffersAreChecked();
	void backingOutOfRangeIsRefused();
};

void SegmentTest::createFillsTheHeader()
{
	const auto t = makeSegment();
	xs_hdr header;
	QCOMPARE(pread(t.segment.fd(), &header, sizeof header, 0), ssize_t(sizeof header));
	QCOMPARE(header.magic, quint64(XS_MAGIC));
	QCOMPARE(header.abi_major, quint16(XS_ABI_MAJOR));
	QCOMPARE(header.seg_size, quint64(smallConfig().sizeBytes));
	QCOMPARE(header.nr_reqs, 256u);
	QVERIFY(std::memcmp(header.instance, t.segment.geometry().instance, sizeof header.instance) == 0);
	const auto other = makeSegment();
	QVERIFY(std::memcmp(header.instance, other.segment.geometry().instance, sizeof header.instance) != 0);
}

void SegmentTest::defaultSizes_data()
{
	QTest::addColumn<quint64>("mebibytes");
	QTest::addColumn<quint32>("requests");
	QTest::newRow("small") << quint64(64) << 16384u;
	QTest::newRow("just below") << quint64(252) << 16384u;
	QTest::newRow("large") << quint64(256) << 65536u;
}

void SegmentTest::defaultSizes()
{
	QFETCH(quint64, mebibytes);
	QFETCH(quint32, requests);
	const auto segment = Segment::create({.sizeBytes = mebibytes << 20});
	QVERIFY(segment);
	const Geometry &g = segment->geometry();
	QCOMPARE(g.requests, requests);
	QCOMPARE(g.ports, quint32(XS_MAX_PORTS));
	QCOMPARE(g.offData % (4u << 20), quint64(0));
	QCOMPARE(g.offData + g.dataBytes, mebibytes << 20);
	QCOMPARE(uint64_t(g.slabs) << XS_SLAB_SHIFT, g.dataBytes);
}

void SegmentTest::impossibleSizesAreRefused_data()
{
	QTest::addColumn<quint32>("ports");
	QTest::addColumn<quint32>("waiters");
	QTest::addColumn<quint32>("requests");
	QTest::addColumn<quint32>("ringLog2");
	QTest::addColumn<quint64>("size");
	const auto row = [](const char *name, uint32_t ports, uint32_t waiters, uint32_t requests, uint32_t ringLog2,
	                    uint64_t size) {
		QTest::newRow(name) << ports << waiters << requests << ringLog2 << quint64(size);
	};
	row("too few ports", 63, 4, 256, 5, 12u << 20);
	row("too many ports", 2049, 4, 256, 5, 64u << 20);
	row("no waiters", 64, 0, 256, 5, 12u << 20);
	row("too many waiters", 64, 65, 256, 5, 12u << 20);
	row("half a run of requests", 64, 4, 96, 5, 12u << 20);
	row("too many requests", 64, 4, (1u << 24) + 64, 5, uint64_t(8) << 30);
	row("ring too small", 64, 4, 256, 4, 12u << 20);
	row("ring too large", 64, 4, 256, 17, uint64_t(1) << 30);
	row("ring absurd", 64, 4, 256, 4000000000u, uint64_t(1) << 30);
	row("crooked size", 64, 4, 256, 5, (12u << 20) + 4096);
	row("no room for data", 64, 4, 256, 5, 4u << 20);
	row("no size", 64, 4, 256, 5, 0);
	row("size beyond block numbers", 64, 4, 256, 5, uint64_t(1) << 41);
	row("size beyond sense", 64, 4, 256, 5, ~uint64_t(0) << 22);
}

void SegmentTest::impossibleSizesAreRefused()
{
	QFETCH(quint32, ports);
	QFETCH(quint32, waiters);
	QFETCH(quint32, requests);
	QFETCH(quint32, ringLog2);
	QFETCH(quint64, size);
	const auto segment = Segment::create(
		{.ports = ports, .waiters = waiters, .requests = requests, .ringSlotsLog2 = ringLog2, .sizeBytes = size});
	QVERIFY(!segment);
	QCOMPARE(segment.error().errnum, EINVAL);
	QVERIFY(!segment.error().what.empty());
}

void SegmentTest::attachSeesTheSameMemory()
{
	const auto t = makeSegment();
	const auto other = Segment::attach(duplicate(t.segment.fd()));
	QVERIFY(other);
	QCOMPARE(other->geometry().offData, t.segment.geometry().offData);
	QCOMPARE(other->geometry().offSlabs, t.segment.geometry().offSlabs);
	QVERIFY(&other->request(7) != &t.segment.request(7));
	t.segment.request(7).offset = 4711;
	t.segment.port(63).role = 5;
	t.segment.ring(63, Direction::Reply).tail = 6;
	QCOMPARE(other->request(7).offset, quint64(4711));
	QCOMPARE(other->port(63).role, 5u);
	QCOMPARE(other->ring(63, Direction::Reply).tail, quint64(6));
	QCOMPARE(other->ring(63, Direction::Request).tail, quint64(0));
	QCOMPARE(other->data().size(), size_t(t.segment.geometry().dataBytes));
}

void SegmentTest::cannotBeResized()
{
	const auto t = makeSegment();
	QCOMPARE(ftruncate(t.segment.fd(), 4096), -1);
	QCOMPARE(errno, EPERM);
	QCOMPARE(ftruncate(t.segment.fd(), 64 << 20), -1);
	QCOMPARE(fcntl(t.segment.fd(), F_ADD_SEALS, F_SEAL_WRITE), -1);
	QVERIFY(fcntl(t.segment.fd(), F_GETFD) & FD_CLOEXEC);
}

/// The kernel's flags of our mapping: dd = not in core dumps, dc = not in forked children.
void SegmentTest::staysOutOfDumpsAndChildren()
{
	const auto t = makeSegment();
	const auto address = reinterpret_cast<quintptr>(t.segment.data().data()) - t.segment.geometry().offData;
	QFile smaps("/proc/self/smaps");
	QVERIFY(smaps.open(QIODevice::ReadOnly));
	bool inside = false;
	QByteArray flags;
	for (const QByteArray &line : smaps.readAll().split('\n')) {
		const QByteArray start = line.left(line.indexOf('-'));
		bool isAddress = false;
		const auto value = start.toULongLong(&isAddress, 16);
		if (isAddress && line.contains(' ') && !line.startsWith("VmFlags")) inside = value == address;
		if (inside && line.startsWith("VmFlags:")) flags = line;
	}
	QVERIFY2(flags.contains(" dd") && flags.contains(" dc"), flags.constData());
}

void SegmentTest::tablesHaveMemoryDataHasNot()
{
	const auto t = makeSegment();
	const Geometry &g = t.segment.geometry();
	QCOMPARE(lseek(t.segment.fd(), off_t(g.offRequests), SEEK_DATA), off_t(g.offRequests));
	QCOMPARE(lseek(t.segment.fd(), off_t(g.offData), SEEK_DATA), off_t(-1));
	QCOMPARE(errno, ENXIO);
	QVERIFY(t.segment.backSlab(3, 2));
	QCOMPARE(lseek(t.segment.fd(), off_t(g.offData), SEEK_DATA), off_t(g.offData + (3u << XS_SLAB_SHIFT)));
	QCOMPARE(lseek(t.segment.fd(), off_t(g.offData + (3u << XS_SLAB_SHIFT)), SEEK_HOLE),
	         off_t(g.offData + (5u << XS_SLAB_SHIFT)));
}

void SegmentTest::damagedHeaderIsRefused_data()
{
	QTest::addColumn<quint64>("offset");
	QTest::addColumn<int>("bytes");
	QTest::addColumn<quint64>("value");
	const auto row = [](const char *name, size_t offset, int bytes, uint64_t value) {
		QTest::addRow("%s = %llx", name, static_cast<unsigned long long>(value))
			<< quint64(offset) << bytes << quint64(value);
	};
#define FIELD(name) #name, offsetof(xs_hdr, name), int(sizeof(xs_hdr::name))
	row(FIELD(magic), XS_MAGIC + 1);
	row(FIELD(magic), 0);
	row(FIELD(abi_major), 0);
	row(FIELD(abi_major), 1);
	row(FIELD(abi_major), 2);
	row(FIELD(abi_major), 4);
	row(FIELD(hdr_size), 0);
	row(FIELD(hdr_size), 4097);
	row(FIELD(seg_size), (12u << 20) - 4096);
	row(FIELD(seg_size), ~uint64_t(0));
	row(FIELD(feat_incompat), 1);
	row(FIELD(feat_rocompat), uint64_t(1) << 63);
	row(FIELD(nr_ports), 0);
	row(FIELD(nr_ports), 2048); // its table would run into the next
	row(FIELD(nr_ports), 0xffffffff);
	row(FIELD(nr_waiters), 0);
	row(FIELD(nr_waiters), 64);
	row(FIELD(nr_waiters), 0x80000000);
	row(FIELD(nr_reqs), 0);
	row(FIELD(nr_reqs), 255);
	row(FIELD(nr_reqs), 65536);
	row(FIELD(nr_reqs), 0xffffffc0);
	row(FIELD(nr_slabs), 0);
	row(FIELD(nr_slabs), 16); // leaves a gap at the end
	row(FIELD(nr_slabs), 31);
	row(FIELD(nr_slabs), 48);
	row(FIELD(nr_slabs), 0xfffffff0);
	row(FIELD(ring_lg2), 0);
	row(FIELD(ring_lg2), 16);
	row(FIELD(ring_lg2), 64);
	row(FIELD(ring_lg2), 0xffffffff);
	row(FIELD(reserved0), 1);
	for (const uint64_t value :
	     {uint64_t(0), uint64_t(12) << 20, uint64_t(1) << 63, ~uint64_t(0) - 4095, uint64_t(4097)}) {
		row(FIELD(off_ports), value);
		row(FIELD(off_waiters), value);
		row(FIELD(off_rings), value);
		row(FIELD(off_stats), value);
		row(FIELD(off_reqs), value);
		row(FIELD(off_runs), value);
		row(FIELD(off_slabs), value);
		row(FIELD(off_data), value);
	}
	row(FIELD(off_data), 8u << 20);
#undef FIELD
}

void SegmentTest::damagedHeaderIsRefused()
{
	QFETCH(quint64, offset);
	QFETCH(int, bytes);
	QFETCH(quint64, value);
	const auto t = makeSegment();
	QVERIFY(Segment::attach(duplicate(t.segment.fd())));
	QCOMPARE(pwrite(t.segment.fd(), &value, size_t(bytes), off_t(offset)), ssize_t(bytes));
	const auto damaged = Segment::attach(duplicate(t.segment.fd()));
	QVERIFY(!damaged);
	QCOMPARE(damaged.error().errnum, EPROTO);
}

void SegmentTest::newerMinorVersionIsAccepted()
{
	const auto t = makeSegment();
	const uint16_t minor = XS_ABI_MINOR + 1;
	const uint64_t compat = 1;
	QCOMPARE(pwrite(t.segment.fd(), &minor, sizeof minor, offsetof(xs_hdr, abi_minor)), ssize_t(sizeof minor));
	QCOMPARE(pwrite(t.segment.fd(), &compat, sizeof compat, offsetof(xs_hdr, feat_compat)), ssize_t(sizeof compat));
	QVERIFY(Segment::attach(duplicate(t.segment.fd())));
}

void SegmentTest::unsealedIsRefused()
{
	const auto t = makeSegment();
	const uint64_t size = t.segment.geometry().sizeBytes;
	QVERIFY(Segment::attach(copyOf(t.segment, size, kSeals))); // the copy itself is fine
	for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL}) {
		const auto refused = Segment::attach(copyOf(t.segment, size, kSeals & ~missing));
		QVERIFY(!refused);
		QCOMPARE(refused.error().errnum, EPROTO);
	}
}

void SegmentTest::truncatedIsRefused()
{
	const auto t = makeSegment();
	for (const uint64_t size : {uint64_t(0), uint64_t(144), uint64_t(4096), t.segment.geometry().sizeBytes / 2,
	                            t.segment.geometry().sizeBytes * 2}) {
		UniqueFd fd = size == 0 ? UniqueFd(memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING))
		                        : copyOf(t.segment, size, kSeals);
		QVERIFY(fd);
		if (size == 0) QCOMPARE(fcntl(fd.get(), F_ADD_SEALS, kSeals), 0);
		const auto refused = Segment::attach(std::move(fd));
		QVERIFY(!refused);
		QCOMPARE(refused.error().errnum, EPROTO);
	}
}

void SegmentTest::otherFilesAreRefused()
{
	QVERIFY(!Segment::attach(UniqueFd()));
	QVERIFY(!Segment::attach(UniqueFd(open("/dev/zero", O_RDWR | O_CLOEXEC))));
	QTemporaryFile file;
	QVERIFY(file.open() && file.resize(12 << 20));
	QVERIFY(!Segment::attach(duplicate(file.handle())));
	const auto t = makeSegment();
	const QByteArray path = "/proc/self/fd/" + QByteArray::number(t.segment.fd());
	QVERIFY(!Segment::attach(UniqueFd(open(path.constData(), O_RDONLY | O_CLOEXEC)))); // cannot be mapped for writing
}

void SegmentTest::buffersAreChecked_data()
{
	QTest::addColumn<quint64>("word");
	QTest::addColumn<quint32>("block");
	QTest::addColumn<quint32>("offset");
	QTest::addColumn<quint32>("length");
	QTest::addColumn<bool>("valid");
	const SlabWord used{.state = XS_SLAB_USED, .backed = true, .classShift = 12, .port = 1}; // slab 1: blocks of 4 KiB
	const auto row = [&](const char *name, const SlabWord &word, uint32_t block, uint32_t offset, uint32_t length,
	                     bool valid) {
		QTest::newRow(name) << quint64(pack(word)) << block << offset << length << valid;
	};
	const auto with = [&](auto change) {
		SlabWord word = used;
		change(word);
		return word;
	};
	row("first block", used, 512, 0, 4096, true);
	row("last block, last byte", used, 1024 - 8, 4095, 1, true);
	row("part", used, 512 + 8, 100, 200, true);
	row("nothing of it", used, 512, 4096, 0, true);
	row("zombie", with([](SlabWord &w) { w.state = XS_SLAB_ZOMBIE; }), 512, 0, 4096, true);
	row("fenced", with([](SlabWord &w) { w.state = XS_SLAB_FENCED; }), 512, 0, 4096, true);
	row("free", with([](SlabWord &w) { w.state = XS_SLAB_FREE; }), 512, 0, 1, false);
	row("unknown state", with([](SlabWord &w) { w.state = 7; }), 512, 0, 1, false);
	row("without memory", with([](SlabWord &w) { w.backed = false; }), 512, 0, 1, false);
	row("one byte too long", used, 512, 0, 4097, false);
	row("beyond its end", used, 512, 4096, 1, false);
	row("sum overflows", used, 512, 0xffffffff, 2, false);
	row("inside a block", used, 512 + 1, 0, 1, false);
	row("class too small", with([](SlabWord &w) { w.classShift = 8; }), 512, 0, 1, false);
	row("class too large", with([](SlabWord &w) { w.classShift = 23; }), 512, 0, 1, false);
	row("class absurd", with([](SlabWord &w) { w.classShift = 255; }), 512, 0, 1, false);
	row("index in a class without runs", with([](SlabWord &w) { w.index = 1; }), 512, 0, 1, false);
	row("no buffer", used, XS_NO_BUFFER, 0, 0, false);
	row("behind the data", used, 32 * 512, 0, 1, false);
	row("far behind the data", used, 0xfffffffe, 0, 1, false);
	row("run does not start here", with([](SlabWord &w) { w.classShift = 19; }), 512, 0, 1, false);
}

void SegmentTest::buffersAreChecked()
{
	QFETCH(quint64, word);
	QFETCH(quint32, block);
	QFETCH(quint32, offset);
	QFETCH(quint32, length);
	QFETCH(bool, valid);
	const auto t = makeSegment();
	t.segment.slab(1).owner = word;
	const auto buffer = t.segment.buffer(block, offset, length);
	QCOMPARE(buffer.has_value(), valid);
	if (!buffer) return;
	QCOMPARE(buffer->size(), size_t(length));
	QCOMPARE(uint64_t(buffer->data() - t.segment.data().data()), uint64_t(block) * 512 + offset);
}

void SegmentTest::largeBuffersAreChecked()
{
	const auto t = makeSegment();
	const uint32_t run = 4; // 1 MiB: slabs 4..7
	for (uint32_t i = 0; i < run; ++i) {
		t.segment.slab(4 + i).owner = pack(
			SlabWord{.state = XS_SLAB_USED, .backed = true, .classShift = 20, .index = uint16_t(i)});
	}
	QVERIFY(t.segment.buffer(4 * 512, 0, 1u << 20));
	QVERIFY(!t.segment.buffer(4 * 512, 1, 1u << 20));
	QVERIFY(!t.segment.buffer(5 * 512, 0, 1)); // its handle is that of its first slab
	t.segment.slab(4).owner = pack(SlabWord{.state = XS_SLAB_USED, .backed = true, .classShift = 20, .index = 1});
	QVERIFY(!t.segment.buffer(4 * 512, 0, 1)); // says itself that it is not the first
}

void SegmentTest::backingOutOfRangeIsRefused()
{
	const auto t = makeSegment();
	QVERIFY(t.segment.backSlab(31, 1));
	QVERIFY(!t.segment.backSlab(31, 2));
	QVERIFY(!t.segment.backSlab(0xffffffff, 0xffffffff));
	QVERIFY(t.segment.backRings(63));
	QVERIFY(!t.segment.backRings(64));
}

QTEST_GUILESS_MAIN(SegmentTest)
#include "segment_test.moc"
