// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the verbs of vlmc share about one volume: its name as typed, its state in a word, its JSON form, and the answer when
// there is no such volume.
#pragma once

#include "cli/session.h"

#include <QJsonObject>

namespace archipelago::cli {

/// A name that is to be looked up: any UTF-8, so that volumes named before the rule of names.h stay reachable. E-INVALID.
Result<QString> existingName(const std::string &typed);
/// "open", "closed" or "error"; in use counts as open.
std::string stateWord(const dbus::VolumeInfo &volume);
/// An item of the schema archipelago.volumes/1.
QJsonObject volumeJson(const dbus::VolumeInfo &volume);

/// All volumes, page by page, sorted by name. `what` as for Session::ask().
Result<QList<dbus::VolumeInfo>> allVolumes(Session &session, const std::string &what);
/// `error` as it is, or for E-NOTFOUND one that names the volume and the nearest name there is.
Error volumeError(Session &session, const std::string &what, const std::string &name, Error error);

} // namespace archipelago::cli
