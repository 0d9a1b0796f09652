// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Making and opening a segment. It lives in a memfd, because only a memfd can be sealed: once SHRINK and GROW are sealed
// nobody can pull memory from under the others (SIGBUS). For the same reason every page is allocated before it is used:
// the tables here, the rings of a port when it is bound, its stats when it begins to count, slabs when they are claimed.
//
// Nobody else knows the memfd before create() returns, so a creator killed half-way leaves nothing behind. The magic is
// stored last all the same: a header that has it is complete.
#include "xseg/segment.h"

#include "xseg/src/geometry.h"
#include "xseg/src/shared_word.h"
#include "xseg/src/slab_word.h"

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U // Linux 6.3
#endif

namespace xseg {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

/// What mapped_region wants to see of a file that is open already.
class MappableFd {
public:
	explicit MappableFd(int fd) : m_fd(fd) {}
	boost::interprocess::mapping_handle_t get_mapping_handle() const { return {m_fd, false}; }

private:
	int m_fd;
};

tl::unexpected<Failure> failure(int errnum, std::string what)
{
	return tl::unexpected(Failure{errnum, std::move(what)});
}

UniqueFd createMemfd()
{
	constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	const int fd = memfd_create("xseg", kFlags | MFD_NOEXEC_SEAL);
	return UniqueFd(fd < 0 && errno == EINVAL ? memfd_create("xseg", kFlags) : fd);
}

/// Maps the pages now, in one call instead of one fault each. Needs memory that is allocated already.
void populate(std::byte *from, uint64_t bytes)
{
	if (madvise(from, bytes, MADV_POPULATE_WRITE) == 0) return;
	// Before Linux 5.14: touch each page, without changing it.
	for (uint64_t offset = 0; offset < bytes; offset += kTableAlignment) {
		std::atomic_ref(*reinterpret_cast<uint64_t *>(from + offset)).fetch_or(0, std::memory_order_relaxed);
	}
}

} // namespace

Segment::Segment() = default;
Segment::Segment(Segment &&other) noexcept = default;
Segment &Segment::operator=(Segment &&other) noexcept = default;
Segment::~Segment() = default;

Result<Segment> Segment::create(const SegmentConfig &config)
{
	auto geometry = planGeometry(config);
	if (!geometry) return tl::unexpected(geometry.error());
	if (getrandom(geometry->instance, sizeof geometry->instance, 0) != sizeof geometry->instance)
		return failure(errno, "no random number for the segment's identity");

	UniqueFd fd = createMemfd();
	if (!fd) return failure(errno, "cannot create the memory file of the segment");
	if (ftruncate(fd.get(), off_t(geometry->sizeBytes)) != 0) return failure(errno, "cannot give the segment its size");

	Segment segment;
	if (auto mapped = segment.map(std::move(fd), geometry->sizeBytes); !mapped) return tl::unexpected(mapped.error());
	segment.m_geometry = *geometry;
	// Header, ports and waiters lie before rings and stats; requests, runs and slabs after them.
	const std::pair<uint64_t, uint64_t> tables[] = {{0, geometry->offRings},
	                                                {geometry->offRequests, geometry->offData}};
	for (const auto &[from, to] : tables) {
		if (auto backed = segment.back(from, to - from); !backed) return tl::unexpected(backed.error());
	}

	auto &header = *reinterpret_cast<xs_hdr *>(segment.m_base);
	header = headerOf(*geometry);
	std::atomic_ref(header.magic).store(XS_MAGIC, std::memory_order_release);
	if (fcntl(segment.fd(), F_ADD_SEALS, kSeals) != 0)
		return failure(errno, "cannot seal the segment against resizing");
	return segment;
}

Result<Segment> Segment::attach(UniqueFd fd)
{
	// Seals first: from here on the size cannot change any more, so nothing below can be pulled away.
	const int seals = fcntl(fd.get(), F_GET_SEALS);
	if (seals < 0 || (seals & kSeals) != kSeals) return failure(EPROTO, "this file is not sealed: not a segment");
	struct stat status {};
	if (fstat(fd.get(), &status) != 0) return failure(errno, "cannot look at the segment's file");
	if (status.st_size < off_t(kTableAlignment)) return failure(EPROTO, "this file is too small for a segment");

	Segment segment;
	if (auto mapped = segment.map(std::move(fd), uint64_t(status.st_size)); !mapped)
		return tl::unexpected(mapped.error());
	auto &shared = *reinterpret_cast<xs_hdr *>(segment.m_base);
	if (std::atomic_ref(shared.magic).load(std::memory_order_acquire) != XS_MAGIC)
		return failure(EPROTO, "this is not a segment");
	xs_hdr header; // the one copy of the header that is ever looked at
	std::memcpy(&header, &shared, sizeof header);
	auto geometry = readGeometry(header, uint64_t(status.st_size));
	if (!geometry) return tl::unexpected(geometry.error());
	segment.m_geometry = *geometry;
	return segment;
}

Result<void> Segment::map(UniqueFd fd, uint64_t bytes)
{
	namespace bi = boost::interprocess;
	try {
		m_region = std::make_unique<bi::mapped_region>(MappableFd(fd.get()), bi::read_write, 0, bytes);
	} catch (const bi::interprocess_exception &e) {
		return failure(e.get_native_error() != 0 ? e.get_native_error() : ENOMEM, "cannot map the segment");
	}
	m_base = static_cast<std::byte *>(m_region->get_address());
	m_fd = std::move(fd);
	// Payload is customer data: not into core dumps. And a forked child must not go on writing with its parent's ports
	// after the parent has died and was recovered.
	if (madvise(m_base, bytes, MADV_DONTDUMP) != 0 || madvise(m_base, bytes, MADV_DONTFORK) != 0)
		return failure(errno, "cannot keep the segment out of core dumps and child processes");
	return {};
}

Result<void> Segment::back(uint64_t offset, uint64_t bytes) const
{
	while (fallocate(m_fd.get(), 0, off_t(offset), off_t(bytes)) != 0) {
		if (errno != EINTR) return failure(errno, "no memory for the segment");
	}
	populate(m_base + offset, bytes);
	return {};
}

Result<void> Segment::backSlab(uint32_t firstSlab, uint32_t count) const
{
	if (uint64_t(firstSlab) + count > m_geometry.slabs) return failure(EINVAL, "there is no such slab");
	return back(m_geometry.offData + uint64_t(firstSlab) * kSlabBytes, uint64_t(count) * kSlabBytes);
}

Result<void> Segment::backRings(PortNo n) const
{
	if (n >= m_geometry.ports) return failure(EINVAL, "there is no such port");
	const uint64_t from = m_geometry.offRings + 2 * uint64_t(n) * ringBytes(m_geometry);
	return backPagesOf(from, from + 2 * ringBytes(m_geometry));
}

Result<void> Segment::backStats(PortNo n) const
{
	if (n >= m_geometry.ports) return failure(EINVAL, "there is no such port");
	const uint64_t from = m_geometry.offStats + n * sizeof(xs_stats);
	return backPagesOf(from, from + sizeof(xs_stats));
}

/// Pages are shared with the neighbours' tables, so what is in them must stay: fallocate and populate change nothing.
Result<void> Segment::backPagesOf(uint64_t from, uint64_t to) const
{
	const uint64_t firstPage = from / kTableAlignment * kTableAlignment;
	return back(firstPage, to - firstPage);
}

std::span<std::byte> Segment::data() const { return {m_base + m_geometry.offData, m_geometry.dataBytes}; }

std::optional<std::span<std::byte>> Segment::buffer(uint32_t block, uint32_t offset, uint32_t length) const
{
	const uint64_t start = uint64_t(block) * XS_BLOCK_UNIT;
	if (block == XS_NO_BUFFER || start >= m_geometry.dataBytes) return std::nullopt;
	const uint32_t number = uint32_t(start >> XS_SLAB_SHIFT);
	// One copy of the owner word decides. The slab may change hands a moment later: then the bytes belong to somebody
	// else, but they are still bytes of the data region and they have memory.
	const SlabWord word = unpackSlab(std::atomic_ref(slab(number).owner).load(std::memory_order_acquire));
	const bool inUse = word.state == XS_SLAB_USED || word.state == XS_SLAB_ZOMBIE || word.state == XS_SLAB_FENCED;
	if (!inUse || !word.backed || word.index != 0) return std::nullopt;
	if (word.classShift < XS_MIN_CLASS_SHIFT || word.classShift > XS_MAX_CLASS_SHIFT) return std::nullopt;
	const uint64_t blockBytes = uint64_t(1) << word.classShift;
	if (start % blockBytes != 0 || start + blockBytes > m_geometry.dataBytes) return std::nullopt;
	if (uint64_t(offset) + length > blockBytes) return std::nullopt;
	return std::span(m_base + m_geometry.offData + start + offset, length);
}

} // namespace xseg
