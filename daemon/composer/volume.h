// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Volume: what all sessions of one volume share. Made by the first attachment, gone with the last session. Its size is what
// the mapper said last. One thread; owned by the composer.
#pragma once

#include "daemon/base/protocol.h"
#include "daemon/composer/freeze.h"

#include <string>

namespace archipelago::composer {

struct Volume {
	VolumeId id;
	std::string name; ///< as the first client attached to it, for the log
	uint64_t sizeBytes = 0;
	uint32_t sessions = 0;
	Freeze freeze;
};

} // namespace archipelago::composer
