// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Checks of Results that say what went wrong. Each evaluates its argument once.
#pragma once

#include <QtTest>

#define VERIFY_OK(...)                                                                                                      \
	do {                                                                                                                    \
		const auto &result_ = __VA_ARGS__;                                                                                  \
		QVERIFY2(result_.has_value(), result_.has_value() ? "" : result_.error().message.c_str());                          \
	} while (false)
#define VERIFY_ERROR(call, wanted)                                                                                          \
	do {                                                                                                                    \
		const auto &result_ = call;                                                                                         \
		QVERIFY(!result_.has_value());                                                                                      \
		QVERIFY2(result_.error().code == (wanted), result_.error().message.c_str());                                        \
	} while (false)
#define VERIFY_SAYS(result, words) QVERIFY2((result).error().message.find(words) != std::string::npos, (result).error().message.c_str())
