// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Access to single fields of the segment, which any peer may change at any moment.
//
//   readOnce(field)    one load the compiler can neither repeat nor split: copy, check the copy, use the copy
//   writeOnce(field)   one store, in program order with those before it: what a recovery finds after a kill is a prefix
//   count(field)       adds to a counter that only this thread writes and tools read
//
//   XSEG_CRASH_POINT()  stands behind every store that others see. In the build for the death tests (tests/xseg/death) a process
//                    may be killed there; in every other build it is nothing.
//
// What orders processes against each other are the state word, the ring slots and the bells (state_word.h, ring.h,
// waiter.cpp), never these.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#ifdef XSEG_CRASH_POINTS
namespace xseg {
void crashPoint();
}
#define XSEG_CRASH_POINT() ::xseg::crashPoint()
#else
#define XSEG_CRASH_POINT() static_cast<void>(0)
#endif

namespace xseg {

static_assert(std::atomic_ref<uint64_t>::is_always_lock_free && std::atomic_ref<uint32_t>::is_always_lock_free,
              "a lock inside std::atomic would live in one process only");

template <typename T> T readOnce(const T &field)
{
	static_assert(std::is_integral_v<T>);
	return __atomic_load_n(&field, __ATOMIC_RELAXED); // std::atomic_ref takes no const object before C++26
}

template <typename T> void writeOnce(T &field, std::type_identity_t<T> value)
{
	std::atomic_ref(field).store(value, std::memory_order_release);
	XSEG_CRASH_POINT();
}

inline void count(uint64_t &counter)
{
	std::atomic_ref word(counter);
	word.store(word.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

} // namespace xseg
