// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One's own job may be cancelled by its caller, another's only by who may manage this instance.
#include "dbus/service/jobs.h"

#include <QDateTime>
#include <QTimer>

namespace archipelago::service {

namespace {

QVariantMap initialProperties(const QString &operation, uint uid)
{
	return {
		{QStringLiteral("Operation"), operation},
		{QStringLiteral("State"), QStringLiteral("running")},
		{QStringLiteral("Progress"), 0.0},
		{QStringLiteral("ProgressValid"), false},
		{QStringLiteral("Message"), QString()},
		{QStringLiteral("StartTime"), quint64(QDateTime::currentMSecsSinceEpoch()) * 1000},
		{QStringLiteral("StartedByUID"), uid},
		{QStringLiteral("Cancelable"), false},
		{QStringLiteral("Result"), QVariantMap()},
		{QStringLiteral("Error"), QVariant::fromValue(dbus::ErrorPair())},
	};
}

} // namespace

Job::Job(Jobs &jobs, ObjectTree &tree, uint number, const QString &operation, uint uid) :
    ExportedObject(tree, QStringLiteral("%1/%2").arg(QLatin1String(dbus::kJobsPath)).arg(number), dbus::kJobInterface,
                   initialProperties(operation, uid)),
    m_jobs(jobs), m_number(number), m_uid(uid)
{}

void Job::setMessage(const QString &message)
{
	if (m_running) update({{QStringLiteral("Message"), message}});
}

void Job::setProgress(double progress)
{
	if (m_running) update({{QStringLiteral("Progress"), progress}, {QStringLiteral("ProgressValid"), true}});
}

void Job::setCancelable(bool cancelable)
{
	if (m_running) update({{QStringLiteral("Cancelable"), cancelable}});
}

void Job::succeed(const QVariantMap &result)
{
	end("succeeded", {{QStringLiteral("Result"), result}, {QStringLiteral("Progress"), 1.0}, {QStringLiteral("ProgressValid"), true}}, {});
}

void Job::fail(const Error &error)
{
	const dbus::ErrorPair pair{busErrorName(error.code), QString::fromStdString(error.message)};
	end(error.code == ErrorCode::Cancelled ? "cancelled" : "failed", {{QStringLiteral("Error"), QVariant::fromValue(pair)}}, pair);
}

void Job::end(const char *state, const QVariantMap &changes, const dbus::ErrorPair &error)
{
	if (!std::exchange(m_running, false)) return;
	QVariantMap all = changes;
	all.insert(QStringLiteral("State"), QLatin1String(state));
	all.insert(QStringLiteral("Cancelable"), false);
	update(all);
	emitSignal("Completed", {error.name.isEmpty(), error.name, error.message});
	m_jobs.ended(*this);
}

void Job::called(const MethodCall &call)
{
	// Cancel is the only method.
	if (const auto options = checkOptions(call.argument<QVariantMap>(0), {}); !options) return call.fail(options.error());
	const QPointer<Job> self(this);
	m_jobs.authority().identify(call, [self, call](uint uid) {
		if (!self) return call.fail(Error{ErrorCode::NotFound, "The job has ended and is not kept any more."});
		const Authority &authority = self->m_jobs.authority();
		if (uid != self->m_uid && !authority.allows(uid)) return call.fail(authority.refusal(Action::JobCancelOthers, uid));
		if (!self->m_running) return call.fail(Error{ErrorCode::Invalid, "The job has ended already."});
		if (!self->value("Cancelable").toBool())
			return call.fail(Error{ErrorCode::Unsupported, "This job cannot be cancelled: what it has begun it ends."});
		self->m_cancelWanted = true;
		call.reply();
	});
}

Jobs::Jobs(ObjectTree &tree, Authority &authority, int keepMs) : m_tree(tree), m_authority(authority), m_keepMs(keepMs) {}

Jobs::~Jobs() = default;

Job *Jobs::create(const QString &operation, uint uid)
{
	const uint number = ++m_last;
	return m_jobs.emplace(number, std::make_unique<Job>(*this, m_tree, number, operation, uid)).first->second.get();
}

void Jobs::ended(Job &job)
{
	QTimer::singleShot(m_keepMs, this, [this, number = job.number()] { m_jobs.erase(number); });
}

} // namespace archipelago::service
