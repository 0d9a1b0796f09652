// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One line per event, written with one write:
//   2026-11-22T09:14:03.127Z warning archip-host/blockerb: cannot open ...
// that is UTC in RFC 3339 with milliseconds, level, program/role, text. Control characters of the text are escaped, so that
// nothing that came from outside can forge a line or steer a terminal. Loggers live as long as the process (they are used
// in exit paths), one per role, all on one stderr sink with a lock.
#include "daemon/base/log.h"

#include "daemon/base/text.h"

#include <cerrno>
#include <map>
#include <mutex>
#include <string>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace archipelago {

namespace {

class EscapedText : public spdlog::custom_flag_formatter {
public:
	void format(const spdlog::details::log_msg &message, const std::tm &, spdlog::memory_buf_t &out) override
	{
		const std::string text = printable({message.payload.data(), message.payload.size()});
		out.append(text.data(), text.data() + text.size());
	}
	std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<EscapedText>(); }
};

struct Loggers {
	std::mutex lock;
	std::string program = program_invocation_short_name;
	std::shared_ptr<spdlog::sinks::sink> sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
	std::map<std::string, std::shared_ptr<spdlog::logger>, std::less<>> byRole;

	Loggers() { useFormat(); }

	/// The program's name is part of the sink's pattern, the role is the logger's name.
	void useFormat()
	{
		std::string name;
		for (const char c : program) name += c == '%' ? std::string("%%") : std::string(1, c);
		auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc, "\n");
		formatter->add_flag<EscapedText>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l " + name + "/%n: %*");
		sink->set_formatter(std::move(formatter));
	}
};

Loggers &loggers()
{
	// Never destroyed: threads may still log while the process exits.
	static auto *const all = new Loggers;
	return *all;
}

spdlog::level::level_enum spdlogLevel(unsigned level)
{
	switch (level) {
	case 0: return spdlog::level::err;
	case 1: return spdlog::level::warn;
	case 2: return spdlog::level::info;
	default: return spdlog::level::debug;
	}
}

} // namespace

std::shared_ptr<spdlog::logger> roleLogger(std::string_view role)
{
	Loggers &all = loggers();
	const std::lock_guard guard(all.lock);
	const auto found = all.byRole.find(role);
	if (found != all.byRole.end()) return found->second;
	auto logger = std::make_shared<spdlog::logger>(std::string(role), all.sink);
	logger->set_level(spdlog::level::warn); // log_level = 1, the default
	return all.byRole.emplace(role, std::move(logger)).first->second;
}

void setLogLevel(std::string_view role, unsigned level) { roleLogger(role)->set_level(spdlogLevel(level)); }

void initLogging(std::string_view program)
{
	Loggers &all = loggers();
	const std::lock_guard guard(all.lock);
	all.program = program;
	all.useFormat();
}

} // namespace archipelago
