// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// runAside(): what may touch a disk or build something large leaves the main thread here and comes back to it with its value.
// Whoever uses it lives until waitForWorkers() at the end of the program, which main() calls before it takes them down.
#pragma once

#include <QMetaObject>
#include <QObject>
#include <QThreadPool>

#include <memory>
#include <utility>

namespace archipelago::service {

/// Runs `work` (which touches nothing shared) on a helper thread, then `done` with its value on the thread of `context`.
template <typename Work, typename Done> void runAside(QObject *context, Work work, Done done)
{
	QThreadPool::globalInstance()->start([context, work = std::move(work), done = std::move(done)]() mutable {
		auto value = work();
		// Shared because a queued functor has to be copyable and values may only be movable.
		auto carried = std::make_shared<decltype(value)>(std::move(value));
		QMetaObject::invokeMethod(context, [carried, done = std::move(done)]() mutable { done(std::move(*carried)); }, Qt::QueuedConnection);
	});
}

inline void waitForWorkers()
{
	QThreadPool::globalInstance()->waitForDone();
}

} // namespace archipelago::service
