/* SPDX-FileCopyrightText: The Archipelago project */
/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The segment ABI as a strict C11 compiler sees it: sizes and offsets, in the order of kLayout in abi_test.cpp.
 */
#include "xseg/abi.h"

#include <stddef.h>

#include "abi_layout.h"

const xs_u64 abiAsC[] = {ABI_LAYOUT};
const size_t abiAsCCount = sizeof abiAsC / sizeof abiAsC[0];
