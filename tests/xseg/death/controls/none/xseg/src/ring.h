// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Found by the sources that the death tests share with their controls. A control has another ring, so that none of them may
// have one compiled in.
#error "A source that includes ring.h is compiled once for each control: list it in ring_sources (CMakeLists.txt)."
