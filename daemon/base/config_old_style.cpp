// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_old_style.h. Looks at lines, not at grammar: one line that can only come from an old file decides. Asked only
// when a file is not clean as TOML, so a legal new file is never mistaken for an old one.
#include "daemon/base/config_old_style.h"

#include <algorithm>
#include <array>

namespace archipelago::config {

namespace {

enum class Style { Flat, Python, Ini };

// Keys of the flat style that neither the other styles nor this program know. Prefixes end in '_'.
constexpr auto kFlatKeys = std::to_array<std::string_view>({
	"SPEC", "VPORT_START", "VPORT_END", "BPORT", "MPORT", "MBPORT", "VTOOL", "STORAGE", "FILED_IMAGES", "FILED_MAPS",
	"PITHOS", "PITHOSMAPS", "RADOS_POOL_MAPS", "RADOS_POOL_BLOCKS", "CEPH_CONF_FILE", "NR_OPS_", "VERBOSITY_",
});
constexpr auto kIniHeaders = std::to_array<std::string_view>({"[ARCHIPELAGO]", "[Archipelago]", "[XSEG]", "[PEERS]"});

constexpr auto kRetired = std::to_array<std::string_view>({
	"SEGMENT_DYNPORTS", "SEGMENT_TYPE", "SEGMENT_NAME", "SEGMENT_ALIGNMENT", "ORDER", "BLKTAP_ENABLED", "UMASK",
	"logfile", "pidfile", "threshold", "daemon", "unique_str", "prefix", "lock_dir", "umask", "pithos_migrate",
	"pithos-migrate", "cephx_id", "type",
});

constexpr std::string_view kCommon =
        "`archipelago config import` will convert such files; it comes with step 8/9. Until then write the new file by "
        "hand. It is TOML; what it does not say keeps its default, so it may be as short as\n"
        "    [blockerb]\n"
        "    archip_dir = \"/srv/archip/blocks\"\n"
        "    [blockerm]\n"
        "    archip_dir = \"/srv/archip/maps\"\n";

std::string_view styleText(Style style)
{
	switch (style) {
	case Style::Flat:
		return "What becomes of the old keys: SPEC: SEGMENT_PORTS and SEGMENT_SIZE (its third and fourth part). "
		       "FILED_IMAGES, FILED_MAPS: archip_dir of [blockerb], [blockerm]. VPORT_START, VPORT_END: portno_start, "
		       "portno_end of [vlmcd]. BPORT, MBPORT, MPORT: portno_start of [blockerb], [blockerm], [mapperd]. VTOOL: "
		       "VTOOL_START and VTOOL_END. NR_OPS_X, VERBOSITY_X: nr_ops, log_level in the section of the role. "
		       "XSEGBD_START, XSEGBD_END stay.";
	case Style::Python:
		return "SEGMENT_*, XSEGBD_* and VTOOL_* stay as they are, except SEGMENT_DYNPORTS, SEGMENT_TYPE and SEGMENT_NAME, "
		       "which go. roles becomes a list of lists:\n"
		       "    roles = [[\"blockerb\", \"file_blocker\"], [\"blockerm\", \"file_blocker\"], "
		       "[\"mapperd\", \"mapperd\"], [\"vlmcd\", \"vlmcd\"]]\n"
		       "and each dictionary a section: blockerb = { 'portno_start': 1000, ... } becomes\n"
		       "    [blockerb]\n"
		       "    portno_start = 1000";
	case Style::Ini:
		return "The keys of [XSEG] move to the top of the file, without SEGMENT_DYNPORTS. [PEERS] ROLES and the type "
		       "of each role become\n"
		       "    roles = [[\"blockerb\", \"file_blocker\"], [\"blockerm\", \"file_blocker\"], "
		       "[\"mapperd\", \"mapperd\"], [\"vlmcd\", \"vlmcd\"]]\n"
		       "The roles' sections stay, with texts in quotes and true, false in lower case, without type, lock_dir "
		       "and umask.";
	}
	return {};
}

std::string_view styleName(Style style)
{
	switch (style) {
	case Style::Flat: return "shell variables of /etc/default/archipelago";
	case Style::Python: return "Python";
	case Style::Ini: return "INI";
	}
	return {};
}

bool contains(auto const &words, std::string_view word) { return std::ranges::find(words, word) != words.end(); }

bool isFlatKey(std::string_view key)
{
	if (key.starts_with("export ")) key = trimmed(key.substr(7));
	return std::ranges::any_of(kFlatKeys, [key](std::string_view known) {
		return known.ends_with('_') ? key.starts_with(known) : key == known;
	});
}

/// `{` and then nothing, a comment, or a quoted word with a colon behind it: a dictionary, which TOML never has.
bool opensDictionary(std::string_view value)
{
	if (!value.starts_with('{')) return false;
	const std::string_view line = trimmed(value.substr(1, value.find('\n') - 1));
	if (line.empty() || line.front() == '#') return value.find('\n') != std::string_view::npos;
	if (line.front() != '\'' && line.front() != '"') return false;
	const std::size_t close = line.find(line.front(), 1);
	return close != std::string_view::npos && trimmed(line.substr(close + 1)).starts_with(':');
}

bool opensTuples(std::string_view value)
{
	return value.starts_with('[') && trimmed(value.substr(1)).starts_with('(');
}

std::optional<Style> styleOf(const Statement &s)
{
	const std::string_view key = s.key(), value = s.value();
	if (key.starts_with('#') || key.empty()) return std::nullopt;
	if (s.header) return contains(kIniHeaders, key) ? std::optional(Style::Ini) : std::nullopt;
	if (opensDictionary(value) || opensTuples(value)) return Style::Python;
	if (s.section.empty() && isFlatKey(key)) return Style::Flat;
	// `type = file_blocker` without quotes, in the section of a role.
	const bool quoted = value.starts_with('"') || value.starts_with('\'');
	if (key == "type" && !s.section.empty() && !value.empty() && !quoted) return Style::Ini;
	return std::nullopt;
}

} // namespace

bool isRetiredKey(std::string_view key) { return contains(kRetired, key); }

std::optional<Diagnostic> recogniseOldStyle(const Statements &statements)
{
	for (const Statement &s : statements.all) {
		const auto style = styleOf(s);
		if (!style) continue;
		std::string text = "This is a configuration file of the original Archipelago (";
		text += styleName(*style);
		text += "). ";
		text += kCommon;
		text += styleText(*style);
		return Diagnostic{Diagnostic::Level::Error, s.line, 1, std::move(text)};
	}
	return std::nullopt;
}

} // namespace archipelago::config
