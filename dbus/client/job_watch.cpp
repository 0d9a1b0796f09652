// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Every step that a job tells of is passed on, also those that came before the call was answered: they are kept until the
// job's path is known. Its end is never taken from a signal: that only makes the watch read the job, so an end that was
// missed, merged or forged cannot lead it astray.
#include "dbus/client/job_watch.h"

#include <QPointer>
#include <QTimer>

namespace archipelago::dbus {

namespace {

class JobWatch : public QObject {
	Q_OBJECT

public:
	/// Child of the bus: gone with it.
	JobWatch(Bus &bus, JobEvents events) : QObject(&bus), m_bus(bus), m_events(std::move(events))
	{
		m_bus.connection().connect(QLatin1String(kBusName), {}, QLatin1String(kPropertiesInterface),
		                           QStringLiteral("PropertiesChanged"), {QLatin1String(kJobInterface)}, {}, this,
		                           SLOT(onSignal(QDBusMessage)));
		QObject::connect(&m_bus, &Bus::serviceChanged, this, [this](bool running) {
			if (running || m_path.isEmpty()) return;
			end(tl::unexpected<Error>(Error{ErrorCode::Peer, "The service ended before the job did; how far it came is shown by: "
			                                                 "archipelago status"}));
		});
		if (m_events.timeoutMs > 0) {
			QTimer::singleShot(m_events.timeoutMs, this, [this] {
				const std::string name = m_path.isEmpty() ? std::string("it") : "job " + std::to_string(m_last.number());
				end(failure(ErrorCode::Timeout, "Gave up waiting after " + std::to_string(m_events.timeoutMs / 1000) + " s; " + name
				                                    + " goes on in the service. Look: archipelago status"));
			});
		}
	}

	void call(const QString &path, const QString &interface, const QString &method, const QVariantList &arguments)
	{
		// The watch may have ended (its deadline) when the answer comes; as a context it would not be called then.
		m_bus.call(path, interface, method, arguments, [self = QPointer<JobWatch>(this)](Result<QVariantList> reply) {
			if (!self) return;
			if (!reply) return self->end(tl::unexpected<Error>(std::move(reply.error())));
			const QString job = reply->isEmpty() ? QString() : qdbus_cast<QDBusObjectPath>(reply->first()).path();
			if (job.isEmpty()) return self->end(failure(ErrorCode::Failed, "The service answered without a job."));
			self->follow(job);
		});
	}

	void follow(const QString &job)
	{
		m_path = m_last.path = job;
		const auto early = std::exchange(m_early, {});
		const QPointer<JobWatch> self(this);
		for (const auto &[path, changes] : early) {
			if (path == m_path) changed(changes);
			if (!self) return;
		}
		read();
	}

private slots:
	void onSignal(const QDBusMessage &message)
	{
		const QVariantMap changes = qdbus_cast<QVariantMap>(message.arguments().value(1));
		if (m_path.isEmpty())
			m_early.emplace_back(message.path(), changes);
		else if (message.path() == m_path)
			changed(changes);
	}

private:
	/// One PropertiesChanged: a step, or the end.
	void changed(const QVariantMap &changes)
	{
		m_all.insert(changes);
		const JobInfo now = JobInfo::fromMap(m_path, m_all);
		if (now.ended()) return read();
		tell(now);
	}

	void read()
	{
		if (m_ended) return;
		m_bus.properties(m_path, QLatin1String(kJobInterface), [self = QPointer<JobWatch>(this)](Result<QVariantMap> map) {
			if (self && !self->m_ended) self->seen(std::move(map));
		});
	}

	/// The job as it is: what came by signals before this answer is in it.
	void seen(Result<QVariantMap> map)
	{
		if (!map) return end(tl::unexpected<Error>(std::move(map.error())));
		m_all = *map;
		JobInfo now = JobInfo::fromMap(m_path, m_all);
		const QPointer<JobWatch> self(this);
		tell(now);
		if (!self || !now.ended()) return;
		if (now.state == QLatin1String("succeeded")) return end(std::move(now));
		end(tl::unexpected<Error>(now.error.value_or(Error{ErrorCode::Failed, "The job failed."})));
	}

	void tell(const JobInfo &now)
	{
		const bool news = now.state != m_last.state || now.message != m_last.message || now.progress != m_last.progress;
		m_last = now;
		if (news && !m_ended && m_events.progress) m_events.progress(m_last);
	}

	void end(Result<JobInfo> result)
	{
		if (m_ended) return;
		m_ended = true;
		deleteLater();
		if (m_events.done) m_events.done(std::move(result));
	}

	Bus &m_bus;
	JobEvents m_events;
	QString m_path;
	std::vector<std::pair<QString, QVariantMap>> m_early; ///< signals of jobs, until we know which one is ours
	QVariantMap m_all;                                    ///< the job's properties as far as they are known
	JobInfo m_last;                                       ///< as told to the caller
	bool m_ended = false;
};

} // namespace

void runJob(Bus &bus, const QString &path, const QString &interface, const QString &method, const QVariantList &arguments,
            JobEvents events)
{
	(new JobWatch(bus, std::move(events)))->call(path, interface, method, arguments);
}

void followJob(Bus &bus, const QString &jobPath, JobEvents events)
{
	(new JobWatch(bus, std::move(events)))->follow(jobPath);
}

void cancelJob(Bus &bus, const QString &jobPath, Done<void> done)
{
	bus.call(jobPath, QLatin1String(kJobInterface), QStringLiteral("Cancel"), {QVariantMap()},
	         [done = std::move(done)](Result<QVariantList> reply) {
		         if (!reply) return done(tl::unexpected<Error>(std::move(reply.error())));
		         done({});
	         });
}

} // namespace archipelago::dbus

#include "job_watch.moc"
