// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The countdown. One thread per process.
#include "tests/xseg/death/crash_point.h"

#include "xseg/src/shared_word.h"

#include <csignal>
#include <unistd.h>

namespace {

long countdown = 0;

} // namespace

void xseg::test::dieAfter(long stores) { countdown = stores; }

void xseg::crashPoint()
{
	if (countdown > 0 && --countdown == 0) ::kill(getpid(), SIGKILL);
}
