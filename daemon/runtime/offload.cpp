// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The helper thread: takes jobs in order, runs them outside the lock, hands them back through the eventfd.
#include "daemon/runtime/offload.h"

#include "daemon/base/errors.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

namespace archipelago::runtime {

Offload::Offload() : m_event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
	ARCHIPELAGO_ASSERT(m_event);
	// Signals belong to the reactor's thread (its signalfd); the helper must never take one.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	m_thread = std::thread([this] { work(); });
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	pthread_setname_np(m_thread.native_handle(), "offload");
}

Offload::~Offload()
{
	{
		std::lock_guard lock(m_mutex);
		m_ending = true;
	}
	m_more.notify_one();
	m_thread.join();
}

void Offload::push(Job *job)
{
	{
		std::lock_guard lock(m_mutex);
		m_todo.push_back(job);
	}
	m_more.notify_one();
}

void Offload::finish()
{
	std::vector<Job *> done;
	{
		std::lock_guard lock(m_mutex);
		done.swap(m_done);
	}
	for (Job *job : done) job->waiter.resume();
}

void Offload::work()
{
	std::unique_lock lock(m_mutex);
	for (;;) {
		m_more.wait(lock, [this] { return m_ending || !m_todo.empty(); });
		if (m_todo.empty()) return;
		Job *job = m_todo.front();
		m_todo.pop_front();
		lock.unlock();
		job->result = job->fn();
		lock.lock();
		m_done.push_back(job);
		const uint64_t one = 1;
		// EAGAIN would mean 2^64-1 unread events; the reactor reads long before.
		ARCHIPELAGO_ASSERT(::write(m_event.get(), &one, sizeof one) == sizeof one);
	}
}

} // namespace archipelago::runtime
