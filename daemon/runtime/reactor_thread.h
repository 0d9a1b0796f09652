// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ReactorThread: a reactor on a thread of its own, for hosts with several (daemon/base/shards.h). The ring belongs to its thread,
// so the reactor is made and ended there; others reach it by postFromAnyThread() and runOn() only.
#pragma once

#include "daemon/runtime/reactor.h"

#include <thread>

namespace archipelago::runtime {

class ReactorThread {
public:
	/// Runs when it comes back. Errors: as Reactor::create(). `name`: of the thread, at most 15 characters.
	static Result<std::unique_ptr<ReactorThread>> start(const xseg::Segment &segment, const xseg::BellFds &bells,
	                                                    const Reactor::Options &options, const std::string &name);
	/// Ends the loop and waits for the thread. Nothing on that reactor waits for anything any more.
	~ReactorThread();
	ReactorThread(const ReactorThread &) = delete;
	ReactorThread &operator=(const ReactorThread &) = delete;

	Reactor &reactor() { return *m_reactor; }

private:
	ReactorThread() = default;
	Reactor *m_reactor = nullptr; ///< lives on the thread's stack
	std::thread m_thread;
};

/// Runs the coroutine that `make` returns on the reactor `there`, and comes back to `here`, where it was called, with its value.
/// Both run until then. `make` is called there and is no coroutine itself; what it refers to must be fit for that thread.
template <typename T> Task<T> runOn(Reactor &here, Reactor &there, std::function<Task<T>()> make)
{
	struct Trip {
		Reactor &here, &there;
		const std::function<Task<T>()> &make;
		std::optional<T> value;
		std::coroutine_handle<> waiter;

		bool await_ready() const noexcept { return false; }
		void await_suspend(std::coroutine_handle<> h)
		{
			waiter = h;
			there.postFromAnyThread([this] { spawn(go(*this)); });
		}
		static Task<void> go(Trip &trip)
		{
			Task<T> task = trip.make();
			T value = co_await task;
			trip.value.emplace(std::move(value));
			const std::coroutine_handle<> h = trip.waiter;
			trip.here.postFromAnyThread([h] { h.resume(); }); // last: `trip` may be gone
		}
		T await_resume() { return std::move(*value); }
	};
	Trip trip{here, there, make, {}, {}};
	T value = co_await trip;
	co_return std::move(value);
}

} // namespace archipelago::runtime
