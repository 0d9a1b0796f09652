// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago check-config [FILE|-]: every problem of a configuration as "file:line:column: error: ...", without the service
// and without touching anything. Which file: the operand, -c, ARCHIPELAGO_CONFIG, /etc/archipelago/archipelago.conf.
#include "cli/archipelago/commands.h"
#include "cli/out/json.h"
#include "cli/session.h"
#include "daemon/base/config.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <unistd.h>

#include <QJsonObject>

namespace archipelago::cli {

namespace {

constexpr const char *kSystemFile = "/etc/archipelago/archipelago.conf";
/// The service takes no larger one either (its message to a host process is bounded).
constexpr size_t kLargest = 1u << 20;

std::string whichFile(const Arguments &args)
{
	if (const auto operand = args.operand(0)) return *operand;
	if (const auto option = args.value("--config")) return *option;
	const char *environment = std::getenv("ARCHIPELAGO_CONFIG");
	return environment && *environment ? environment : kSystemFile;
}

Result<std::string> readAll(int fd, const std::string &what)
{
	std::string text;
	char buffer[64 * 1024];
	for (;;) {
		const ssize_t n = ::read(fd, buffer, sizeof buffer);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return systemFailure(errno, what);
		if (n == 0) return text;
		text.append(buffer, static_cast<size_t>(n));
		if (text.size() > kLargest) return failure(ErrorCode::Invalid, what + ": it is larger than 1 MiB.");
	}
}

Result<std::string> readFile(const std::string &file)
{
	const std::string what = "Cannot read " + file;
	if (file == "-") return readAll(STDIN_FILENO, "Cannot read standard input");
	const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
	if (fd < 0) return systemFailure(errno, what);
	auto text = readAll(fd, what);
	::close(fd);
	return text;
}

void printJson(Console &console, const std::string &file, const std::vector<Diagnostic> &diagnostics)
{
	JsonDocument document{
		.schema = "archipelago.diagnostics/1", .items = {}, .warnings = {}, .more = {{"file", jsonText(file)}}};
	for (const Diagnostic &d : diagnostics) {
		const char *level = d.level == Diagnostic::Level::Error ? "error" : "warning";
		document.items.append(QJsonObject{{"level", level},
		                                  {"line", jsonSize(d.line)},
		                                  {"column", jsonSize(d.column)},
		                                  {"message", jsonText(d.message)}});
	}
	console.data(toJson(document));
}

std::string count(std::ptrdiff_t n, const char *word) { return std::to_string(n) + " " + word + (n == 1 ? "" : "s"); }

} // namespace

ExitOr runCheckConfig(Context &c)
{
	const std::string file = whichFile(c.args);
	const auto text = readFile(file);
	if (!text) return tl::unexpected<Failure>(Failure(text.error(), {}, "archipelago check-config FILE"));
	// Defaults do not decide what is legal, except that a trial runs as its caller and so refuses USER and GROUP.
	const ConfigDefaults defaults{.trial = c.session.options().bus != "system"};
	const ParsedConfig parsed = parseConfig(*text, defaults);
	const std::string shown = file == "-" ? "<stdin>" : file;
	const auto errors = std::ranges::count(parsed.diagnostics, Diagnostic::Level::Error, &Diagnostic::level);
	const auto warnings = std::ssize(parsed.diagnostics) - errors;

	if (c.console.json()) {
		printJson(c.console, shown, parsed.diagnostics);
	} else {
		for (const Diagnostic &d : parsed.diagnostics) c.console.line(printable(d.format(shown)));
		if (parsed.ok() && !c.console.quiet())
			c.console.line(printable(shown) + ": OK" + (warnings > 0 ? ", " + count(warnings, "warning") : ""));
	}
	if (parsed.ok()) return 0;
	return failure(ErrorCode::Config, "Cannot use " + shown + ": " + count(errors, "error") +
	                                      ". Correct what is named above and check again.");
}

} // namespace archipelago::cli
