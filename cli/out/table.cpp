// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// See table.h.
#include "cli/out/table.h"

#include "cli/out/text.h"
#include "daemon/base/errors.h"
#include "daemon/base/text.h"

#include <algorithm>
#include <numeric>

namespace archipelago::cli {

namespace {

constexpr int kGap = 2;
/// Below this a cut name says nothing any more; the line wraps instead.
constexpr int kNarrowest = 12;

} // namespace

void Table::add(std::vector<Cell> row)
{
	ARCHIPELAGO_ASSERT(row.size() == m_columns.size());
	for (Cell &cell : row) cell.text = printable(cell.text);
	m_rows.push_back(std::move(row));
}

std::string Table::render(const Console &console) const
{
	return console.stdoutIsTerminal() ? renderAligned(console) : renderTabs(console);
}

std::vector<int> Table::widths(int available) const
{
	std::vector<int> width(m_columns.size());
	for (size_t c = 0; c < width.size(); c++) {
		width[c] = std::max(m_columns[c].minWidth, displayWidth(m_columns[c].title));
		for (const auto &row : m_rows) width[c] = std::max(width[c], displayWidth(row[c].text));
	}
	const int gaps = kGap * (static_cast<int>(width.size()) - 1);
	for (int over = std::accumulate(width.begin(), width.end(), gaps) - available; over > 0; over--) {
		// One column at a time off the widest that may shrink: a few long names do not squeeze the short column.
		size_t widest = width.size();
		for (size_t c = 0; c < width.size(); c++)
			if (m_columns[c].shrinks && width[c] > kNarrowest && (widest == width.size() || width[c] > width[widest]))
				widest = c;
		if (widest == width.size()) break;
		width[widest]--;
	}
	return width;
}

std::string Table::renderTabs(const Console &console) const
{
	std::string out;
	const auto separator = [this](size_t c) { return c + 1 < m_columns.size() ? '\t' : '\n'; };
	if (m_titles && console.header())
		for (size_t c = 0; c < m_columns.size(); c++)
			(out += console.styled(m_columns[c].title, Style::Bold)) += separator(c);
	for (const auto &row : m_rows)
		for (size_t c = 0; c < row.size(); c++) (out += console.styled(row[c].text, row[c].style)) += separator(c);
	return out;
}

std::string Table::renderAligned(const Console &console) const
{
	const std::vector<int> width = widths(console.width());
	std::string out;
	const auto put = [&](size_t c, std::string_view whole, Style style) {
		const std::string text = elideMiddle(whole, width[c]);
		const std::string padding(static_cast<size_t>(std::max(0, width[c] - displayWidth(text))), ' ');
		const bool last = c + 1 == m_columns.size();
		if (m_columns[c].align == Align::Right) out += padding;
		out += console.styled(text, style);
		// No blanks at the end of a line: they would wrap it on a narrow terminal.
		if (m_columns[c].align == Align::Left && !last) out += padding;
		out += last ? "\n" : std::string(kGap, ' ');
	};
	if (m_titles && console.header())
		for (size_t c = 0; c < m_columns.size(); c++) put(c, m_columns[c].title, Style::Bold);
	for (const auto &row : m_rows)
		for (size_t c = 0; c < row.size(); c++) put(c, row[c].text, row[c].style);
	return out;
}

} // namespace archipelago::cli
