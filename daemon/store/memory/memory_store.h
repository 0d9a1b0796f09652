// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// MemoryStore: objects in the memory of this process, for tests and benchmarks. Sparse (pages of 64 KiB, made when first
// written), bounded by a capacity. Every operation completes inside submit(). Nothing survives close(): "durable" here
// means as long as the store, which is what a test of the layers above can observe without a power cut.
#pragma once

#include "daemon/store/object_store.h"

#include <array>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

namespace archipelago::store {

class MemoryStore : public ObjectStore {
public:
	/// `capacityBytes`: pages beyond it are E-NOSPACE.
	explicit MemoryStore(uint64_t capacityBytes = 1ull << 30) : m_capacityPages(capacityBytes / kPageBytes) {}

	runtime::Task<Result<void>> open(bool createDirs) override;
	runtime::Task<void> close() override;
	void submit(StoreOp &op) override;

private:
	static constexpr uint64_t kPageBytes = 64 << 10;
	using Page = std::array<std::byte, kPageBytes>;
	struct Object {
		uint64_t sizeBytes = 0;
		std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
	};
	using Name = std::pair<ObjectId, std::string>;

	void read(StoreOp &op, const Object &object) const;
	bool write(Object &object, uint64_t offset, std::span<const std::byte> data);
	void punch(Object &object, uint64_t offset, uint64_t bytes);
	void create(StoreOp &op, const Name &name);
	void writeFull(StoreOp &op, const Name &name);
	void remove(const Name &name);
	void list(StoreOp &op) const;

	std::map<Name, Object> m_objects;
	uint64_t m_capacityPages, m_usedPages = 0;
	bool m_open = false;
};

} // namespace archipelago::store
