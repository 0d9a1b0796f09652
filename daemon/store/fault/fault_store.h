// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// FaultStore: any store, on bad days. For tests and benchmarks; no role can be configured to be one.
//
//   faults        rules, each for some operations (kind of operation, kind of object, volume, object; after `skip` of them,
//                 `times` times): the first that matches decides. See Fault::What.
//   crash point   from a moment on nothing happens any more: every operation is E-IO and not done, whatever was held or
//                 answered early and not done is gone. What the store below has stays, as after a kill.
//   recording     every change and sync that was carried out, in order, into a Recording (crash_image.h makes of it what a
//                 power cut would leave). A lie is recorded as what it was: nothing.
//
// The store below is not owned and not closed: it is the disk, and outlives the process that this one stands for. Allocates
// per operation. Reactor thread.
#pragma once

#include "daemon/store/fault/recording.h"
#include "daemon/store/object_store.h"

#include <deque>
#include <list>
#include <memory>
#include <optional>

namespace archipelago::store {

struct Fault {
	enum class What : uint8_t {
		Fail,        ///< not done, `error`
		FailDone,    ///< done, `error` all the same
		Tear,        ///< of a write only the first `sectors` (of 512 bytes) are done, then `error`
		HoldAnswer,  ///< done; answered at release(), or after `delayMs` when that is not 0
		Hold,        ///< not begun before release() or `delayMs`
		Lie,         ///< answered as done, never done. (Breaks the store's promises: for negative controls)
		AnswerEarly, ///< answered as done, carried out at release(). (Likewise)
		CreateOver,  ///< an ObjCreate of what is there writes over it, as if it were not exclusive. (Likewise)
	};
	What what = What::Fail;
	std::optional<Op> op;
	std::optional<ObjectKind> kind;
	std::optional<VolumeId> volume;
	std::optional<ObjectId> object;
	uint64_t skip = 0, times = 1; ///< of those that match
	ErrorCode error = ErrorCode::Io;
	uint64_t delayMs = 0;
	uint64_t sectors = 0;

	bool matches(const StoreOp &operation) const;
};

inline constexpr uint64_t kForever = ~uint64_t{0};

class FaultStore : public ObjectStore {
public:
	/// `recording` may be null; its steps bear the number `index`.
	FaultStore(runtime::Reactor &reactor, ObjectStore &below, Recording *recording = nullptr, unsigned index = 0);
	~FaultStore() override;

	runtime::Task<Result<void>> open(bool createDirs) override;
	/// Releases what is held, then waits for what is in flight.
	runtime::Task<void> close() override;
	void submit(StoreOp &op) override;

	void add(const Fault &fault) { m_faults.push_back(fault); }
	void clearFaults() { m_faults.clear(); }
	/// What is held goes on, in order; what was answered early is carried out.
	void release();
	size_t held() const { return m_held.size(); }

	void crash();
	/// crash() as soon as so many more changes and syncs have been carried out.
	void crashAfter(uint64_t steps) { m_stepsLeft = steps; }
	bool crashed() const { return m_crashed; }
	/// Changes and syncs carried out so far.
	uint64_t steps() const { return m_steps; }

private:
	/// One operation on its way through. Frees itself when it has been answered.
	struct Passing;
	Fault *faultFor(const StoreOp &op);
	void begin(Passing *op);
	void ended(Passing &op);
	void answer(Passing *op);
	void hold(Passing *op, uint64_t delayMs);
	void letGo(Passing *op);
	void forgetOne();

	runtime::Reactor &m_reactor;
	ObjectStore &m_below;
	Recording *const m_recording;
	const unsigned m_index;
	std::list<Fault> m_faults;
	std::deque<Passing *> m_held;
	uint64_t m_steps = 0, m_stepsLeft = ~uint64_t{0};
	uint32_t m_inflight = 0;
	bool m_crashed = false, m_closing = false;
	runtime::WaitList m_quiet;
};

} // namespace archipelago::store
