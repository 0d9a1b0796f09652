// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See config_reader.h. One function per type turns a TOML node into a value or says why not; every message names the key,
// what was expected, and a line that would be legal.
#include "daemon/base/config_reader.h"

#include "daemon/base/config_old_style.h"
#include "daemon/base/config_source.h"
#include "daemon/base/sizes.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <bit>

namespace archipelago::config {

namespace {

using Pairs = std::vector<std::pair<Word, Word>>;
using Words = std::vector<Word>;
using Value = SectionReader::Value;

/// What a converter may say; the reader adds the position.
struct Refusal {
	std::string text;
	Position at{};
};
template <typename T> using Converted = tl::expected<T, Refusal>;

tl::unexpected<Refusal> wrongType(const ConfigKey &key, const toml::node &node)
{
	return tl::unexpected<Refusal>({std::string(key.name) + ": expected " + expectedValue(key) + ", found " +
	                                    std::string(foundText(node)) + ". Example: " + exampleLine(key),
	                                positionOf(node)});
}

tl::unexpected<Refusal> refused(const ConfigKey &key, const toml::node &node, std::string_view why)
{
	return tl::unexpected<Refusal>({std::string(key.name) + " " + std::string(why), positionOf(node)});
}

tl::unexpected<Refusal> outOfRange(const ConfigKey &key, const toml::node &node, std::string_view shown)
{
	return refused(key, node, "= " + std::string(shown) + " is out of range: expected " + expectedValue(key));
}

/// The message of a size or duration that cannot be read, behind the key it belongs to.
tl::unexpected<Refusal> unreadable(const ConfigKey &key, const toml::node &node, const Error &error)
{
	return tl::unexpected<Refusal>({std::string(key.name) + ": " + error.message, positionOf(node)});
}

Converted<uint64_t> toInteger(const ConfigKey &key, const toml::node &node)
{
	const auto *number = node.as_integer();
	if (number == nullptr) return wrongType(key, node);
	const int64_t value = number->get();
	if (value < 0 || static_cast<uint64_t>(value) < key.min || static_cast<uint64_t>(value) > key.max)
		return outOfRange(key, node, std::to_string(value));
	return static_cast<uint64_t>(value);
}

Converted<uint64_t> toPowerOfTwo(const ConfigKey &key, const toml::node &node)
{
	const auto value = toInteger(key, node);
	if (!value || std::has_single_bit(*value)) return value;
	const uint64_t below = std::bit_floor(*value);
	return refused(key, node,
	               "= " + std::to_string(*value) + " is not a power of two; the nearest are " + std::to_string(below) +
	                   " and " + std::to_string(below * 2));
}

Converted<uint64_t> toMebibytes(const ConfigKey &key, const toml::node &node)
{
	uint64_t mebibytes = 0;
	std::string shown;
	if (const auto *text = node.as_string()) {
		const auto bytes = parseSize(text->get(), BareNumber::Mebibytes);
		if (!bytes) return unreadable(key, node, bytes.error());
		if (*bytes % (1u << 20) != 0)
			return refused(key, node, "= " + inQuotes(text->get()) + " is not a whole number of MiB");
		mebibytes = *bytes >> 20;
		shown = inQuotes(text->get());
	} else if (const auto *number = node.as_integer()) {
		shown = std::to_string(number->get());
		if (number->get() < 0) return outOfRange(key, node, shown);
		mebibytes = static_cast<uint64_t>(number->get());
	} else {
		return wrongType(key, node);
	}
	if (mebibytes < key.min || mebibytes > key.max) return outOfRange(key, node, shown);
	return mebibytes << 20;
}

Converted<uint64_t> toSize(const ConfigKey &key, const toml::node &node)
{
	const auto *text = node.as_string();
	if (text == nullptr) return wrongType(key, node);
	const auto bytes = parseSize(text->get(), BareNumber::Refused);
	if (!bytes) return unreadable(key, node, bytes.error());
	if (*bytes < key.min || *bytes > key.max) return outOfRange(key, node, inQuotes(text->get()));
	return *bytes;
}

Converted<uint64_t> toDuration(const ConfigKey &key, const toml::node &node)
{
	if (const auto *number = node.as_integer(); number != nullptr && number->get() == 0) return uint64_t{0};
	const auto *text = node.as_string();
	if (text == nullptr) return wrongType(key, node);
	const auto ms = parseDurationMs(text->get());
	if (!ms) return unreadable(key, node, ms.error());
	if (*ms != 0 && (*ms < key.min || *ms > key.max)) return outOfRange(key, node, inQuotes(text->get()));
	return *ms;
}

Converted<uint64_t> toMode(const ConfigKey &key, const toml::node &node)
{
	const auto *text = node.as_string();
	if (text == nullptr) return wrongType(key, node);
	const std::string &digits = text->get();
	const bool octal = !digits.empty() && digits.size() <= 4 &&
	                   std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '7'; });
	uint64_t mode = 0;
	for (const char c : digits) mode = octal ? mode * 8 + static_cast<uint64_t>(c - '0') : 0;
	if (!octal || mode > 0777) return outOfRange(key, node, inQuotes(digits));
	return mode;
}

Converted<std::string> toChoice(const ConfigKey &key, const toml::node &node)
{
	const auto *text = node.as_string();
	if (text == nullptr) return wrongType(key, node);
	std::vector<std::string_view> words;
	for (std::string_view rest = key.choices; !rest.empty();) {
		words.push_back(rest.substr(0, rest.find('|')));
		rest.remove_prefix(std::min(words.back().size() + 1, rest.size()));
	}
	if (std::ranges::find(words, text->get()) != words.end()) return text->get();
	return refused(key, node,
	               "= " + inQuotes(text->get()) + " is not a legal value: expected " + expectedValue(key) + "." +
	                   didYouMean(text->get(), words));
}

Converted<std::string> toPath(const ConfigKey &key, const toml::node &node)
{
	const auto *text = node.as_string();
	if (text == nullptr) return wrongType(key, node);
	const std::string &path = text->get();
	if (!path.starts_with('/'))
		return refused(key, node,
		               "= " + inQuotes(path) +
		                   " is not an absolute path: it must not depend on where a program was "
		                   "started. Begin it with /");
	for (std::string_view rest = path; !rest.empty();)
		if (const auto c = takeCodePoint(rest); !c || isControl(*c))
			return refused(key, node, "= " + inQuotes(path) + " contains a control character");
	if (path.size() > key.max)
		return refused(key, node,
		               "has " + std::to_string(path.size()) + " bytes, at most " + std::to_string(key.max) +
		                   " are possible; choose a shorter path");
	return path;
}

Converted<Words> toNames(const ConfigKey &key, const toml::node &node)
{
	const auto *list = node.as_array();
	if (list == nullptr) return wrongType(key, node);
	Words out;
	for (const toml::node &element : *list) {
		const auto *name = element.as_string();
		if (name == nullptr) return wrongType(key, element);
		out.push_back({name->get(), positionOf(element)});
	}
	return out;
}

Converted<Pairs> toPairs(const ConfigKey &key, const toml::node &node)
{
	const auto *list = node.as_array();
	if (list == nullptr) return wrongType(key, node);
	Pairs out;
	for (const toml::node &element : *list) {
		const auto *pair = element.as_array();
		if (pair == nullptr) return wrongType(key, element);
		if (pair->size() != 2)
			return refused(key, element,
			               "has an entry of " + std::to_string(pair->size()) +
			                   " words: each entry is [\"name\", \"type\"]");
		for (const toml::node &word : *pair)
			if (!word.is_string()) return wrongType(key, word);
		out.push_back({{pair->get(0)->as_string()->get(), positionOf(*pair->get(0))},
		               {pair->get(1)->as_string()->get(), positionOf(*pair->get(1))}});
	}
	return out;
}

Converted<bool> toBoolean(const ConfigKey &key, const toml::node &node)
{
	const auto *boolean = node.as_boolean();
	if (boolean == nullptr) return wrongType(key, node);
	return boolean->get();
}

const ConfigKey *findIn(std::span<const ConfigSection> kinds, std::string_view name)
{
	for (const ConfigSection kind : kinds)
		if (const ConfigKey *key = findConfigKey(kind, name)) return key;
	return nullptr;
}

/// The value as it would stand in a file, for comparing with ConfigKey::onlyNow.
struct Literal {
	std::string operator()(bool value) const { return value ? "true" : "false"; }
	std::string operator()(uint64_t value) const { return std::to_string(value); }
	std::string operator()(const auto &) const { return {}; }
};

/// The type's converter, and what is not built yet.
Converted<Value> convert(const ConfigKey &key, const toml::node &node)
{
	Converted<Value> out;
	switch (key.type) {
	case ConfigType::Boolean: out = toBoolean(key, node); break;
	case ConfigType::Integer: out = toInteger(key, node); break;
	case ConfigType::PowerOfTwo: out = toPowerOfTwo(key, node); break;
	case ConfigType::Mebibytes: out = toMebibytes(key, node); break;
	case ConfigType::Size: out = toSize(key, node); break;
	case ConfigType::Duration: out = toDuration(key, node); break;
	case ConfigType::Mode: out = toMode(key, node); break;
	case ConfigType::Choice: out = toChoice(key, node); break;
	case ConfigType::Path: out = toPath(key, node); break;
	case ConfigType::NameList: out = toNames(key, node); break;
	case ConfigType::RoleList: out = toPairs(key, node); break;
	case ConfigType::Text: ARCHIPELAGO_ASSERT(!"no key that is built is a free text");
	}
	if (!out || key.onlyNow.empty()) return out;
	const std::string given = std::visit(Literal{}, *out);
	if (given == key.onlyNow) return out;
	return refused(key, node,
	               "= " + given + " is not built yet: " + std::string(key.onlyWhy) + " come with step " +
	                   std::to_string(key.onlyStep) + "/9. Write " + std::string(key.name) + " = " +
	                   std::string(key.onlyNow) + ", or remove the line");
}

std::string unknownKey(std::string_view name, std::span<const ConfigSection> kinds,
                       std::span<const std::string_view> sections)
{
	if (std::ranges::find(sections, name) != sections.end())
		return inQuotes(name) + " is a section, not a key: write [" + std::string(name) +
		       "] on a line of its own and its keys below";
	if (isRetiredKey(name))
		return inQuotes(name) + " is a key of the original Archipelago and has no meaning any more; remove it";
	std::vector<std::string_view> legal;
	for (const ConfigKey &key : configKeys()) {
		if (std::ranges::find(kinds, key.section) != kinds.end()) {
			legal.push_back(key.name);
		} else if (key.name == name) {
			return inQuotes(name) + " has no meaning in this place; it belongs to " +
			       std::string(sectionTitle(key.section));
		}
	}
	return "Unknown key " + inQuotes(name) + "." + didYouMean(name, legal);
}

} // namespace

std::string_view foundText(const toml::node &node)
{
	switch (node.type()) {
	case toml::node_type::table: return "a section or table";
	case toml::node_type::array: return "a list";
	case toml::node_type::string: return "a text";
	case toml::node_type::integer: return "a whole number";
	case toml::node_type::floating_point: return "a number with a point";
	case toml::node_type::boolean: return "true or false";
	case toml::node_type::date:
	case toml::node_type::time:
	case toml::node_type::date_time: return "a date or time";
	default: return "nothing";
	}
}

std::optional<SectionReader::Value> SectionReader::value(std::string_view name)
{
	const ConfigKey *const key = findIn(m_kinds, name);
	ARCHIPELAGO_ASSERT(key != nullptr && key->step == kBuilt);
	std::optional<Value> first;
	bool decided = false;
	for (const toml::table *table : m_tables) {
		const auto found = table->find(name);
		if (found == table->end()) continue;
		// Also one that is overridden is checked: it is wrong all the same, and will be found when it is needed most.
		auto converted = convert(*key, found->second);
		m_report.noteKey(m_name, name, positionOf(found->first));
		if (!converted) {
			m_report.error(converted.error().at, converted.error().text);
			m_report.noteBad(m_name, name);
		} else if (!decided) {
			first = std::move(*converted);
		}
		decided = true;
	}
	return first;
}

template <typename T> void SectionReader::readAs(std::string_view key, T &out)
{
	if (auto found = value(key)) out = std::get<T>(std::move(*found));
}

void SectionReader::read(std::string_view key, uint64_t &out) { readAs(key, out); }
void SectionReader::read(std::string_view key, bool &out) { readAs(key, out); }
void SectionReader::read(std::string_view key, std::string &out) { readAs(key, out); }
void SectionReader::read(std::string_view key, std::vector<Word> &out) { readAs(key, out); }
void SectionReader::read(std::string_view key, std::vector<std::pair<Word, Word>> &out) { readAs(key, out); }
void SectionReader::check(std::string_view key) { (void)value(key); }

void SectionReader::read(std::string_view key, uint32_t &out)
{
	uint64_t wide = out;
	readAs(key, wide);
	ARCHIPELAGO_ASSERT(wide <= UINT32_MAX); // the schema's ranges of such keys are
	out = static_cast<uint32_t>(wide);
}

std::size_t checkKeys(Report &report, const toml::table &table, std::span<const ConfigSection> kinds,
                      std::span<const std::string_view> sections)
{
	const bool atTop = std::ranges::find(kinds, ConfigSection::Top) != kinds.end();
	std::size_t unknown = 0;
	for (const auto &[name, node] : table) {
		if (report.full()) return unknown;
		const ConfigKey *const key = findIn(kinds, name.str());
		if (key != nullptr && key->step != kBuilt) {
			report.error(positionOf(name),
			             std::string(key->name) + " is not built yet" + stepText(key->step) + "; remove it");
		} else if (key == nullptr && !(atTop && node.is_table())) {
			report.error(positionOf(name), unknownKey(name.str(), kinds, sections));
			++unknown;
		}
	}
	return unknown;
}

} // namespace archipelago::config
