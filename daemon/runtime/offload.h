// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Offload: the one helper thread of a reactor, for system calls that have no io_uring form and may block (syncfs, readdir,
// fsync of a directory in bulk). Jobs run one after another. Results come back through an eventfd the reactor reads.
// Owned by the reactor; destroyed before its ring.
#pragma once

#include "daemon/runtime/task.h"
#include "xseg/fd.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace archipelago::runtime {

class Offload {
public:
	struct Job {
		std::function<int()> fn;
		std::coroutine_handle<> waiter;
		int result = 0;
	};

	Offload();
	~Offload();

	int eventFd() const { return m_event.get(); }
	/// `job` lives in the waiting coroutine until it is resumed.
	void push(Job *job);
	/// After the eventfd fired: resumes whoever is done. Reactor thread.
	void finish();

private:
	void work();

	xseg::UniqueFd m_event;
	std::mutex m_mutex;
	std::condition_variable m_more;
	std::deque<Job *> m_todo;
	std::vector<Job *> m_done;
	bool m_ending = false;
	std::thread m_thread; ///< last: starts when the rest is there
};

} // namespace archipelago::runtime
