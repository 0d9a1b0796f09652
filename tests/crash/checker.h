// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Checker: cuts the power of a recorded run at every promise and at sampled moments between, makes some of the disks that each
// cut may leave (crash_image.h), starts a fresh node on each, and checks, with no manual step:
//
//   - the volumes that were created and not removed are there, the removed ones are not;
//   - each can be opened: its map decodes;
//   - every sector reads a version that its history allows: what was flushed or newer, never something else;
//   - it can be written, flushed and read again, and the node stops without an error;
//   - (of some) a second power cut after that open, before anything was written, shows the same again.
#pragma once

#include "tests/crash/run.h"

namespace archipelago::testing {

struct CheckOptions {
	unsigned imagesPerCut = 2;
	unsigned oneMomentIn = 12; ///< of those at which nothing was promised
	unsigned maxCuts = 60;     ///< of a run, chosen at random when there are more
};

struct CheckResult {
	unsigned cuts = 0, images = 0;
	std::vector<std::string> problems; ///< the first of each image; checking stops after a few
};

/// `rig` is one of its own, not that of the run.
CheckResult checkRun(Rig &rig, const Run &run, uint64_t seed, const CheckOptions &options, const Tamper *tamper = nullptr);

/// Plays the run of that seed and checks it, each on a rig of its own; what was wrong. `counts`, if not null, tells what there was.
std::vector<std::string> playAndCheck(uint64_t seed, const Tamper *tamper, std::string *counts);
/// A control: the seed of the first of so many runs that shows what the tamper says it shows; 0: none does. `shown`: what it was.
uint64_t seedThatShows(const Tamper &tamper, uint64_t runs, std::string &shown);

/// Of each such operation, as often as it comes.
inline store::Fault fault(store::Fault::What what, Op op, std::optional<ObjectKind> kind = std::nullopt)
{
	store::Fault out;
	out.what = what;
	out.op = op;
	out.kind = kind;
	out.times = store::kForever;
	return out;
}

} // namespace archipelago::testing
