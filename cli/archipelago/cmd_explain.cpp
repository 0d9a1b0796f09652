// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago explain [CODE]: the table of errors (daemon/base/errors), one entry or all. Works without the service.
#include "cli/archipelago/commands.h"
#include "cli/out/json.h"
#include "cli/out/table.h"
#include "cli/out/text.h"
#include "daemon/base/text.h"

#include <QJsonObject>

namespace archipelago::cli {

namespace {

constexpr int kWidestText = 100;

/// Words in lines of at most `width` columns.
std::string wrapped(std::string_view text, int width)
{
	std::string out, line;
	while (!text.empty()) {
		const size_t end = text.find(' ');
		const std::string word(text.substr(0, end));
		text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
		if (!line.empty() && displayWidth(line) + 1 + displayWidth(word) > width) {
			out += line + "\n";
			line.clear();
		}
		line += (line.empty() ? "" : " ") + word;
	}
	return out + line + "\n";
}

QJsonObject errorObject(const ErrorInfo &info)
{
	return {{"code", jsonText(info.symbol)},
	        {"exitCode", info.exitCode},
	        {"errno", info.errnum},
	        {"text", jsonText(info.text)},
	        {"explanation", jsonText(info.explanation)},
	        {"dbusName", info.dbusName.empty() ? QJsonValue() : jsonText(info.dbusName)}};
}

void printOne(Console &console, const ErrorInfo &info)
{
	console.line(console.styled(info.symbol, Style::Bold) + ": " + std::string(info.text) + " (exit " +
	             std::to_string(info.exitCode) + ")");
	const std::string explanation(info.explanation);
	console.data(console.stdoutIsTerminal() ? wrapped(explanation, std::min(console.width(), kWidestText))
	                                        : explanation + "\n");
}

void printAll(Console &console)
{
	Table table({{"CODE"}, {"EXIT", Align::Right}, {"MEANING", Align::Left, true}});
	for (const ErrorInfo &info : allErrors())
		table.add({std::string(info.symbol), std::to_string(info.exitCode), std::string(info.text)});
	console.data(table.render(console));
}

} // namespace

ExitOr runExplain(Context &c)
{
	const auto typed = c.args.operand(0);
	std::optional<ErrorCode> code;
	if (typed) {
		code = errorFromSymbol(*typed);
		if (!code) {
			std::vector<std::string_view> symbols;
			for (const ErrorInfo &info : allErrors()) symbols.push_back(info.symbol);
			const Error unknown{ErrorCode::Invalid,
			                    "There is no code " + inQuotes(*typed) + "." + didYouMean(*typed, symbols)};
			return tl::unexpected<Failure>(Failure(unknown, {}, "archipelago explain"));
		}
	}
	if (c.console.json()) {
		JsonDocument document{.schema = "archipelago.errors/1", .items = {}, .warnings = {}, .more = {}};
		for (const ErrorInfo &info : allErrors())
			if (!code || info.code == *code) document.items.append(errorObject(info));
		c.console.data(toJson(document));
	} else if (code) {
		printOne(c.console, errorInfo(*code));
	} else {
		printAll(c.console);
	}
	return 0;
}

} // namespace archipelago::cli
