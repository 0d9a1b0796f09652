// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The build says it.
#include "dbus/service/version.h"

#ifndef ARCHIPELAGO_VERSION
#error "the build defines the version"
#endif

namespace archipelago::service {

const char *version() { return ARCHIPELAGO_VERSION; }

} // namespace archipelago::service
