// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Orders become jobs before anything about them is known but their form: what is wrong with the rest (roles, configuration,
// clients in the way) is the job's error, so that one way of telling serves them all.
#include "dbus/service/manager_object.h"

#include "dbus/service/io_stats.h"
#include "dbus/service/version.h"
#include "dbus/service/worker.h"

#include <QPointer>

namespace archipelago::service {

namespace {

struct VerbText {
	PeerOrder::Verb verb;
	const char *method, *operation;
};
constexpr VerbText kVerbs[] = {
	{PeerOrder::Verb::Start, "Start", "start"},
	{PeerOrder::Verb::Stop, "Stop", "stop"},
	{PeerOrder::Verb::Restart, "Restart", "restart"},
};

/// What a client may rely on besides the methods' being there.
const QStringList &capabilities()
{
	static const QStringList all{QStringLiteral("volume"), QStringLiteral("nbd"), QStringLiteral("file-store")};
	return all;
}

Result<QVariantMap> checkOrderOptions(const QVariantMap &options, PeerOrder::Verb verb)
{
	// user_only is the seed's -u: all there is runs in user space, so it changes nothing yet.
	if (verb == PeerOrder::Verb::Start) return checkOptions(options, {{"create_dirs", "b"}, {"user_only", "b"}, {"ok", "b"}});
	return checkOptions(options, {{"force", "b"}, {"user_only", "b"}});
}

} // namespace

ManagerObject::ManagerObject(ObjectTree &tree, Authority &authority, Jobs &jobs, PeerSupervisor &supervisor, VolumeObjects &volumes) :
    ExportedObject(tree, QLatin1String(dbus::kRootPath), dbus::kManagerInterface,
                   {{QStringLiteral("Version"), QString::fromLatin1(version())},
                    {QStringLiteral("Capabilities"), capabilities()},
                    {QStringLiteral("State"), supervisor.state()},
                    {QStringLiteral("Verdict"), supervisor.verdict()},
                    {QStringLiteral("ConfigPath"), supervisor.paths().configFile},
                    {QStringLiteral("NbdSocket"), supervisor.nbdSocket()}}),
    m_authority(authority), m_jobs(jobs), m_supervisor(supervisor), m_volumes(volumes)
{
	connect(&m_supervisor, &PeerSupervisor::stateChanged, this, &ManagerObject::follow);
}

void ManagerObject::follow()
{
	const QString old = value("State").toString(), now = m_supervisor.state();
	update({{QStringLiteral("State"), now},
	        {QStringLiteral("Verdict"), m_supervisor.verdict()},
	        {QStringLiteral("NbdSocket"), m_supervisor.nbdSocket()}});
	if (old != now) emitSignal("StateChanged", {old, now});
}

void ManagerObject::called(const MethodCall &call)
{
	const QString method = call.method();
	for (const VerbText &text : kVerbs)
		if (method == QLatin1String(text.method)) return order(call, text.verb);
	if (method == QLatin1String("CreateVolume")) return m_volumes.create(call);
	if (method == QLatin1String("ListVolumes")) return m_volumes.list(call);
	if (method == QLatin1String("ResolveVolume")) return m_volumes.resolve(call);
	if (method == QLatin1String("GetStats")) {
		const auto options = checkOptions(call.argument<QVariantMap>(0), {});
		return options ? call.reply(statsReply(m_supervisor.segment())) : call.fail(options.error());
	}
	ARCHIPELAGO_ASSERT(method == QLatin1String("CheckConfig"));
	checkConfig(call);
}

void ManagerObject::order(const MethodCall &call, PeerOrder::Verb verb)
{
	m_authority.require(Action::PeerManage, call, [this, call, verb](uint uid) {
		const auto options = checkOrderOptions(call.argument<QVariantMap>(1), verb);
		if (!options) return call.fail(options.error());
		PeerOrder order;
		order.verb = verb;
		order.roles = call.argument<QStringList>(0);
		order.force = options->value(QStringLiteral("force")).toBool();
		order.createDirs = options->value(QStringLiteral("create_dirs")).toBool();
		order.runningIsFine = options->value(QStringLiteral("ok")).toBool();

		const char *operation = kVerbs[static_cast<size_t>(verb)].operation;
		const QPointer<Job> job(m_jobs.create(QLatin1String(operation), uid));
		call.reply({QVariant::fromValue(QDBusObjectPath(job->path()))});
		// A stop that was begun is ended: half of it helps nobody.
		job->setCancelable(verb == PeerOrder::Verb::Start);
		PeerOrderHooks hooks;
		hooks.message = [job](const QString &message) {
			if (job) job->setMessage(message);
		};
		hooks.progress = [job](double progress) {
			if (job) job->setProgress(progress);
		};
		hooks.cancelWanted = [job] { return job && job->cancelWanted(); };
		hooks.done = [job](Result<void> result) {
			if (!job) return;
			if (result)
				job->succeed();
			else
				job->fail(result.error());
		};
		m_supervisor.submit(order, std::move(hooks));
	});
}

void ManagerObject::checkConfig(const MethodCall &call)
{
	const auto options = checkOptions(call.argument<QVariantMap>(0), {{"text", "s"}});
	if (!options) return call.fail(options.error());
	const bool given = options->contains(QStringLiteral("text"));
	const QByteArray text = options->value(QStringLiteral("text")).toString().toUtf8();
	runAside(
	    this,
	    [paths = m_supervisor.paths(), given, text]() -> Result<ParsedConfig> {
		    auto read = given ? Result<QByteArray>(text) : readConfigText(paths.configFile);
		    if (!read) return tl::unexpected<Error>(read.error());
		    return parseConfig({read->constData(), static_cast<size_t>(read->size())}, paths.configDefaults());
	    },
	    [call](Result<ParsedConfig> parsed) {
		    if (!parsed) return call.fail(parsed.error());
		    dbus::ProblemList problems;
		    for (const Diagnostic &d : parsed->diagnostics) {
			    problems.append({d.level == Diagnostic::Level::Error ? QStringLiteral("error") : QStringLiteral("warning"), d.line, d.column,
			                     QString::fromStdString(d.message)});
		    }
		    call.reply({QVariant::fromValue(problems)});
	    });
}

} // namespace archipelago::service
