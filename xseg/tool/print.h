// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Tables for people, JSON for programs (one value, keys in lower_snake, sizes in bytes), on standard output.
#pragma once

#include "xseg/recovery.h"
#include "xseg/tool/recover.h"
#include "xseg/tool/snapshot.h"

namespace xseg::tool {

void print(const Summary &summary, const std::string &source, bool json);
void print(const std::vector<PortRow> &rows, bool json);
void print(const std::vector<RequestRow> &rows, bool json);
void print(const std::vector<Finding> &findings, bool json);
void print(const std::vector<Recovered> &recovered, bool json);

} // namespace xseg::tool
