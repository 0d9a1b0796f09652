// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See errors.h. A message's first sentence is the cause and gets the code; what follows is advice and gets lines of its own.
#include "cli/out/errors.h"

#include "cli/out/json.h"
#include "daemon/base/text.h"

#include <array>

namespace archipelago::cli {

namespace {

struct Default {
	ErrorCode code;
	std::string_view state;
	std::string_view next; ///< empty = `archipelago explain`
};
constexpr std::array kDefaults{
	Default{ErrorCode::Invalid, kNothingChanged, {}},
	Default{ErrorCode::Config, kNothingChanged, "archipelago check-config"},
	Default{ErrorCode::Peer, {}, "archipelago status"},
	Default{ErrorCode::NotFound, kNothingChanged, "vlmc list"},
	Default{ErrorCode::Busy, kNothingChanged, {}},
	Default{ErrorCode::Mapped, kNothingChanged, {}},
	Default{ErrorCode::Locked, kNothingChanged, {}},
	Default{ErrorCode::NotLocked, kNothingChanged, {}},
	Default{ErrorCode::NotOpen, kNothingChanged, {}},
	Default{ErrorCode::Protected, kNothingChanged, {}},
	Default{ErrorCode::ReadOnly, kNothingChanged, {}},
	Default{ErrorCode::Exists, kNothingChanged, {}},
	Default{ErrorCode::Unsupported, kNothingChanged, {}},
	Default{ErrorCode::NotMapped, kNothingChanged, {}},
	Default{ErrorCode::Denied, kNothingChanged, {}},
	Default{ErrorCode::Timeout, kMayBeDone, "archipelago status"},
};

const Default *defaultFor(ErrorCode code)
{
	for (const Default &d : kDefaults)
		if (d.code == code) return &d;
	return nullptr;
}

bool isLower(char c) { return c >= 'a' && c <= 'z'; }
bool isUpper(char c) { return c >= 'A' && c <= 'Z'; }

/// "Cannot open" to "cannot open"; leaves NBD, E-BUSY and the product's name alone.
std::string lowerFirst(std::string text)
{
	if (text.size() > 1 && isUpper(text[0]) && (isLower(text[1]) || text[1] == ' ') && !text.starts_with("Archipelago"))
		text[0] = static_cast<char>(text[0] - 'A' + 'a');
	return text;
}

/// Behind the first sentence of `line`; npos when there is only one. Quotes hide what looks like an end in a name.
size_t secondSentence(std::string_view line)
{
	bool inQuotes = false;
	for (size_t i = 0; i + 2 < line.size(); i++) {
		if (line[i] == '"') inQuotes = !inQuotes;
		const bool ends = line[i] == '.' || (line[i] == '"' && i > 0 && line[i - 1] == '.');
		if (!inQuotes && ends && line[i + 1] == ' ' && (isUpper(line[i + 2]) || line[i + 2] == '"')) return i + 2;
	}
	return std::string_view::npos;
}

struct Told {
	std::string cause, rest, state, next;
};

Told tell(const Failure &failure, bool changes)
{
	Told told;
	const std::string &message = failure.error.message;
	const size_t lineEnd = message.find('\n');
	std::string first = message.substr(0, lineEnd);
	if (lineEnd != std::string::npos) told.rest = message.substr(lineEnd + 1);
	if (const size_t second = secondSentence(first); second != std::string::npos) {
		told.rest = first.substr(second) + (told.rest.empty() ? "" : "\n" + told.rest);
		first.resize(second - 1);
	}
	while (first.ends_with(' ') || first.ends_with('.')) first.pop_back();
	told.cause = lowerFirst(std::move(first));
	if (told.cause.empty()) told.cause = lowerFirst(std::string(errorInfo(failure.error.code).text));

	const Default *standard = defaultFor(failure.error.code);
	told.state = failure.stateNow;
	if (told.state.empty() && changes && standard) told.state = standard->state;
	// A message that goes on behind its cause says itself what to do; only bad usage is told where the help is in any case.
	if (told.rest.empty() || failure.error.code == ErrorCode::Invalid) told.next = failure.tryNext;
	const bool ownWill = failure.error.code == ErrorCode::Cancelled; // needs no advice
	if (told.next.empty() && told.rest.empty() && !ownWill) {
		if (standard) told.next = standard->next;
		if (told.next.empty()) told.next = "archipelago explain " + std::string(errorInfo(failure.error.code).symbol);
	}
	return told;
}

std::string printableLines(std::string_view text)
{
	std::string out;
	while (!text.empty()) {
		const size_t end = text.find('\n');
		const std::string_view line = text.substr(0, end);
		if (!line.empty()) out += printable(line) + "\n";
		text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
	}
	return out;
}

} // namespace

Error cannot(std::string_view what, Error error)
{
	if (error.message.starts_with("Cannot ") || error.message.starts_with("cannot ")) return error;
	error.message = "Cannot " + std::string(what) + ": " + lowerFirst(std::move(error.message));
	return error;
}

void printFailure(Console &console, const Failure &failure, bool changes)
{
	const Told told = tell(failure, changes);
	if (console.json()) {
		const std::string hint = told.rest.empty() ? told.next
		                                           : told.rest + (told.next.empty() ? "" : "\nTry: " + told.next);
		console.raw(errorJson(failure.error.code, told.cause, told.state, hint));
		return;
	}
	std::string text = console.program() + ": " + printable(told.cause) + " [" +
	                   std::string(errorInfo(failure.error.code).symbol) + "]\n";
	text += printableLines(told.rest);
	text += printableLines(told.state);
	if (!told.next.empty()) text += "Try: " + printable(told.next) + "\n";
	console.raw(text);
}

} // namespace archipelago::cli
