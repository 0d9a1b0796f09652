// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ChunkBudget: memory for the clean chunks of all open volumes (map_cache_size). Second chance: a chunk that was looked at
// since it was last considered goes round once more, the others go. Chunks with changes are not in it: they stay in memory
// until a checkpoint has written them, and the bound of the journal is theirs. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>

namespace archipelago::mapper {

class ChunkBudget {
public:
	/// Who keeps chunks.
	class Keeper {
	public:
		/// Forgets a clean chunk. False: it is needed right now.
		virtual bool evict(uint32_t index) = 0;

	protected:
		~Keeper() = default;
	};
	struct Place {
		Keeper *keeper;
		uint32_t index;
		bool used = true; ///< looked at since it was last considered
	};
	using Position = std::list<Place>::iterator;

	explicit ChunkBudget(uint64_t limitBytes) : m_limitBytes(limitBytes) {}

	/// A chunk is there and clean. Others may go for it, it does not.
	Position add(Keeper &keeper, uint32_t index)
	{
		makeRoom();
		return m_clean.insert(m_clean.end(), Place{&keeper, index});
	}
	/// It has been changed, or its keeper ends.
	void remove(Position position) { m_clean.erase(position); }
	/// What a chunk counts for.
	static constexpr uint64_t kChunkBytes = 256u << 10;
	uint64_t bytes() const { return m_clean.size() * kChunkBytes; }

private:
	void makeRoom()
	{
		// Twice round: the first takes the second chances away. What is left then is needed.
		for (size_t looks = 2 * m_clean.size(); looks && (m_clean.size() + 1) * kChunkBytes > m_limitBytes; --looks) {
			const Position oldest = m_clean.begin();
			if (!oldest->used && oldest->keeper->evict(oldest->index)) {
				m_clean.erase(oldest);
			} else {
				oldest->used = false;
				m_clean.splice(m_clean.end(), m_clean, oldest);
			}
		}
	}

	const uint64_t m_limitBytes;
	std::list<Place> m_clean;
};

} // namespace archipelago::mapper
