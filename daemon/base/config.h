// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago.conf, parsed and checked: the typed form every program uses. TOML; keys, types, ranges, defaults and help
// come from the one table in config_schema.h. Nothing in the file is executed. All problems are reported, not the first.
#pragma once

#include "daemon/base/errors.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace archipelago {

enum class RoleType { FileBlocker, Mapperd, Vlmcd, Nbd };
std::string_view roleTypeName(RoleType type);

/// One peer to run. Which of the fields matter depends on the type.
struct RoleConfig {
	std::string name;
	RoleType type = RoleType::FileBlocker;
	uint32_t portnoStart = 0, portnoEnd = 0;
	uint32_t logLevel = 1;  ///< 0 error .. 3 debug
	uint32_t nrOps = 512;   ///< operations in flight
	// file_blocker
	std::string archipDir;
	uint32_t fdcache = 4096;
	bool direct = true;
	uint32_t nrThreads = 0; ///< 0: not said; else as many as its host has reactors
	// mapperd
	uint32_t blockerbPort = 1000, blockermPort = 1002;
	uint64_t mapCacheBytes = 128u << 20;
	// vlmcd
	uint32_t blockerPort = 1000, mapperPort = 1001;
};

struct HostConfig {
	std::string name;
	std::vector<std::string> roles; ///< names of roles and of gateways ("nbd")
	uint32_t reactors = 1;          ///< threads of the process (shards.h); the same in all hosts
};

enum class NbdExports { Opened, All };
struct NbdConfig {
	uint32_t portnoStart = 1024, portnoEnd = 1535;
	NbdExports exports = NbdExports::Opened;
	std::string socket; ///< absolute path
	uint32_t mode = 0660;
	uint32_t logLevel = 1;
	uint32_t composerPort = 500, composerPortEnd = 999; ///< derived: the range of the vlmcd role
};

/// What a write gets that finds no room in its store.
enum class FullPolicy { Pause, Error };

struct Config {
	uint32_t segmentPorts = 2048;
	uint64_t segmentSizeBytes = 1024ull << 20;
	uint32_t xsegbdStart = 0, xsegbdEnd = 499;
	uint32_t vtoolStart = 1003, vtoolEnd = 1022;
	uint64_t ioTimeoutMs = 0; ///< 0 = volume I/O waits
	FullPolicy fullPolicy = FullPolicy::Pause;
	uint64_t reserveBytes = 64u << 20; ///< of each store's filesystem, kept for metadata
	std::vector<RoleConfig> roles; ///< in start order
	std::vector<HostConfig> hosts;
	NbdConfig nbd;

	/// Threads of each host process: the shards of its roles.
	uint32_t reactors() const { return hosts.empty() ? 1 : hosts.front().reactors; }
	const RoleConfig *role(std::string_view name) const;
	const RoleConfig *firstOf(RoleType type) const;
};

/// One thing wrong (or doubtful) with the file.
struct Diagnostic {
	enum class Level { Error, Warning } level = Level::Error;
	uint32_t line = 0, column = 0; ///< 1-based, 0 = the file as a whole
	std::string message;           ///< with the nearest key, the legal range, what to write instead
	/// "archipelago.conf:14:3: error: ..."
	std::string format(std::string_view file) const;
};

/// Where things live when the file does not say: the system's places, or an instance directory of a trial.
struct ConfigDefaults {
	bool trial = false;
	std::string runDir = "/run/archipelago";
	std::string stateDir = "/var/lib/archipelago";
	uint64_t ramBytes = 0; ///< for the warnings about SEGMENT_SIZE; 0 = this machine's
};

struct ParsedConfig {
	Config config;                       ///< usable only when there is no error
	std::vector<Diagnostic> diagnostics;
	bool ok() const;
};

/// Parses text. Never throws; old Python-style and INI files are recognised and refused with the way out.
ParsedConfig parseConfig(std::string_view text, const ConfigDefaults &defaults);
/// Reads and parses a file. E-NOTFOUND / E-DENIED when it cannot be read, E-CONFIG with all diagnostics, formatted, else.
Result<Config> loadConfig(const std::string &path, const ConfigDefaults &defaults, std::vector<Diagnostic> *warnings = nullptr);
/// The commented default file, made from the schema.
std::string defaultConfigText();

} // namespace archipelago
