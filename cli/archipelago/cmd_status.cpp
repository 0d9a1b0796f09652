// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago status [ROLE]: exit 0 all up, 1 degraded, 3 stopped or unreachable. The text is for people and may change;
// --json does not.
#include "cli/archipelago/commands.h"
#include "cli/archipelago/status.h"

namespace archipelago::cli {

ExitOr runStatus(Context &c)
{
	const auto status = readStatus(c.session, "show the status", c.args.operand(0));
	if (!status) return tl::unexpected<Failure>(status.error());
	if (c.console.quiet() && !c.console.json())
		c.console.line(status->verdict.text);
	else
		printStatus(c.console, *status);
	return status->verdict.exitCode();
}

} // namespace archipelago::cli
