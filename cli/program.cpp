// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// runProgram(): what every command has around it. Order: streams, parse, help, locale and event loop, the command, its
// failure, its output, the exit code. Nothing is written to stdout when a command failed, except by commands whose result
// is the failure (check-config, status).
#include "cli/command.h"
#include "cli/help.h"
#include "cli/out/console.h"
#include "cli/out/errors.h"
#include "cli/parse.h"
#include "cli/session.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <climits>
#include <csignal>
#include <cstdlib>

#include <QCoreApplication>

namespace archipelago::cli {

namespace {

Result<ColorMode> colorMode(const Arguments &args)
{
	const std::string when = args.value("--color").value_or("auto");
	if (when == "auto") return ColorMode::Auto;
	if (when == "always") return ColorMode::Always;
	if (when == "never") return ColorMode::Never;
	return failure(ErrorCode::Invalid, "--color is auto, always or never, not " + inQuotes(when) + ".");
}

Result<SessionOptions> sessionOptions(const Arguments &args)
{
	SessionOptions options;
	const char *bus = std::getenv("ARCHIPELAGO_BUS");
	if (bus && *bus) options.bus = bus;
	options.bus = args.value("--bus").value_or(options.bus);
	options.assumeYes = args.has("--yes");
	options.noInput = args.has("--no-input");
	options.configFile = args.value("--config").value_or("");
	if (const auto text = args.value("--timeout")) {
		const auto ms = parseDurationMs(*text);
		if (!ms) return tl::unexpected<Error>(ms.error());
		if (*ms > INT_MAX)
			return failure(ErrorCode::Invalid, "--timeout " + *text + " is longer than 24 days. 0 waits for ever.");
		options.timeoutMs = static_cast<int>(*ms);
	}
	return options;
}

/// Known before the arguments are understood, so that even a usage error comes as JSON when it was asked for.
ConsoleOptions firstGuess(const std::vector<std::string> &args)
{
	ConsoleOptions options;
	for (const std::string &arg : args) {
		if (arg == "--") break;
		if (arg == "--json") options.json = true;
	}
	return options;
}

int exitCode(const Failure &failure)
{
	const int code = errorInfo(failure.error.code).exitCode;
	// The original's commands knew 255 for everything but usage.
	const char *compat = std::getenv("ARCHIPELAGO_COMPAT_EXIT");
	const bool old = compat && std::string_view(compat) == "1" && code != kExitUsage;
	return old ? 255 : code;
}

std::string helpFor(std::string_view program, const Command *command)
{
	return std::string(program) + (command && command->built.now ? " " + std::string(command->name) : "") + " --help";
}

int usageFailure(Console &console, const Command *command, Error error)
{
	printFailure(console, Failure(std::move(error), {}, helpFor(console.program(), command)), false);
	return kExitUsage;
}

int finish(Console &console, int code)
{
	const int errnum = console.flush();
	if (errnum == 0) return code;
	const Failure failed(systemFailure(errnum, "Cannot write to standard output").value());
	printFailure(console, failed, false);
	return code == 0 ? exitCode(failed) : code;
}

int runCommand(const Command &command, const Arguments &args, Console &console, SessionOptions options)
{
	// Qt wants a UTF-8 locale and complains on stderr about any other. Messages are English, times are formatted by us.
	::setenv("LC_ALL", "C.UTF-8", 1);
	int argc = 1;
	std::string name = console.program();
	char *argv[] = {name.data(), nullptr};
	const QCoreApplication application(argc, argv);
	Session session(console, std::move(options));
	Context context{command, args, console, session};
	ExitOr result = command.run(context);
	if (result) return finish(console, *result);
	Failure &failed = result.error();
	if (session.interrupted() && command.changes && failed.stateNow.empty()) failed.stateNow = kMayBeDone;
	if (failed.error.code == ErrorCode::Invalid && failed.tryNext.empty())
		failed.tryNext = helpFor(console.program(), &command);
	printFailure(console, failed, command.changes);
	return finish(console, session.interrupted() ? kExitInterrupted : exitCode(failed));
}

} // namespace

int runProgram(const Program &program, int argc, char **argv)
{
	const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
	Console console{std::string(program.name)};
	console.configure(firstGuess(args));
	auto parsed = parse(program, args);
	if (!parsed) return usageFailure(console, commandOf(program, args), std::move(parsed.error()));
	const Command *command = parsed->command;
	const Arguments &given = parsed->args;

	const auto color = colorMode(given);
	if (!color) return usageFailure(console, command, color.error());
	auto options = sessionOptions(given);
	if (!options) return usageFailure(console, command, options.error());
	console.configure({.json = given.has("--json"),
	                   .quiet = given.has("--quiet"),
	                   .header = !given.has("--no-header"),
	                   .verbose = given.count("--verbose"),
	                   .color = *color});

	if (given.has("--version")) {
		console.line(std::string(program.name) + " (Archipelago) " ARCHIPELAGO_VERSION);
		return finish(console, 0);
	}
	if (given.has("--help")) {
		console.data(command ? commandHelp(program, *command) : programHelp(program));
		return finish(console, 0);
	}
	if (!command) {
		console.raw(summary(program));
		return kExitUsage;
	}
	return runCommand(*command, given, console, std::move(*options));
}

} // namespace archipelago::cli
