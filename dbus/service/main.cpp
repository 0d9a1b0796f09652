// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelagod: takes the run directory's lock, joins the bus, builds the objects, owns the name, and runs the event loop
// until SIGTERM, SIGINT or the end of the bus. Host processes outlive it. Exit codes are those of the error table.
#include "daemon/base/log.h"
#include "dbus/service/authority.h"
#include "dbus/service/instance_lock.h"
#include "dbus/service/manager_object.h"
#include "dbus/service/options.h"
#include "dbus/service/peer_objects.h"
#include "dbus/service/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include <QCoreApplication>
#include <QDBusConnectionInterface>
#include <QDBusError>
#include <QFile>
#include <QSocketNotifier>

namespace archipelago::service {

namespace {

constexpr char kConnectionName[] = "archipelagod";

int refuse(const Error &error)
{
	std::fprintf(stderr, "archipelagod: %s [%s]\n", error.message.c_str(), std::string(errorInfo(error.code).symbol).c_str());
	return errorInfo(error.code).exitCode;
}

/// Descriptors 0 to 2 exist, so that nothing of ours gets one of these numbers.
void openStandardDescriptors()
{
	int fd = 0;
	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) {}
	if (fd >= 0) close(fd);
}

Result<void> makeDirectory(const QString &path)
{
	std::error_code failed;
	const std::string name = path.toStdString();
	// Ours to make is the last part; what lies above it is the administrator's.
	if (!std::filesystem::is_directory(name, failed) && ::mkdir(name.c_str(), 0750) != 0) {
		const int why = errno;
		return systemFailure(why, "Cannot make the directory " + name + (why == ENOENT ? " (what is above it does not exist)" : ""));
	}
	if (access(name.c_str(), W_OK | X_OK) != 0)
		return systemFailure(errno, "The directory " + name + " is not writable for uid " + std::to_string(geteuid())
		                                + "; correct its owner or mode, or give another one (--run-dir, --trial --dir)");
	return {};
}

Result<QDBusConnection> connectBus(const QString &bus)
{
	const QString name = QLatin1String(kConnectionName);
	const bool system = bus == QLatin1String("system"), session = bus == QLatin1String("session");
	const QDBusConnection connection = system || session
	                                       ? QDBusConnection::connectToBus(system ? QDBusConnection::SystemBus : QDBusConnection::SessionBus, name)
	                                       : QDBusConnection::connectToBus(bus, name);
	if (connection.isConnected()) return connection;
	return failure(ErrorCode::Peer, "Cannot reach the bus \"" + bus.toStdString() + "\": " + connection.lastError().message().toStdString()
	                                    + ". Is dbus-daemon running? Another bus: --bus system|session|ADDRESS");
}

Result<void> ownName(QDBusConnection bus)
{
	const QString name = QLatin1String(dbus::kBusName);
	const auto reply = bus.interface()->registerService(name, QDBusConnectionInterface::DontQueueService, QDBusConnectionInterface::DontAllowReplacement);
	if (reply.isValid() && reply.value() == QDBusConnectionInterface::ServiceRegistered) return {};
	if (!reply.isValid()) {
		return failure(errorFromDBusName(reply.error().name().section(QLatin1Char('.'), -1).toStdString()).value_or(ErrorCode::Failed),
		               "Cannot own the name " + name.toStdString() + ": " + reply.error().message().toStdString()
		                   + " On the system bus the policy file of the package allows it to root only.");
	}
	const auto pid = bus.interface()->servicePid(name);
	return failure(ErrorCode::Busy, "Another archipelagod serves this bus already" + (pid.isValid() ? " (pid " + std::to_string(pid.value()) + ")" : std::string())
	                                    + ". End it, or use a bus of its own: --bus ADDRESS");
}

/// The signals that end a program, as a readable descriptor. Before any thread starts, which would take them otherwise.
xseg::UniqueFd blockSignals()
{
	sigset_t taken;
	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGHUP);
	sigprocmask(SIG_BLOCK, &taken, nullptr);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); // an ignored one, inherited, would reap our children before we can
	return xseg::UniqueFd(signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
}

void tellReady(int fd)
{
	if (fd < 0) return;
	if (::write(fd, "ready\n", 6) != 6) roleLogger("service")->warn("nobody reads --ready-fd {}", fd);
	close(fd);
}

class Service {
public:
	Service(const Options &options, const QDBusConnection &bus) :
	    m_bus(bus), m_tree(bus),
	    m_authority(bus, options.bus == QLatin1String("system") ? Authority::BusKind::System : Authority::BusKind::Private),
	    m_jobs(m_tree, m_authority), m_supervisor(pathsOf(options), {})
	{}
	~Service() { m_supervisor.letGo(); }

	Result<void> publish()
	{
		m_supervisor.load();
		m_volumes = std::make_unique<VolumeObjects>(m_tree, m_authority, m_jobs, m_supervisor);
		m_manager = std::make_unique<ManagerObject>(m_tree, m_authority, m_jobs, m_supervisor, *m_volumes);
		m_peers = std::make_unique<PeerObjects>(m_tree, m_supervisor);
		if (!m_tree.publish()) return failure(ErrorCode::Failed, "Cannot register objects on the bus.");
		return ownName(m_bus);
	}

	const PeerSupervisor &supervisor() const { return m_supervisor; }

private:
	static SupervisorPaths pathsOf(const Options &options)
	{
		const std::string program = hostProgramPath(QCoreApplication::applicationDirPath().toStdString());
		return {options.configFile, options.runDir, options.stateDir, options.logDir, QString::fromStdString(program), options.trial};
	}

	QDBusConnection m_bus;
	ObjectTree m_tree;
	Authority m_authority;
	Jobs m_jobs;
	PeerSupervisor m_supervisor;
	std::unique_ptr<VolumeObjects> m_volumes;
	std::unique_ptr<ManagerObject> m_manager;
	std::unique_ptr<PeerObjects> m_peers;
};

/// Ends the event loop when the bus goes: nobody can reach us any more, and whoever starts us again has a bus.
class BusEnd : public QObject {
	Q_OBJECT

public:
	explicit BusEnd(QDBusConnection bus)
	{
		bus.connect({}, QStringLiteral("/org/freedesktop/DBus/Local"), QStringLiteral("org.freedesktop.DBus.Local"),
		            QStringLiteral("Disconnected"), this, SLOT(ended()));
	}

private slots:
	void ended()
	{
		roleLogger("service")->error("the bus has gone; host processes go on");
		QCoreApplication::exit(errorInfo(ErrorCode::Peer).exitCode);
	}
};

int run(int argc, char **argv)
{
	int status = 0;
	const auto options = parseOptions(argc, argv, status);
	if (!options) return status;
	openStandardDescriptors();
	if (options->readyFd >= 0 && fcntl(options->readyFd, F_SETFD, FD_CLOEXEC) != 0)
		return refuse(Error{ErrorCode::Invalid, "--ready-fd " + std::to_string(options->readyFd) + " is not an open descriptor."});
	const xseg::UniqueFd signalFd = blockSignals();
	QCoreApplication app(argc, argv);
	initLogging("archipelagod");
	setLogLevel("service", 2);
	dbus::registerBusTypes();

	for (const QString &path : {options->runDir, options->runDir + QLatin1String("/hosts"), options->logDir})
		if (const auto made = makeDirectory(path); !made) return refuse(made.error());
	const auto lock = InstanceLock::take(options->runDir.toStdString());
	if (!lock) return refuse(lock.error());
	const auto bus = connectBus(options->bus);
	if (!bus) return refuse(bus.error());

	Service service(*options, *bus);
	const BusEnd busEnd(*bus);
	if (const auto published = service.publish(); !published) return refuse(published.error());
	QSocketNotifier signalled(signalFd.get(), QSocketNotifier::Read);
	QObject::connect(&signalled, &QSocketNotifier::activated, &app, [&signalFd] {
		signalfd_siginfo info{};
		if (::read(signalFd.get(), &info, sizeof info) != sizeof info) return;
		roleLogger("service")->info("signal {}: ending; host processes go on", info.ssi_signo);
		QCoreApplication::quit();
	});
	roleLogger("service")->info("serving {} on {}", options->runDir.toStdString(), options->bus.toStdString());
	if (!service.supervisor().verdict().isEmpty()) roleLogger("service")->warn("{}", service.supervisor().verdict().toStdString());
	tellReady(options->readyFd);
	status = app.exec();
	waitForWorkers();
	return status;
}

} // namespace

} // namespace archipelago::service

int main(int argc, char **argv)
{
	return archipelago::service::run(argc, argv);
}

#include "main.moc"
