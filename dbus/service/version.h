// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The version of this program. version.cpp is the one file of the service that knows it, so that a test can build the same
// service as another version (tests/system).
#pragma once

namespace archipelago::service {

/// "MAJOR.MINOR.PATCH". Any thread.
const char *version();

} // namespace archipelago::service
