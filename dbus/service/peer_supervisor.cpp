// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// When the last host is gone the segment goes: nothing can be in flight in it, and the next start makes a new one. While others
// run, what a host that did not end in order left behind is recovered before that host starts again.
#include "dbus/service/peer_supervisor.h"

#include "daemon/base/log.h"
#include "dbus/service/peer_probe.h"
#include "dbus/service/worker.h"

#include <QDateTime>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>

namespace archipelago::service {

namespace {

quint64 nowUs()
{
	return quint64(QDateTime::currentMSecsSinceEpoch()) * 1000;
}

std::optional<PeerState> stateFromHost(const QString &text)
{
	if (text == QLatin1String("starting")) return PeerState::Starting;
	if (text == QLatin1String("up")) return PeerState::Up;
	if (text == QLatin1String("stopping")) return PeerState::Stopping;
	if (text == QLatin1String("stopped")) return PeerState::Stopped;
	return std::nullopt;
}

bool isRunning(PeerState state)
{
	return state != PeerState::Stopped && state != PeerState::Failed;
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

// ---- configuration and segment

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

void PeerSupervisor::withSegment(std::function<void(Result<void>)> next)
{
	if (m_link) return next({});
	const auto reactors = static_cast<uint32_t>(m_facts.layout.hosts.size()) * m_file.config.reactors();
	runAside(this, [config = m_file.config, reactors] { return SegmentParts::create(config, reactors); },
	         [this, next = std::move(next)](Result<SegmentParts> parts) {
		         if (!parts) return next(tl::unexpected<Error>(parts.error()));
		         ARCHIPELAGO_ASSERT(!m_link); // one order at a time
		         auto link = SegmentLink::create(std::move(*parts), m_file.config);
		         if (!link) return next(tl::unexpected<Error>(link.error()));
		         m_link = std::move(*link);
		         next({});
	         });
}

void PeerSupervisor::releaseSegment()
{
	ARCHIPELAGO_ASSERT(m_hosts.empty());
	m_probe->stop();
	// Whoever waits for a recovery goes on: there is nothing left that could be recovered.
	for (auto &[host, recovery] : std::exchange(m_recoveries, {})) emit recovery->done();
	m_link.reset();
	m_facts.problems.clear();
	tellCatalog();
}

// ---- hosts

SpawnRequest PeerSupervisor::spawnRequest(const QString &host, bool createDirs, std::vector<xseg::UniqueFd> fds) const
{
	const QJsonObject start{
		{QStringLiteral("type"), QStringLiteral("start")},
		{QStringLiteral("host"), host},
		// Waiter 0 is ours; a host has one for each of its reactors.
		{QStringLiteral("waiter"), static_cast<int>(m_facts.layout.hosts.indexOf(host)) * static_cast<int>(m_file.config.reactors()) + 1},
		{QStringLiteral("config"), QString::fromUtf8(m_file.text)},
		{QStringLiteral("configFile"), m_paths.configFile},
		{QStringLiteral("trial"), m_paths.trial},
		{QStringLiteral("runDir"), m_paths.runDir},
		{QStringLiteral("stateDir"), m_paths.stateDir},
		{QStringLiteral("createDirs"), createDirs},
		{QStringLiteral("without"), QJsonArray::fromStringList(m_keptStopped)},
	};
	SpawnRequest request;
	request.program = m_paths.hostProgram.toStdString();
	request.logFile = logFileOf(host).toStdString();
	request.startMessage = QJsonDocument(start).toJson(QJsonDocument::Compact);
	request.fds = std::move(fds);
	return request;
}

void PeerSupervisor::startHost(const QString &host, bool createDirs, std::function<void(Result<void>)> done)
{
	ARCHIPELAGO_ASSERT(!m_hosts.contains(host));
	auto start = [this, host, createDirs, done = std::move(done)] {
		withSegment([this, host, createDirs, done](Result<void> made) {
			if (!made) return done(std::move(made));
			spawn(host, createDirs, done);
		});
	};
	const auto recovery = m_recoveries.find(host);
	if (recovery == m_recoveries.end()) return start();
	// From the event loop: whoever is done with recovering is in the middle of it.
	recovery->second->whenDone([this, start] { QMetaObject::invokeMethod(this, start, Qt::QueuedConnection); });
}

void PeerSupervisor::spawn(const QString &host, bool createDirs, std::function<void(Result<void>)> done)
{
	auto fds = m_link->descriptors();
	if (!fds) {
		hostSpawned(host, tl::unexpected<Error>(fds.error()), std::move(done));
		return;
	}
	// Behind a pointer: what a helper thread carries has to be copyable.
	auto request = std::make_shared<SpawnRequest>(spawnRequest(host, createDirs, std::move(*fds)));
	m_spawning++;
	runAside(this, [request] { return spawnHost(std::move(*request)); },
	         [this, host, done = std::move(done)](Result<HostProcess> spawned) mutable {
		         m_spawning--;
		         hostSpawned(host, std::move(spawned), std::move(done));
	         });
}

void PeerSupervisor::hostSpawned(const QString &host, Result<HostProcess> spawned, std::function<void(Result<void>)> done)
{
	if (!spawned) {
		const Error error = spawned.error().within("Cannot start host " + host.toStdString());
		for (PeerRole &role : m_facts.layout.roles)
			if (role.host == host) setRole(role, PeerState::Failed, QString::fromStdString(error.message), error);
		if (m_hosts.empty() && m_spawning == 0) releaseSegment();
		return done(tl::unexpected<Error>(error));
	}
	watch(host, std::move(*spawned))->waitReady([this, host, done = std::move(done)](Result<void> result) {
		if (result) hostUp(host);
		done(std::move(result));
	});
}

HostRun *PeerSupervisor::watch(const QString &host, HostProcess process)
{
	auto *run = new HostRun(host, std::move(process), logFileOf(host), m_timeouts, this);
	m_hosts.emplace(host, run);
	connect(run, &HostRun::roleState, this, [this, host](const QString &role, const QString &state) { hostSaid(host, role, state); });
	connect(run, &HostRun::inflight, this, [this](const QString &name, uint count) {
		if (PeerRole *role = m_facts.layout.find(name); role && role->inflight != count) {
			role->inflight = count;
			emit roleChanged(name, QLatin1String(peerStateName(role->state)), {});
		}
	});
	connect(run, &HostRun::gone, this, [this, host](const HostRun::End &end) { hostGone(host, end); });
	m_probe->start();
	return run;
}

void PeerSupervisor::stopHost(const QString &host, std::function<void(Result<void>)> done)
{
	const auto found = m_hosts.find(host);
	if (found == m_hosts.end()) return done({}); // died meanwhile: hostGone() has dealt with it
	found->second->stop(std::move(done));
}

void PeerSupervisor::changeRole(const QString &name, bool start, std::function<void(Result<void>)> done)
{
	const PeerRole *entry = role(name);
	const auto host = entry ? m_hosts.find(entry->host) : m_hosts.end();
	if (host == m_hosts.end()) return done(failure(ErrorCode::Peer, "The host of " + name.toStdString() + " has ended."));
	host->second->changeRole(name, start, std::move(done));
}

void PeerSupervisor::hostSaid(const QString &host, const QString &name, const QString &text)
{
	PeerRole *role = m_facts.layout.find(name);
	const auto state = stateFromHost(text);
	if (!role || role->host != host || !state || (role->state == PeerState::Stuck && *state == PeerState::Up)) return;
	setRole(*role, *state);
}

void PeerSupervisor::hostUp(const QString &host)
{
	m_facts.crashed.remove(host);
	m_facts.restarting.remove(host);
	m_restarts.up(host);
	for (PeerRole &role : m_facts.layout.roles)
		if (role.host == host && !isRunning(role.state)) setRole(role, PeerState::Stopped); // as it was before the host died
	emit stateChanged();
}

// ---- what happens by itself

void PeerSupervisor::hostGone(const QString &host, const HostRun::End &end)
{
	const auto found = m_hosts.find(host);
	ARCHIPELAGO_ASSERT(found != m_hosts.end());
	found->second->deleteLater();
	m_hosts.erase(found);
	if (end.error) roleLogger("service")->error("{} [{}]", end.error->message, errorInfo(end.error->code).symbol);
	markGone(host, end);
	if (m_hosts.empty() && m_spawning == 0)
		releaseSegment();
	else
		recover(host, end.process); // also after an orderly end: when it left nothing, that is one look at its ports
	if (end.during == HostRun::Phase::Up && end.error && m_wanted.contains(host)) startAgain(host);
	emit stateChanged();
}

/// The table after a host's end.
void PeerSupervisor::markGone(const QString &host, const HostRun::End &end)
{
	const bool byItself = end.during == HostRun::Phase::Up;
	if (byItself && end.error) m_facts.crashed.insert(host, end.exit.text());
	const QStringList names = m_facts.layout.rolesOf(host);
	const QString culprit = end.failedRole.isEmpty() ? names.value(0) : end.failedRole;
	for (const QString &name : names) {
		PeerRole &role = *m_facts.layout.find(name);
		m_facts.problems.remove(name);
		if (end.error && (byItself || (end.during == HostRun::Phase::Starting && name == culprit)))
			setRole(role, PeerState::Failed, QString::fromStdString(end.error->message), end.error);
		else if (byItself)
			setRole(role, PeerState::Stopped, QStringLiteral("host %1 was ended from outside").arg(host),
			        Error{ErrorCode::Cancelled, "Host " + host.toStdString() + " was ended from outside."});
		else
			setRole(role, PeerState::Stopped);
	}
}

void PeerSupervisor::recover(const QString &host, const xseg::ProcessId &dead)
{
	auto recovery = std::make_unique<HostRecovery>(m_link->segment(), m_link->bells(), m_paths.runDir, host, dead, nullptr);
	connect(recovery.get(), &HostRecovery::done, this, [this, host] {
		// Not from within its own signal.
		const auto over = m_recoveries.find(host);
		if (over == m_recoveries.end()) return;
		over->second.release()->deleteLater();
		m_recoveries.erase(over);
		m_link->sent(); // answers may have come back to us
	});
	m_recoveries[host] = std::move(recovery);
}

/// A recovery that does not come to its end says what it waits for.
void PeerSupervisor::tellRecoveries()
{
	for (const auto &[host, recovery] : m_recoveries) {
		const QString trouble = recovery->trouble();
		if (trouble.isEmpty() || !m_facts.crashed.contains(host) || m_facts.restarting.value(host) == trouble) continue;
		m_facts.restarting.insert(host, trouble);
		roleLogger("service")->warn("{}", trouble.toStdString());
		emit stateChanged();
	}
}

void PeerSupervisor::startAgain(const QString &host)
{
	const int ms = m_restarts.ended(host);
	const int tries = m_restarts.tries(host);
	QString text = QStringLiteral("It is being started again");
	if (ms > 0) text += QStringLiteral(" (%1 failed; next in %2 s, or: archipelago start)").arg(tries == 1 ? QStringLiteral("1 try") : QStringLiteral("%1 tries").arg(tries)).arg((ms + 999) / 1000);
	m_facts.restarting.insert(host, text);
	roleLogger("service")->warn("host {}: {}", host.toStdString(), text.toStdString());
	emit stateChanged();
}

void PeerSupervisor::restartDue()
{
	if (m_orderRuns) return; // nextOrder() comes when it is over
	const QString host = m_restarts.take();
	if (host.isEmpty()) return;
	if (m_hosts.contains(host) || !m_wanted.contains(host)) return restartDue();
	PeerOrder order;
	order.ours = true;
	order.hosts = {host};
	PeerOrderHooks hooks;
	hooks.done = [this, host](Result<void> result) {
		if (result || !m_wanted.contains(host) || m_hosts.contains(host)) return;
		roleLogger("service")->error("host {}: {} [{}]", host.toStdString(), result.error().message, errorInfo(result.error().code).symbol);
		startAgain(host);
	};
	submit(order, std::move(hooks));
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

} // namespace archipelago::service
