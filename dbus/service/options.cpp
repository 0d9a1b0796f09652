// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
//   system   /etc/archipelago/archipelago.conf  /run/archipelago  /var/lib/archipelago  /var/log/archipelago
//   trial    DIR/archipelago.conf               DIR/run           DIR                   DIR/log
// The one file that includes CLI11.
#include "dbus/service/options.h"

#include "dbus/service/version.h"

#include <CLI/CLI.hpp>

#include <QDir>

namespace archipelago::service {

namespace {

constexpr int kUsage = 2;

struct Raw {
	std::string config, bus = "system", dir, runDir;
	bool trial = false;
	int readyFd = -1;
};

QString absolute(const std::string &path)
{
	return QDir::cleanPath(QDir::current().absoluteFilePath(QString::fromStdString(path)));
}

Options placesOf(const Raw &raw)
{
	Options out;
	out.trial = raw.trial;
	out.bus = QString::fromStdString(raw.bus);
	out.readyFd = raw.readyFd;
	const QString dir = raw.trial ? absolute(raw.dir) : QString();
	out.configFile = !raw.config.empty() ? absolute(raw.config)
	                 : raw.trial         ? dir + QLatin1String("/archipelago.conf")
	                                     : QStringLiteral("/etc/archipelago/archipelago.conf");
	out.runDir = !raw.runDir.empty() ? absolute(raw.runDir) : raw.trial ? dir + QLatin1String("/run") : QStringLiteral("/run/archipelago");
	out.stateDir = raw.trial ? dir : QStringLiteral("/var/lib/archipelago");
	out.logDir = raw.trial ? dir + QLatin1String("/log") : QStringLiteral("/var/log/archipelago");
	return out;
}

} // namespace

std::optional<Options> parseOptions(int argc, char **argv, int &exitStatus)
{
	CLI::App app{"archipelagod - the Archipelago service: starts and watches the peers, serves the bus.\n"
	             "Peers start with: archipelago start", "archipelagod"};
	Raw raw;
	app.add_option("--config", raw.config, "Configuration file (default /etc/archipelago/archipelago.conf, in a trial DIR/archipelago.conf)")
	    ->type_name("FILE");
	app.add_option("--bus", raw.bus, "Where to serve: system, session or a bus address")->type_name("BUS")->capture_default_str();
	auto *trial = app.add_flag("--trial", raw.trial, "A private instance: everything it keeps lies in --dir");
	auto *dir = app.add_option("--dir", raw.dir, "Directory of the trial")->type_name("DIR");
	trial->needs(dir);
	dir->needs(trial);
	app.add_option("--run-dir", raw.runDir, "Sockets, locks and pid files (default /run/archipelago, in a trial DIR/run)")->type_name("DIR");
	app.add_option("--ready-fd", raw.readyFd, "Write \"ready\" to this descriptor when the bus name is owned, and close it")
	    ->type_name("N")->check(CLI::Range(3, 1 << 20));
	app.set_version_flag("--version", std::string("archipelagod ") + version());
	try {
		app.parse(argc, argv);
	} catch (const CLI::ParseError &error) {
		// CLI11 has its own exit codes; ours says 2 for anything it does not understand.
		exitStatus = app.exit(error) == 0 ? 0 : kUsage;
		return std::nullopt;
	}
	return placesOf(raw);
}

} // namespace archipelago::service
