// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What archipelagod was told on its command line, and the places that follow from it.
#pragma once

#include <optional>

#include <QString>

namespace archipelago::service {

struct Options {
	QString configFile, bus = QStringLiteral("system");
	QString runDir, stateDir, logDir;
	bool trial = false;
	int readyFd = -1;
};

/// Nothing: the program ends with `exitStatus` (help and version were printed, or a message on stderr).
std::optional<Options> parseOptions(int argc, char **argv, int &exitStatus);

} // namespace archipelago::service
