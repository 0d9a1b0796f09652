// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
//   fill-maps MAPS BLOCKS NAME...     for tests: makes volumes fully mapped, without the objects
//
// MAPS and BLOCKS are the stores' directories, nobody has them open. Each NAME is a volume that was created and never opened.
// Its chunks come out of the product's own encoder; every block is in an object of the volume's, but of the objects there is
// only the first of each chunk: 4 KiB of kFill. Prints what was mapped. Needs no more memory than one chunk.
#include "daemon/mapper/map_format.h"
#include "tests/daemon/store/store_bench.h"

#include <cstdio>
#include <cstring>

using namespace archipelago;
using namespace archipelago::mapper;

namespace {

constexpr uint64_t kCreated = 1;                       ///< the generation of a volume that was never opened
constexpr uint64_t kObjectEpoch = firstEpoch(kCreated), kChunkEpoch = kObjectEpoch + 1;
constexpr int kFill = 0x5a;
constexpr size_t kObjectBytes = 4096;

[[noreturn]] void fail(const std::string &what, const std::string &why)
{
	std::fprintf(stderr, "fill-maps: %s: %s\n", what.c_str(), why.c_str());
	std::exit(1);
}

std::string textOf(int failed) { return std::string(errorInfo(static_cast<ErrorCode>(failed)).text); }

store::FileStoreOptions at(const std::string &dir)
{
	store::FileStoreOptions options;
	options.dir = dir;
	return options;
}

class Filler {
public:
	Filler(const std::string &maps, const std::string &blocks)
	    : m_maps(m_bench.reactor(), at(maps)), m_blocks(m_bench.reactor(), at(blocks))
	{
		for (store::FileStore *store : {&m_maps, &m_blocks}) {
			const auto opened = m_bench.await(store->open(false));
			if (!opened) fail(store == &m_maps ? maps : blocks, opened.error().message);
		}
	}
	~Filler()
	{
		m_bench.await(m_maps.close());
		m_bench.await(m_blocks.close());
	}

	void fill(const std::string &name)
	{
		const ObjectName nameObject = ObjectName::name(name);
		const auto named = decodeName(nameObject, read(nameObject));
		if (!named) fail(name, named.error().message);
		const ObjectName headerObject = ObjectName::header(named->volume, kCreated);
		auto header = decodeHeader(headerObject, read(headerObject));
		if (!header) fail(name, header.error().message);

		for (uint32_t first = 0; first < header->blockCount(); first += kChunkEntries)
			header->chunks.push_back(writeChunk(*header, first));
		header->epochLimit = kChunkEpoch + 1;
		header->allocatedBytes = uint64_t(header->blockCount()) << kBlockShift;
		++header->writeCount;
		write(m_maps, Op::ObjWriteFull, headerObject, encodeHeader(*header));
		std::printf("%s: %u blocks in %zu chunks\n", name.c_str(), header->blockCount(), header->chunks.size());
	}

private:
	ChunkRef writeChunk(const Header &header, uint32_t first)
	{
		std::vector<MapEntry> entries(kChunkEntries);
		const uint32_t count = std::min(kChunkEntries, header.blockCount() - first);
		std::fill_n(entries.begin(), count, MapEntry{header.volume, kObjectEpoch});
		const ObjectName object = ObjectName::chunk(header.volume, kChunkEpoch, first >> kChunkShift);
		const EncodedChunk chunk = encodeChunk(object, entries);
		write(m_maps, Op::ObjWriteFull, object, chunk.bytes);
		write(m_blocks, Op::ObjCreate, ObjectName::data(header.volume, kObjectEpoch, first), Bytes(kObjectBytes, std::byte(kFill)));
		return {object.id().index, chunk.crc, header.volume, kChunkEpoch};
	}

	void write(store::FileStore &store, Op op, const ObjectName &object, const Bytes &bytes)
	{
		store::Buffer buffer(bytes.size());
		std::memcpy(buffer.all().data(), bytes.data(), bytes.size());
		if (const int failed = m_bench.run(store, op, object.id(), buffer.all()))
			fail(object.text(), textOf(failed));
	}

	Bytes read(const ObjectName &object)
	{
		store::Buffer buffer(kMaxHeaderBytes);
		store::Errand errand(Op::ObjRead, object.id(), buffer.all());
		errand.name = object.nameBytes();
		if (const int failed = m_bench.run(m_maps, errand)) fail(object.text(), textOf(failed));
		const auto bytes = buffer.all().first(errand.serviced);
		return {bytes.begin(), bytes.end()};
	}

	store::Bench m_bench;
	store::FileStore m_maps, m_blocks;
};

} // namespace

int main(int argc, char **argv)
{
	if (argc < 4) {
		std::fprintf(stderr, "usage: fill-maps MAPS BLOCKS NAME...\n");
		return 2;
	}
	Filler filler(argv[1], argv[2]);
	for (int i = 3; i < argc; ++i) filler.fill(argv[i]);
	return 0;
}
