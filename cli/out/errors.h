// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// How every failure is told, on stderr:
//   vlmc: cannot remove db: it is open by 2 clients [E-BUSY]      what, why, and a code `archipelago explain` knows
//   /dev/nbd0: qemu-system-x86_64                                 further lines of the message, if any
//   Nothing was changed.                                          the state now, when it is known
//   Try: vlmc close db                                            what to do
// or, with --json, as one object (out/json.h). Texts come from the service too: they are made printable here.
#pragma once

#include "cli/command.h"
#include "cli/out/console.h"

namespace archipelago::cli {

inline constexpr std::string_view kNothingChanged = "Nothing was changed.";
inline constexpr std::string_view kMayBeDone = "It may have been carried out all the same.";

/// "Cannot <what>: <message>", unless the message says so already.
Error cannot(std::string_view what, Error error);

/// failure.tryNext is used when the message has no further sentence (always for E-INVALID).
/// `changes`: whether the command is one that changes something; only then the state is worth a line.
void printFailure(Console &console, const Failure &failure, bool changes);

} // namespace archipelago::cli
