// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Blockers for tests of the mapper: objects in memory, together with what power loss would leave of them, and a switch that
// stops the world after any step. The mapper talks to them by requests, as to the real ones.
//
//   kill          what was carried out stays: the page cache is still there
//   powerLoss()   of every sector one of its unsynced versions, or the durable one; of every new object its name or not; of
//                 every removal that it happened or not; each on its own. writeFull is whole and durable.
//
// Harsher than the contract where a mapper might rely on luck: a write with Fua makes only its own bytes durable, and none
// of an object whose name, or beyond a length, that was never synced.
#pragma once

#include "daemon/mapper/object_name.h"
#include "daemon/runtime/served_port.h"
#include "tests/daemon/mapper/tampering.h"

#include <array>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace archipelago::mapper::testing {

using Content = std::vector<std::byte>;

class Disk {
public:
	struct Name {
		ObjectId id;
		std::string bytes;
		auto operator<=>(const Name &) const = default;
	};
	bool exists(const Name &name) const;
	/// Null: not there.
	const Content *read(const Name &name) const;
	bool write(const Name &name, uint64_t offset, std::span<const std::byte> data, bool fua);
	/// False: the name exists, or existed before in the life of this disk ("names are never used twice").
	bool create(const Name &name, uint64_t offset, std::span<const std::byte> data);
	void writeFull(const Name &name, std::span<const std::byte> data);
	void remove(const Name &name);
	void sync(const Name &name);
	void syncVolume(const VolumeId &volume);
	void syncAll();
	std::vector<Name> list(const ListArgs &args) const;

	void powerLoss(std::mt19937 &random);
	/// For tests that damage something: the bytes as they are, durable.
	Content *edit(const Name &name);
	uint64_t bytes() const;

private:
	using Sector = std::array<std::byte, 512>;
	struct Object {
		bool exists = false, durableName = false;
		Content now, durable;
		std::map<size_t, std::vector<Sector>> unsynced; ///< versions by sector, oldest first
	};
	static void settle(Object &object);
	static void writeTo(Object &object, uint64_t offset, std::span<const std::byte> data, bool fua);
	std::map<Name, Object> m_objects;
	std::set<Name> m_created;
};

Disk::Name diskName(const ObjectName &object);

/// Everything that outlives a mapper, and what happens to its requests.
struct World {
	struct Seen {
		Op op;
		ObjectId id;
		uint64_t offset;
		size_t bytes;
		bool fua;
	};
	enum class Failure : uint8_t { NotDone, DoneAllTheSame };

	Disk blocks, maps;
	uint64_t steps = 0;           ///< changes and syncs so far
	uint64_t stopAfter = ~0ull;   ///< steps after this many do not happen and fail with E-IO: the crash
	uint64_t failStep = ~0ull;    ///< this one step fails with `failCode`
	Failure failure = Failure::NotDone;
	ErrorCode failCode = ErrorCode::Io;
	/// What the disk cannot read or write: E-IO. Not counted as steps.
	bool (*broken)(const Seen &seen) = nullptr;
	std::vector<Seen> seen;       ///< every step
	std::vector<Seen> looked;     ///< every read and listing
	std::vector<std::string> violations;
	/// A sync of a volume's data covers what is there when it comes, and is answered so many steps later, or when there are no
	/// more.
	uint64_t syncSteps = 0;
	Tampering tampering;
	/// Which requests wait for release().
	bool (*hold)(const Seen &seen) = nullptr;
};

/// One blocker at one port.
class CrashStore : private runtime::PortHandler {
public:
	CrashStore(runtime::Reactor &reactor, World &world, Disk &disk, xseg::PortNo port);
	/// Carries out what was held, in the order in which it came.
	void release();
	size_t held() const { return m_held.size(); }

private:
	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &, xseg::RequestRef) override {}
	void carryOut(xseg::RequestRef request, const World::Seen &seen, const Disk::Name &name);
	ErrorCode change(const xseg::RequestRef &request, const World::Seen &seen, const Disk::Name &name);
	ErrorCode look(const xseg::RequestRef &request, const World::Seen &seen, const Disk::Name &name);
	void respondWhenDue(bool all);

	World &m_world;
	Disk &m_disk;
	xseg::BufferPool m_buffers;
	struct Held {
		xseg::RequestRef request;
		World::Seen seen;
		Disk::Name name;
	};
	std::vector<Held> m_held;
	struct Later {
		xseg::RequestRef request; ///< carried out
		uint64_t due;             ///< at this step it is answered
	};
	std::vector<Later> m_later;
	runtime::Reactor &m_reactor;
	std::unique_ptr<runtime::ServedPort> m_port;
};

} // namespace archipelago::mapper::testing
