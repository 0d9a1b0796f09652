// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// TaskGroup: coroutines side by side, and a place to wait for all of them: reads of a listing, writes of many chunks.
// It outlives its tasks: whoever makes one waits for it. One thread.
#pragma once

#include "daemon/runtime/task.h"

namespace archipelago::mapper {

class TaskGroup {
public:
	/// At most `limit` at a time.
	explicit TaskGroup(unsigned limit) : m_limit(limit) {}
	~TaskGroup() { ARCHIPELAGO_ASSERT(m_running == 0); }
	TaskGroup(const TaskGroup &) = delete;
	TaskGroup &operator=(const TaskGroup &) = delete;

	/// Starts `task` as soon as there is room for it.
	runtime::Task<void> start(runtime::Task<void> task)
	{
		while (m_running == m_limit) co_await m_ended.wait();
		++m_running;
		runtime::spawn(run(std::move(task)));
	}
	runtime::Task<void> wait()
	{
		while (m_running) co_await m_ended.wait();
	}

private:
	runtime::Task<void> run(runtime::Task<void> task)
	{
		co_await task;
		--m_running;
		m_ended.wakeAll(); // last: the waiter may destroy the group
	}

	unsigned m_limit;
	unsigned m_running = 0;
	runtime::WaitList m_ended;
};

} // namespace archipelago::mapper
