// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Following a job from the call that makes it to its end. Signals are subscribed to before the call is made and the job is
// read once after it, so a job that ends at once is not missed. Everything runs in the Bus's thread.
#pragma once

#include "dbus/client/bus.h"

namespace archipelago::dbus {

/// What the maker of a job wants to know.
struct JobEvents {
	/// Optional. Whenever the job's state, message or progress changed: each message once, in order.
	std::function<void(const JobInfo &)> progress;
	/// Exactly once. A value: State is "succeeded". An error: the call was refused, the job failed or was cancelled, the
	/// service went away (E-PEER), or `timeoutMs` went by (E-TIMEOUT: the job goes on, the message names it).
	Done<JobInfo> done;
	/// From the call on; 0 = as long as it takes.
	int timeoutMs = 0;
};

/// Calls `method`, which answers with the path of a job, and follows that job.
void runJob(Bus &bus, const QString &path, const QString &interface, const QString &method, const QVariantList &arguments,
            JobEvents events);
/// Follows a job that exists already. E-NOTFOUND: there is none, or it ended more than a minute ago.
void followJob(Bus &bus, const QString &jobPath, JobEvents events);
/// Asks a job to stop; its end comes through its own events. E-UNSUPPORTED: it cannot be cancelled.
void cancelJob(Bus &bus, const QString &jobPath, Done<void> done);

} // namespace archipelago::dbus
