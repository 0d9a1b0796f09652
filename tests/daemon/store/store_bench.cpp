// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Segment, reactor and helpers of the store tests; the second process.
#include "store_bench.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

namespace archipelago::store {

Buffer::Buffer(size_t bytes, int fill)
    : m_bytes(bytes), m_memory(static_cast<std::byte *>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)))
{
	std::memset(m_memory.get(), fill, bytes);
}

bool Buffer::isAll(int value) const
{
	return std::all_of(m_memory.get(), m_memory.get() + m_bytes, [value](std::byte b) { return b == static_cast<std::byte>(value); });
}

Errand::Errand(Op what, const ObjectId &which, std::span<std::byte> bytes, uint64_t at)
{
	op = what;
	id = which;
	data = bytes;
	offset = at;
	done = [](StoreOp &ended) { static_cast<Errand &>(ended).back = true; };
}

Bench::Bench()
{
	xseg::SegmentConfig config;
	config.ports = 64;
	config.waiters = 2;
	config.requests = 1024;
	config.sizeBytes = 32u << 20;
	auto segment = xseg::Segment::create(config);
	ARCHIPELAGO_ASSERT(segment);
	m_segment.emplace(std::move(*segment));
	auto bells = xseg::createBells(config.waiters);
	ARCHIPELAGO_ASSERT(bells);
	m_bells = std::move(*bells);
	auto reactor = runtime::Reactor::create(*m_segment, m_bells, {});
	ARCHIPELAGO_ASSERT(reactor);
	m_reactor = std::move(*reactor);
}

runtime::Task<void> Bench::tell(runtime::Task<void> task, bool &done)
{
	co_await task;
	done = true;
}

void Bench::await(runtime::Task<void> task)
{
	bool done = false;
	runtime::spawn(tell(std::move(task), done));
	m_reactor->runUntil([&] { return done; });
}

void Bench::wait(Errand &errand)
{
	m_reactor->runUntil([&] { return errand.back; });
}

int Bench::run(ObjectStore &store, Errand &errand)
{
	errand.back = false;
	store.submit(errand);
	wait(errand);
	return errand.error();
}

int Bench::run(ObjectStore &store, Op op, const ObjectId &id, std::span<std::byte> data, uint64_t at)
{
	Errand errand(op, id, data, at);
	return run(store, errand);
}

VolumeId volumeId(uint8_t n)
{
	VolumeId id;
	for (size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<uint8_t>(n * 16 + i);
	return id;
}

ObjectId mapObject(ObjectKind kind, uint32_t index, uint8_t volume, uint64_t epoch)
{
	ObjectId id;
	id.kind = kind;
	id.volume = volumeId(volume);
	id.epoch = epoch;
	id.index = index;
	return id;
}

ObjectId dataObject(uint32_t block, uint8_t volume, uint64_t epoch) { return mapObject(ObjectKind::Data, block, volume, epoch); }

ObjectId nameObject()
{
	ObjectId id;
	id.kind = ObjectKind::Name;
	return id;
}

std::vector<std::pair<ObjectId, std::string>> listAll(Bench &bench, ObjectStore &store, ObjectKind kind, const VolumeId &volume,
                                                      size_t bufferBytes, int *error)
{
	std::vector<std::pair<ObjectId, std::string>> out;
	Buffer buffer(bufferBytes);
	Errand errand(Op::ObjList, {}, buffer.all());
	errand.list.kind = kind;
	errand.list.volume = volume;
	do {
		const int failed = bench.run(store, errand);
		if (error) *error = failed;
		if (failed) return {};
		for (size_t at = 0; at < errand.serviced;) {
			ListEntry entry;
			std::memcpy(&entry, buffer.all().data() + at, sizeof entry);
			out.emplace_back(entry.id, std::string(reinterpret_cast<const char *>(buffer.all().data()) + at + sizeof entry,
			                                       entry.nameLength));
			at += entry.recordBytes;
		}
	} while (errand.list.cursor != 0);
	return out;
}

ScratchDir::ScratchDir()
{
	// Beside the test program: on the disk that holds the build, not on a tmpfs.
	std::string pattern = std::filesystem::read_symlink("/proc/self/exe").parent_path().string() + "/store-XXXXXX";
	ARCHIPELAGO_ASSERT(mkdtemp(pattern.data()));
	m_path = pattern;
	std::filesystem::permissions(m_path, std::filesystem::perms(0755));
}

ScratchDir::~ScratchDir()
{
	std::error_code ignored;
	std::filesystem::remove_all(m_path, ignored);
}

namespace {

void writeBlocks(Bench &bench, ObjectStore &store, uint32_t count)
{
	for (uint32_t n = 0; n < count; ++n) {
		Buffer data(4096, static_cast<int>(n % 251 + 1));
		if (bench.run(store, Op::ObjCreate, dataObject(n), data.all()) != 0) return;
		std::printf("%u\n", n);
		std::fflush(stdout);
	}
}

} // namespace

std::optional<int> holdStore(int argc, char **argv)
{
	if (argc < 3 || std::string_view(argv[1]) != "--hold-store") return std::nullopt;
	bool create = false;
	uint32_t blocks = 0;
	for (int i = 3; i < argc; ++i) {
		const std::string_view word = argv[i];
		if (word == "--create") create = true;
		if (word == "--write") blocks = static_cast<uint32_t>(std::atoi(argv[++i]));
		if (word == "--uid") {
			const auto id = static_cast<uid_t>(std::atoi(argv[++i]));
			ARCHIPELAGO_ASSERT(setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0);
		}
	}
	Bench bench;
	FileStoreOptions options;
	options.dir = argv[2];
	options.role = "blockerb";
	FileStore store(bench.reactor(), options);
	const auto opened = bench.await(store.open(create));
	const std::string line = opened ? std::string("open")
	                                : std::string(errorInfo(opened.error().code).symbol) + " " + opened.error().message;
	std::printf("%s\n", line.c_str());
	std::fflush(stdout);
	if (!opened) return 1;
	writeBlocks(bench, store, blocks);
	char c = 0;
	while (::read(STDIN_FILENO, &c, 1) > 0) {}
	bench.await(store.close());
	return 0;
}

} // namespace archipelago::store
