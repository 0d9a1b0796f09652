// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The way through the parser: bytes -> statements (limits) -> TOML tables -> Config -> checks between keys. Every stage adds
// to one Report; nothing throws past parseConfig(), whatever the bytes.
#include "daemon/base/config.h"

#include "daemon/base/config_build.h"
#include "daemon/base/config_checks.h"
#include "daemon/base/config_old_style.h"
#include "daemon/base/config_source.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <cerrno>
#include <exception>

#include <fcntl.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace archipelago {

namespace {

uint64_t machineRam()
{
	struct sysinfo info {};
	return sysinfo(&info) == 0 ? uint64_t{info.totalram} * info.mem_unit : 0;
}

ParsedConfig parse(std::string_view text, const ConfigDefaults &defaults)
{
	ParsedConfig out;
	if (text.size() > config::kMaxFileBytes) {
		out.diagnostics.push_back({Diagnostic::Level::Error, 0, 0,
		                           "This is no configuration file: it has " + formatSize(text.size()) + ", at most " +
		                               formatSize(config::kMaxFileBytes) + " are read"});
		return out;
	}
	const config::Statements statements = config::splitStatements(text);
	config::Report report;
	bool clean = false;
	if (statements.tooDeepLine != 0) {
		report.error({statements.tooDeepLine, 1}, "Too deeply nested: no key needs that many brackets or points");
	} else {
		const config::Source source = config::parseSource(text, statements, report);
		const std::size_t unknown = config::buildConfig(source, defaults, report, out.config);
		if (!source.broken)
			config::checkConfig(out.config, defaults.ramBytes != 0 ? defaults.ramBytes : machineRam(), report);
		clean = !source.broken && unknown == 0;
	}
	if (!clean) {
		// One clear sentence instead of an error for each line.
		if (auto old = config::recogniseOldStyle(statements)) {
			out.diagnostics.push_back(std::move(*old));
			return out;
		}
	}
	out.diagnostics = report.take();
	return out;
}

Result<std::string> readFile(const std::string &path)
{
	const std::string what = "Cannot read the configuration " + path;
	const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		const int cause = errno;
		auto error = systemFailure(cause, what);
		if (cause == ENOENT)
			return failure(ErrorCode::NotFound,
			               error.value().message +
			                   ". Name the file with -c FILE; an empty one is legal and means all defaults");
		return error;
	}
	std::string text;
	// One byte more than is allowed: enough to see that it is too much, also of a file without end.
	text.resize(config::kMaxFileBytes + 1);
	std::size_t have = 0;
	int cause = 0;
	while (have < text.size()) {
		const ssize_t got = read(fd, text.data() + have, text.size() - have);
		if (got < 0 && errno == EINTR) continue;
		if (got < 0) cause = errno;
		if (got <= 0) break;
		have += static_cast<std::size_t>(got);
	}
	close(fd);
	if (cause == EISDIR) return failure(ErrorCode::Config, what + ": it is a directory");
	if (cause != 0) return systemFailure(cause, what);
	text.resize(have);
	return text;
}

} // namespace

const RoleConfig *Config::role(std::string_view name) const
{
	const auto found = std::ranges::find(roles, name, &RoleConfig::name);
	return found == roles.end() ? nullptr : &*found;
}

const RoleConfig *Config::firstOf(RoleType type) const
{
	const auto found = std::ranges::find(roles, type, &RoleConfig::type);
	return found == roles.end() ? nullptr : &*found;
}

ParsedConfig parseConfig(std::string_view text, const ConfigDefaults &defaults)
{
	// toml++ reports mistakes by exception, and memory may run out: this is where both end.
	try {
		return parse(text, defaults);
	} catch (const std::exception &error) {
		ParsedConfig out;
		out.diagnostics.push_back(
			{Diagnostic::Level::Error, 0, 0, "Cannot parse the file: " + printable(error.what())});
		return out;
	}
}

Result<Config> loadConfig(const std::string &path, const ConfigDefaults &defaults, std::vector<Diagnostic> *warnings)
{
	const auto text = readFile(path);
	if (!text) return tl::unexpected<Error>(text.error());
	ParsedConfig parsed = parseConfig(*text, defaults);
	if (parsed.ok()) {
		if (warnings != nullptr) *warnings = std::move(parsed.diagnostics);
		return std::move(parsed.config);
	}
	std::string all;
	for (const Diagnostic &diagnostic : parsed.diagnostics) all += (all.empty() ? "" : "\n") + diagnostic.format(path);
	return failure(ErrorCode::Config, std::move(all));
}

} // namespace archipelago
