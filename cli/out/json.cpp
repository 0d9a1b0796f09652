// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See json.h. The envelope is put together by hand because QJsonObject would sort "items" before "schema".
#include "cli/out/json.h"

#include "cli/out/text.h"

#include <algorithm>
#include <limits>

#include <QJsonDocument>

namespace archipelago::cli {

namespace {

template <typename T> std::string compact(const T &value)
{
	return QJsonDocument(value).toJson(QJsonDocument::Compact).toStdString();
}

} // namespace

std::string toJson(const JsonDocument &document)
{
	std::string out = R"({"schema":")" + std::string(document.schema) + R"(","items":)" + compact(document.items);
	out += R"(,"warnings":)" + compact(document.warnings);
	if (!document.more.isEmpty()) {
		const std::string more = compact(document.more);
		out += "," + more.substr(1, more.size() - 2);
	}
	return out + "}\n";
}

std::string errorJson(ErrorCode code, std::string_view message, std::string_view state, std::string_view hint)
{
	QJsonObject error{{"code", jsonText(errorInfo(code).symbol)}, {"message", jsonText(message)}};
	if (!state.empty()) error.insert("state", jsonText(state));
	if (!hint.empty()) error.insert("hint", jsonText(hint));
	return compact(QJsonObject{{"error", error}}) + "\n";
}

QJsonValue jsonSize(quint64 bytes)
{
	// Nothing we count comes near: a larger number can only be nonsense from outside, and JSON has no way to say it.
	constexpr auto kLargest = static_cast<quint64>(std::numeric_limits<qint64>::max());
	return QJsonValue(static_cast<qint64>(std::min(bytes, kLargest)));
}

QJsonValue jsonTime(quint64 us) { return us == 0 ? QJsonValue() : jsonText(timeRfc3339(us)); }

QJsonValue jsonText(std::string_view utf8)
{
	return QString::fromUtf8(utf8.data(), static_cast<qsizetype>(utf8.size()));
}

QJsonObject jsonError(const Error &error)
{
	return {{"code", jsonText(errorInfo(error.code).symbol)}, {"message", jsonText(error.message)}};
}

} // namespace archipelago::cli
