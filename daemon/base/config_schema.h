// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The one table of everything archipelago.conf may say: role types, and every key with its section, type, default, range,
// when a change takes effect and its help. The parser, its errors, the default file and later the man page and forms are
// made from it. Keys and types of later steps are in it too, so that using one is refused by its name and not as a typo.
// Constant data, any thread.
#pragma once

#include "daemon/base/config.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace archipelago {

/// Where a key may stand. Role types have their own kind; AnyRole keys are legal in the section of every role.
enum class ConfigSection { Top, AnyRole, FileBlocker, RadosBlocker, Mapperd, Vlmcd, Nbd, Fuse, Host, Backend };

enum class ConfigType {
	Boolean,
	Integer,    ///< min..max
	PowerOfTwo, ///< an integer, min..max
	Mebibytes,  ///< an integer in MiB, or a size in quotes that is a whole number of MiB; min..max in MiB
	Size,       ///< in quotes with a unit; min..max in bytes
	Duration,   ///< in quotes with a unit, or 0; min..max in milliseconds beside 0
	Choice,     ///< one of `choices`
	Path,       ///< absolute; max = longest in bytes
	Mode,       ///< octal permission bits in quotes
	Text,
	RoleList,   ///< [[name, type], ...]
	NameList,   ///< [name, ...]
};

enum class TakesEffect { Restart, Live };

/// Steps of ROADMAP.md that build something: kBuilt = it is there, kLaterStep = a later one, not numbered here.
inline constexpr uint8_t kBuilt = 1, kLaterStep = 0;

struct ConfigKey {
	ConfigSection section = ConfigSection::Top;
	std::string_view name = {};
	ConfigType type = ConfigType::Text;
	std::string_view defaultText = {}; ///< as written in the file; empty: depends on the role, or there is none
	uint64_t min = 0, max = 0;
	std::string_view choices = {};     ///< Choice: separated by '|'
	TakesEffect effect = TakesEffect::Restart;
	uint8_t step = kBuilt;
	std::string_view help = {};        ///< sentences, for the default file and the manual
	std::string_view onlyNow = {};     ///< the one value accepted so far, as written in the file; empty: all of the range
	uint8_t onlyStep = kLaterStep; ///< the step that lifts that
	std::string_view onlyWhy = {};     ///< what comes with it
};

/// A word that stands as type in `roles`, or names a gateway in [hosts].
struct RoleTypeInfo {
	std::string_view name;
	std::optional<RoleType> type; ///< none: not built yet
	ConfigSection section;
	bool gateway;                 ///< runs by itself: listed in [hosts], never in `roles`
	uint8_t step;
};

/// Ports and directory a role has when the file does not say. `name` empty: any role of that type.
struct RoleDefaults {
	std::string_view name;
	RoleType type;
	uint32_t portnoStart, portnoEnd;
	std::string_view directory; ///< below ConfigDefaults::stateDir; empty: none
};

std::span<const ConfigKey> configKeys();
std::span<const RoleTypeInfo> roleTypes();
std::span<const RoleDefaults> roleDefaults();

/// nullptr when there is none of that name in that kind of section.
const ConfigKey *findConfigKey(ConfigSection section, std::string_view name);
const RoleTypeInfo *findRoleType(std::string_view name);
const RoleDefaults *findRoleDefaults(std::string_view name, RoleType type);

/// The section a person would look for: "the top of the file", "a [file_blocker] role", "[nbd]", "[hosts.NAME]".
std::string_view sectionTitle(ConfigSection section);
/// What a value must be: "a whole number from 0 to 3", "an absolute path in quotes".
std::string expectedValue(const ConfigKey &key);
/// A line that would be legal: `log_level = 1`.
std::string exampleLine(const ConfigKey &key);
/// " (step 4/9)" or " (a later step of ROADMAP.md)".
std::string stepText(uint8_t step);

} // namespace archipelago
