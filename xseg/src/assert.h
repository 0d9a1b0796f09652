// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// XSEG_ASSERT: a mistake of this process itself, in every build type. Says where and aborts, so that the supervisor sees
// a death it can recover from. Never used on anything read from shared memory: a peer's mistake must not kill us.
#pragma once

#include <cstdio>
#include <cstdlib>

#define XSEG_ASSERT(condition, what)                                                                                   \
	do {                                                                                                               \
		if (!(condition)) [[unlikely]] {                                                                               \
			std::fprintf(stderr, "%s:%d: xseg: %s (%s)\n", __FILE__, __LINE__, what, #condition);                      \
			std::abort();                                                                                              \
		}                                                                                                              \
	} while (false)
