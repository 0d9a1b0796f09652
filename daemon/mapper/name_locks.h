// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// NameLocks: one coroutine at a time per volume name. Where a store belongs to one instance this is the lock of the name and
// of the volume's id at once: a volume has one name, and nothing but the operations that hold it here changes that.
// First come, first served. One thread.
#pragma once

#include "daemon/runtime/task.h"

#include <string>
#include <unordered_map>

namespace archipelago::mapper {

class NameLocks {
public:
	/// Held until it is destroyed.
	class Held {
	public:
		Held(NameLocks &locks, std::string name) : m_locks(&locks), m_name(std::move(name)) {}
		Held(Held &&other) noexcept : m_locks(std::exchange(other.m_locks, nullptr)), m_name(std::move(other.m_name)) {}
		Held &operator=(Held &&) = delete;
		~Held()
		{
			if (m_locks) m_locks->release(m_name);
		}

	private:
		NameLocks *m_locks;
		std::string m_name;
	};

	runtime::Task<Held> take(std::string name)
	{
		Place &place = m_places[name]; // stays where it is while it has users
		++place.users;
		co_await place.gate.enter();
		co_return Held(*this, std::move(name));
	}

private:
	struct Place {
		runtime::Gate gate;
		unsigned users = 0; ///< holds it or waits for it
	};

	void release(const std::string &name)
	{
		const auto place = m_places.find(name);
		if (--place->second.users == 0)
			m_places.erase(place);
		else
			place->second.gate.leave();
	}

	std::unordered_map<std::string, Place> m_places;
};

} // namespace archipelago::mapper
