// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Inside of the blocker peer (blocker.h). The way of a request: onRequest() checks and copies it into a slot (fill), begin()
// sends it to the store, done() has its end, answer() responds. Data that needs room may leave that way before the store
// (admit) or after it (E-NOSPACE), waits without a slot (park) and enters it anew (admitWaiting).
#pragma once

#include "daemon/runtime/peer.h"
#include "daemon/runtime/served_port.h"
#include "daemon/store/headroom.h"
#include "daemon/store/object_store.h"

#include <array>
#include <deque>

namespace archipelago::store {

class Blocker final : public runtime::Peer, runtime::PortHandler {
public:
	Blocker(const runtime::PeerContext &context, const RoleConfig &role, std::unique_ptr<ObjectStore> store);
	~Blocker() override;

	runtime::Task<Result<void>> start() override;
	runtime::Task<Result<void>> stop() override;
	uint32_t inflight() const override { return m_inflight + static_cast<uint32_t>(m_waiting.size()); }

private:
	/// What a request may do about room.
	enum class Room : uint8_t {
		None,  ///< metadata: what the reserve is for; and what needs none
		Frees, ///< a punch: never asked, but it may be refused (pieces of zeros at its ends)
		Needs,
	};
	struct Slot : StoreOp {
		Blocker *blocker = nullptr;
		Slot *nextFree = nullptr;
		xseg::RequestRef request;
		std::array<char, kMaxNameBytes> nameBytes;
		uint64_t arrival = 0; ///< data only: its place among those who wait
		uint64_t taken = 0;   ///< of the headroom
		Room room = Room::None;
		bool asking = false;  ///< finding out whether its block has all of its room
		bool probe = false;   ///< goes although the store had no room for another
	};
	struct Waiting {
		xseg::RequestRef request;
		uint64_t arrival;
	};

	void onRequest(runtime::ServedPort &port, xseg::RequestRef request) override;
	void onReply(runtime::ServedPort &port, xseg::RequestRef request) override;
	std::optional<ErrorCode> fill(Slot &slot, uint16_t op, const xseg::RequestRef &request) const;
	std::optional<ErrorCode> fillObject(Slot &slot, const xseg::RequestRef &request, uint32_t block, uint64_t nameAt) const;
	static Room roomOf(const StoreOp &op);
	void begin(Slot &slot);
	void done(Slot &slot);
	void answer(Slot &slot);
	Slot *takeSlot(xseg::RequestRef request);
	xseg::RequestRef giveBack(Slot &slot);
	void wakeStop();
	// ---- a full store
	bool admit(Slot &slot);
	void askForRoom(Slot &slot);
	void park(Slot &slot);
	void admitWaiting(bool justLooked);
	bool admitFirst(bool justLooked);
	void dropOrphans();
	void setFull(bool full);

	runtime::Reactor &m_reactor;
	const RoleConfig m_role;
	const uint32_t m_shards;
	const FullPolicy m_fullPolicy;
	const uint64_t m_reserveBytes;
	const bool m_createDirs;
	std::shared_ptr<spdlog::logger> m_log;
	std::unique_ptr<ObjectStore> m_store;
	Headroom m_headroom;
	std::deque<Waiting> m_waiting; ///< for room, in order of arrival
	uint64_t m_arrivals = 0;
	bool m_full = false;           ///< as last told to the log
	uint64_t m_fullToldNs = 0;
	std::unique_ptr<Slot[]> m_slots;
	Slot *m_free = nullptr;
	uint32_t m_inflight = 0;
	bool m_stopping = false;
	runtime::WaitList m_quiet; ///< stop() waits here for m_inflight == 0
	std::unique_ptr<xseg::BufferPool> m_buffers;
	std::unique_ptr<runtime::ServedPort> m_port; ///< last: unbinds first
};

} // namespace archipelago::store
