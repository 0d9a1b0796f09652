// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The configuration file, read once: the text that every host gets and what it means are of the same moment. Reads a file:
// runs aside.
#pragma once

#include "daemon/base/config.h"

#include <QByteArray>
#include <QString>

namespace archipelago::service {

struct ConfigFile {
	QByteArray text;
	Config config;
	std::vector<Diagnostic> warnings;
};

/// E-NOTFOUND, E-DENIED, E-INVALID (too long to be one) with the next step.
Result<QByteArray> readConfigText(const QString &path);
/// E-CONFIG with every diagnostic, one a line; also when there is no file.
Result<ConfigFile> readConfigFile(const QString &path, const ConfigDefaults &defaults);

} // namespace archipelago::service
