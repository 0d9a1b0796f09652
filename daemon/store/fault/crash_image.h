// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// CrashImage: one store as its medium sees it. Steps of a recording are applied to it; at any moment it yields what a crash may
// leave:
//
//   kill        everything that was completed: the page cache survives.
//   power cut   the durable part, and of what has not been synced any subset, in any order, each on its own: of every sector
//               one of its versions since the last sync or the durable one (so a write of several sectors is torn); of every
//               new object its name or not; of every removal that it happened or not; of a length that came through or not.
//               writeFull and writes with Fua are durable when completed.
//
// Exactly what object_store.h promises, and nothing that a filesystem gives besides.
#pragma once

#include "daemon/store/fault/recording.h"
#include "daemon/store/object_store.h"

#include <array>
#include <map>
#include <random>

namespace archipelago::store {

class CrashImage {
public:
	static constexpr uint64_t kSectorBytes = 512;
	using Sector = std::array<std::byte, kSectorBytes>;
	using Name = std::pair<ObjectId, std::string>;
	/// Absent sectors are zeros.
	struct Content {
		uint64_t bytes = 0;
		std::map<uint64_t, Sector> sectors;
	};
	using Objects = std::map<Name, Content>;

	CrashImage() = default;
	/// The medium after a crash that left these.
	explicit CrashImage(const Objects &durable);

	void apply(const Step &step);
	/// The crash has come, and left these of what there was. They are durable.
	void keepOnly(const Objects &left);
	Objects afterKill() const;
	Objects afterPowerCut(std::mt19937_64 &random) const;
	/// Names that were created although they had existed before, or written without.
	const std::vector<Name> &violations() const { return m_violations; }

	/// Puts the objects into an open, empty store. E-NOSPACE and the like.
	static runtime::Task<Result<void>> load(ObjectStore &to, const Objects &objects);

private:
	struct Object {
		VolumeId volume;            ///< whose sync covers it
		bool exists = false, durableName = false;
		uint64_t bytes = 0;
		Content durable;
		std::map<uint64_t, std::vector<Sector>> unsynced; ///< versions by sector, oldest first
	};
	static Name nameOf(const Step &step);
	static Sector newest(const Object &object, uint64_t sector);
	static void settle(Object &object, uint64_t sector);
	static void settle(Object &object);
	/// `data` null: zeros, which do not make it longer.
	static void write(Object &object, uint64_t offset, uint64_t bytes, const std::byte *data, bool durable);
	void create(Object &object, const Name &name);
	Object &at(const Name &name);

	std::map<Name, Object> m_objects;
	std::vector<Name> m_order; ///< as they came: ids are random, but a seed has to draw the same for the same object
	std::vector<Name> m_violations;
};

} // namespace archipelago::store
