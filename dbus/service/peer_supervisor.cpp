// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Orders, and the table of what is known. The hosts: supervisor_hosts.cpp; what happens by itself: supervisor_deaths.cpp.
#include "dbus/service/peer_supervisor.h"

#include "daemon/base/log.h"
#include "dbus/service/peer_probe.h"
#include "dbus/service/worker.h"

#include <QDateTime>

namespace archipelago::service {

namespace {

quint64 nowUs()
{
	return quint64(QDateTime::currentMSecsSinceEpoch()) * 1000;
}

} // namespace

ConfigDefaults SupervisorPaths::configDefaults() const
{
	ConfigDefaults out;
	out.trial = trial;
	out.runDir = runDir.toStdString();
	out.stateDir = stateDir.toStdString();
	return out;
}

PeerSupervisor::PeerSupervisor(const SupervisorPaths &paths, const SupervisorTimeouts &timeouts) :
    m_paths(paths), m_timeouts(timeouts), m_restarts([this] { restartDue(); }), m_probe(std::make_unique<PeerProbe>(*this, timeouts))
{}

PeerSupervisor::~PeerSupervisor()
{
	letGo();
}

void PeerSupervisor::letGo()
{
	m_probe->stop();
	m_restarts.clear();
	m_recoveries.clear();
	m_link.reset();
}

void PeerSupervisor::load()
{
	const std::vector<Orphan> orphans = findOrphans(m_paths.runDir);
	if (takeOver(orphans)) return startKilled(orphans);
	if (auto file = readConfigFile(m_paths.configFile, m_paths.configDefaults()))
		adopt(std::move(*file));
	else
		m_facts.configError = QString::fromStdString(file.error().message);
	setOrphans(orphans);
	if (m_facts.orphans.empty()) startKilled(orphans);
}

void PeerSupervisor::submit(const PeerOrder &order, PeerOrderHooks hooks)
{
	if (m_orderRuns && m_orderIsOurs) {
		m_waiting.emplace_back(order, std::move(hooks));
		return;
	}
	if (m_orderRuns) {
		const Error busy{ErrorCode::Busy, "The peers are being started or stopped already. Wait for that to end: archipelago status"};
		QMetaObject::invokeMethod(this, [hooks, busy] { hooks.done(tl::unexpected<Error>(busy)); }, Qt::QueuedConnection);
		return;
	}
	m_orderRuns = true;
	m_orderIsOurs = order.ours;
	hooks.done = [this, done = std::move(hooks.done)](Result<void> result) {
		m_orderRuns = m_orderIsOurs = false;
		done(std::move(result));
		QMetaObject::invokeMethod(this, &PeerSupervisor::nextOrder, Qt::QueuedConnection);
	};
	auto *run = new PeerOrderRun(*this, order, std::move(hooks));
	QMetaObject::invokeMethod(run, &PeerOrderRun::run, Qt::QueuedConnection);
}

/// People's orders first, then what is to be started again.
void PeerSupervisor::nextOrder()
{
	if (m_orderRuns) return;
	if (m_waiting.empty()) return restartDue();
	auto [order, hooks] = std::move(m_waiting.front());
	m_waiting.pop_front();
	submit(order, std::move(hooks));
}

const PeerRole *PeerSupervisor::role(const QString &name) const
{
	return const_cast<HostLayout &>(m_facts.layout).find(name);
}

QString PeerSupervisor::nbdSocket() const
{
	for (const PeerRole &role : m_facts.layout.roles)
		if (role.gateway) return QString::fromStdString(m_file.config.nbd.socket);
	return {};
}

// ---- the mapper

bool PeerSupervisor::catalogAvailable() const
{
	const RoleConfig *mapper = m_file.config.firstOf(RoleType::Mapperd);
	const PeerRole *entry = mapper ? role(QString::fromStdString(mapper->name)) : nullptr;
	return m_link && entry && (entry->state == PeerState::Up || entry->state == PeerState::Stuck);
}

Result<client::CatalogClient> PeerSupervisor::catalog()
{
	const RoleConfig *mapper = m_file.config.firstOf(RoleType::Mapperd);
	if (catalogAvailable()) return client::CatalogClient(m_link->client(), static_cast<xseg::PortNo>(mapper->portnoStart));
	if (m_hosts.empty()) return failure(ErrorCode::Peer, "Archipelago is not started, so no volume can be reached. To start it: archipelago start");
	const std::string name = mapper ? mapper->name : "a mapper";
	return failure(ErrorCode::Peer, name + " does not run, so no volume can be reached. Look: archipelago status; to start it: archipelago start");
}

void PeerSupervisor::nbdClients(const std::string &name, std::function<void(std::string)> done)
{
	if (!m_link || nbdSocket().isEmpty()) return done({});
	client::clientsOf(m_link->client(), static_cast<xseg::PortNo>(m_file.config.nbd.portnoStart), name, std::move(done));
	requestSent();
}

void PeerSupervisor::requestSent()
{
	if (m_link) m_link->sent();
}

void PeerSupervisor::tellCatalog()
{
	const bool available = catalogAvailable();
	if (available == m_catalogTold) return;
	m_catalogTold = available;
	emit catalogChanged(available);
}

// ---- facts

QStringList PeerSupervisor::runningHosts() const
{
	QStringList out;
	for (const QString &host : m_facts.layout.hosts)
		if (m_hosts.contains(host)) out.append(host);
	return out;
}

bool PeerSupervisor::runs(const QString &name) const
{
	const PeerRole *entry = role(name);
	return entry && isRunning(entry->state) && m_hosts.contains(entry->host);
}

void PeerSupervisor::want(const QString &host, bool wanted)
{
	m_wanted.removeAll(host);
	if (wanted) return m_wanted.append(host);
	m_restarts.forget(host);
	m_facts.crashed.remove(host);
	m_facts.restarting.remove(host);
	emit stateChanged();
}

void PeerSupervisor::keepStopped(const QString &role, bool stopped)
{
	m_keptStopped.removeAll(role);
	if (stopped) m_keptStopped.append(role);
}

void PeerSupervisor::setOrphans(std::vector<Orphan> orphans)
{
	// One that is dead and whose last writes are still on their way is nobody's concern but its successor's, who waits for them.
	std::erase_if(orphans, [](const Orphan &orphan) { return orphan.pid == 0; });
	m_facts.orphans = std::move(orphans);
	emit stateChanged();
}

void PeerSupervisor::setActivity(Activity activity)
{
	if (m_facts.activity == activity) return;
	m_facts.activity = activity;
	emit stateChanged();
}

void PeerSupervisor::setStartError(const QString &error)
{
	m_facts.startError = error;
	emit stateChanged();
}

void PeerSupervisor::forgetFailures()
{
	m_facts.crashed.clear();
	m_facts.restarting.clear();
	m_facts.startError.clear();
	m_restarts.clear();
	m_wanted.clear();
	for (PeerRole &role : m_facts.layout.roles)
		if (!isRunning(role.state)) setRole(role, PeerState::Stopped);
	emit stateChanged();
}

void PeerSupervisor::setRole(PeerRole &role, PeerState state, const QString &reason, const std::optional<Error> &error)
{
	const PeerState old = role.state;
	const auto host = m_hosts.find(role.host);
	role.state = state;
	role.pid = isRunning(state) && host != m_hosts.end() ? host->second->pid() : 0;
	if (!isRunning(state)) role.sinceUs = role.inflight = 0;
	if (state == PeerState::Up && old != PeerState::Stuck) role.sinceUs = nowUs();
	role.errorSymbol = error ? QString::fromUtf8(errorInfo(error->code).symbol.data(), qsizetype(errorInfo(error->code).symbol.size())) : QString();
	role.errorMessage = error ? QString::fromStdString(error->message) : QString();
	emit roleChanged(role.name, QLatin1String(peerStateName(old)), reason);
	emit stateChanged();
	tellCatalog();
}

void PeerSupervisor::setStuck(const QString &name, bool stuck)
{
	PeerRole *role = m_facts.layout.find(name);
	if (!role || role->state != (stuck ? PeerState::Up : PeerState::Stuck)) return;
	if (!stuck) return setRole(*role, PeerState::Up, QStringLiteral("answers again"));
	const Error error{ErrorCode::Timeout, "No answer for " + std::to_string(m_timeouts.stuckMs / 1000) + " s."};
	roleLogger("service")->warn("{} does not answer", name.toStdString());
	setRole(*role, PeerState::Stuck, QString::fromStdString(error.message), error);
}

void PeerSupervisor::setHealth(const QString &role, const QString &problem)
{
	if (m_facts.problems.value(role) == problem) return;
	if (problem.isEmpty())
		m_facts.problems.remove(role);
	else
		m_facts.problems.insert(role, problem);
	if (!problem.isEmpty()) roleLogger("service")->warn("{}", problem.toStdString());
	emit stateChanged();
}

// ---- configuration

void PeerSupervisor::readFresh(std::function<void(Result<ConfigFile>)> done)
{
	struct Found {
		Result<ConfigFile> config;
		std::vector<Orphan> orphans;
	};
	// Ours then: one of them may die before the answer is here, and still is no orphan.
	const QStringList ours = runningHosts();
	runAside(
	    this, [paths = m_paths] { return Found{readConfigFile(paths.configFile, paths.configDefaults()), findOrphans(paths.runDir)}; },
	    [this, ours, done = std::move(done)](Found found) {
		    m_facts.configError = found.config ? QString() : QString::fromStdString(found.config.error().message);
		    std::erase_if(found.orphans, [&ours](const Orphan &orphan) { return ours.contains(orphan.host); });
		    setOrphans(std::move(found.orphans));
		    done(std::move(found.config));
	    });
}

void PeerSupervisor::adopt(ConfigFile file)
{
	ARCHIPELAGO_ASSERT(m_hosts.empty());
	for (const Diagnostic &warning : file.warnings) roleLogger("service")->warn("{}", warning.format(m_paths.configFile.toStdString()));
	m_file = std::move(file);
	m_facts.layout = HostLayout::of(m_file.config);
	m_facts.crashed.clear();
	m_facts.restarting.clear();
	m_facts.problems.clear();
	m_facts.configError.clear();
	m_wanted.clear();
	m_keptStopped.clear();
	m_restarts.clear();
	emit layoutReplaced();
	emit stateChanged();
}

} // namespace archipelago::service
