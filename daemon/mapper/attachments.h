// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// An open volume with its holders, and the handles by which attached clients name it.
//
//   handle = generation of its slot:20 | slot:12       never 0; a slot's generation rises with each use
//
// Handles come back from other processes: one that was never given out, or whose client has left, finds nothing. Generations
// begin at a random number, so that a handle from an earlier life of the mapper does not fit another volume now. One thread.
#pragma once

#include "daemon/mapper/volume_map.h"

#include <array>
#include <string>
#include <vector>

namespace archipelago::mapper {

inline constexpr size_t kHolderKinds = 5; ///< values of Holder

struct OpenVolume {
	std::string name;
	std::unique_ptr<VolumeMap> map;
	bool openedExplicitly = false;
	std::array<uint32_t, kHolderKinds> clients{}; ///< attachments, by Holder
	uint32_t requests = 0;                        ///< under way in `map`; it must outlive them
	runtime::WaitList idle;                       ///< resumed when there are none
	std::string lastError;                        ///< of a look-up, as last logged: a client that retries must not flood the log

	uint32_t clientCount() const;
	bool held() const { return openedExplicitly || clientCount() != 0; }
	/// "2 nbd clients and 1 device"; empty when there are none.
	std::string who() const;
};

/// While it lives, the volume stays.
class VolumeUse {
public:
	explicit VolumeUse(OpenVolume &volume) : m_volume(volume) { ++m_volume.requests; }
	~VolumeUse()
	{
		if (--m_volume.requests == 0) m_volume.idle.wakeAll();
	}
	VolumeUse(const VolumeUse &) = delete;
	VolumeUse &operator=(const VolumeUse &) = delete;

private:
	OpenVolume &m_volume;
};

struct Attachment {
	OpenVolume *volume = nullptr; ///< null: the slot is free
	Holder holder = Holder::Tool;
	bool readOnly = false;
};

class Attachments {
public:
	static constexpr size_t kMost = 4095; ///< more than a segment has ports

	Attachments();
	/// 0 when all handles are in use.
	uint32_t add(const Attachment &attachment);
	const Attachment *find(uint32_t handle) const;
	void remove(uint32_t handle);
	/// Handles of a volume.
	std::vector<uint32_t> of(const OpenVolume &volume) const;

private:
	struct Slot {
		Attachment attachment;
		uint32_t generation = 0;
	};

	uint32_t m_firstGeneration;
	std::vector<Slot> m_slots;
	std::vector<uint32_t> m_free;
};

} // namespace archipelago::mapper
