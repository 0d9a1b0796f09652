// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reads the committed vectors of golden/: lines "OFFSET: HEX", zeros elsewhere, a last line "length N". What an independent
// program (golden/make_golden.py) made of MAP_FORMAT.md.
#pragma once

#include "daemon/mapper/map_format.h"

#include <QtTest>

#include <QFile>

namespace archipelago::mapper::testing {

inline Bytes readGolden(const char *name)
{
	QFile file(QString(GOLDEN_DIR "/") + name);
	if (!file.open(QIODevice::ReadOnly)) qFatal("no %s", qPrintable(file.fileName()));
	Bytes bytes;
	for (const QByteArray &line : file.readAll().split('\n')) {
		if (line.startsWith('#') || line.isEmpty()) continue;
		if (line.startsWith("length ")) {
			bytes.resize(line.mid(7).toULongLong());
			continue;
		}
		const auto colon = line.indexOf(':');
		const auto at = static_cast<size_t>(line.left(colon).toULongLong(nullptr, 16));
		const QByteArray part = QByteArray::fromHex(line.mid(colon + 1)); // skips blanks
		bytes.resize(std::max(bytes.size(), at + static_cast<size_t>(part.size())));
		std::memcpy(bytes.data() + at, part.data(), static_cast<size_t>(part.size()));
	}
	return bytes;
}

/// Where the two differ first; -1 when they are equal.
inline qsizetype firstDifference(const Bytes &a, const Bytes &b)
{
	const auto [left, right] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
	return left == a.end() && right == b.end() ? -1 : left - a.begin();
}

/// 0x10, 0x11 ... as in the vectors; `from` 0xa0: the other volume in them.
inline VolumeId goldenVolume(uint8_t from = 0x10)
{
	VolumeId id;
	for (size_t n = 0; n < id.bytes.size(); ++n) id.bytes[n] = static_cast<uint8_t>(from + n);
	return id;
}

} // namespace archipelago::mapper::testing
