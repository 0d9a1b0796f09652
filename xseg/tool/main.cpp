// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
//   xseg [--socket PATH | --run-dir DIR] info|ports|requests|verify|recover [--json] [--all]
//
// Exit codes: 0 well, 1 something was found or failed, 2 wrong usage, 3 nothing runs.
#include "xseg/tool/print.h"
#include "xseg/tool/recover.h"
#include "xseg/tool/source.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

using namespace xseg;
using namespace xseg::tool;

namespace {

enum ExitCode { kWell = 0, kFound = 1, kUsage = 2, kNotRunning = 3 };

struct Options {
	std::string socket, runDir;
	bool json = false, all = false;
};

int complain(const Failure &failure, int code)
{
	std::fprintf(stderr, "xseg: %s\n", failure.what.c_str());
	return code;
}

int info(const Source &source, const Options &options)
{
	print(summarize(source.segment), source.socket.string(), options.json);
	return kWell;
}

int ports(const Source &source, const Options &options)
{
	print(portsOf(source.segment, options.all), options.json);
	return kWell;
}

int requests(const Source &source, const Options &options)
{
	print(requestsOf(source.segment, options.all), options.json);
	return kWell;
}

int verifyAll(const Source &source, const Options &options)
{
	const auto findings = verify(source.segment);
	print(findings, options.json);
	return findings.empty() ? kWell : kFound;
}

int recover(const Source &source, const Options &options)
{
	const auto recovered = recoverDead(source);
	if (!recovered) return complain(recovered.error(), kFound);
	print(*recovered, options.json);
	bool complete = true;
	for (const Recovered &one : *recovered) complete &= one.report.complete();
	return complete ? kWell : kFound;
}

struct Command {
	const char *name, *help;
	int (*run)(const Source &, const Options &);
};

constexpr Command kCommands[] = {
	{"info", "what the segment is, and how much of it is in use", info},
	{"ports", "the ports in use: whose, and what went through them (--all: every port)", ports},
	{"requests", "the requests that are not free: who has them (--all: every request)", requests},
	{"verify", "finds what is held, leaked or broken; under traffic some requests are held", verifyAll},
	{"recover", "puts right what dead processes left; only while no archipelagod runs", recover},
};

int run(const Command &command, const Options &options)
{
	auto source = options.socket.empty() ? fetchFromAnyHost(options.runDir) : fetch(options.socket);
	if (!source) {
		const int errnum = source.error().errnum;
		const bool nobody = errnum == ENOENT || errnum == ECONNREFUSED;
		return complain(source.error(), nobody ? kNotRunning : kFound);
	}
	return command.run(*source, options);
}

} // namespace

int main(int argc, char **argv)
{
	const char *fromEnvironment = std::getenv("ARCHIPELAGO_RUN_DIR");
	Options options;
	options.runDir = fromEnvironment && *fromEnvironment ? fromEnvironment : "/run/archipelago";

	CLI::App app("Shows and checks the shared memory segment of a running Archipelago.", "xseg");
	auto *socket = app.add_option("--socket", options.socket, "socket of one host, RUNDIR/hosts/NAME.sock");
	app.add_option("--run-dir", options.runDir, "run directory of the instance; any of its hosts will do")->excludes(socket);
	app.add_flag("--json", options.json, "for programs: one JSON value");
	app.add_flag("--all", options.all, "also what is free");
	app.require_subcommand(1);
	app.fallthrough();
	std::map<CLI::App *, const Command *> commands;
	for (const Command &command : kCommands) commands[app.add_subcommand(command.name, command.help)] = &command;
	try {
		app.parse(argc, argv);
	} catch (const CLI::ParseError &error) {
		return app.exit(error) == 0 ? kWell : kUsage;
	}
	return run(*commands.at(app.get_subcommands().front()), options);
}
