// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FileStoreRig: a file store in a directory of its own, made anew for each test, and which descriptors it has open.
#pragma once

#include "store_bench.h"

#include <QtTest>

#include <filesystem>

namespace archipelago::store {

/// The descriptor under which this process has the object's file open; -1: it has not.
inline int descriptorOf(const ObjectId &id)
{
	const std::string file = fileName(*objectKey(id, {}));
	for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd")) {
		std::error_code gone;
		const std::filesystem::path target = std::filesystem::read_symlink(entry.path(), gone);
		if (!gone && target.filename() == file) return std::stoi(entry.path().filename().string());
	}
	return -1;
}

class FileStoreRig {
protected:
	std::optional<Bench> m_bench;
	ScratchDir m_scratch;
	std::unique_ptr<FileStore> m_store;

	std::string dir() const { return m_scratch.path() + "/objects"; }
	void open(uint32_t fdcache = 4096, bool direct = true)
	{
		FileStoreOptions options;
		options.dir = dir();
		options.fdcache = fdcache;
		options.direct = direct;
		m_store = std::make_unique<FileStore>(m_bench->reactor(), options);
		const auto opened = m_bench->await(m_store->open(true));
		QVERIFY2(opened, opened ? "" : opened.error().message.c_str());
	}
	void close()
	{
		m_bench->await(m_store->close());
		m_store.reset();
	}
	int run(Op op, const ObjectId &id, std::span<std::byte> data = {}, uint64_t at = 0)
	{
		return m_bench->run(*m_store, op, id, data, at);
	}
	int syncVolume(uint8_t volume)
	{
		ObjectId id;
		id.volume = volumeId(volume);
		return run(Op::ObjSyncVolume, id);
	}

	/// For init() and cleanup() of a test.
	void begin() { m_bench.emplace(); }
	void end()
	{
		if (m_store) close();
		m_bench.reset();
		if (!std::filesystem::exists(dir())) return;
		for (const auto &entry : std::filesystem::recursive_directory_iterator(dir()))
			if (!entry.is_directory() && entry.path().filename() != "identity") std::filesystem::remove(entry.path());
	}
};

} // namespace archipelago::store
