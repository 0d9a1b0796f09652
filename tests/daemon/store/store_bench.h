// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the tests of stores stand on: a segment and a reactor, operations carried out one by one or many at once, objects to
// do it with, and a second process that opens a store (holdStore(), for locks, rights and kills).
#pragma once

#include "daemon/store/file/file_store.h"
#include "daemon/store/object_store.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace archipelago::store {

/// Memory for direct I/O.
class Buffer {
public:
	explicit Buffer(size_t bytes, int fill = 0);
	std::span<std::byte> all() { return {m_memory.get(), m_bytes}; }
	std::span<std::byte> part(size_t from, size_t bytes) { return all().subspan(from, bytes); }
	bool isAll(int value) const;

private:
	struct Free {
		void operator()(std::byte *p) const { std::free(p); }
	};
	size_t m_bytes;
	std::unique_ptr<std::byte, Free> m_memory;
};

/// An operation on its way; tells when it has come back.
struct Errand : StoreOp {
	bool back = false;

	Errand(Op what, const ObjectId &which, std::span<std::byte> bytes = {}, uint64_t at = 0);
	/// 0, or the error it came back with.
	int error() const { return ok ? 0 : static_cast<int>(StoreOp::error); }
};

class Bench {
public:
	Bench();
	runtime::Reactor &reactor() { return *m_reactor; }
	const xseg::Segment &segment() const { return *m_segment; }

	template <typename T> T await(runtime::Task<T> task)
	{
		std::optional<T> result;
		runtime::spawn(keep(std::move(task), result));
		m_reactor->runUntil([&] { return result.has_value(); });
		return std::move(*result);
	}
	void await(runtime::Task<void> task);
	/// Runs the reactor until the errand is back.
	void wait(Errand &errand);
	/// Submits and waits; 0 or the error.
	int run(ObjectStore &store, Errand &errand);
	int run(ObjectStore &store, Op op, const ObjectId &id, std::span<std::byte> data = {}, uint64_t at = 0);

private:
	template <typename T> static runtime::Task<void> keep(runtime::Task<T> task, std::optional<T> &result)
	{
		result = co_await task;
	}
	static runtime::Task<void> tell(runtime::Task<void> task, bool &done);

	std::optional<xseg::Segment> m_segment;
	xseg::BellFds m_bells;
	std::unique_ptr<runtime::Reactor> m_reactor;
};

VolumeId volumeId(uint8_t n);
ObjectId dataObject(uint32_t block, uint8_t volume = 1, uint64_t epoch = 1);
ObjectId mapObject(ObjectKind kind, uint32_t index, uint8_t volume = 1, uint64_t epoch = 1);
ObjectId nameObject();

/// Everything a listing yields, asked for with a buffer of `bufferBytes` each time. Empty with *error set when one fails.
std::vector<std::pair<ObjectId, std::string>> listAll(Bench &bench, ObjectStore &store, ObjectKind kind, const VolumeId &volume,
                                                      size_t bufferBytes, int *error = nullptr);

/// A directory on a real filesystem, removed with its content.
class ScratchDir {
public:
	ScratchDir();
	~ScratchDir();
	const std::string &path() const { return m_path; }

private:
	std::string m_path;
};

/// The second process. Run as `PROGRAM --hold-store DIR [--create] [--uid N]` (each test's main() asks here first): opens the
/// store, writes "open" or "E-SYMBOL message" and a newline to stdout, and keeps it open until stdin ends.
/// With --write N it first creates N blocks of 4 KiB and prints a line with the number of each, once acknowledged.
std::optional<int> holdStore(int argc, char **argv);

} // namespace archipelago::store
