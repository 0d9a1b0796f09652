// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Screen: the terminal for something that is redrawn: the alternate screen, no cursor, keys without Enter. The terminal is as
// it was when this goes, also after SIGTERM and SIGHUP (and Ctrl-C, which the session turns into an end of the program); Ctrl-Z
// does nothing meanwhile. One at a time.
#pragma once

#include "cli/out/console.h"

namespace archipelago::cli {

class Screen {
public:
	/// stdout is a terminal.
	explicit Screen(Console &console);
	~Screen();
	Screen(const Screen &) = delete;
	Screen &operator=(const Screen &) = delete;

	/// Shows `lines`, as many as fit; over what was there, so that nothing flickers. An errno, or 0.
	int draw(std::string_view lines);
	/// Where keys come from; -1: nobody can type.
	int keysFd() const { return m_keys; }
	/// The next key that was typed, or 0. End of input is a 'q'.
	char key();

private:
	Console &m_console;
	int m_keys = -1;
};

} // namespace archipelago::cli
