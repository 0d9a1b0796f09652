// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See progress.h.
#include "cli/out/progress.h"

#include "cli/out/text.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <cmath>

namespace archipelago::cli {

namespace {

constexpr int kFirstMs = 1000;
constexpr int kEveryMs = 250;
constexpr size_t kBarCells = 10;

std::string bar(double fraction)
{
	const double part = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
	// Rounded down, so that 100 % means done; the little more is for fractions such as 0.58 that lie just below their value.
	const auto percent = static_cast<size_t>(part * 100 + 1e-9);
	const size_t full = percent * kBarCells / 100;
	return "[" + std::string(full, '#') + std::string(kBarCells - full, '-') + "] " + std::to_string(percent) + "% ";
}

} // namespace

Progress::Progress(Console &console)
	: m_console(console),
	  m_enabled(console.stderrIsTerminal() && !console.quiet() && !console.json())
{
	connect(&m_timer, &QTimer::timeout, this, [this] {
		m_timer.setInterval(kEveryMs);
		if (m_changed) draw();
	});
	if (m_enabled) m_timer.start(kFirstMs);
}

void Progress::update(double fraction, bool known, std::string_view what)
{
	m_fraction = fraction;
	m_known = known;
	m_what = printable(what);
	m_changed = true;
}

void Progress::say(std::string_view line)
{
	if (m_console.quiet() || m_console.json()) return;
	clear();
	m_console.raw(std::string(line) + "\n");
}

void Progress::finish()
{
	m_timer.stop();
	clear();
}

void Progress::draw()
{
	m_changed = false;
	const std::string text = (m_known ? bar(m_fraction) : std::string{}) + m_what;
	m_console.raw("\r\033[K" + elideMiddle(text, m_console.width() - 1));
	m_drawn = true;
}

void Progress::clear()
{
	if (!m_drawn) return;
	m_console.raw("\r\033[K");
	m_drawn = false;
	m_changed = true; // draw it again below what was said
}

} // namespace archipelago::cli
