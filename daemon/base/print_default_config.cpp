// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// archipelago-default-config: writes the commented default file to stdout. resources/archipelago.conf is its output; a test
// fails when the two differ.
#include "daemon/base/config.h"

#include <cstdio>

int main()
{
	const std::string text = archipelago::defaultConfigText();
	const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
	return std::fclose(stdout) == 0 && written ? 0 : 1;
}
