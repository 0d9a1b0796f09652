// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See crash_store.h.
#include "tests/daemon/mapper/crash_store.h"

#include <algorithm>

namespace archipelago::mapper::testing {

namespace {

constexpr size_t kSector = 512;
constexpr ErrorCode kDone{}; // no code has the value 0

} // namespace

// ---- Disk

bool Disk::exists(const Name &name) const
{
	const auto found = m_objects.find(name);
	return found != m_objects.end() && found->second.exists;
}

const Content *Disk::read(const Name &name) const { return exists(name) ? &m_objects.at(name).now : nullptr; }

void Disk::writeTo(Object &object, uint64_t offset, std::span<const std::byte> data, bool fua)
{
	if (data.empty()) return;
	object.now.resize(std::max(object.now.size(), offset + data.size()));
	std::copy(data.begin(), data.end(), object.now.begin() + static_cast<ptrdiff_t>(offset));
	for (size_t n = offset / kSector; n * kSector < offset + data.size(); ++n) {
		Sector sector{};
		const size_t length = std::min(kSector, object.now.size() - n * kSector);
		std::copy_n(object.now.begin() + static_cast<ptrdiff_t>(n * kSector), length, sector.begin());
		if (fua && object.durableName && n * kSector + length <= object.durable.size()) {
			std::copy_n(sector.begin(), length, object.durable.begin() + static_cast<ptrdiff_t>(n * kSector));
			object.unsynced.erase(n);
		} else {
			object.unsynced[n].push_back(sector);
		}
	}
}

bool Disk::write(const Name &name, uint64_t offset, std::span<const std::byte> data, bool fua)
{
	if (!exists(name)) return false;
	writeTo(m_objects[name], offset, data, fua);
	return true;
}

bool Disk::create(const Name &name, uint64_t offset, std::span<const std::byte> data)
{
	if (!m_created.insert(name).second) return false;
	Object &object = m_objects[name];
	object = {};
	object.exists = true;
	writeTo(object, offset, data, false);
	return true;
}

void Disk::writeFull(const Name &name, std::span<const std::byte> data)
{
	Object &object = m_objects[name];
	object = {};
	object.exists = object.durableName = true;
	object.now = object.durable = Content(data.begin(), data.end());
}

void Disk::remove(const Name &name)
{
	if (exists(name)) m_objects[name].exists = false;
}

void Disk::settle(Object &object)
{
	object.durableName = object.exists;
	object.durable = object.now;
	object.unsynced.clear();
}

void Disk::sync(const Name &name)
{
	if (const auto found = m_objects.find(name); found != m_objects.end()) settle(found->second);
}

void Disk::syncVolume(const VolumeId &volume)
{
	for (auto &[name, object] : m_objects)
		if (name.id.volume == volume) settle(object);
}

void Disk::syncAll()
{
	for (auto &[name, object] : m_objects) settle(object);
}

std::vector<Disk::Name> Disk::list(const ListArgs &args) const
{
	std::vector<Name> names;
	for (const auto &[name, object] : m_objects)
		if (object.exists && name.id.kind == args.kind && (args.volume.isZero() || name.id.volume == args.volume))
			names.push_back(name);
	return names;
}

void Disk::powerLoss(std::mt19937 &random)
{
	const auto coin = [&random] { return (random() & 1) != 0; };
	for (auto &[name, object] : m_objects) {
		if (object.durableName != object.exists && coin()) object.durableName = object.exists;
		object.exists = object.durableName;
		if (!object.exists) {
			object.now.clear();
		} else if (!object.unsynced.empty()) {
			Content left = object.durable;
			for (const auto &[sector, versions] : object.unsynced) {
				const size_t pick = random() % (versions.size() + 1);
				if (pick == versions.size()) continue;
				const size_t at = sector * kSector, length = std::min(kSector, object.now.size() - at);
				left.resize(std::max(left.size(), at + length));
				std::copy_n(versions[pick].begin(), length, left.begin() + static_cast<ptrdiff_t>(at));
			}
			if (coin())
				left.resize(std::max(left.size(), object.now.size())); // the length came through without the bytes
			object.now = std::move(left);
		}
		settle(object);
	}
}

Content *Disk::edit(const Name &name)
{
	if (!exists(name)) return nullptr;
	settle(m_objects[name]);
	return &m_objects[name].now;
}

uint64_t Disk::bytes() const
{
	uint64_t sum = 0;
	for (const auto &[name, object] : m_objects)
		if (object.exists) sum += object.now.size();
	return sum;
}

Disk::Name diskName(const ObjectName &object) { return Disk::Name{object.id(), object.nameBytes()}; }

// ---- CrashStore

CrashStore::CrashStore(runtime::Reactor &reactor, World &world, Disk &disk, xseg::PortNo port)
	: m_world(world),
	  m_disk(disk),
	  m_buffers(reactor.segment(), port),
	  m_reactor(reactor)
{
	auto bound = runtime::ServedPort::bind(reactor, m_buffers, port, 64, *this);
	ARCHIPELAGO_ASSERT(bound.has_value());
	m_port = std::move(*bound);
}

void CrashStore::onRequest(runtime::ServedPort &, xseg::RequestRef request)
{
	const auto args = request.args<ObjectArgs>();
	World::Seen seen{static_cast<Op>(request->op), args.id, request->offset, request.data().size(),
	                 (request->flags & kFlagFua) != 0};
	Disk::Name name{args.id, {}};
	if (seen.op == Op::ObjList) {
		name.id = {};
	} else if (args.id.kind == ObjectKind::Name) {
		const auto bytes = m_port->port().segment().buffer(request->data_blk, request->data_off + request->data_len,
		                                                   args.nameLength);
		if (!bytes) return m_port->respond(std::move(request), wireStatus(ErrorCode::Invalid));
		name.bytes.assign(reinterpret_cast<const char *>(bytes->data()), bytes->size());
	}
	if (m_world.hold && m_world.hold(seen)) {
		m_held.push_back(Held{std::move(request), seen, std::move(name)});
		return;
	}
	carryOut(std::move(request), seen, name);
}

void CrashStore::release()
{
	for (Held &held : std::exchange(m_held, {})) carryOut(std::move(held.request), held.seen, held.name);
}

void CrashStore::carryOut(xseg::RequestRef request, const World::Seen &seen, const Disk::Name &name)
{
	const bool looks = seen.op == Op::ObjRead || seen.op == Op::ObjList;
	if (looks) m_world.looked.push_back(seen);
	ErrorCode code = kDone;
	if (m_world.steps >= m_world.stopAfter) {
		code = ErrorCode::Io;
	} else if (m_world.broken && m_world.broken(seen)) {
		code = ErrorCode::Io;
	} else if (looks) {
		code = look(request, seen, name);
	} else {
		m_world.seen.push_back(seen);
		m_world.tampering.catchUp(m_world);
		const bool fails = m_world.steps++ == m_world.failStep;
		if (!fails || m_world.failure == World::Failure::DoneAllTheSame) code = change(request, seen, name);
		if (fails) code = m_world.failCode;
	}
	if (seen.op == Op::ObjSyncVolume && code == kDone && m_world.syncSteps) {
		m_later.push_back(Later{std::move(request), m_world.steps + m_world.syncSteps});
		m_reactor.post([this] { respondWhenDue(true); }); // the ports have nothing more to do then
	} else {
		m_port->respond(std::move(request), code == kDone ? 0 : wireStatus(code));
	}
	respondWhenDue(false);
}

void CrashStore::respondWhenDue(bool all)
{
	std::vector<Later> waiting;
	for (Later &later : std::exchange(m_later, {})) {
		if (all || later.due <= m_world.steps)
			m_port->respond(std::move(later.request), 0);
		else
			waiting.push_back(std::move(later));
	}
	std::ranges::move(waiting, std::back_inserter(m_later));
}

ErrorCode CrashStore::change(const xseg::RequestRef &request, const World::Seen &seen, const Disk::Name &name)
{
	const auto data = request.data();
	Tampering &tampering = m_world.tampering;
	const Tampering::Step step{m_world, m_disk, seen.id, seen.offset, data};
	switch (seen.op) {
	case Op::ObjWrite: {
		if (const auto done = tampering.write(step)) return *done ? kDone : ErrorCode::NotFound;
		const bool there = m_disk.write(name, seen.offset, data, seen.fua);
		if (there) tampering.written(step);
		return there ? kDone : ErrorCode::NotFound;
	}
	case Op::ObjCreate:
		if (m_disk.create(name, seen.offset, data)) return kDone;
		m_world.violations.push_back("an object's name was used twice");
		return ErrorCode::Exists;
	case Op::ObjWriteFull:
		if (const auto done = tampering.writeFull(step)) return *done ? kDone : ErrorCode::Io;
		m_disk.writeFull(name, data);
		return kDone;
	case Op::ObjRemove: m_disk.remove(name); return kDone;
	case Op::ObjSync: m_disk.sync(name); return kDone;
	case Op::ObjSyncVolume:
		if (!tampering.putsOffSync(m_world, seen.id.volume)) m_disk.syncVolume(seen.id.volume);
		return kDone;
	case Op::ObjSyncAll:
		if (tampering.rule != BrokenRule::RecoveryNoSync) m_disk.syncAll();
		return kDone;
	default: return ErrorCode::Unsupported;
	}
}

ErrorCode CrashStore::look(const xseg::RequestRef &request, const World::Seen &seen, const Disk::Name &name)
{
	const auto data = request.data();
	if (seen.op == Op::ObjRead) {
		const Content *content = m_disk.read(name);
		if (!content) return ErrorCode::NotFound;
		std::ranges::fill(data, std::byte{});
		const size_t there = content->size() > seen.offset ? std::min(content->size() - seen.offset, data.size()) : 0;
		std::copy_n(content->begin() + static_cast<ptrdiff_t>(std::min<uint64_t>(seen.offset, content->size())), there,
		            data.begin());
		request->serviced = there;
		return kDone;
	}
	// Pages in order of names; the cursor is the number of those given out.
	auto args = request.args<ListArgs>();
	const std::vector<Disk::Name> all = m_disk.list(args);
	size_t used = 0, n = args.cursor;
	for (; n < all.size(); ++n) {
		ListEntry entry;
		entry.id = all[n].id;
		entry.nameLength = static_cast<uint16_t>(all[n].bytes.size());
		entry.recordBytes = static_cast<uint16_t>((sizeof entry + all[n].bytes.size() + 7) / 8 * 8);
		if (data.size() - used < entry.recordBytes) break;
		std::memcpy(data.data() + used, &entry, sizeof entry);
		std::memcpy(data.data() + used + sizeof entry, all[n].bytes.data(), all[n].bytes.size());
		used += entry.recordBytes;
	}
	args.cursor = n < all.size() ? n : 0;
	request.setArgs(args);
	request->serviced = used;
	return kDone;
}

} // namespace archipelago::mapper::testing
