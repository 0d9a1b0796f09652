// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// History: everything a guest has written to one volume, by sectors of 512 bytes, and what of it may be read after a crash at
// any moment of the run. The model of the crash checker:
//
//   a floor    from that moment on, nothing older than this version: it was flushed, or shown after a recovery.
//   allowed    every version from the newest floor on that was sent before the moment. What was sent and not acknowledged
//              may have happened or not; what was acknowledged and not flushed may be lost to a power cut.
//
// Moments are lengths of the recording. A version is a number that stands in every word of its sector, unique in the run, so
// that a sector at the wrong place or torn inside is nobody's version. Zero: zeros.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace archipelago::testing {

using Moment = uint64_t;
inline constexpr uint64_t kSectorBytes = 512;

/// A sector full of its version.
inline void fillSector(std::span<std::byte> sector, uint64_t version)
{
	for (uint64_t i = 0; i < kSectorBytes / 8; ++i) {
		const uint64_t word = version ? version * 1024 + i : 0;
		std::memcpy(sector.data() + i * 8, &word, 8);
	}
}
/// Nothing when it is no version.
inline std::optional<uint64_t> versionOf(std::span<const std::byte> sector)
{
	uint64_t first = 0;
	std::memcpy(&first, sector.data(), 8);
	if (first % 1024) return std::nullopt;
	for (uint64_t i = 1; i < kSectorBytes / 8; ++i) {
		uint64_t word = 0;
		std::memcpy(&word, sector.data() + i * 8, 8);
		if (word != (first ? first + i : 0)) return std::nullopt;
	}
	return first / 1024;
}

class History {
public:
	/// `version` of the sector is sent to the volume now.
	void sent(uint64_t sector, uint64_t version, Moment now)
	{
		Sector &s = m_sectors[sector];
		s.versions.push_back(Version{version, now});
	}
	/// The newest version sent of the sector is acknowledged.
	void acknowledged(uint64_t sector)
	{
		Sector &s = m_sectors[sector];
		s.acknowledged = s.versions.size() - 1;
	}
	/// For each sector its newest acknowledged version: what a flush that is sent now vouches for.
	std::map<uint64_t, size_t> vouched() const
	{
		std::map<uint64_t, size_t> out;
		for (const auto &[sector, s] : m_sectors) out[sector] = s.acknowledged;
		return out;
	}
	/// That flush is answered.
	void flushed(const std::map<uint64_t, size_t> &vouchedFor, Moment now)
	{
		for (const auto &[sector, version] : vouchedFor) raise(m_sectors[sector], version, now);
	}
	/// The newest acknowledged version of the sector is durable (FUA).
	void durable(uint64_t sector, Moment now) { raise(m_sectors[sector], m_sectors[sector].acknowledged, now); }
	/// Recovery has shown this version after a kill: it stays, and nothing before it comes back.
	void shown(uint64_t sector, uint64_t version, Moment now)
	{
		Sector &s = m_sectors[sector];
		s.versions.push_back(Version{version, now});
		s.acknowledged = s.versions.size() - 1;
		raise(s, s.acknowledged, now);
	}

	bool allowedAfterPowerCut(uint64_t sector, uint64_t version, Moment cut) const
	{
		const Sector &s = at(sector);
		size_t floor = 0;
		for (const Floor &f : s.floors)
			if (f.since <= cut) floor = f.version;
		return among(s, floor, version, cut);
	}
	/// The last acknowledged or one on its way.
	bool allowedAfterKill(uint64_t sector, uint64_t version) const
	{
		const Sector &s = at(sector);
		return among(s, s.acknowledged, version, ~Moment{0});
	}
	/// For messages.
	std::string describe(uint64_t sector) const
	{
		std::string out;
		const Sector &s = at(sector);
		for (size_t i = 0; i < s.versions.size(); ++i)
			out += " " + std::to_string(s.versions[i].value) + "@" + std::to_string(s.versions[i].sent) +
			       (i == s.acknowledged ? "(acknowledged)" : "");
		for (const Floor &f : s.floors)
			out += " floor " + std::to_string(s.versions[f.version].value) + "@" + std::to_string(f.since);
		return out;
	}
	std::vector<uint64_t> sectors() const
	{
		std::vector<uint64_t> out;
		for (const auto &[sector, s] : m_sectors) out.push_back(sector);
		return out;
	}

private:
	struct Version {
		uint64_t value;
		Moment sent;
	};
	struct Floor {
		Moment since;
		size_t version;
	};
	struct Sector {
		std::vector<Version> versions{Version{0, 0}}; ///< blank
		size_t acknowledged = 0;
		std::vector<Floor> floors;
	};

	static void raise(Sector &s, size_t version, Moment now)
	{
		if (!s.floors.empty() && s.floors.back().version >= version) return;
		s.floors.push_back(Floor{now, version});
	}
	static bool among(const Sector &s, size_t from, uint64_t version, Moment cut)
	{
		for (size_t i = from; i < s.versions.size(); ++i)
			if (s.versions[i].value == version && s.versions[i].sent <= cut) return true;
		return false;
	}
	const Sector &at(uint64_t sector) const
	{
		static const Sector blank;
		const auto found = m_sectors.find(sector);
		return found == m_sectors.end() ? blank : found->second;
	}

	std::map<uint64_t, Sector> m_sectors;
};

} // namespace archipelago::testing
