// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The only file that sees CLI11. The command is found first (the word that is neither an option nor an option's value);
// then one flat CLI11 application takes the rest apart: the program's options and that command's.
//
// Operands are taken from what CLI11 leaves over instead of being declared to it: for declared ones 2.1.2 splits
// "[a,b]" into two results and ends a list at "++", and both are legal names of volumes.
#include "cli/parse.h"

#include "daemon/base/text.h"

#include <algorithm>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace archipelago::cli {

namespace {

/// Words of the original grammar that CLI11 would take for bundled letters.
constexpr std::pair<std::string_view, std::string_view> kOldSpellings[] = {{"-v0", "--assume_v0"}};

using Words = std::vector<std::string>;

bool isOptionWord(std::string_view word)
{
	// "-" alone is a file, "-5" a number.
	return word.size() > 1 && word[0] == '-' && !(word[1] >= '0' && word[1] <= '9');
}

bool takesValue(std::span<const Option> options, std::string_view word)
{
	return std::ranges::any_of(options, [word](const Option &option) {
		return !option.value.empty() && (option.name == word || (!option.letter.empty() && option.letter == word));
	});
}

/// Where the command stands; size() when there is none.
size_t findVerb(const Program &program, const Words &args)
{
	for (size_t i = 0; i < args.size(); i++) {
		if (args[i] == "--") return std::min(i + 1, args.size());
		if (!isOptionWord(args[i])) return i;
		if (takesValue(program.globals, args[i])) i++;
	}
	return args.size();
}

tl::unexpected<Error> usage(std::string text) { return failure(ErrorCode::Invalid, std::move(text)); }

tl::unexpected<Error> unknownCommand(const Program &program, const std::string &word)
{
	std::vector<std::string_view> names;
	for (const Command &command : program.commands) {
		names.push_back(command.name);
		if (!command.alias.empty()) names.push_back(command.alias);
	}
	std::string text = "Unknown command " + inQuotes(word) + ".";
	const std::string_view near = nearestWord(word, names);
	if (const Command *command = findCommand(program, near)) {
		if (command->built.now)
			text += " Did you mean \"" + std::string(near) + "\"?";
		else
			text += " If you mean \"" + std::string(near) + "\": it " + notBuiltText(command->built) + ".";
	}
	return usage(std::move(text));
}

tl::unexpected<Error> unknownOption(const Program &program, const Command *command, const std::string &word)
{
	const std::string name = word.substr(0, word.find('='));
	std::vector<std::string_view> names;
	for (const Option &option : program.globals) names.push_back(option.name);
	if (command)
		for (const Option &option : command->options)
			if (!option.help.empty()) names.push_back(option.name);
	return usage("Unknown option " + inQuotes(name) + "." + didYouMean(name, names));
}

/// What CLI11 keeps of one option, by our names.
struct Declared {
	const Option *option;
	CLI::Option *cli;
};

std::vector<Declared> declare(CLI::App &app, std::span<const Option> options)
{
	std::vector<Declared> declared;
	for (const Option &option : options) {
		std::string names(option.name);
		if (!option.letter.empty()) names = std::string(option.letter) + "," + names;
		CLI::Option *made = nullptr;
		if (option.value.empty()) {
			made = app.add_flag(names)->disable_flag_override();
		} else {
			made = app.add_option(names)->expected(1)->allow_extra_args(false);
		}
		declared.push_back({&option, made->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)});
	}
	return declared;
}

/// `--size=` would make CLI11 take the next word for the value, and a missing last value needs our own words.
std::optional<Error> missingValue(const Words &args, std::span<const Option> globals, std::span<const Option> own)
{
	for (size_t i = 0; i < args.size() && args[i] != "--"; i++) {
		const std::string &word = args[i];
		const bool takes = takesValue(globals, word) || takesValue(own, word);
		const std::string_view bare = std::string_view(word).substr(0, word.size() - (word.ends_with('=') ? 1 : 0));
		const bool empty = bare.size() < word.size() && (takesValue(globals, bare) || takesValue(own, bare));
		if ((takes && i + 1 == args.size()) || empty)
			return Error{ErrorCode::Invalid, "The option " + std::string(bare) + " needs a value."};
		if (takes) i++;
	}
	return std::nullopt;
}

Result<void> checkBuilt(const Program &program, const Command &command, const std::vector<Declared> &declared)
{
	const std::string verb = std::string(program.name) + " " + std::string(command.name);
	for (const Declared &d : declared)
		if (d.cli->count() > 0 && !d.option->built.now)
			return usage(verb + " " + std::string(d.option->name) + " " + notBuiltText(d.option->built) + ".");
	return {};
}

Result<void> checkOperands(const Program &program, const Command &command, const Words &operands)
{
	const auto number = static_cast<int>(std::min<size_t>(operands.size(), static_cast<size_t>(kMany)));
	const std::string how = " Usage: " + std::string(program.name) + " " + std::string(command.name) + " " +
	                        std::string(command.usage);
	if (number < command.operands.min) return usage(std::string(command.operands.name) + " is missing." + how);
	if (number > command.operands.max)
		return usage("One word too many: " + inQuotes(operands[static_cast<size_t>(command.operands.max)]) + "." + how);
	return {};
}

Result<Arguments> takeApart(const Program &program, const Command *command, const Words &words)
{
	const std::span<const Option> own = command ? command->options : std::span<const Option>{};
	if (auto missing = missingValue(words, program.globals, own)) return tl::unexpected<Error>(std::move(*missing));

	CLI::App app;
	app.set_help_flag();
	app.allow_extras();
	std::vector<Declared> declared = declare(app, program.globals);
	std::ranges::copy(declare(app, own), std::back_inserter(declared));
	try {
		app.parse(Words(words.rbegin(), words.rend()));
	} catch (const CLI::ParseError &error) {
		return usage(error.what());
	}

	Arguments args;
	bool optionsEnded = false;
	for (const std::string &word : app.remaining()) {
		if (!optionsEnded && word == "--")
			optionsEnded = true;
		else if (!optionsEnded && isOptionWord(word))
			return unknownOption(program, command, word);
		else
			args.operands.push_back(word);
	}
	for (const Declared &d : declared)
		for (const std::string &value : d.cli->results())
			args.options[std::string(d.option->name)].push_back(d.option->value.empty() ? std::string{} : value);
	if (command) {
		if (auto built = checkBuilt(program, *command, declared); !built) return tl::unexpected<Error>(built.error());
	}
	return args;
}

} // namespace

const Command *commandOf(const Program &program, const Words &args)
{
	const size_t at = findVerb(program, args);
	return at < args.size() ? findCommand(program, args[at]) : nullptr;
}

Result<Parsed> parse(const Program &program, const Words &args)
{
	Words words = args;
	const size_t verbAt = findVerb(program, words);
	Parsed parsed;
	if (verbAt < words.size()) {
		const std::string verb = words[verbAt];
		parsed.command = findCommand(program, verb);
		if (!parsed.command) return unknownCommand(program, verb);
		// Whatever else is there belongs to a grammar that does not exist yet.
		if (!parsed.command->built.now)
			return usage(std::string(program.name) + " " + verb + " " + notBuiltText(parsed.command->built) + ".");
		words.erase(words.begin() + static_cast<std::ptrdiff_t>(verbAt));
	}
	for (std::string &word : words) {
		if (word == "--") break;
		for (const auto &[old, now] : kOldSpellings)
			if (word == old) word = now;
	}
	auto taken = takeApart(program, parsed.command, words);
	if (!taken) return tl::unexpected<Error>(taken.error());
	parsed.args = std::move(*taken);
	const bool asksOnly = parsed.args.has("--help") || parsed.args.has("--version");
	if (parsed.command && !asksOnly) {
		if (auto counted = checkOperands(program, *parsed.command, parsed.args.operands); !counted)
			return tl::unexpected<Error>(counted.error());
	}
	return parsed;
}

} // namespace archipelago::cli
