// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the thread sanitizer shall not report in the tests that have threads: QtTest runs a watchdog thread, and Qt itself
// is not built with the sanitizer, so the mutexes and conditions inside of it look like races. Only calls that come out of
// Qt's libraries are left out; ours, and ours alone, are what these tests are for. Nothing reads this without the sanitizer.
extern "C" const char *__tsan_default_suppressions();

extern "C" const char *__tsan_default_suppressions()
{
	return "called_from_lib:libQt6Core.so\ncalled_from_lib:libQt6Test.so\n";
}
