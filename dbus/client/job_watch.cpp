// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A watch never trusts what a signal says: each one only makes it read the job again (one read at a time, one more when
// something came in meanwhile). So signals that are lost, merged or out of order cannot lead it astray.
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
		read();
	}

private slots:
	void onSignal(const QDBusMessage &message)
	{
		if (!m_path.isEmpty() && message.path() == m_path) read();
	}

private:
	void read()
	{
		if (m_reading) {
			m_readAgain = true;
			return;
		}
		m_reading = true;
		m_readAgain = false;
		m_bus.properties(m_path, QLatin1String(kJobInterface), [self = QPointer<JobWatch>(this)](Result<QVariantMap> map) {
			if (self) self->seen(std::move(map));
		});
	}

	void seen(Result<QVariantMap> map)
	{
		m_reading = false;
		if (!map) return end(tl::unexpected<Error>(std::move(map.error())));
		JobInfo now = JobInfo::fromMap(m_path, *map);
		const bool changed = now.state != m_last.state || now.message != m_last.message || now.progress != m_last.progress;
		m_last = now;
		if (changed && m_events.progress) {
			const QPointer<JobWatch> self(this);
			m_events.progress(m_last);
			if (!self) return;
		}
		if (now.ended()) {
			if (now.state == QLatin1String("succeeded")) return end(std::move(now));
			return end(tl::unexpected<Error>(now.error.value_or(Error{ErrorCode::Failed, "The job failed."})));
		}
		if (m_readAgain) read();
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
	JobInfo m_last;
	bool m_reading = false, m_readAgain = false, m_ended = false;
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
