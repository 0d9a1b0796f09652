// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// An open volume with its holders, and the handles by which attached clients name it.
//
// Handles come back from other processes: one that was never given out, or whose client has left, finds nothing. Nor does one
// of an earlier life of the mapper, whose client lives on: handles count up, from the time of the start in units of 2^14 ns
// (16 us). So unless a life gave out more than 61 000 handles a second from its start to its end, the next one begins behind
// all of them. Time is CLOCK_BOOTTIME, which never steps back while the clients live. After 19 hours the count comes round: a
// client that was idle for just as long would have to meet the one number among 2^32. One thread.
#pragma once

#include "daemon/mapper/volume_map.h"

#include <array>
#include <string>
#include <unordered_map>
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
	/// "nbd clients and 1 device"; empty when there are none.
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

/// Who attaches, by path entries (xseg/abi.h).
struct Attacher {
	uint32_t client = 0; ///< of the port that asks the mapper: a composer's
	uint32_t origin = 0; ///< of the port for which it asks: a gateway's, or its own
};

struct Attachment {
	OpenVolume *volume = nullptr;
	Holder holder = Holder::Tool;
	bool readOnly = false;
	Attacher by;
};

class Attachments {
public:
	static constexpr size_t kMost = 4095; ///< more than a segment has ports

	Attachments();
	/// 0 when all are in use.
	uint32_t add(const Attachment &attachment);
	/// Null: no such handle.
	const Attachment *find(uint32_t handle) const;
	void remove(uint32_t handle);
	/// Handles of a volume.
	std::vector<uint32_t> of(const OpenVolume &volume) const;

private:
	uint32_t m_next;
	std::unordered_map<uint32_t, Attachment> m_attachments;
};

} // namespace archipelago::mapper
