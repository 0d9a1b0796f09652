// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Objects in memory: the promises of object_store.h with nothing behind them.
#include "daemon/store/memory/memory_store.h"

#include "daemon/store/listing.h"

#include <algorithm>

namespace archipelago::store {

runtime::Task<Result<void>> MemoryStore::open(bool)
{
	m_open = true;
	co_return Result<void>{};
}

runtime::Task<void> MemoryStore::close()
{
	m_open = false;
	m_objects.clear();
	m_usedPages = 0;
	co_return;
}

void MemoryStore::submit(StoreOp &op)
{
	if (!m_open) return op.fail(ErrorCode::Cancelled);
	switch (op.op) {
	case Op::ObjList: return list(op);
	case Op::ObjSyncVolume:
	case Op::ObjSyncAll: return op.finish();
	case Op::ObjCapacity:
		op.size = m_capacityPages * kPageBytes;
		op.serviced = (m_capacityPages - m_usedPages) * kPageBytes;
		return op.finish();
	default: break;
	}

	const auto key = objectKey(op.id, op.name);
	if (!key || !withinObject(key->id.kind, op.offset, op.op == Op::ObjPunch ? op.size : op.data.size()))
		return op.fail(ErrorCode::Invalid);
	const Name name(key->id, key->name);
	const auto found = m_objects.find(name);
	switch (op.op) {
	case Op::ObjCreate: return create(op, name);
	case Op::ObjWriteFull: return writeFull(op, name);
	case Op::ObjRemove: remove(name); return op.finish();
	case Op::ObjSync: return op.finish();
	case Op::ObjRead:
	case Op::ObjWrite:
	case Op::ObjPunch:
	case Op::ObjStat: break;
	default: return op.fail(ErrorCode::Unsupported);
	}

	if (found == m_objects.end()) return op.fail(ErrorCode::NotFound);
	Object &object = found->second;
	if (op.op == Op::ObjRead) return read(op, object);
	if (op.op == Op::ObjStat) {
		op.size = object.sizeBytes;
		op.serviced = object.pages.size() * kPageBytes;
		return op.finish();
	}
	if (op.op == Op::ObjPunch) {
		punch(object, op.offset, op.size);
		return op.finish();
	}
	if (!write(object, op.offset, op.data)) return op.fail(ErrorCode::NoSpace);
	op.serviced = op.data.size();
	op.finish();
}

void MemoryStore::punch(Object &object, uint64_t offset, uint64_t bytes)
{
	for (uint64_t done = 0; done < bytes;) {
		const uint64_t at = offset + done, inPage = at % kPageBytes;
		const uint64_t part = std::min(kPageBytes - inPage, bytes - done);
		const auto page = object.pages.find(at / kPageBytes);
		done += part;
		if (page == object.pages.end()) continue;
		if (part < kPageBytes) {
			std::memset(page->second->data() + inPage, 0, part);
		} else {
			object.pages.erase(page);
			--m_usedPages;
		}
	}
}

void MemoryStore::read(StoreOp &op, const Object &object) const
{
	for (uint64_t done = 0; done < op.data.size();) {
		const uint64_t at = op.offset + done, inPage = at % kPageBytes;
		const uint64_t bytes = std::min(kPageBytes - inPage, op.data.size() - done);
		const auto page = object.pages.find(at / kPageBytes);
		if (page == object.pages.end())
			std::memset(op.data.data() + done, 0, bytes);
		else
			std::memcpy(op.data.data() + done, page->second->data() + inPage, bytes);
		done += bytes;
	}
	op.serviced = object.sizeBytes > op.offset ? std::min<uint64_t>(object.sizeBytes - op.offset, op.data.size()) : 0;
	op.finish();
}

bool MemoryStore::write(Object &object, uint64_t offset, std::span<const std::byte> data)
{
	for (uint64_t done = 0; done < data.size();) {
		const uint64_t at = offset + done, inPage = at % kPageBytes;
		const uint64_t bytes = std::min(kPageBytes - inPage, data.size() - done);
		auto &page = object.pages[at / kPageBytes];
		if (!page) {
			if (m_usedPages == m_capacityPages) {
				object.pages.erase(at / kPageBytes);
				return false;
			}
			page = std::make_unique<Page>(); // zeroed
			++m_usedPages;
		}
		std::memcpy(page->data() + inPage, data.data() + done, bytes);
		done += bytes;
		object.sizeBytes = std::max(object.sizeBytes, at + bytes);
	}
	return true;
}

void MemoryStore::create(StoreOp &op, const Name &name)
{
	const bool made = m_objects.try_emplace(name).second;
	if (!made && !op.mayExist) return op.fail(ErrorCode::Exists);
	if (!write(m_objects[name], op.offset, op.data)) {
		if (made) remove(name);
		return op.fail(ErrorCode::NoSpace);
	}
	op.serviced = op.data.size();
	op.finish();
}

void MemoryStore::writeFull(StoreOp &op, const Name &name)
{
	if (op.offset != 0) return op.fail(ErrorCode::Invalid);
	Object fresh;
	if (!write(fresh, 0, op.data)) {
		m_usedPages -= fresh.pages.size();
		return op.fail(ErrorCode::NoSpace);
	}
	remove(name);
	m_objects.emplace(name, std::move(fresh));
	op.serviced = op.data.size();
	op.finish();
}

void MemoryStore::remove(const Name &name)
{
	const auto found = m_objects.find(name);
	if (found == m_objects.end()) return;
	m_usedPages -= found->second.pages.size();
	m_objects.erase(found);
}

void MemoryStore::list(StoreOp &op) const
{
	auto cursor = ListCursor::decode(op.list.cursor);
	if (!cursor || !isObjectKind(op.list.kind)) return op.fail(ErrorCode::Invalid);
	std::vector<Listed> wanted;
	for (const auto &[name, object] : m_objects)
		if (matches(op.list, name.first)) wanted.emplace_back(name.first, name.second);
	ListWriter writer(op.data);
	const bool all = writer.append(std::move(wanted), *cursor);
	if (!all && writer.used() == 0) return op.fail(ErrorCode::Invalid); // not even one record fits
	op.serviced = writer.used();
	op.list.cursor = all ? 0 : cursor->encode();
	op.finish();
}

} // namespace archipelago::store
