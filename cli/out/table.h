// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Table: rows for people or for programs. On a terminal: two spaces between columns, numbers to the right, bold titles; when
// the rows are wider than the terminal, the columns that may shrink are cut in their middle. In a pipe: one tab between
// cells, every value whole. Control characters in a cell come out escaped, so a cell never ends a row or moves the cursor.
#pragma once

#include "cli/out/console.h"

#include <string>
#include <vector>

namespace archipelago::cli {

enum class Align { Left, Right };

struct Column {
	std::string title;
	Align align = Align::Left;
	bool shrinks = false;
	int minWidth = 0; ///< on a terminal; for rows that come one by one
};

struct Cell {
	Cell(std::string t, Style s = Style::Plain) : text(std::move(t)), style(s) {} // NOLINT(google-explicit-constructor)
	Cell(const char *t) : text(t) {}                                              // NOLINT(google-explicit-constructor)
	std::string text;
	Style style = Style::Plain;
};

class Table {
public:
	explicit Table(std::vector<Column> columns) : m_columns(std::move(columns)) {}
	/// As many cells as there are columns.
	void add(std::vector<Cell> row);
	/// Rows alone: the titles were printed before.
	void withoutTitles() { m_titles = false; }
	size_t rows() const { return m_rows.size(); }
	/// The whole table, each line ended.
	std::string render(const Console &console) const;

private:
	std::vector<int> widths(int available) const;
	std::string renderTabs(const Console &console) const;
	std::string renderAligned(const Console &console) const;

	std::vector<Column> m_columns;
	std::vector<std::vector<Cell>> m_rows;
	bool m_titles = true;
};

} // namespace archipelago::cli
