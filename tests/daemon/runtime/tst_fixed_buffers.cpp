// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Large I/O through regions that are registered with the ring says and does the same as plain I/O.
#include "tests/daemon/runtime/rig.h"

#include "xseg/buffer_pool.h"

#include <QTemporaryFile>
#include <QtTest>

#include <fcntl.h>

#include <cstring>

using namespace archipelago;
using namespace archipelago::testing;
using runtime::FixedBuffers;

namespace {

constexpr uint32_t kLarge = 1u << 20;

struct OneIo : runtime::Completion {
	std::optional<int32_t> result;
	OneIo()
	{
		fn = [](runtime::Completion *self, int32_t r) { static_cast<OneIo *>(self)->result = r; };
	}
};

struct FileRig : Rig {
	QTemporaryFile file;
	xseg::BufferPool pool{*segment, 7};

	FileRig()
	{
		if (!file.open()) qFatal("file");
	}
	std::span<std::byte> bytes(uint32_t buffer, uint32_t count) const { return *segment->buffer(buffer, 0, count); }
	int32_t write(std::span<const std::byte> from, uint64_t offset)
	{
		OneIo io;
		io_uring_sqe *sqe = reactor->prepare(io);
		reactor->fixedBuffers().prepareWrite(sqe, file.handle(), from.data(), static_cast<unsigned>(from.size()), offset);
		io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&io));
		reactor->runUntil([&io] { return io.result.has_value(); });
		return *io.result;
	}
	int32_t read(std::span<std::byte> to, uint64_t offset)
	{
		OneIo io;
		io_uring_sqe *sqe = reactor->prepare(io);
		reactor->fixedBuffers().prepareRead(sqe, file.handle(), to.data(), static_cast<unsigned>(to.size()), offset);
		io_uring_sqe_set_data(sqe, static_cast<runtime::Completion *>(&io));
		reactor->runUntil([&io] { return io.result.has_value(); });
		return *io.result;
	}
	unsigned registered() { return reactor->fixedBuffers().registered(); }
};

} // namespace

class FixedBuffersTest : public QObject {
	Q_OBJECT

private slots:
	void aRegionIsRegisteredOnceItIsUsedOften()
	{
		FileRig rig;
		const uint32_t from = rig.pool.allocate(kLarge), to = rig.pool.allocate(kLarge);
		QVERIFY(from != XS_NO_BUFFER && to != XS_NO_BUFFER);
		for (int i = 0; i < 30; ++i) {
			std::memset(rig.bytes(from, kLarge).data(), i + 1, kLarge);
			std::memset(rig.bytes(to, kLarge).data(), 0, kLarge);
			const uint64_t offset = static_cast<uint64_t>(i) * kLarge;
			QCOMPARE(rig.write(rig.bytes(from, kLarge), offset), int32_t{kLarge});
			QCOMPARE(rig.read(rig.bytes(to, kLarge), offset), int32_t{kLarge});
			QVERIFY(std::memcmp(rig.bytes(from, kLarge).data(), rig.bytes(to, kLarge).data(), kLarge) == 0);
			if (i == 0) QCOMPARE(rig.registered(), 0u);
		}
		if (rig.registered() == 0) QSKIP("this user may not lock as much memory as a region (ulimit -l)");
		QVERIFY(rig.registered() <= 2);
	}

	/// What is written by others through the segment is what a registered region holds: it is the same memory.
	void aRegisteredRegionIsTheSegmentStill()
	{
		FileRig rig;
		const uint32_t buffer = rig.pool.allocate(kLarge);
		for (int i = 0; i < 30; ++i) QCOMPARE(rig.write(rig.bytes(buffer, kLarge), 0), int32_t{kLarge});
		if (rig.registered() == 0) QSKIP("this user may not lock as much memory as a region (ulimit -l)");
		auto other = xseg::Segment::attach(xseg::UniqueFd(fcntl(rig.segment->fd(), F_DUPFD_CLOEXEC, 0)));
		QVERIFY(other.has_value());
		std::memset(other->buffer(buffer, 0, kLarge)->data(), 0x5c, kLarge);
		QCOMPARE(rig.write(rig.bytes(buffer, kLarge), 0), int32_t{kLarge});
		std::vector<std::byte> back(kLarge);
		QCOMPARE(rig.read(back, 0), int32_t{kLarge}); // memory that is not the segment's
		QVERIFY(std::ranges::all_of(back, [](std::byte b) { return b == std::byte{0x5c}; }));
	}

	void smallIoIsPlain()
	{
		FileRig rig;
		const uint32_t buffer = rig.pool.allocate(4096);
		for (int i = 0; i < 50; ++i) QCOMPARE(rig.write(rig.bytes(buffer, 4096), 0), 4096);
		QCOMPARE(rig.registered(), 0u);
	}
};

QTEST_GUILESS_MAIN(FixedBuffersTest)
#include "tst_fixed_buffers.moc"
