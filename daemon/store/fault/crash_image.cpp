// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See crash_image.h.
#include "daemon/store/fault/crash_image.h"

#include "daemon/store/object_key.h"

#include <algorithm>
#include <coroutine>

namespace archipelago::store {

CrashImage::CrashImage(const Objects &durable) { keepOnly(durable); }

void CrashImage::keepOnly(const Objects &left)
{
	for (auto &[name, object] : m_objects) {
		const VolumeId volume = object.volume;
		object = {};
		object.volume = volume;
	}
	for (const auto &[name, content] : left) {
		Object &object = at(name);
		object.volume = name.first.volume;
		object.exists = object.durableName = true;
		object.bytes = content.bytes;
		object.durable = content;
	}
}

CrashImage::Name CrashImage::nameOf(const Step &step)
{
	const auto key = objectKey(step.id, step.name);
	ARCHIPELAGO_ASSERT(key); // it was carried out
	return Name{key->id, step.name};
}

CrashImage::Object &CrashImage::at(const Name &name)
{
	const auto [found, fresh] = m_objects.try_emplace(name);
	if (fresh) m_order.push_back(name);
	return found->second;
}

void CrashImage::apply(const Step &step)
{
	switch (step.op) {
	case Op::ObjSyncAll:
		for (auto &[name, object] : m_objects) settle(object);
		return;
	case Op::ObjSyncVolume:
		for (auto &[name, object] : m_objects)
			if (object.volume == step.id.volume) settle(object);
		return;
	default: break;
	}
	const Name name = nameOf(step);
	Object &object = at(name);
	if (object.volume.isZero()) object.volume = step.id.volume;
	switch (step.op) {
	case Op::ObjCreate:
		create(object, name);
		write(object, step.offset, step.data.size(), step.data.data(), step.fua);
		break;
	case Op::ObjWrite:
		if (!object.exists) m_violations.push_back(name);
		write(object, step.offset, step.data.size(), step.data.data(), step.fua);
		break;
	case Op::ObjPunch: write(object, step.offset, step.size, nullptr, step.fua); break;
	case Op::ObjWriteFull: {
		const VolumeId volume = object.volume;
		object = {};
		object.volume = volume;
		object.exists = object.durableName = true;
		write(object, 0, step.data.size(), step.data.data(), true);
		break;
	}
	case Op::ObjRemove: object.exists = false; break;
	case Op::ObjSync: settle(object); break;
	default: ARCHIPELAGO_ASSERT(!"not a step");
	}
}

void CrashImage::create(Object &object, const Name &name)
{
	// Names of map objects and blocks are never used twice: the old one might come back with the next power cut.
	if (object.exists || object.durableName || object.bytes > 0) m_violations.push_back(name);
	object.exists = true;
}

CrashImage::Sector CrashImage::newest(const Object &object, uint64_t sector)
{
	if (const auto versions = object.unsynced.find(sector); versions != object.unsynced.end()) return versions->second.back();
	if (const auto durable = object.durable.sectors.find(sector); durable != object.durable.sectors.end()) return durable->second;
	return Sector{};
}

void CrashImage::write(Object &object, uint64_t offset, uint64_t bytes, const std::byte *data, bool durable)
{
	const uint64_t end = offset + bytes;
	if (data) object.bytes = std::max(object.bytes, end);
	for (uint64_t n = offset / kSectorBytes; n * kSectorBytes < end; ++n) {
		const uint64_t from = std::max(offset, n * kSectorBytes), to = std::min(end, (n + 1) * kSectorBytes);
		const Sector before = newest(object, n);
		Sector sector = before;
		if (data)
			std::copy_n(data + (from - offset), to - from, sector.begin() + static_cast<ptrdiff_t>(from % kSectorBytes));
		else
			std::fill_n(sector.begin() + static_cast<ptrdiff_t>(from % kSectorBytes), to - from, std::byte{0});
		if (sector != before || object.unsynced.contains(n)) object.unsynced[n].push_back(sector);
		if (durable) settle(object, n);
	}
	if (!durable) return;
	object.durableName = object.exists;
	object.durable.bytes = object.bytes;
}

void CrashImage::settle(Object &object, uint64_t sector)
{
	const auto versions = object.unsynced.find(sector);
	if (versions == object.unsynced.end()) return;
	object.durable.sectors[sector] = versions->second.back();
	object.unsynced.erase(versions);
}

void CrashImage::settle(Object &object)
{
	while (!object.unsynced.empty()) settle(object, object.unsynced.begin()->first);
	object.durable.bytes = object.bytes;
	object.durableName = object.exists;
}

CrashImage::Objects CrashImage::afterKill() const
{
	Objects left;
	for (const auto &[name, object] : m_objects) {
		if (!object.exists) continue;
		Content &content = left[name];
		content = object.durable;
		content.bytes = object.bytes;
		for (const auto &[sector, versions] : object.unsynced) content.sectors[sector] = versions.back();
	}
	return left;
}

CrashImage::Objects CrashImage::afterPowerCut(std::mt19937_64 &random) const
{
	const auto coin = [&random] { return (random() & 1) != 0; };
	Objects left;
	for (const Name &name : m_order) {
		const Object &object = m_objects.at(name);
		const bool exists = object.exists == object.durableName || coin() ? object.exists : object.durableName;
		if (!exists) continue;
		Content &content = left[name];
		content = object.durable;
		// Often all or nothing of an object comes through, as when its pages go to the device together or not at all.
		const uint64_t mood = random() % 4;
		for (const auto &[sector, versions] : object.unsynced) {
			const size_t pick = mood == 0 ? versions.size() : mood == 1 ? versions.size() - 1 : random() % (versions.size() + 1);
			if (pick == versions.size()) continue;
			content.sectors[sector] = versions[pick];
			content.bytes = std::max(content.bytes, std::min(object.bytes, (sector + 1) * kSectorBytes));
		}
		if (coin()) content.bytes = std::max(content.bytes, object.bytes); // the length came through without the bytes
	}
	return left;
}

// ---- load

namespace {

/// One operation, awaited.
struct Doing : StoreOp {
	ObjectStore &store;
	std::coroutine_handle<> waiter;
	bool ended = false;

	explicit Doing(ObjectStore &to) : store(to)
	{
		done = [](StoreOp &finished) {
			auto &doing = static_cast<Doing &>(finished);
			doing.ended = true;
			if (doing.waiter) doing.waiter.resume();
		};
	}
	bool await_ready()
	{
		ended = false;
		waiter = nullptr;
		store.submit(*this);
		return ended;
	}
	void await_suspend(std::coroutine_handle<> h) { waiter = h; }
	bool await_resume() const { return ok; }
};

} // namespace

/// Sparse, as it was: runs of sectors, and the last byte where the length reaches further.
runtime::Task<Result<void>> CrashImage::load(ObjectStore &to, const Objects &objects)
{
	for (const auto &[name, content] : objects) {
		Doing doing(to);
		doing.id = name.first;
		doing.name = name.second;
		doing.op = Op::ObjCreate;
		bool ok = co_await doing;
		doing.op = Op::ObjWrite;
		std::vector<std::byte> run;
		uint64_t written = 0;
		for (auto sector = content.sectors.begin(); ok && sector != content.sectors.end();) {
			doing.offset = sector->first * kSectorBytes;
			if (doing.offset >= content.bytes) break;
			run.clear();
			for (uint64_t next = sector->first; sector != content.sectors.end() && sector->first == next; ++sector, ++next)
				run.insert(run.end(), sector->second.begin(), sector->second.end());
			run.resize(std::min<uint64_t>(run.size(), content.bytes - doing.offset));
			written = doing.offset + run.size();
			doing.data = run;
			ok = co_await doing;
		}
		if (ok && written < content.bytes) {
			run.assign(1, std::byte{0});
			doing.offset = content.bytes - 1;
			doing.data = run;
			ok = co_await doing;
		}
		if (!ok) co_return failure(doing.error, "an object cannot be put back");
	}
	co_return Result<void>{};
}

} // namespace archipelago::store
