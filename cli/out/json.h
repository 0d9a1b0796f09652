// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What --json prints: one object on one line,
//   {"schema":"archipelago.volumes/1","items":[{...},...],"warnings":[TEXT,...], further fields}
// The three named fields come first and are always there; the fields of objects are in alphabetical order. Sizes are bytes,
// exact integers up to 2^63-1 (never doubles); times are RFC 3339 in UTC, null when there is none. Fields may be added
// under the same schema number, never renamed or removed. Nothing here is translated.
#pragma once

#include "daemon/base/errors.h"

#include <string>
#include <string_view>

#include <QJsonArray>
#include <QJsonObject>
#include <QJsonValue>

namespace archipelago::cli {

struct JsonDocument {
	std::string_view schema; ///< "archipelago.volumes/1"
	QJsonArray items;
	QJsonArray warnings;
	QJsonObject more;
};

/// With its newline.
std::string toJson(const JsonDocument &document);
/// {"error":{"code":"E-BUSY","hint":...,"message":...,"state":...}}, with its newline; empty texts are left out.
std::string errorJson(ErrorCode code, std::string_view message, std::string_view state, std::string_view hint);

QJsonValue jsonSize(quint64 bytes);
QJsonValue jsonTime(quint64 us);
QJsonValue jsonText(std::string_view utf8);
/// {"code":..., "message":...}
QJsonObject jsonError(const Error &error);

} // namespace archipelago::cli
