// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Task<T>: a lazily started coroutine, for peer logic that waits (mapper, flush, start-up). Awaiting a task runs it;
// spawn() runs one on its own. One thread: whoever completes an I/O resumes the waiter directly, from the reactor.
//
// g++ 12.2 destroys a braced temporary inside a co_await expression twice and loses captures of coroutine lambdas: give
// parameter structs a name first, and never make a capturing lambda a coroutine.
#pragma once

#include "daemon/base/errors.h"

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace archipelago::runtime {

template <typename T> class Task;

namespace detail {

/// A task that ends without waiting returns to whoever awaits it by a plain return, so that a loop over such tasks does not
/// grow the stack (g++ makes symmetric transfer a tail call only when it optimises). One that waited resumes its waiter.
struct PromiseBase {
	std::coroutine_handle<> waiter;
	bool starting = false; ///< the waiter is still inside await_suspend

	std::suspend_always initial_suspend() noexcept { return {}; }
	struct FinalAwaiter {
		bool await_ready() noexcept { return false; }
		template <typename P> std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) noexcept
		{
			const PromiseBase &promise = h.promise();
			return promise.starting || !promise.waiter ? std::noop_coroutine() : promise.waiter;
		}
		void await_resume() noexcept {}
	};
	FinalAwaiter final_suspend() noexcept { return {}; }
	/// Exceptions are no error channel: one that gets here is a bug (or out of memory), and the process ends.
	void unhandled_exception() noexcept { std::terminate(); }
};

template <typename T> struct Promise : PromiseBase {
	std::optional<T> value;
	Task<T> get_return_object();
	template <typename U> void return_value(U &&v) { value.emplace(std::forward<U>(v)); }
};
template <> struct Promise<void> : PromiseBase {
	Task<void> get_return_object();
	void return_void() {}
};

} // namespace detail

template <typename T = void> class [[nodiscard]] Task {
public:
	using promise_type = detail::Promise<T>;

	Task() = default;
	explicit Task(std::coroutine_handle<promise_type> h) : m_handle(h) {}
	Task(Task &&other) noexcept : m_handle(std::exchange(other.m_handle, nullptr)) {}
	Task &operator=(Task &&other) noexcept
	{
		if (this != &other) {
			if (m_handle) m_handle.destroy();
			m_handle = std::exchange(other.m_handle, nullptr);
		}
		return *this;
	}
	~Task()
	{
		if (m_handle) m_handle.destroy();
	}

	bool await_ready() const noexcept { return false; }
	/// Runs the task; false: it has ended already, go on at once.
	bool await_suspend(std::coroutine_handle<> waiter) noexcept
	{
		auto &promise = m_handle.promise();
		promise.waiter = waiter;
		promise.starting = true;
		m_handle.resume();
		promise.starting = false;
		return !m_handle.done();
	}
	T await_resume()
	{
		if constexpr (!std::is_void_v<T>) return std::move(*m_handle.promise().value);
	}

private:
	std::coroutine_handle<promise_type> m_handle;
};

namespace detail {
template <typename T> Task<T> Promise<T>::get_return_object()
{
	return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object()
{
	return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

/// A coroutine that owns itself.
struct Detached {
	struct promise_type {
		Detached get_return_object() { return {}; }
		std::suspend_never initial_suspend() noexcept { return {}; }
		std::suspend_never final_suspend() noexcept { return {}; }
		void return_void() {}
		void unhandled_exception() noexcept { std::terminate(); }
	};
};
} // namespace detail

/// Runs `task` now, up to its first wait, and lets it end by itself. What it refers to must outlive it.
inline detail::Detached spawn(Task<void> task)
{
	co_await task;
}

/// A place where coroutines wait for each other, first come first served; wake() resumes all that wait now.
class WaitList {
public:
	class Waiting;
	/// co_await list.wait();
	Waiting wait() { return Waiting(*this); }
	bool empty() const { return !m_first; }
	void wakeAll()
	{
		Waiting *w = std::exchange(m_first, nullptr);
		m_last = nullptr;
		while (w) {
			Waiting *next = w->m_next; // the frame may be gone once it has run
			w->m_handle.resume();
			w = next;
		}
	}
	void wakeOne()
	{
		Waiting *w = m_first;
		if (!w) return;
		m_first = w->m_next;
		if (!m_first) m_last = nullptr;
		w->m_handle.resume();
	}

	class Waiting {
	public:
		explicit Waiting(WaitList &list) : m_list(list) {}
		bool await_ready() const noexcept { return false; }
		void await_suspend(std::coroutine_handle<> h)
		{
			m_handle = h;
			(m_list.m_last ? m_list.m_last->m_next : m_list.m_first) = this;
			m_list.m_last = this;
		}
		void await_resume() const noexcept {}

	private:
		friend class WaitList;
		WaitList &m_list;
		Waiting *m_next = nullptr;
		std::coroutine_handle<> m_handle;
	};

private:
	Waiting *m_first = nullptr, *m_last = nullptr;
};

/// A mutual exclusion between coroutines of one thread; fair.
class Gate {
public:
	/// co_await gate.enter(); ... gate.leave();
	Task<void> enter()
	{
		while (m_taken) co_await m_waiting.wait();
		m_taken = true;
	}
	bool tryEnter() { return m_taken ? false : (m_taken = true); }
	void leave()
	{
		m_taken = false;
		m_waiting.wakeOne();
	}
	bool taken() const { return m_taken; }

private:
	bool m_taken = false;
	WaitList m_waiting;
};

} // namespace archipelago::runtime
