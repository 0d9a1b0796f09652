// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Jobs: long work as objects, jobs/N. A job is made running, told about its steps, and ended once. It stays on the bus for
// a minute after its end, so that whoever started it can still read what came of it.
//
//   running --succeed()--> succeeded        each end: PropertiesChanged, then Completed
//           --fail()-----> failed, or cancelled when the error is E-CANCELLED
//
// Main thread. The list owns the jobs; whoever works on one holds a QPointer and may find it gone only after its end.
#pragma once

#include "dbus/service/authority.h"
#include "dbus/service/object_tree.h"

#include <map>
#include <memory>

#include <QObject>
#include <QPointer>

namespace archipelago::service {

class Jobs;

class Job : public QObject, private ExportedObject {
	Q_OBJECT

public:
	Job(Jobs &jobs, ObjectTree &tree, uint number, const QString &operation, uint uid);

	using ExportedObject::path;
	uint number() const { return m_number; }
	bool running() const { return m_running; }
	/// Cancel asked for: whoever works on the job looks between two steps and ends it with E-CANCELLED.
	bool cancelWanted() const { return m_cancelWanted; }

	/// What it is doing now, for a person.
	void setMessage(const QString &message);
	/// 0..1.
	void setProgress(double progress);
	void setCancelable(bool cancelable);
	void succeed(const QVariantMap &result = {});
	void fail(const Error &error);

private:
	void called(const MethodCall &call) override;
	void end(const char *state, const QVariantMap &changes, const dbus::ErrorPair &error);

	Jobs &m_jobs;
	uint m_number, m_uid;
	bool m_running = true, m_cancelWanted = false;
};

class Jobs : public QObject {
	Q_OBJECT

public:
	static constexpr int kKeepMs = 60'000;
	Jobs(ObjectTree &tree, Authority &authority, int keepMs = kKeepMs);
	~Jobs() override;

	/// A new running job. `operation`: "start", "create"; `uid`: who asked for it.
	Job *create(const QString &operation, uint uid);
	Authority &authority() { return m_authority; }

private:
	friend class Job;
	void ended(Job &job);

	ObjectTree &m_tree;
	Authority &m_authority;
	int m_keepMs;
	uint m_last = 0;
	std::map<uint, std::unique_ptr<Job>> m_jobs;
};

} // namespace archipelago::service
