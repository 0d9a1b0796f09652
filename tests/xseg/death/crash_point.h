// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Where a process of the death tests dies: libxseg is built here with XSEG_CRASH_POINTS, so that each of its stores into the
// segment counts. The n-th one is followed by SIGKILL.
#pragma once

namespace xseg::test {

/// Die after `stores` more stores; 0: never.
void dieAfter(long stores);

} // namespace xseg::test
