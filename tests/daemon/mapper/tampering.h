// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Negative controls: a store that does what a mapper would have caused which breaks one rule of MAP_FORMAT.md. The mapper
// itself keeps all of them; a crash test that passes all the same would not notice if it did not.
#pragma once

#include "daemon/mapper/object_name.h"

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace archipelago::mapper::testing {

struct World;
class Disk;

enum class BrokenRule : uint8_t {
	None,
	AckBeforeRecord,     ///< a journal write is answered, and carried out with the next step
	JournalBeforeData,   ///< a sync of data is answered, and carried out after the COMMIT
	CommitCoversAll,     ///< every COMMIT says that it covers all records before it
	DiscardRemovesEarly, ///< objects go when their DROP is written, not when it is committed
	TrimBeforeHeader,    ///< segments go before the header that does without them
	RecoveryNoSync,      ///< a recovery's sync of the store does nothing
	TrustUncommitted,    ///< no boot id changes: what another boot finds counts as if it had been synced
};

class Tampering {
public:
	struct Step {
		World &world;
		Disk &disk;
		ObjectId id;
		uint64_t offset;
		std::span<const std::byte> data;
	};

	BrokenRule rule = BrokenRule::None;

	/// What earlier steps have put off happens now, before the next one.
	void catchUp(World &world);
	/// Nothing: the step is to be carried out as it is. Else how it ended.
	std::optional<bool> write(const Step &step);
	std::optional<bool> writeFull(const Step &step);
	bool putsOffSync(World &world, const VolumeId &volume);
	/// Something was written to a journal.
	void written(const Step &step);

private:
	struct Late {
		ObjectId id;
		uint64_t offset;
		std::vector<std::byte> data;
	};

	std::vector<Late> m_lateWrites;
	struct LateSync {
		VolumeId volume;
		uint64_t due;
	};
	std::optional<LateSync> m_lateSync;
	std::map<ObjectId, std::vector<std::byte>> m_segments; ///< as the mapper wrote them
	std::set<std::pair<ObjectId, uint64_t>> m_dropped;     ///< DROPs that were carried out, by segment and sequence
};

} // namespace archipelago::mapper::testing
