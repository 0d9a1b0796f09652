// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Progress: one line on stderr that is redrawn while a job runs, "[#####-----] 58% starting mapperd". Only on a terminal,
// from one second on, at most four times a second, cut to the terminal's width so that it never wraps; gone without a
// trace when the job ends. Other lines go through say(), which puts them above it. Lives in the event loop's thread.
#pragma once

#include "cli/out/console.h"

#include <QObject>
#include <QTimer>

namespace archipelago::cli {

class Progress : public QObject {
	Q_OBJECT

public:
	explicit Progress(Console &console);
	~Progress() override { finish(); }

	/// `fraction` 0..1; `known` = false draws no bar: never a made-up percentage.
	void update(double fraction, bool known, std::string_view what);
	/// A line of its own on stderr (not with -q or --json).
	void say(std::string_view line);
	void finish();
	bool visible() const { return m_drawn; }

private:
	void draw();
	void clear();

	Console &m_console;
	QTimer m_timer;
	bool m_enabled, m_drawn = false, m_changed = false, m_known = false;
	double m_fraction = 0;
	std::string m_what;
};

} // namespace archipelago::cli
