// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// QtTest, and std::string shown in its failure messages.
#pragma once

#include <QtTest>

#include <string>

namespace QTest {
template <> inline char *toString(const std::string &text) { return qstrdup(text.c_str()); }
} // namespace QTest
